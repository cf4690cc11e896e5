"""What happened: exact counters, latencies and a log, kept per process and summed over all of them.

`recorder` is what the faces tell; `tally` and `histogram` are what it counts in; `process`, `fold` and `ledger` are how
the counters of living and dead processes are kept and read, each once; `linelog` and `records` are the log; `totals`
are the figures behind ``stats``.
"""
