"""The report: where the hits come from, what was saved, what is wasted, and what to change.

    report     its sections put together
    sections   what one is: plain rows, and what a reader needs to understand them
    counted    those that rest on the exact counters
    logged     those about keys and tags, from the log
    savings    calls, time and money
    trouble    storms, stampedes, slow operations
    trend      two periods, one after the other
    packing    what serializing and compressing does
    ages       what a longer ttl would have answered
    ended      what was cold to who asked, and had been invalidated
    advice     a table of rules, each with the number that it rests on
    page       one page of HTML
    export     as files
"""
