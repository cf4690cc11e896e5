"""How much happens now: rates, hit rates and latencies between two looks at the counters of all processes.

Rule 1: a rate is the difference of counters over the time it took to count them.  Counters are kept by the minute and
        compared minute by minute, so old ones may leave meanwhile; one that fell (a cache removed and made anew)
        counts as nothing and never as less.
Rule 2: a process writes its counters down about twice a second, so its time is that between its writings, as far as
        that is near the time between the looks; what ended meanwhile is divided by the latter.
Rule 3: where nobody asked in between the hit rate is None, and not 0.
Rule 4: who is met for the first time but was there before (a machine that could not be asked) counts from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from scoutcache.oplog.elsewhere import Elsewhere
from scoutcache.oplog.histogram import Histogram, middle_of
from scoutcache.oplog.ledger import read_counts
from scoutcache.oplog.process import Segment
from scoutcache.oplog.tally import Counted, Name, SpreadName, Tally
from scoutcache.oplog.totals import Group

__all__ = ["Look", "Pulse", "Rates", "look", "pulse"]

BACK: Final = 900.0
"""Seconds of counters that a look reads: a segment is rewritten for ten minutes at most."""

LAG: Final = 1.0
"""Seconds by which the time between two writings may differ from that between two looks."""


class Process(NamedTuple):
    """One process's present segment."""

    segment: str
    started: float
    written: float
    tally: Tally
    memory_entries: int | None
    memory_bytes: int | None


@dataclass(frozen=True)
class Look:
    """The counters at one moment: *at* seconds of a monotonic clock, *now* since the epoch."""

    at: float
    now: float
    tally: Tally
    processes: Mapping[str, Process]
    machines: int = 1


def look(directory: Path | None, *, at: float, now: float, elsewhere: Elsewhere | None = None) -> Look:
    """Read the counters; *now* is seconds since the epoch, *elsewhere* what other machines say."""
    away = elsewhere or Elsewhere()
    counts = read_counts(directory, since=now - BACK, now=now, extra=away.living, ended=away.ended, by_minute=True)
    return Look(at, now, counts.tally, {one.process: _process(one) for one in counts.alive}, 1 + away.machines)


def _process(segment: Segment) -> Process:
    tally = Tally()
    tally.merge(segment.counted, segment.spreads)
    memory = segment.tiers.get("memory")
    return Process(segment.id, segment.started, segment.written, tally, None if memory is None else memory.entries,
                   None if memory is None else memory.size_bytes)  # fmt: skip


@dataclass
class Rates:
    """What happens in a second.  Latencies are microseconds, None where nothing was timed."""

    requests: float = 0.0
    hits: float = 0.0
    sets: float = 0.0
    deletes: float = 0.0
    evictions: float = 0.0
    expirations: float = 0.0
    invalidations: float = 0.0
    errors: float = 0.0

    @property
    def hit_rate(self) -> float | None:
        """Hits per request (0-1), None where nobody asked."""
        return self.hits / self.requests if self.requests else None

    def add(self, group: Group, seconds: float) -> None:
        """Add what *group* counted within so many seconds."""
        self.requests += group.requests / seconds
        self.hits += group.hits / seconds
        self.sets += group.sets / seconds
        self.deletes += group.deletes / seconds
        self.evictions += group.evictions_by_reason.total() / seconds
        self.expirations += group.expirations / seconds
        self.invalidations += group.invalidations / seconds
        self.errors += group.errors / seconds


@dataclass
class Pulse:
    """What happened between two looks: in all, and by process, prefix and tier (hits alone)."""

    seconds: float
    total: Rates = field(default_factory=Rates)
    processes: dict[str, Rates] = field(default_factory=dict)
    prefixes: dict[str, Rates] = field(default_factory=dict)
    tiers: dict[str, float] = field(default_factory=dict)
    """Hits a second."""
    latencies: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    """Nanoseconds by tier and what was timed."""

    def quantile(self, what: str, q: float, tier: str | None = None) -> float | None:
        """Microseconds that a share *q* of what was timed took at most; *tier* None is all of them."""
        found = Histogram.merged(one for (name, of), one in self.latencies.items()
                                 if of == what and tier in {None, name})  # fmt: skip
        ns = found.quantile(q)
        return None if ns is None else round(ns / 1000, 3)


def pulse(before: Look, after: Look, namespace: str | None = None) -> Pulse:
    """What happened between two looks, of all namespaces or of one."""
    elapsed = max(after.at - before.at, 1e-6)
    found = Pulse(elapsed)
    left = {row.name: row for row in _rise(before.tally.counters, after.tally.counters.values(), namespace)}
    for name, process in after.processes.items():
        earlier = before.processes.get(name)
        same = earlier if earlier is not None and earlier.segment == process.segment else None
        rows = _rise({} if same is None else same.tally.counters, process.tally.counters.values(), namespace)
        _take(left, rows)
        if earlier is None and process.started < before.now:
            continue  # Rule 4
        seconds = elapsed if same is None else _span(process.written - same.written, elapsed)
        found.processes[name] = Rates()
        _count(found, rows, seconds, found.processes[name])
    if before.machines == after.machines:
        _count(found, [row for row in left.values() if row.count > 0], elapsed, None)
    found.latencies = _latencies(before.tally.spreads, after.tally.spreads, namespace)
    return found


def _span(written: float, elapsed: float) -> float:
    """The seconds in which a process counted (Rule 2)."""
    return min(max(written, elapsed - LAG, elapsed / 4), elapsed + LAG)


def _rise(before: Mapping[Name, Counted], after: Iterable[Counted], namespace: str | None) -> list[Counted]:
    """What was counted more than before."""
    found = []
    for row in after:
        if namespace not in {None, row.namespace} and row.namespace:
            continue
        earlier = before.get(row.name)
        more = row.count - (0 if earlier is None else earlier.count)
        if more > 0:
            found.append(Counted(*row.name, count=more))
    return found


def _take(left: dict[Name, Counted], rows: Sequence[Counted]) -> None:
    """What processes counted is no more to be told by the rest."""
    for row in rows:
        if row.name in left:
            left[row.name].count -= row.count


def _count(found: Pulse, rows: Sequence[Counted], seconds: float, process: Rates | None) -> None:
    whole, prefixes = Group(), dict[str, Group]()
    for row in rows:
        whole.add(row)
        if row.kind not in {"log", "invalidate"} and row.namespace:
            prefixes.setdefault(row.prefix, Group()).add(row)
        if row.tier and row.kind in {"get", "compute"} and row.outcome in {"hit", "stale"}:
            found.tiers[row.tier] = found.tiers.get(row.tier, 0.0) + row.count / seconds
    found.total.add(whole, seconds)
    if process is not None:
        process.add(whole, seconds)
    for prefix, group in prefixes.items():
        found.prefixes.setdefault(prefix, Rates()).add(group, seconds)


def _latencies(before: Mapping[SpreadName, Histogram], after: Mapping[SpreadName, Histogram],
               namespace: str | None) -> dict[tuple[str, str], Histogram]:  # fmt: skip
    found: dict[tuple[str, str], Histogram] = {}
    for name, histogram in after.items():
        if namespace in {None, name.namespace}:
            more = _more(before.get(name), histogram)
            if more.count:
                found.setdefault((name.tier, name.what), Histogram()).merge(more)
    return found


def _more(before: Histogram | None, after: Histogram) -> Histogram:
    """What *after* recorded and *before* had not."""
    if before is None:
        return after
    found = Histogram()
    for bucket, times in after.buckets.items():
        more = times - before.buckets.get(bucket, 0)
        if more > 0:
            found.buckets[bucket] = more
            found.count += more
            found.largest = max(found.largest, min(round(middle_of(bucket)), after.largest))
    return found
