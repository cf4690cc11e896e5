"""What happened, and what to do about it: ``stats``, ``explain`` and ``report``, for commands and programs.

    log          the operation log, read: as lines, as tables, converted
    report       where hits come from, what was saved, what is wasted, what to change
    live         what happens now: figures, rates, hot keys, metrics
    reasons      why a key was missed, and who ended an entry
    meanings     the reasons in words
    keystats     statistics over the keys that tiers hold
    simulation   other sizes and other policies, with the requests that were
    advising     how big, which policy, which times to live
    rights       the least that a server must let a cache's user do
    charts       pictures as static SVG
    shown        text from outside made safe for where it is shown
    units        bytes, times, shares and money as people read them
    forks        other processes that take a part in reckoning
"""
