"""The operation log, read.

    operations   every process's files, in the order of time
    concerning   the lines about a few keys
    ending       its end, and what is written while one looks
    converting   in another form: Parquet, JSON Lines, CSV
    loading      as columns of numbers
    frame        as a pandas table
    logtable     as a table of operations and one of entries
    recounted    counters made from it
    uses         which keys were asked for, how often and when last
"""
