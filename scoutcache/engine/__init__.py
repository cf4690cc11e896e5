"""Every decision of the cache, as generators that yield what they want done.

A flow yields *effects* (`effects.py`), frozen words for "somebody must do I/O", and is sent the results.  It holds no
lock, reads no clock and starts no thread; whoever drives it decides between threads, tasks and a simulated world.

    effects     the vocabulary between a flow and its driver
    world       what the engine knows of tiers, clocks, the channel, and who hears of it
    recipe      how a value is computed and kept, and how it came
    flights     one computation per key, and who waits for whom
    moments     what running computations are told meanwhile
    reading     look into the tiers, judge what was found, promote
    computing   get_or_compute: read, else fly once
    calling     call the factory, keep what it gives
    failures    factories that failed, and are not asked for a while
    writing     mark, seal, renew what depends on it
    equal       which keys are written with the value that was there
    placing     store from the lowest tier up, tell the others
    renewing    sliding expiration
    removing    delete, invalidate, clear
    staling     mark stale
    debts       what a tier has yet to be told, and so isn't believed about
    doubt       those of this process
    amends      make that good
    entrusted   those of neighbours, in case they end before they can do so
"""
