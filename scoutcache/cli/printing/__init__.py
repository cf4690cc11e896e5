"""What commands print: data to standard output, everything else to standard error.

    output     rows and records, as a table, JSON, JSON Lines or CSV
    render     tables for people at a terminal
    text       what came from outside made visible, figures made readable
    streams    the standard streams: they are there and take every character
    watching   views that go on
    writing    files that a command was asked to write
    report     a report, for a terminal or plain
    stats      the figures of one moment
    telling    what ended an entry, and who did it
    removed    what a removal removed
    unread     what of a log could not be read
"""
