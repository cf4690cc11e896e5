"""The Redis tier: entries on a server or a cluster, shared by many machines.

    tier         `RedisTier`, which performs plans for threads and event loops
    plans        what is sent and what becomes of the replies
    scripts      what must happen at once on the server
    versions     the authority over tag versions
    listing      scanning, counting and removing by pattern
    collecting   which versions of tags no entry carries any more
    information  what a server says of itself
"""

from scoutcache.tiers.redis.tier import RedisTier

__all__ = ["RedisTier"]
