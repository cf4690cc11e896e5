"""What was counted, under the names of Prometheus: exact counters, histograms and sizes, as families of samples.

Rule 1: names follow Micrometer's cache metrics (``cache_gets_total{result="hit"}``); units are seconds, bytes and USD.
Rule 2: what is unknown has no sample, and is never 0: money without a price, the size of a tier that nobody can see.
Rule 3: labels are namespaces, prefixes, tiers and words of ours.  No key is ever one; of prefixes there are as many at
        most as the counters tell apart (`scoutcache.oplog.tally`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from scoutcache.alerts import Alert
from scoutcache.entry import Usage
from scoutcache.oplog.histogram import Histogram, middle_of
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS
from scoutcache.oplog.tally import Counted, Tally

__all__ = ["BOUNDS", "FAMILIES", "Family", "Sample", "Spread", "exposition", "families"]

BOUNDS: Final = (
    0.000001, 0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
)  # fmt: skip
"""Seconds at which the buckets of histograms end; latencies are known to 1.6 %."""

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name (without ``_total``), what it is, and the names of its labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of a family."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Spread:
    """One histogram of a family: how many took at most each of `BOUNDS`, how many there are, and their sum."""

    labels: Labels
    counts: tuple[int, ...]
    count: int
    sum: float


_LISTED: Final = (
    Family("cache_gets", "counter", "Requests; result: hit, stale, miss.", ("namespace", "prefix", "tier", "result")),
    Family("cache_misses", "counter", "Requests that were misses.", ("namespace", "reason")),
    Family("cache_puts", "counter", "Writes; result is stored or refused.", ("namespace", "prefix", "result")),
    Family("cache_removals", "counter", "Removals by key.", ("namespace", "prefix")),
    Family("cache_invalidations", "counter", "Invalidations, by pattern, tag, event or whole.", ("namespace",)),
    Family("cache_evictions", "counter", "Entries that left a tier for lack of room.", ("tier", "reason")),
    Family("cache_expirations", "counter", "Entries that left a tier because they expired.", ("tier",)),
    Family("cache_promotions", "counter", "Entries that were copied into a tier.", ("tier",)),
    Family("cache_demotions", "counter", "Entries that were moved down into a tier.", ("tier",)),
    Family("cache_errors", "counter", "Failures of a tier that callers saw as a miss.", ("tier", "reason")),
    Family("cache_saved_calls", "counter", "Calls that were not needed.", ("namespace",)),
    Family("cache_saved_usd", "counter", "Money that was not spent, where a price is known.", ("namespace",)),
    Family("cache_log_left_out", "counter", "Records that the operation log left out.", ("reason",)),
    Family("cache_get_duration_seconds", "histogram", "How long requests took.", ("tier", "result")),
    Family("cache_operation_duration_seconds", "histogram", "How long other operations took.", ("operation",)),
    Family("cache_entries", "gauge", "Entries in a tier.", ("tier",)),
    Family("cache_size_bytes", "gauge", "Bytes in a tier.", ("tier",)),
    Family("cache_max_bytes", "gauge", "Bytes that a tier may take.", ("tier",)),
    Family("cache_alert", "gauge", "1 for each active alert.", ("alert", "level")),
)
FAMILIES: Final[dict[str, Family]] = {family.name: family for family in _LISTED}
"""Every metric there is, by its name."""


@dataclass
class _Sums:
    """Samples on their way, summed by labels."""

    by_family: dict[str, dict[Labels, float]] = field(default_factory=lambda: {name: {} for name in FAMILIES})

    def add(self, name: str, labels: Labels, value: float) -> None:
        found = self.by_family[name]
        found[labels] = found.get(labels, 0.0) + value


def families(
    tally: Tally, usages: Mapping[str, Usage | None], alerts: Iterable[Alert] = ()
) -> Iterator[tuple[Family, list[Sample] | list[Spread]]]:
    """Each metric with its samples, in a fixed order; those without any too."""
    sums = _Sums()
    for row in tally.counted():
        _count(sums, row)
    for tier, usage in usages.items():
        for name, value in _sizes(usage):
            sums.add(name, (tier,), value)
    for alert in alerts:
        sums.add("cache_alert", (alert.name, alert.level.name), 1)
    spreads = _spreads(tally)
    for name, family in FAMILIES.items():
        if family.kind == "histogram":
            yield family, [_spread(labels, found) for labels, found in sorted(spreads.get(name, {}).items())]
        else:
            yield family, [Sample(labels, value) for labels, value in sorted(sums.by_family[name].items())]


def _count(sums: _Sums, row: Counted) -> None:
    if row.kind in REQUESTS:
        _request(sums, row)
    elif row.kind in {"set", "delete"}:
        if not row.tier:
            _change(sums, row)
    elif row.kind == "invalidate":
        sums.add("cache_invalidations", (row.namespace,), row.count)
    elif row.kind == "log":
        sums.add("cache_log_left_out", (row.reason,), row.count)
    elif row.kind in {"evict", "error"}:
        sums.add(f"cache_{row.kind}{'ions' if row.kind == 'evict' else 's'}", (row.tier, row.reason), row.count)
    elif row.kind in _OF_TIER and row.outcome != "refused":
        sums.add(_OF_TIER[row.kind], (row.tier,), row.count)


_OF_TIER: Final = {"expire": "cache_expirations", "promote": "cache_promotions", "demote": "cache_demotions"}


def _request(sums: _Sums, row: Counted) -> None:
    hit = row.outcome in HIT_OUTCOMES
    if not hit and (row.outcome != "miss" or row.tier):
        return  # a tier's share of a request
    sums.add("cache_gets", (row.namespace, row.prefix, row.tier, row.outcome), row.count)
    if not hit:
        sums.add("cache_misses", (row.namespace, row.reason or "unknown"), row.count)
        return
    sums.add("cache_saved_calls", (row.namespace,), row.count)
    if row.costed:
        sums.add("cache_saved_usd", (row.namespace,), row.cost)


def _change(sums: _Sums, row: Counted) -> None:
    if row.kind == "set":
        result = "refused" if row.outcome == "refused" else "stored"
        sums.add("cache_puts", (row.namespace, row.prefix, result), row.count)
    elif row.outcome != "absent":
        sums.add("cache_removals", (row.namespace, row.prefix), row.count)


def _sizes(usage: Usage | None) -> Iterator[tuple[str, float]]:
    for name, value in () if usage is None else (
        ("cache_entries", usage.entries), ("cache_size_bytes", usage.size_bytes), ("cache_max_bytes", usage.max_bytes),
    ):  # fmt: skip
        if value is not None:
            yield name, value


def _spreads(tally: Tally) -> dict[str, dict[Labels, Histogram]]:
    found: dict[str, dict[Labels, Histogram]] = {}
    for name, histogram in tally.spreads.items():
        request = name.what in {"hit", "miss", "joined"}
        family = "cache_get_duration_seconds" if request else "cache_operation_duration_seconds"
        labels: Labels = (name.tier, name.what) if request else (name.what,)
        found.setdefault(family, {}).setdefault(labels, Histogram()).merge(histogram)
    return found


def _spread(labels: Labels, histogram: Histogram) -> Spread:
    seconds = sorted((middle_of(bucket) / 1e9, times) for bucket, times in histogram.buckets.items())
    counts, seen, at = [], 0, 0
    for bound in BOUNDS:
        while at < len(seconds) and seconds[at][0] <= bound:
            seen += seconds[at][1]
            at += 1
        counts.append(seen)
    return Spread(labels, tuple(counts), histogram.count, histogram.total / 1e9)


def exposition(found: Iterable[tuple[Family, list[Sample] | list[Spread]]]) -> str:
    """The text that Prometheus reads, or its node exporter from a file."""
    lines: list[str] = []
    for family, samples in found:
        if samples:
            name = f"{family.name}_total" if family.kind == "counter" else family.name
            lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
            for sample in samples:
                lines += _lines(name, family.labels, sample)
    return "".join(f"{line}\n" for line in lines)


def _lines(name: str, names: Labels, sample: Sample | Spread) -> Iterator[str]:
    labels = dict(zip(names, sample.labels, strict=True))
    if isinstance(sample, Sample):
        yield f"{name}{_labelled(labels)} {_figure(sample.value)}"
        return
    for bound, count in zip((*map(repr, BOUNDS), "+Inf"), (*sample.counts, sample.count), strict=True):
        yield f"{name}_bucket{_labelled({**labels, 'le': bound})} {count}"
    yield f"{name}_count{_labelled(labels)} {sample.count}"
    yield f"{name}_sum{_labelled(labels)} {_figure(sample.sum)}"


def _figure(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _labelled(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
