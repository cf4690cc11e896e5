"""What a cache tells of itself to a program: an entry with everything about it, its health."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from scoutcache.core import Core
from scoutcache.engine.reading import Found
from scoutcache.entry import NEVER
from scoutcache.errors import TierUnavailable
from scoutcache.models import CacheEntry, CacheStatistics, CompressionType, SerializationType

__all__ = ["entry_of", "health_of", "statistics_of"]


def entry_of(core: Core, found: Found) -> CacheEntry:
    """The public form of what was found."""
    header = found.header
    slot = None if core.memory is None else core.memory.entry(header.ref)
    return CacheEntry(
        key=header.ref.key,
        value=found.value,
        created_at=datetime.fromtimestamp(header.created, UTC),
        accessed_at=None if slot is None else _time(slot.accessed),
        expires_at=_time(header.expires),
        fresh_until=_time(header.fresh_until),
        access_count=0 if slot is None else slot.hits,
        size_bytes=found.size,
        namespace=header.ref.namespace,
        tags=header.tags,
        depends_on=header.depends_on,
        invalidation_keys=(*header.tags, *(f"key:{key}" for key in header.depends_on)),
        backend=found.tier,
        compressed=found.compression != CompressionType.NONE,
        compression_type=_one_of(CompressionType, found.compression),
        serialization=_one_of(SerializationType, found.serializer),
        cost=header.cost,
    )


def _one_of(names: Any, name: str) -> Any:
    try:
        return names(name)
    except ValueError:
        return names("custom")


def _time(seconds: float) -> datetime | None:
    return None if seconds == NEVER else datetime.fromtimestamp(seconds, UTC)


def health_of(core: Core) -> dict[str, Any]:
    """Is each tier answering?  ``{"healthy": bool, "tiers": {name: {"ok": bool, "error": str | None, …}}}``."""
    tiers: dict[str, Any] = {}
    for tier in core.tiers:
        try:
            usage = tier.usage()
        except TierUnavailable as error:
            tiers[tier.name] = {"ok": False, "error": error.reason}
        else:
            tiers[tier.name] = {"ok": True, "error": None, **usage._asdict()}
    return {"healthy": all(tier["ok"] for tier in tiers.values()), "enabled": core.config.enabled, "tiers": tiers}


def statistics_of(core: Core, period: object) -> CacheStatistics:
    """What happened in the last *period*, in every process that uses this cache."""
    raise NotImplementedError
