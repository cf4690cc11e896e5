"""What happened: exact counters, latencies and a log, kept per process and summed over all of them.

    recorder    what the faces tell about every operation
    counting    events become counters
    tally       counters and histograms per minute
    lived       the last hour of a process, and all of it
    histogram   latencies that can be merged
    counters    those of one process, in files
    process     what one process publishes of itself
    presence    which processes live
    who         what they are called
    elsewhere   counters of other machines
    ledger      the counters of all, each exactly once
    fold        where those of ended processes come to rest
    totals      the figures behind ``stats``
    records     the words of the log
    linelog     the log as it is written
    hits        hits in memory on their way into it
    reading     one file of it, read
    columns     one file of it, as a table
    arrays      columns of numbers and text for that
    sealing     how lines become a table
    filing      its files by name
    files       private files that several processes share
"""
