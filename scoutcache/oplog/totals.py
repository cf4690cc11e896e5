"""The figures behind ``stats``: counters of all processes summed, with what is unknown as None and never as 0.

Rules.

- A request is a ``get`` or a ``compute`` that ended as a hit or as a miss without a tier.  Requests = hits + misses.
- Every hit saved a call, also one that waited for another caller's computation (reason ``joined``; a tier's hit only
  where it turned out to be there).
- Money is the sum over the hits whose cost is known; without any, it is unknown.
- What left a tier unnamed (the disk's, many at once) is known for the whole, not for a namespace or a prefix.
- A tier nobody looked into in the period has no hit figures.  Whatever no higher tier answered was looked for in it.
- A tier's size is what the caller says (*usages*), or for memory the sum over the processes that live.
- Of other machines counts what the caller got from them (*elsewhere*).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from scoutcache.config import TIERS
from scoutcache.entry import Usage
from scoutcache.oplog.elsewhere import Elsewhere
from scoutcache.oplog.histogram import Histogram
from scoutcache.oplog.ledger import Counts, read_counts
from scoutcache.oplog.process import Segment
from scoutcache.oplog.records import HIT_OUTCOMES, NOT_LOOKED, REQUESTS
from scoutcache.oplog.tally import Counted

__all__ = ["By", "Group", "Latency", "Stats", "TierStats", "collect_stats", "moment"]

By = Literal["tier", "namespace", "prefix", "tag"]
NOUNS: Final = {"namespace": "namespaces", "prefix": "prefixes", "tag": "tags"}


def moment(seconds: float) -> str:
    """A time as JSON shows it: ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies in microseconds, None where nothing was timed; percentiles are off by 1.6 % at most."""

    count: int
    mean_us: float | None
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None

    @classmethod
    def of(cls, histogram: Histogram) -> Latency:
        """The percentiles of nanoseconds."""
        quantiles = [histogram.quantile(q) for q in (0.5, 0.95, 0.99)]
        return cls(
            histogram.count, *(None if ns is None else round(ns / 1000, 3) for ns in (histogram.mean, *quantiles))
        )


@dataclass(slots=True)
class Group:
    """The counters of the whole, or of one namespace or prefix.  *cost_saved_usd* is None while no price is known."""

    name: str = ""
    hits: int = 0
    misses: int = 0
    sets: int = 0
    deletes: int = 0
    errors: int = 0
    expirations: int = 0
    promotions: int = 0
    demotions: int = 0
    invalidations: int = 0
    evictions_by_reason: Counter[str] = field(default_factory=Counter)
    misses_by_reason: Counter[str] = field(default_factory=Counter)
    cost_saved_usd: float | None = None
    hits_with_cost: int = 0
    unnamed: frozenset[tuple[str, str]] = frozenset()
    """Kinds and reasons of what left tiers unnamed, so that nobody knows how much of it was this group's."""

    @property
    def requests(self) -> int:
        """Hits and misses."""
        return self.hits + self.misses

    @property
    def hit_rate(self) -> float | None:
        """Hits per request (0-1), None without requests."""
        return self.hits / self.requests if self.requests else None

    @property
    def evictions(self) -> int | None:
        """Entries that left for want of room."""
        return None if "evict" in dict(self.unnamed) else self.evictions_by_reason.total()

    @property
    def _evictions_by_reason(self) -> dict[str, int | None]:
        return {**self.evictions_by_reason, **{reason: None for kind, reason in self.unnamed if kind == "evict"}}

    @property
    def calls_saved(self) -> int:
        """Calls that needn't be made: one for each hit."""
        return self.hits

    def add(self, row: Counted) -> None:
        """Count one counter."""
        if row.kind in REQUESTS:
            self._add_request(row)
        elif not row.tier and row.kind in {"set", "delete"}:
            self._add_change(row)
        elif row.kind == "evict":
            self.evictions_by_reason[row.reason or "unknown"] += row.count
        elif row.outcome != "refused" and row.kind in _PLAIN:
            name = _PLAIN[row.kind]
            setattr(self, name, getattr(self, name) + row.count)

    def _add_request(self, row: Counted) -> None:
        if row.outcome in HIT_OUTCOMES:
            self.hits += row.count
            if row.costed:
                self.cost_saved_usd = (self.cost_saved_usd or 0.0) + row.cost
                self.hits_with_cost += row.costed
        elif row.outcome == "miss" and not row.tier:
            self.misses += row.count
            self.misses_by_reason[row.reason or "unknown"] += row.count

    def _add_change(self, row: Counted) -> None:
        if row.kind == "set" and row.outcome != "refused":
            self.sets += row.count
        elif row.kind == "delete" and row.outcome != "absent":
            self.deletes += row.count

    def as_dict(self) -> dict[str, Any]:
        """The counters under the names of the contract."""
        return {
            "requests": self.requests, "hits": self.hits, "misses": self.misses, "hit_rate": self.hit_rate,
            "evictions": self.evictions, "sets": self.sets, "deletes": self.deletes, "errors": self.errors,
            "expirations": None if "expire" in dict(self.unnamed) else self.expirations,
            "promotions": self.promotions, "demotions": self.demotions,
            "invalidations": self.invalidations, "evictions_by_reason": self._evictions_by_reason,
            "misses_by_reason": dict(self.misses_by_reason), "calls_saved": self.calls_saved,
            "cost_saved_usd": _money(self.cost_saved_usd), "hits_with_cost": self.hits_with_cost,
        }  # fmt: skip


def _money(usd: float | None) -> float | None:
    """A sum of many floats without their dust: to the billionth of a dollar."""
    return None if usd is None else round(usd, 9)


_PLAIN: Final = {
    "error": "errors", "expire": "expirations", "promote": "promotions", "demote": "demotions",
    "invalidate": "invalidations",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TierStats:
    """One tier.  Sizes are None where nobody knows them, *hits* and what follows where nobody looked into it."""

    name: str
    entries: int | None
    size_bytes: int | None
    max_entries: int | None
    max_bytes: int | None
    lookups: int | None
    hits: int | None
    hit: Latency

    def as_dict(self) -> dict[str, Any]:
        """The tier under the names of the contract."""
        return {
            "name": self.name, "entries": self.entries, "size_bytes": self.size_bytes, "max_entries": self.max_entries,
            "max_bytes": self.max_bytes, "lookups": self.lookups, "hits": self.hits,
            "hit_rate": self.hits / self.lookups if self.hits is not None and self.lookups else None,
            "hit_p50_us": self.hit.p50_us, "hit_p95_us": self.hit.p95_us, "hit_p99_us": self.hit.p99_us,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stats:
    """What happened in a period.  Times are seconds since the epoch; *period_start* is None when nothing is kept.

    *left_out* is what the log left out by reason (counters leave nothing out); *groups* are by *by*; *unread* are files
    of counters that can't be read; *unnamed* is what `Group.unnamed` is for them. *machines* counts this one and those
    whose figures were added; *skipped_segments* is what they published and can't be read. *ahead* is the latest time of
    what is dated after the end of the period, and not counted: the clock of some machine was wrong.
    """

    period_start: float | None
    period_end: float
    total: Group
    hit: Latency
    miss: Latency
    tiers: tuple[TierStats, ...]
    processes: int
    left_out: Mapping[str, int]
    unread: tuple[Path, ...]
    unnamed: frozenset[tuple[str, str]] = frozenset()
    by: By | None = None
    groups: tuple[dict[str, Any], ...] = ()
    machines: int = 1
    skipped_segments: int = 0
    ahead: float | None = None
    operations: Mapping[str, Latency] = field(default_factory=dict)
    """Latencies of what is no request by what was timed: ``set``, ``delete``, ``factory``, ``keygen``, …"""

    def as_dict(self) -> dict[str, Any]:
        """The fields of ``stats`` as JSON shows them."""
        shown = self.total.as_dict() | {
            "period_start": None if self.period_start is None else moment(self.period_start),
            "period_end": moment(self.period_end),
        }
        for name, latency in (("hit", self.hit), ("miss", self.miss)):
            shown |= {f"{name}_{part}": getattr(latency, part) for part in ("mean_us", "p50_us", "p95_us", "p99_us")}
        shown |= {"tiers": [tier.as_dict() for tier in self.tiers], "processes": self.processes,
                  "machines": self.machines}  # fmt: skip
        shown["operations"] = [
            {"operation": what, "count": took.count, "mean_us": took.mean_us, "p50_us": took.p50_us,
             "p95_us": took.p95_us, "p99_us": took.p99_us} for what, took in sorted(self.operations.items())
        ]  # fmt: skip
        shown |= {"log_left_out": dict(self.left_out), "skipped_files": len(self.unread),
                  "skipped_segments": self.skipped_segments}  # fmt: skip
        if self.by in NOUNS:
            shown[NOUNS[self.by]] = list(self.groups)
        return shown


def collect_stats(directory: Path | None, *, now: float, period_s: float | None = None, by: By | None = None,
                  namespace: str | None = None, usages: Mapping[str, Usage | None] | None = None,
                  extra: Sequence[Segment] = (), elsewhere: Elsewhere | None = None) -> Stats:  # fmt: skip
    """Sum what all processes counted in the last *period_s* seconds (None: all that is kept).

    *usages* names the tiers in the order they are asked, with the sizes the caller can see.  *extra* are segments of
    this process (`Recorder.snapshot`) that count instead of what it last wrote, *elsewhere* is what other machines
    counted.  *by* ``tag`` is answered by `scoutcache.insight.live.stats`, for tags stand in the log only.
    """
    since = None if period_s is None else now - period_s
    away = elsewhere or Elsewhere()
    counts = read_counts(directory, since=since, now=now, extra=[*extra, *away.living], ended=away.ended)
    rows = [row for row in counts.tally.counters.values() if namespace in {None, row.namespace}]
    unnamed = _unnamed(counts)
    spreads = _spreads(counts, namespace)
    total = _sum(rows, unnamed=frozenset() if namespace is None else unnamed)
    return Stats(
        period_start=_start(counts), period_end=now, total=total,
        hit=Latency.of(Histogram.merged(h for (_, what), h in spreads.items() if what == "hit")),
        miss=Latency.of(spreads.get(("", "miss"), Histogram())),
        tiers=_tiers(rows, counts.alive, usages or {}, spreads), processes=len({one.process for one in counts.alive}),
        left_out=_left_out(counts), unread=tuple(counts.unread), unnamed=unnamed, by=by,
        groups=_groups(rows, by, unnamed), machines=1 + away.machines, skipped_segments=away.skipped,
        ahead=None if counts.ahead is None else counts.ahead * 60.0, operations=operations_of(spreads),
    )  # fmt: skip


def _start(counts: Counts) -> float | None:
    if counts.first_minute is not None:
        return counts.first_minute * 60.0
    minutes = [name.minute for name in counts.tally.counters]
    return min(minutes) * 60.0 if minutes else None


def _unnamed(counts: Counts) -> frozenset[tuple[str, str]]:
    rows = counts.tally.counters.values()
    return frozenset({(row.kind, row.reason) for row in rows if not row.namespace and row.kind in {"evict", "expire"}})


def _sum(rows: Sequence[Counted], name: str = "", unnamed: frozenset[tuple[str, str]] = frozenset()) -> Group:
    group = Group(name, unnamed=unnamed)
    for row in rows:
        group.add(row)
    return group


def _spreads(counts: Counts, namespace: str | None) -> dict[tuple[str, str], Histogram]:
    """Latencies by tier and what was timed.  What a request took counts the same whichever call asked."""
    found: dict[tuple[str, str], Histogram] = {}
    for name, histogram in counts.tally.spreads.items():
        if namespace in {None, name.namespace}:
            found.setdefault((name.tier, name.what), Histogram()).merge(histogram)
    return found


def operations_of(spreads: Mapping[tuple[str, str], Histogram]) -> dict[str, Latency]:
    """What took how long, of the cache as a whole and no request."""
    own = {what: took for (tier, what), took in spreads.items() if not tier}
    return {what: Latency.of(took) for what, took in own.items() if what not in {"hit", "miss"}}


def _left_out(counts: Counts) -> dict[str, int]:
    found: Counter[str] = Counter()
    for row in counts.tally.counters.values():
        if row.kind == "log":
            found[row.reason] += row.count
    return dict(found)


def _groups(rows: Sequence[Counted], by: By | None, unnamed: frozenset[tuple[str, str]]) -> tuple[dict[str, Any], ...]:
    if by not in {"namespace", "prefix"}:
        return ()
    # An invalidation is named by a pattern or a tag, which is no key and has no prefix; what belongs to no namespace
    # (a tier that is away, entries it dropped unnamed) is nobody's.
    left_out = {"log", "invalidate"} if by == "prefix" else {"log"}
    parts: dict[str, list[Counted]] = {}
    for row in rows:
        if row.namespace and row.kind not in left_out:
            parts.setdefault(getattr(row, by), []).append(row)
    sums = [_sum(part, name, unnamed) for name, part in parts.items()]
    groups = sorted(sums, key=lambda group: (-group.requests, group.name))
    unknown = {"invalidations": None} if by == "prefix" else {}
    return tuple({by: group.name, **group.as_dict(), **unknown} for group in groups)


def _tiers(rows: Sequence[Counted], alive: Sequence[Segment], usages: Mapping[str, Usage | None],
           spreads: Mapping[tuple[str, str], Histogram]) -> tuple[TierStats, ...]:  # fmt: skip
    hits: Counter[str] = Counter()
    below = 0  # requests that the tiers above did not answer
    for row in rows:
        if row.kind in REQUESTS and row.outcome in HIT_OUTCOMES and row.tier:
            hits[row.tier] += row.count
            below += row.count
        elif row.kind in REQUESTS and row.outcome == "miss" and not row.tier and row.reason not in NOT_LOOKED:
            below += row.count
    published = [name for one in sorted(alive, key=lambda one: -one.written) for name in one.tiers]
    found = []
    for name in dict.fromkeys([*usages, *published, *sorted(hits, key=_usual_place)]):
        size = usages.get(name) or _published(name, alive)
        latency = Latency.of(spreads.get((name, "hit"), Histogram()))
        looked = below or None
        found.append(TierStats(name, *_as_known(size), looked, hits[name] if looked else None, latency))
        below -= hits[name]
    return tuple(found)


def _usual_place(tier: str) -> tuple[int, str]:
    """Where a tier stands when nobody says: memory, redis, disk, then any other."""
    return (TIERS.index(tier) if tier in TIERS else len(TIERS)), tier


def _as_known(size: Usage) -> tuple[int | None, int | None, int | None, int | None]:
    return size.entries, size.size_bytes, size.max_entries, size.max_bytes


def _published(name: str, alive: Sequence[Segment]) -> Usage:
    """The sizes that living processes say, summed; unknown where one of them doesn't know."""
    sizes = [size for one in alive if (size := one.tiers.get(name)) is not None]

    def total(values: Sequence[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) if known and len(known) == len(values) else None

    return Usage(
        total([size.entries for size in sizes]), total([size.size_bytes for size in sizes]),
        total([size.max_entries for size in sizes]), total([size.max_bytes for size in sizes]),
    )  # fmt: skip
