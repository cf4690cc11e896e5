"""What each public call does, written once for both faces.

    calls           get, set, delete, exists, ttl, touch: check the arguments, ask the engine, record what happened
    get_or_compute  its options, memory first, then the engine
    callables       what a function is called in a key
    recording       what became of each key, for the log and the hooks
    invalidating    by pattern, key and tag, for the library and the command line alike
    targets         what an invalidation is aimed at
    mark_stale      its gentler action
    ruling          events, times and changes that set off an invalidation
    listing         the keys of a cache
    walking         a long way through the tiers, to be paced and taken up again
    reckoning       an entry with everything about it, statistics, health
    preloading      ``cache.warm(keys, loader)``
    pruning         what ``prune`` does beyond what a tier does by itself
"""
