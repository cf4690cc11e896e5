"""The sections that rest on the exact counters: over time, by group, by reason, latencies, and compared with before.

Rule 1: the counters are kept by the minute for a day and by the hour before that, so a time is the beginning of its
        minute or hour.
Rule 2: a share says nothing without what it is a share of, so it stands beside the count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scoutcache.config import TIERS
from scoutcache.insight.meanings import LEFT, MEANINGS
from scoutcache.insight.report.sections import LOG, SERIES, Section
from scoutcache.oplog.histogram import Histogram
from scoutcache.oplog.ledger import Counts
from scoutcache.oplog.records import HIT_OUTCOMES, NOT_LOOKED, REQUESTS
from scoutcache.oplog.tally import Counted
from scoutcache.oplog.totals import Group, Latency, Stats, moment

__all__ = ["Steps", "evictions", "groups", "latency", "miss_reasons", "over_time", "priced", "steps_of", "tiers"]

POINTS: Final = 120
"""Points of a curve over time, at most."""
WIDTHS: Final = (60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
ROWS: Final = 100
"""Groups that are named, at most."""
TIMED: Final = ("hit", "miss", "joined", "factory", "set", "refresh")
COUNTS: Final = (
    "requests", "hits", "misses", "hit_rate", SERIES, "sets", "deletes", "evictions", "errors", "calls_saved",
    "cost_saved_usd",
)  # fmt: skip


@dataclass(frozen=True)
class Steps:
    """The steps of every curve: *starts* (seconds since the epoch) of those in which something was asked for."""

    width: int
    starts: tuple[int, ...]

    def series(self, found: Mapping[int, tuple[int, int]]) -> list[float | None]:
        """The hit rate at each step of a group of which requests and hits by step were *found*."""
        return [hits / requests if requests else None for requests, hits in (found.get(at, (0, 0)) for at in
                                                                             self.starts)]  # fmt: skip


def _requests(counts: Counts, namespace: str | None) -> list[Counted]:
    rows = counts.tally.counters.values()
    return [row for row in rows if row.kind in REQUESTS and namespace in {None, row.namespace}]


def asked_from(counts: Counts, namespace: str | None, since: float | None) -> tuple[int, float]:
    """How many requests were counted from the first whole minute (or hour) after *since* on, and when that begins."""
    first, begin = counts.first_minute, 0
    if since is not None and first is not None and first * 60 < since:
        begin = first + (1 if first * 60 > since - 60 else 60)
    rows = [row for row in _requests(counts, namespace) if row.minute >= begin and _counts_as_request(row)]
    return sum([row.count for row in rows]), begin * 60.0


def steps_of(counts: Counts, namespace: str | None, since: float | None, now: float) -> Steps:
    """Steps just wide enough for `POINTS` of them."""
    rows = _requests(counts, namespace)
    first = min((row.minute * 60 for row in rows), default=int(now))
    width = next((step for step in WIDTHS if (now - max(first, since or 0)) / step <= POINTS), WIDTHS[-1])
    starts = {row.minute * 60 // width * width for row in rows if _counts_as_request(row)}
    return Steps(width, tuple(sorted(starts))[-10 * POINTS :])


def _counts_as_request(row: Counted) -> bool:
    return bool(row.count) and (row.outcome in HIT_OUTCOMES or (row.outcome == "miss" and not row.tier))


def over_time(counts: Counts, namespace: str | None, steps: Steps, price: float | None) -> Section:
    """Requests, hits and what they saved, step by step."""
    found: dict[int, Group] = {at: Group() for at in steps.starts}
    for row in _requests(counts, namespace):
        if (at := row.minute * 60 // steps.width * steps.width) in found:
            found[at].add(row)
    rows = [
        {
            "at": moment(at), "requests": group.requests, "hits": group.hits, "misses": group.misses,
            "hit_rate": group.hit_rate, "calls_saved": group.calls_saved, "cost_saved_usd": priced(group, price),
        }
        for at, group in found.items()
    ]  # fmt: skip
    columns = ("at", "requests", "hits", "misses", "hit_rate", "calls_saved", "cost_saved_usd")
    note = f"One row for each {_span(steps.width)} with requests; times are UTC."
    about = "The share of requests that were hits. A fall is a deployment, a changed key, or a mass expiry."
    return Section("over_time", "Hit rate over time", columns, rows, note=note, about=about)


def _span(seconds: int) -> str:
    for length, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            return name if seconds == length else f"{seconds // length} {name}s"
    return f"{seconds} seconds"


def priced(group: Group, price: float | None) -> float | None:
    """What the hits saved: their known costs, and *price* for each of the others; None when nothing is known."""
    unknown = group.hits - group.hits_with_cost
    if price is None or not unknown:
        return group.cost_saved_usd
    return round((group.cost_saved_usd or 0.0) + price * unknown, 9)


def by_step(counts: Counts, namespace: str | None, width: int, name: Callable[[Counted], str]) -> dict[
    str, dict[int, tuple[int, int]]
]:  # fmt: skip
    """Requests and hits by step, of each group that *name* puts a counter into."""
    found: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    for row in _requests(counts, namespace):
        if _counts_as_request(row):
            at = row.minute * 60 // width * width
            requests, hits = found[name(row)].get(at, (0, 0))
            found[name(row)][at] = requests + row.count, hits + (row.count if row.outcome in HIT_OUTCOMES else 0)
    return found


def groups(stats: Stats, by: str, counts: Counts, namespace: str | None, steps: Steps,
           money: Callable[[Mapping[str, Any]], float | None]) -> Section:  # fmt: skip
    """The counters of each namespace or prefix, with its hit rate over time.  *money* prices one."""
    series = by_step(counts, namespace, steps.width, lambda row: str(getattr(row, by)))
    rows = []
    for group in stats.groups[:ROWS]:
        shown = {**group, SERIES: steps.series(series.get(group[by], {})), "cost_saved_usd": money(group)}
        rows.append({name: shown[name] for name in (by, *COUNTS)})
    return group_section(by, rows)


def group_section(by: str, rows: list[dict[str, Any]]) -> Section:
    """The section of the groups by *by*."""
    about = {
        "namespace": "Which tenant or application gains from the cache, and which does not yet.",
        "prefix": "The kinds of keys, by the part before the first colon.",
        "tag": "The same by tag: a request counts for every tag that its key was last written with in this time.",
    }[by]
    brief = (by, "requests", "hit_rate", SERIES, "calls_saved", "cost_saved_usd")
    note = "The hit rate over time has a value for each row of the section on it."
    return Section(f"by_{by}", f"By {by}", (by, *COUNTS), rows, LOG if by == "tag" else "exact counters",
                   note, about, brief)  # fmt: skip


def tiers(stats: Stats, counts: Counts, namespace: str | None, steps: Steps) -> Section:
    """What each tier answered of what it was asked, with that share over time."""
    names = [tier.name for tier in stats.tiers]
    series = _tier_steps(counts, namespace, steps.width, names)
    columns = ("name", "entries", "size_bytes", "max_bytes", "lookups", "hits", "hit_rate", SERIES, "hit_p50_us",
               "hit_p95_us")  # fmt: skip
    rows = []
    for tier in stats.tiers:
        shown = {**tier.as_dict(), SERIES: steps.series(series[tier.name])}
        rows.append({name: shown[name] for name in columns})
    about = "What each tier answered, from the top down; a lower tier sees only the requests that those above missed."
    brief = ("name", "lookups", "hits", "hit_rate", SERIES, "hit_p50_us", "hit_p95_us")
    return Section("by_tier", "By tier", columns, rows, about=about, brief=brief)


def _tier_steps(counts: Counts, namespace: str | None, width: int,
                names: Sequence[str]) -> dict[str, dict[int, tuple[int, int]]]:  # fmt: skip
    hits: Counter[tuple[int, str]] = Counter()
    below: Counter[int] = Counter()  # requests of a step that the tiers above did not answer
    for row in _requests(counts, namespace):
        at = row.minute * 60 // width * width
        answered = row.outcome in HIT_OUTCOMES and row.tier
        if answered:
            hits[at, row.tier] += row.count
        if answered or (row.outcome == "miss" and not row.tier and row.reason not in NOT_LOOKED):
            below[at] += row.count
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for name in names:
        found[name] = {at: (count, hits[at, name]) for at, count in below.items() if count}
        below = Counter({at: count - hits[at, name] for at, count in below.items()})
    return found


def miss_reasons(counts: Counts, namespace: str | None, ended: int) -> Section:
    """Why what was asked for was not there, and where that happened most.

    *ended* is how many of those that were cold to who asked had been ended before, as the log says.
    """
    found: Counter[tuple[str, str]] = Counter()
    for row in _requests(counts, namespace):
        if row.outcome == "miss" and not row.tier:
            found[row.reason or "unknown", row.prefix] += row.count
    rows = []
    for reason, count, share, most in _most(found):
        rows.append({
            "reason": reason, "count": count, "share": share, "mostly_prefix": most[0], "mostly_share": most[1],
            "meaning": MEANINGS.get(reason, ""),
        })  # fmt: skip
    columns = ("reason", "count", "share", "mostly_prefix", "mostly_share", "meaning")
    about = "Why requests missed. Only cold misses are new; the others were computed before, and paid for again."
    note = f"The log says that the entry had been invalidated in {ended} of the cold ones." * bool(ended)
    return Section("miss_reasons", "Why requests missed", columns, rows, note=note, about=about)


def evictions(counts: Counts, namespace: str | None) -> Section:
    """What left the tiers for want of room.  What left unnamed is of no namespace, and shown with every one."""
    found: Counter[tuple[str, str]] = Counter()
    for row in counts.tally.counters.values():
        if row.kind == "evict" and (namespace in {None, row.namespace} or not row.namespace):
            found[row.reason or "unknown", row.tier or "unknown"] += row.count
    total = found.total()
    rows = [
        {"reason": reason, "tier": tier, "count": count, "share": count / total, "meaning": LEFT.get(reason, "")}
        for (reason, tier), count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
        if count
    ]
    about = "Entries that left a tier before their time. That is harmless until they are asked for again: see above."
    return Section("evictions", "Evictions by reason", ("reason", "tier", "count", "share", "meaning"), rows,
                   about=about)  # fmt: skip


def _most(found: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, int, float, tuple[str, float]]]:
    """Each reason with its count, its share, and where most of it happened."""
    whole: Counter[str] = Counter()
    for (reason, _), count in found.items():
        whole[reason] += count
    total = whole.total()
    for reason, count in sorted(whole.items(), key=lambda item: (-item[1], item[0])):
        if count:
            parts = sorted((-part, where) for (name, where), part in found.items() if name == reason)
            yield reason, count, count / total, (parts[0][1], -parts[0][0] / count)


def latency(counts: Counts, namespace: str | None) -> Section:
    """Percentiles of all that was timed, by what it was and the tier that did it."""
    rows = [
        {
            "outcome": what, "tier": tier or None, "count": took.count, "p50_us": took.p50_us, "p95_us": took.p95_us,
            "p99_us": took.p99_us, "max_us": largest,
        }
        for (what, tier), took, largest in _latencies(counts, namespace)
    ]  # fmt: skip
    columns = ("outcome", "tier", "count", "p50_us", "p95_us", "p99_us", "max_us")
    note = "factory is the time computing took; joined is the time spent waiting for another caller's computation; "
    note += "a miss includes its computing. Percentiles are off by 1.6 % at most."
    about = "What callers waited: a hit should cost thousands of times less than computing."
    return Section("latency", "Latency by outcome", columns, rows, note=note, about=about)


def _latencies(counts: Counts, namespace: str | None) -> Iterable[tuple[tuple[str, str], Latency, float]]:
    found: dict[tuple[str, str], Histogram] = {}
    for name, histogram in counts.tally.spreads.items():
        if namespace in {None, name.namespace}:
            found.setdefault((name.what, name.tier), Histogram()).merge(histogram)
    for pair, histogram in sorted(found.items(), key=lambda item: _place(item[0])):
        yield pair, Latency.of(histogram), histogram.largest / 1000


def _place(timed: tuple[str, str]) -> tuple[int, int, str, str]:
    """What callers wait for first, hits from the top tier down; then the rest by name."""
    what, tier = timed
    return (TIMED.index(what) if what in TIMED else len(TIMED)), (TIERS.index(tier) if tier in TIERS else 9), what, tier
