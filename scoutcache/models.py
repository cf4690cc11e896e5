"""What the cache tells of itself: entries, statistics, operations and results, as frozen pydantic models.

Times are UTC, sizes bytes, rates 0–1, latencies milliseconds; None stands for what nobody knows (money without a
price, the size of a tier that doesn't count).  What users declare (policies, rules, tasks, tiers) is in `policies` and
can be imported from here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scoutcache.keys import CacheKey
from scoutcache.policies import (
    CacheBackend,
    CachePolicy,
    CacheStrategy,
    CacheTier,
    CompressionType,
    InvalidationRule,
    RuleAction,
    SerializationType,
    TaskStatus,
    TriggerType,
    UtcTime,
    WarmingTask,
    utc_now,
)
from scoutcache.ttl import parse_duration

__all__ = [
    "CacheBackend", "CacheEntry", "CacheKey", "CacheOperation", "CachePolicy", "CacheStatistics", "CacheStrategy",
    "CacheTier", "CompressionType", "EmitResult", "InvalidationResult", "InvalidationRule", "RuleAction", "RuleResult",
    "SemanticCacheEntry", "SerializationType", "TaskStatus", "TriggerType", "WarmedKey", "WarmingTask",
]  # fmt: skip

_TOLD: Final = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class CacheEntry(BaseModel):
    """An entry as `get_entry` gives it.

    Until *fresh_until* it is fresh, from then until *expires_at* stale, after that gone; None means never.
    """

    model_config = _TOLD

    key: str
    value: Any = Field(default=None, repr=False)  # values don't belong in logs
    created_at: UtcTime
    accessed_at: UtcTime | None = None
    expires_at: UtcTime | None = None
    fresh_until: UtcTime | None = None
    access_count: int = Field(default=0, ge=0)
    size_bytes: int | None = Field(default=None, ge=0)
    namespace: str = "default"
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    invalidation_keys: tuple[str, ...] = ()
    """Every name whose invalidation takes this entry along: its tags, and ``key:`` with each key it depends on."""
    backend: CacheBackend | str = CacheBackend.MEMORY
    """The tier that answered; the name of one's own tier as text."""
    compressed: bool = False
    compression_type: CompressionType = CompressionType.NONE
    serialization: SerializationType = SerializationType.MSGPACK
    cost: float | None = None
    """What computing it cost, in the unit the caller gave."""

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether it may not be served any more at *now* (by default the present)."""
        return self.expires_at is not None and (now or utc_now()) >= self.expires_at

    def is_stale(self, max_age: object = None, now: datetime | None = None) -> bool:
        """Whether it is older than *max_age* (seconds, timedelta, "5m"), or without one, past *fresh_until*."""
        now = now or utc_now()
        if max_age is None:
            return self.fresh_until is not None and now >= self.fresh_until
        return now - self.created_at > timedelta(seconds=parse_duration(max_age))


class CacheStatistics(BaseModel):
    """What happened in a period, over all processes that use the cache.  Latencies are milliseconds."""

    model_config = _TOLD

    period_start: UtcTime
    period_end: UtcTime
    total_requests: int = Field(default=0, ge=0)
    cache_hits: int = Field(default=0, ge=0)
    cache_misses: int = Field(default=0, ge=0)
    hit_rate: float | None = Field(default=None, ge=0, le=1)
    """Hits per request, 0–1; None when there was no request."""
    average_hit_latency: float | None = None
    p50_hit_latency: float | None = None
    p95_hit_latency: float | None = None
    p99_hit_latency: float | None = None
    average_miss_latency: float | None = None
    p50_miss_latency: float | None = None
    p95_miss_latency: float | None = None
    p99_miss_latency: float | None = None
    total_entries: int | None = None
    total_size_bytes: int | None = None
    average_entry_size: float | None = None
    stats_by_namespace: dict[str, dict[str, Any]] = Field(default_factory=dict)
    stats_by_prefix: dict[str, dict[str, Any]] = Field(default_factory=dict)
    stats_by_tier: dict[str, dict[str, Any]] = Field(default_factory=dict)
    most_accessed_keys: tuple[dict[str, Any], ...] = ()
    largest_entries: tuple[dict[str, Any], ...] = ()
    eviction_count: int = Field(default=0, ge=0)
    evictions_by_reason: dict[str, int] = Field(default_factory=dict)
    expirations: int = Field(default=0, ge=0)
    errors: int = Field(default=0, ge=0)
    sets: int = Field(default=0, ge=0)
    deletes: int = Field(default=0, ge=0)
    estimated_cost_saved: float | None = None
    """Money, None without a configured price."""
    api_calls_saved: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _rates(cls, data: Any) -> Any:
        """What follows from the counts is computed where it isn't given."""
        if not isinstance(data, Mapping):
            return data
        derived = {
            "total_requests": (data.get("cache_hits", 0), data.get("cache_misses", 0)),
            "hit_rate": (data.get("cache_hits"), data.get("total_requests")),
            "average_entry_size": (data.get("total_size_bytes"), data.get("total_entries")),
        }
        filled = dict(data)
        hits, misses = derived.pop("total_requests")
        if "total_requests" not in filled and isinstance(hits, int) and isinstance(misses, int):
            filled["total_requests"] = hits + misses
            derived["hit_rate"] = (hits, hits + misses)
        for name, (part, whole) in derived.items():
            if filled.get(name) is None and isinstance(part, int) and isinstance(whole, int) and whole > 0:
                filled[name] = part / whole
        return filled


class CacheOperation(BaseModel):
    """One operation as the log keeps it."""

    model_config = _TOLD

    operation_id: str
    timestamp: UtcTime
    operation: str
    key: str | None = None
    namespace: str = "default"
    success: bool = True
    hit: bool | None = None
    """None for what is no lookup."""
    reason: str | None = None
    """Why it missed, such as cold, expired, evicted, invalidated or refused."""
    latency_ms: float | None = Field(default=None, ge=0)
    backend_used: str | None = None
    bytes: int | None = Field(default=None, ge=0)
    error: str | None = None
    error_type: str | None = None


class InvalidationResult(BaseModel):
    """What an invalidation did.  Counts are None where counting would have needed a scan that nobody asked for."""

    model_config = _TOLD

    matched: int | None = None
    invalidated: int | None = None
    by_tier: Mapping[str, int | None] = Field(default_factory=dict)
    sample: tuple[str, ...] = ()
    """Up to twenty of the keys, for a person to look at; those hit by tags alone only where entries were counted."""
    failed: dict[str, str] = Field(default_factory=dict)
    """Tiers that could not be asked, and why; what they still hold dies by its versions or its time."""


class RuleResult(InvalidationResult):
    """What one invalidation rule did, or in a dry run would do."""

    rule_id: str
    action: RuleAction = RuleAction.DELETE
    target_pattern: str | None = None
    """With the event's fields in it."""
    target_tags: tuple[str, ...] = ()
    error: str | None = None
    """Why it could not be run."""


class EmitResult(BaseModel):
    """What an event set off, in the order in which it was done.  No rule at all is an answer too."""

    model_config = _TOLD

    event: str
    rules: tuple[RuleResult, ...] = ()
    matched: int | None = 0
    """The sum over the rules; None when one of them is not known.  What two rules hit counts twice."""
    invalidated: int | None = 0


class SemanticCacheEntry(BaseModel):
    """An answered query that answers others close enough in meaning."""

    model_config = _TOLD

    key: str
    query: str = Field(repr=False)
    response: Any = Field(repr=False)
    scope: dict[str, Any] = Field(default_factory=dict)
    """What must match exactly besides: model, system prompt, temperature…"""
    created_at: UtcTime
    use_count: int = Field(default=0, ge=0)
    last_used: UtcTime | None = None
    similar_queries: tuple[str, ...] = Field(default=(), repr=False)
    similarity_scores: tuple[float, ...] = ()


class WarmedKey(BaseModel):
    """What became of one key of ``cache.warm``.  It is true unless it failed.

    *outcome* is ``warmed``, ``skipped`` (it was there, with ``only_missing``; or the cache is switched off) or
    ``failed``; *error* says why.
    """

    model_config = _TOLD

    key: str
    outcome: Literal["warmed", "skipped", "failed"]
    error: str | None = None

    def __bool__(self) -> bool:
        return self.outcome != "failed"
