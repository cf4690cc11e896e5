"""A tiered cache for slow and costly results, and the command line that administers it.

An import may only go down this map (``tests/test_floors.py`` holds it):

    edges       cli/ integrations/                             Typer commands; FastAPI, Prometheus, …
    operations  bench/ warming/ transfer/ insight/             what an operator does with a cache
    faces       cache async_cache decorators drive assembly    `Cache` and `AsyncCache`, one line each over the engine
    tiers       tiers/ channels/ oplog/ settings/              where bytes live and events travel: all I/O, all clocks
    engine      engine/                                        every decision, as generators that yield effects
    parts       eviction/ wire/ coherence/                     pure mechanisms: policies, codecs, messages
    words       errors config entry keys patterns ttl events models
"""

from __future__ import annotations

__version__ = "0.1.0"
