"""A configuration becomes an open cache.

    assemble     the one place that knows how the parts fit together
    given        what its caller gave, as one configuration
    local        its directory, its journal, how entries are written, tiers of one's own
    strangers    processes that use its directory and not its server
    remote       its server: the way there, the tier, the stream, who hears it
    together     who hears, as one
    losses       what that server had taken and has no more
    outage       what a machine may go by while that is away
    background   what the process does for it besides answering
    attending    what the configuration asks to be done beside the calls
"""
