"""A tiered cache for slow and costly results, and the command line that administers it.

An import may only go down this map, and among the faces and the words from left to right (``tests/test_floors.py``):

    edges       cli/ integrations/                             Typer commands; httpx, LangChain, Prometheus
    operations  bench/ warming/ insight/                       what an operator does with a cache
    faces       async_cache cache decorators face              `Cache` and `AsyncCache`, one line each over the calls
                llm/ answers/ assembly/ idioms/                answers of models, and by meaning; opening; ways of use
                calls/ core/ drive/                            what each call does; an open cache; how flows are driven
    tiers       tiers/ server/ channels/ queues/ oplog/        where bytes live and events travel: all I/O, all clocks
                settings/ semantic/
    engine      engine/                                        every decision, as generators that yield effects
    parts       eviction/ wire/ coherence/ rules/ meaning/     pure mechanisms: policies, codecs, messages, plans
                chat/ alerts
    words       wording/ models config/ policies/ schedules    the vocabulary
                patterns/ keys canonical ttl events entry errors

The way of a call: a face hands a flow of `calls` to `drive`.  The flow asks the engine, which yields effects; `drive`
performs them on the tiers (`drive.ports`) and sends the answers back.  A hit in memory takes none of these steps
(`tiers.memory.hot`).  `assembly` is where a configuration becomes an open cache (`core`).
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it; `typing` takes a command as long to load as the interpreter itself

if TYPE_CHECKING:
    from typing import Any

    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache
    from scoutcache.config import CacheConfig
    from scoutcache.entry import MISSING
    from scoutcache.errors import (
        CacheError,
        ConfigError,
        CorruptEntry,
        FactoryTimeout,
        FlightCycle,
        IntegrityError,
        InvalidDeclaration,
        InvalidKey,
        InvalidSize,
        InvalidTTL,
        LockTimeout,
        PolicyError,
        SerializationError,
        TierUnavailable,
        TransferError,
        Unprotected,
        WarmingError,
    )
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
    "CacheOperation", "CachePolicy", "CacheStatistics", "CacheStrategy", "CacheTier", "CompressionType", "ConfigError",
    "CorruptEntry", "EmitResult", "FactoryTimeout", "FlightCycle", "IntegrityError", "InvalidDeclaration", "InvalidKey",
    "InvalidSize", "InvalidTTL", "InvalidationResult", "InvalidationRule", "LockTimeout", "PolicyError", "RuleResult",
    "SemanticCacheEntry", "SerializationError", "SerializationType", "Tier", "TierUnavailable", "TransferError",
    "Unprotected", "WarmedKey", "WarmingError", "WarmingTask", "register_type",
]  # fmt: skip

_ERRORS = (
    "CacheError", "ConfigError", "CorruptEntry", "FactoryTimeout", "FlightCycle", "IntegrityError",
    "InvalidDeclaration", "InvalidKey", "InvalidSize", "InvalidTTL", "LockTimeout", "PolicyError", "SerializationError",
    "TierUnavailable", "TransferError", "Unprotected", "WarmingError",
)  # fmt: skip

_HOMES = {
    **dict.fromkeys(_ERRORS, "errors"),
    "AsyncCache": "async_cache",
    "Cache": "cache",
    "CacheConfig": "config",
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
