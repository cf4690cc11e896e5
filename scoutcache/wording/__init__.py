"""Words for sentences that people read.

    nouns       how many of what
    omitted     what was left out of the log, and what to do about it
    os_errors   what the system says
    owners      whose a directory is, and that only its owner writes there
"""
