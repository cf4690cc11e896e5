"""The report: where the hits come from, what was saved, what is wasted, and what to change.

Rule 1: totals come from the exact counters, what concerns single keys and computing times from the log, and every
        section says which.
Rule 2: a section is a list of plain rows.  Table, JSON, CSV and HTML show these rows and compute nothing.
Rule 3: every recommendation carries the number it rests on.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from scoutcache.entry import Usage
from scoutcache.insight import advice, frame
from scoutcache.insight.operations import Operations
from scoutcache.insight.stats import collect_stats
from scoutcache.oplog.histogram import Histogram
from scoutcache.oplog.ledger import Counts, read_counts
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS
from scoutcache.oplog.totals import By, Group, Latency, Stats, moment

__all__ = ["Report", "Section", "build_report"]

COUNTERS: Final = "exact counters"
LOG: Final = "operation log"
POINTS: Final = 120
"""Points of a curve over time, at most."""
STEPS: Final = (60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400)


@dataclass(frozen=True)
class Section:
    """One table of the report.  *source* says what the figures come from."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    source: str = COUNTERS
    note: str = ""


@dataclass(frozen=True)
class Report:
    """A report on the time from *since* to *until* (seconds since the epoch; *since* None when nothing is kept).

    *records* is how many operations of the log it rests on; *empty* is True when there was nothing to report on.
    """

    since: float | None
    until: float
    records: int
    sections: tuple[Section, ...] = ()
    skipped_lines: int = 0
    skipped_files: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Was nothing recorded?"""
        return not self.records and not any(section.rows for section in self.sections if section.name != "summary")

    def section(self, name: str) -> Section:
        """The section of that name.  Raises KeyError."""
        return {section.name: section for section in self.sections}[name]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON shows it: the sections under their names."""
        return {
            "period_start": None if self.since is None else moment(self.since), "period_end": moment(self.until),
            "records": self.records, "skipped_lines": self.skipped_lines, "skipped_files": self.skipped_files,
            "left_out": dict(self.left_out), **{section.name: section.rows for section in self.sections},
        }  # fmt: skip


def build_report(directory: Path, since: float | None = None, by: By = "namespace",
                 costs: float | None = None, *, now: float, namespace: str | None = None,
                 usages: Mapping[str, Usage | None] | None = None) -> Report:  # fmt: skip
    """The report on everything since *since* (seconds since the epoch; None: all that is kept).

    *by* is what the groups are (namespace, prefix, tier or tag).  *costs* is the price in USD of a call whose cost was
    not known when it was saved; without it and without costs of entries, money is None.  *usages* names the tiers in
    the order they are asked, with the sizes the caller can see.  Nothing recorded gives an empty report, not an error.
    """
    period = None if since is None else max(0.0, now - since)
    stats = collect_stats(directory, now=now, period_s=period, by=by, namespace=namespace, usages=usages)
    prefixes = collect_stats(directory, now=now, period_s=period, by="prefix", namespace=namespace)
    counts = read_counts(directory, since=since, now=now, by_minute=True)
    operations = Operations(directory, since)
    table = frame.as_frame(operations, namespace)
    keys = frame.by_key(table, costs)
    money = _money(stats.total, costs)
    wasted = frame.wasted(keys)
    sections = (
        _summary(stats, money, frame.seconds_saved(table, _hits(counts, namespace)), len(table)),
        _advice(stats, prefixes, money, wasted),
        _over_time(counts, namespace, since, now),
        _groups(stats, by, costs),
        *([_groups(prefixes, "prefix", costs)] if by != "prefix" else []),
        *([_tiers(stats)] if by != "tier" else []),
        _reasons("miss_reasons", "Why requests missed", stats.total.misses_by_reason),
        _reasons("evictions", "Evictions by reason", stats.total.evictions_by_reason),
        _latency(counts, namespace),
        _of_log("most_requested", "Most requested keys", ("key", "namespace", "requests", "hits", "hit_rate"),
                frame.most_requested(keys)),
        _of_log("most_costly", "Most costly keys", ("key", "namespace", "computations", "factory_s", "cost_usd"),
                frame.most_costly(keys)),
        _of_log("largest", "Largest entries", ("key", "namespace", "size_bytes", "requests"), frame.largest(keys)),
        _of_log("wasted", "Written and never read",
                ("namespace", "prefix", "written", "never_read", "share", "size_bytes"), wasted),
    )  # fmt: skip
    return Report(
        stats.period_start, now, len(table), sections, operations.skipped_lines,
        operations.skipped_files + stats.skipped_files, dict(stats.left_out),
    )  # fmt: skip


_COUNTS: Final = (
    "requests", "hits", "misses", "hit_rate", "sets", "deletes", "evictions", "errors", "calls_saved", "cost_saved_usd",
)  # fmt: skip


def _of_log(name: str, title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> Section:
    return Section(name, title, columns, rows, LOG)


def _money(total: Group, price: float | None) -> float | None:
    """What the hits saved: their known costs, and *price* for each of the others."""
    unknown = total.hits - total.hits_with_cost
    if price is None or not unknown:
        return total.cost_saved_usd
    return round((total.cost_saved_usd or 0.0) + price * unknown, 9)


def _priced(group: Mapping[str, Any], price: float | None) -> dict[str, Any]:
    """The same of a group."""
    known = Group(hits=group["hits"], cost_saved_usd=group["cost_saved_usd"], hits_with_cost=group["hits_with_cost"])
    return {**group, "cost_saved_usd": _money(known, price)}


def _latency(counts: Counts, namespace: str | None) -> Section:
    """Percentiles of all that was timed, by what it was and the tier that did it."""
    found: dict[tuple[str, str], Histogram] = {}
    for name, histogram in counts.tally.spreads.items():
        if namespace in {None, name.namespace}:
            found.setdefault((name.what, name.tier), Histogram()).merge(histogram)
    rows = []
    for (what, tier), histogram in sorted(found.items()):
        took = Latency.of(histogram)
        rows.append({
            "outcome": what, "tier": tier or None, "count": took.count, "p50_us": took.p50_us, "p95_us": took.p95_us,
            "p99_us": took.p99_us, "max_us": histogram.largest / 1000,
        })  # fmt: skip
    columns = ("outcome", "tier", "count", "p50_us", "p95_us", "p99_us", "max_us")
    return Section("latency", "Latency by outcome", columns, rows, COUNTERS, "factory is the time computing took.")


def _hits(counts: Counts, namespace: str | None) -> dict[Hashable, int]:
    """Hits by namespace and prefix."""
    found: dict[Hashable, int] = {}
    for row in counts.tally.counters.values():
        if row.kind in REQUESTS and row.outcome in HIT_OUTCOMES and namespace in {None, row.namespace}:
            pair = row.namespace, row.prefix
            found[pair] = found.get(pair, 0) + row.count
    return found


def _summary(stats: Stats, money: float | None, seconds: float | None, records: int) -> Section:
    total = stats.total
    row = {
        "requests": total.requests, "hits": total.hits, "misses": total.misses, "hit_rate": total.hit_rate,
        "calls_saved": total.calls_saved, "seconds_saved": seconds, "cost_saved_usd": money,
        "hit_p50_us": stats.hit.p50_us, "hit_p95_us": stats.hit.p95_us, "miss_p50_us": stats.miss.p50_us,
        "miss_p95_us": stats.miss.p95_us, "evictions": total.evictions, "expirations": total.as_dict()["expirations"],
        "sets": total.sets, "deletes": total.deletes, "errors": total.errors, "log_records": records,
        "log_left_out": sum(count for reason, count in stats.left_out.items() if reason != "sampled"),
    }  # fmt: skip
    note = "seconds_saved is an estimate: each hit saved what computing its prefix took on average."
    return Section("summary", "Summary", tuple(row), [row], COUNTERS, note)


def _advice(stats: Stats, prefixes: Stats, money: float | None, wasted: Sequence[dict[str, Any]]) -> Section:
    rows = [one._asdict() for one in advice.recommendations(stats, prefixes, money, wasted)]
    return Section("recommendations", "Recommendations", advice.Recommendation._fields, rows, f"{COUNTERS} and {LOG}")


def _over_time(counts: Counts, namespace: str | None, since: float | None, now: float) -> Section:
    """Requests and hit rate over time, in steps wide enough for `POINTS` of them."""
    rows = [
        row for row in counts.tally.counters.values() if row.kind in REQUESTS and namespace in {None, row.namespace}
    ]
    first = min((row.minute * 60 for row in rows), default=int(now))
    width = next((step for step in STEPS if (now - max(first, since or 0)) / step <= POINTS), STEPS[-1])
    groups: dict[int, Group] = {}
    for row in rows:
        groups.setdefault(row.minute * 60 // width * width, Group()).add(row)
    points = [
        {"at": moment(at), "requests": group.requests, "hits": group.hits, "hit_rate": group.hit_rate}
        for at, group in sorted(groups.items())
        if group.requests
    ]
    note = f"one point per {width // 60} minutes" if width > 60 else "one point per minute"
    return Section("over_time", "Hit rate over time", ("at", "requests", "hits", "hit_rate"), points[-10 * POINTS :],
                   COUNTERS, note)  # fmt: skip


def _groups(stats: Stats, by: By, price: float | None) -> Section:
    if by == "tier":
        return _tiers(stats)
    groups = [_priced(group, price) for group in stats.groups[:100]]
    rows = [{name: group[name] for name in (by, *_COUNTS)} for group in groups]
    return Section(f"by_{by}", f"By {by}", (by, *_COUNTS), rows, LOG if by == "tag" else COUNTERS)


def _tiers(stats: Stats) -> Section:
    columns = ("name", "entries", "size_bytes", "max_bytes", "lookups", "hits", "hit_rate", "hit_p50_us", "hit_p95_us")
    rows = [{name: tier.as_dict()[name] for name in columns} for tier in stats.tiers]
    return Section("by_tier", "By tier", columns, rows)


def _reasons(name: str, title: str, counts: dict[str, int]) -> Section:
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [{"reason": reason, "count": count, "share": count / total} for reason, count in ordered if count]
    return Section(name, title, ("reason", "count", "share"), rows)
