"""A tiered cache for slow and costly results, and the command line that administers it.

An import may only go down this map (``tests/test_floors.py`` holds it):

    edges       cli/ integrations/                             Typer commands; httpx, LangChain, Prometheus
    operations  bench/ warming/ insight/                       what an operator does with a cache
    faces       cache async_cache decorators drive llm/ …      `Cache` and `AsyncCache`, one line each over the engine
    tiers       tiers/ channels/ server/ oplog/ semantic/ …    where bytes live and events travel: all I/O, all clocks
    engine      engine/                                        every decision, as generators that yield effects
    parts       eviction/ wire/ rules/ meaning/ chat/ …        pure mechanisms: policies, codecs, messages, plans
    words       errors config entry keys patterns ttl events models

The way of a call: a face hands a flow of `calls` (or `obtaining`, for what computes) to `drive`.  The flow asks the
engine, which yields effects; `drive` performs them on the tiers (`ports`) and sends the answers back.  A hit in memory
takes none of these steps (`tiers.memory.hot`).  `assembly` is where a configuration becomes an open cache (`core`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache
    from scoutcache.config import CacheConfig
    from scoutcache.entry import MISSING
    from scoutcache.errors import CacheError
    from scoutcache.keys import CacheKey
    from scoutcache.models import (
        CacheBackend,
        CacheEntry,
        CacheOperation,
        CachePolicy,
        CacheStatistics,
        CacheStrategy,
        CacheTier,
        CompressionType,
        EmitResult,
        InvalidationResult,
        InvalidationRule,
        RuleResult,
        SemanticCacheEntry,
        SerializationType,
        WarmedKey,
        WarmingTask,
    )
    from scoutcache.tiers.base import Tier
    from scoutcache.wire.classes import register_type

__version__ = "0.1.0"

__all__ = [
    "MISSING", "AsyncCache", "Cache", "CacheBackend", "CacheConfig", "CacheEntry", "CacheError", "CacheKey",
    "CacheOperation", "CachePolicy", "CacheStatistics", "CacheStrategy", "CacheTier", "CompressionType", "EmitResult",
    "InvalidationResult", "InvalidationRule", "RuleResult", "SemanticCacheEntry", "SerializationType", "Tier",
    "WarmedKey", "WarmingTask", "register_type",
]  # fmt: skip

_HOMES = {
    "AsyncCache": "async_cache",
    "Cache": "cache",
    "CacheConfig": "config",
    "CacheError": "errors",
    "CacheKey": "keys",
    "MISSING": "entry",
    "Tier": "tiers.base",
    "register_type": "wire.classes",
}
"""Where the public names live, `models` unless said here: they are loaded when first asked for, so that the command
line starts fast."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'models')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
