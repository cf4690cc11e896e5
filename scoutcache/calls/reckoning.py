"""What a cache tells of itself to a program: an entry with everything about it, its statistics, its health."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from scoutcache.core.core import Core
from scoutcache.core.telling import tell_what_writes_removed
from scoutcache.engine.reading import Found
from scoutcache.entry import NEVER, Listed, Usage
from scoutcache.errors import TierUnavailable
from scoutcache.models import CacheEntry, CacheStatistics, CompressionType, SerializationType
from scoutcache.oplog.elsewhere import Elsewhere
from scoutcache.oplog.totals import By, Latency, Stats, TierStats, collect_stats
from scoutcache.tiers.base import Tier, breaker_of
from scoutcache.ttl import parse_duration

__all__ = ["entry_of", "health_of", "statistics_of"]

TOP = 10
"""How many keys a list of the most or the largest names."""


def entry_of(core: Core, found: Found) -> CacheEntry:
    """The public form of what was found."""
    header = found.header
    slot = None if core.memory is None else core.memory.entry(header.ref)
    return CacheEntry(
        key=header.ref.key,
        value=found.value,
        created_at=datetime.fromtimestamp(header.created, UTC),
        # Memory knows the time to half a second only, and nobody asked for an entry before it was made.
        accessed_at=None if slot is None else _time(max(slot.accessed, header.created)),
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
    for level, tier in enumerate(core.tiers):
        try:
            usage = tier.usage()
        except TierUnavailable as error:
            tiers[tier.name] = {"ok": False, "error": error.reason}
        else:
            doubted = "a recent write failed: its older entries aren't trusted"
            problem = _refused(tier) or (doubted if core.world.doubts[level] else None)
            tiers[tier.name] = {"ok": problem is None, "error": problem, **usage._asdict()}
    return {"healthy": all(tier["ok"] for tier in tiers.values()), "enabled": core.config.enabled, "tiers": tiers}


def _refused(tier: Tier) -> str | None:
    """What a server that answers does not do, by the word that operators know it by; None where there is no such."""
    breaker = breaker_of(tier)
    kind = None if breaker is None else breaker.refusing
    return None if kind is None else f"{kind.value}: it answers, but refuses commands"


def statistics_of(core: Core, period: object, namespace: str | None = None) -> CacheStatistics:
    """What happened in the last *period* (None: all that is kept), in every process that uses this cache.

    Of one *namespace* only if given, whose part of the entries in a tier nobody counts.  Of other machines that share a
    server the last 25 hours are known at most.
    """
    tell_what_writes_removed(core.recorder, core.hooks, core.tiers)
    core.flush()
    now = core.world.now()
    seconds = None if period is None else parse_duration(period)
    own = [core.recorder.snapshot()]
    sizes = {tier.name: None if tier is core.memory else _usage(core, tier) for tier in core.tiers}
    away = _elsewhere(core, seconds, now)

    def collected(by: By) -> Stats:
        return collect_stats(core.directory, now=now, period_s=seconds, by=by, namespace=namespace, usages=sizes,
                             extra=own, elsewhere=away)  # fmt: skip

    found = collected("namespace")
    total, lowest = found.total, _lowest(found) if namespace is None else None
    return CacheStatistics(
        period_start=datetime.fromtimestamp(now if found.period_start is None else found.period_start, UTC),
        period_end=datetime.fromtimestamp(now, UTC),
        total_requests=total.requests,
        cache_hits=total.hits,
        cache_misses=total.misses,
        hit_rate=total.hit_rate,
        **_latencies("hit", found.hit),
        **_latencies("miss", found.miss),
        total_entries=None if lowest is None else lowest.entries,
        total_size_bytes=None if lowest is None else lowest.size_bytes,
        stats_by_namespace={row["namespace"]: row for row in found.groups},
        stats_by_prefix={row["prefix"]: row for row in collected("prefix").groups},
        stats_by_tier={tier.name: tier.as_dict() for tier in found.tiers},
        most_accessed_keys=_most_accessed(core, namespace),
        largest_entries=_largest(core, namespace),
        eviction_count=total.evictions_by_reason.total(),
        evictions_by_reason=dict(total.evictions_by_reason),
        expirations=total.expirations,
        errors=total.errors,
        sets=total.sets,
        deletes=total.deletes,
        estimated_cost_saved=total.cost_saved_usd,
        api_calls_saved=total.calls_saved,
    )


def _usage(core: Core, tier: Tier) -> Usage | None:
    try:
        return tier.usage()
    except TierUnavailable as error:
        core.world.down(tier.name, error)
        return None


def _elsewhere(core: Core, period_s: float | None, now: float) -> Elsewhere:
    """What other machines counted; nothing where the server can't be asked."""
    if core.others is None:
        return Elsewhere()
    try:
        return core.others(period_s, now)
    except TierUnavailable as error:
        core.world.down(error.tier, error)
        return Elsewhere()


def _lowest(found: Stats) -> TierStats | None:
    """The tier that holds the most: every entry is written to the lowest that takes it."""
    return found.tiers[-1] if found.tiers else None


def _latencies(what: str, latency: Latency) -> dict[str, float | None]:
    """Milliseconds under the names of the model."""
    figures = {"average": latency.mean_us, "p50": latency.p50_us, "p95": latency.p95_us, "p99": latency.p99_us}
    return {f"{name}_{what}_latency": None if us is None else us / 1000 for name, us in figures.items()}


def _held(core: Core, namespace: str | None) -> Iterable[Listed]:
    return () if core.memory is None else core.memory.scan(namespace)


def _most_accessed(core: Core, namespace: str | None) -> tuple[dict[str, Any], ...]:
    """The keys of this process's memory tier that were asked for most."""
    listed = heapq.nlargest(TOP, _held(core, namespace), key=lambda one: one.hits or 0)
    return tuple(
        {"key": key, "namespace": space, "hits": one.hits} for one in listed for space, key in [one.header.ref]
    )


def _largest(core: Core, namespace: str | None) -> tuple[dict[str, Any], ...]:
    """The largest entries of this process's memory tier."""
    listed = heapq.nlargest(TOP, _held(core, namespace), key=lambda one: one.size)
    return tuple(
        {"key": key, "namespace": space, "size_bytes": one.size} for one in listed for space, key in [one.header.ref]
    )
