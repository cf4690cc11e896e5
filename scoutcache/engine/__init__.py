"""Every decision of the cache, as generators that yield what they want done.

A flow yields *effects* (`effects.py`), frozen words for "somebody must do I/O", and is sent the results.  It holds no
lock, reads no clock and starts no thread; whoever drives it decides between threads, tasks and a simulated world.

    effects     the vocabulary between a flow and its driver
    flights     one computation per key, and who waits for whom
    moments     what running computations are told meanwhile
    reading     look into the tiers, judge what was found, promote
    writing     mark, seal, renew what depends on it
    placing     store from the lowest tier up, tell the others
    amends      make good what a tier could not be told
    computing   get_or_compute: read, else fly once
    removing    delete, invalidate, clear
"""
