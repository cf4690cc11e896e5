"""Two periods of equal length, one after the other: what changed.

Rule 1: ``previous`` compares the period reported on with the one of the same length before it; ``halves`` compares its
        second half with its first.  Where nothing is kept from before, ``previous`` has nothing to compare with, and
        every change is None, never "from 0".
Rule 2: the counters are kept by the minute for a day and by the hour before, so where periods meet is a full minute or
        hour.
Rule 3: a share changes by points, anything else by a part of what it was.
Rule 4: where less is kept of the time before than of the time now, counts and sums can't be compared, and their change
        is None; rates and percentiles can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from scoutcache.insight.report.counted import priced
from scoutcache.insight.report.sections import Section
from scoutcache.oplog.histogram import Histogram
from scoutcache.oplog.ledger import Counts
from scoutcache.oplog.totals import Group, moment

__all__ = ["Comparison", "Periods", "movers", "periods", "trend"]

Comparison = Literal["previous", "halves"]
TOP: Final = 10
ENOUGH: Final = 20
"""Requests in each period below which a group's hit rate says nothing."""


@dataclass
class _Side:
    """What was counted in one of the two periods."""

    total: Group = field(default_factory=Group)
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)
    spreads: dict[str, Histogram] = field(default_factory=dict)

    def latency_us(self, what: str, quantile: float) -> float | None:
        """A percentile of what was timed."""
        found = self.spreads[what].quantile(quantile) if what in self.spreads else None
        return None if found is None else round(found / 1000, 3)


@dataclass(frozen=True)
class Periods:
    """Both periods, from *start* over *middle* to *end* (seconds since the epoch)."""

    start: float
    middle: float
    end: float
    before: _Side
    now: _Side
    first: float | None = None
    """When the first of what was counted before happened."""

    @property
    def whole(self) -> bool:
        """Was counted from the start on (but for a twentieth)?"""
        return self.first is not None and self.first - self.start <= (self.middle - self.start) / 20 + 60

    @property
    def note(self) -> str:
        """From when to when they are, and whether that is all there was."""
        at = [moment(round(time))[:16].replace("T", " ") for time in (self.start, self.middle, self.end)]
        note = f"Before is {at[0]} to {at[1]}, now is from then to {at[2]} UTC."
        if self.first is None:
            return f"{note} Nothing is kept from before."
        kept = moment(self.first)[:16].replace("T", " ")
        return note if self.whole else f"{note} What was before {kept} is not kept, so counts can't be compared."


def periods(counts: Counts, namespace: str | None, start: float, middle: float, end: float) -> Periods:
    """Sort what was counted since *start* into the time before and after *middle*."""
    first, split = int(start // 60), int(middle // 60)
    minutes = [name.minute for name in counts.tally.counters if first <= name.minute < split]
    found = Periods(start, middle, end, _Side(), _Side(), min(minutes) * 60.0 if minutes else None)
    for row in counts.tally.counters.values():
        if namespace in {None, row.namespace} and first <= row.minute:
            side = found.before if row.minute < split else found.now
            side.total.add(row)
            side.groups.setdefault((row.namespace, row.prefix), Group()).add(row)
    for name, histogram in counts.tally.spreads.items():
        if namespace in {None, name.namespace} and first <= name.minute:
            side = found.before if name.minute < split else found.now
            side.spreads.setdefault(name.what, Histogram()).merge(histogram)
    return found


_Figure = Callable[[_Side, float | None], float | int | None]
_FIGURES: Final[tuple[tuple[str, str, _Figure], ...]] = (
    ("requests", "count", lambda side, _: side.total.requests),
    ("hit rate", "share", lambda side, _: side.total.hit_rate),
    ("calls saved", "count", lambda side, _: side.total.calls_saved),
    ("money saved", "usd", lambda side, price: priced(side.total, price)),
    ("misses", "count", lambda side, _: side.total.misses),
    ("entries written", "count", lambda side, _: side.total.sets),
    ("evictions", "count", lambda side, _: side.total.evictions),
    ("invalidations", "count", lambda side, _: side.total.invalidations),
    ("errors", "count", lambda side, _: side.total.errors),
    ("hit, 95th percentile", "us", lambda side, _: side.latency_us("hit", 0.95)),
    ("computing, 95th percentile", "us", lambda side, _: side.latency_us("factory", 0.95)),
)


def trend(found: Periods | None, price: float | None) -> Section:
    """The main figures of both periods."""
    rows = []
    for name, unit, figure in _FIGURES if found else ():
        assert found is not None
        before = figure(found.before, price) if found.first is not None else None
        row = _row({"figure": name}, before, figure(found.now, price), unit)
        comparable = found.whole or unit in {"share", "us"}
        rows.append(row if comparable else {**row, "change": None, "change_share": None})
    about = "Is it getting better? The same figures of two periods of equal length, one after the other."
    columns = ("figure", "before", "now", "change", "change_share", "unit")
    brief = ("figure", "before", "now", "change", "change_share")
    return Section("trend", "Compared with before", columns, rows, note=found.note if found else "", about=about,
                   brief=brief)  # fmt: skip


def movers(found: Periods | None) -> Section:
    """The prefixes whose hit rate moved most, by the requests that this concerns."""
    rows = []
    for (namespace, prefix), now in (found.now.groups if found else {}).items():
        assert found is not None
        before = found.before.groups.get((namespace, prefix), Group())
        if min(now.requests, before.requests) >= ENOUGH and now.hit_rate != before.hit_rate:
            name = {"namespace": namespace, "prefix": prefix, "requests": now.requests}
            rows.append(_row(name, before.hit_rate, now.hit_rate, "share"))
    rows.sort(key=lambda row: (-abs(row["change"] * row["requests"]), row["namespace"], row["prefix"]))
    columns = ("namespace", "prefix", "requests", "before", "now", "change", "unit")
    about = "Whose hit rate changed, the change that concerns most requests first: this is where to look."
    return Section("movers", "Hit rates that moved", columns, [{name: row[name] for name in columns} for row in
                                                               rows[:TOP]],
                   note=f"Prefixes with {ENOUGH} requests and more in both periods.", about=about,
                   brief=columns[:-1])  # fmt: skip


def _row(names: Mapping[str, Any], before: float | None, now: float | None, unit: str) -> dict[str, Any]:
    change = None if before is None or now is None else now - before
    part = None if change is None or not before or unit == "share" else change / before
    return {**names, "before": before, "now": now, "change": change, "change_share": part, "unit": unit}
