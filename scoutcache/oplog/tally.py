"""Exact counters and latency histograms, per minute, as they are kept in memory and in files.

A counter is named by (minute, namespace, prefix, tier, kind, outcome, reason) and holds how often that happened, the
bytes and the money involved, and the seconds a factory took.  Adding two tallies adds their counters, so the tallies
of many processes and many minutes sum to the truth in any order.

Limits keep a tally small whatever the keys look like, without losing a count: after `MAX_PAIRS` different pairs of
namespace and prefix further ones are counted under the prefix `OTHER` (after four times as many namespaces, under the
namespace `OTHER` too), after `MAX_EVENTS` different events further ones under the reason `OTHER`, and `coarsened` sums
old minutes into hours.  No prefix can hold a colon, so `OTHER` is nobody's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from scoutcache.oplog.histogram import Histogram, check_list

__all__ = ["MAX_EVENTS", "MAX_PAIRS", "OTHER", "Counted", "Name", "Spread", "SpreadName", "Tally", "check_rows",
           "first_minute_of"]  # fmt: skip

MAX_PAIRS: Final = 500
MAX_EVENTS: Final = 200
OTHER: Final = ":other"
MINUTES_PER_HOUR: Final = 60


class Name(NamedTuple):
    """What is counted.  *minute* is minutes since the epoch; an empty *tier* is the cache as a whole."""

    minute: int
    namespace: str
    prefix: str
    tier: str
    kind: str
    outcome: str
    reason: str


class SpreadName(NamedTuple):
    """Whose latencies: *what* is ``hit``, ``miss`` or the kind of operation."""

    minute: int
    namespace: str
    tier: str
    what: str


class Counted(msgspec.Struct, array_like=True, gc=False):
    """One counter as files hold it.  *costed* says how many of *count* had a known cost; *cost* is their sum in USD."""

    minute: int
    namespace: str
    prefix: str
    tier: str
    kind: str
    outcome: str
    reason: str
    count: int
    size: int = 0
    cost: float = 0.0
    costed: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> Name:
        return self.name_at(self.minute)

    def name_at(self, minute: int) -> Name:
        """Its name, were it counted at *minute*."""
        return Name(minute, self.namespace, self.prefix, self.tier, self.kind, self.outcome, self.reason)


class Spread(msgspec.Struct, array_like=True, gc=False):
    """One latency histogram as files hold it; *values* is `Histogram.to_list`."""

    minute: int
    namespace: str
    tier: str
    what: str
    values: list[int]


def _plain(text: str) -> str:
    """*text* as something that can be written: a lone surrogate, which no file can hold, is replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


_Event: TypeAlias = tuple[str, str, str, str]


class Tally:
    """Counters and histograms; not thread-safe."""

    __slots__ = ("_events", "_pairs", "_spaces", "counters", "spreads")

    def __init__(self) -> None:
        self.counters: dict[Name, Counted] = {}
        self.spreads: dict[SpreadName, Histogram] = {}
        self._pairs: dict[tuple[str, str], tuple[str, str]] = {}
        self._spaces: set[str] = set()
        self._events: dict[_Event, _Event] = {}

    def __bool__(self) -> bool:
        return bool(self.counters or self.spreads)

    def add(self, minute: int, namespace: str, prefix: str, tier: str, kind: str, outcome: str, reason: str = "",
            *, times: int = 1, size: int = 0, cost: float | None = None, costed: int | None = None,
            seconds: float = 0.0) -> None:  # fmt: skip
        """Count *times* events.  *cost* is what *costed* of them cost together, all of them when that is not given."""
        namespace, prefix = self._pairs.get((namespace, prefix)) or self._admit(namespace, prefix)
        event = (tier, kind, outcome, reason)
        counted = self._counter(Name(minute, namespace, prefix, *(self._events.get(event) or self._admit_event(event))))
        counted.count += times
        counted.size += size
        counted.seconds += seconds if math.isfinite(seconds) else 0.0
        if cost is not None and math.isfinite(cost):
            counted.cost += cost
            counted.costed += times if costed is None else costed

    def _counter(self, name: Name) -> Counted:
        counted = self.counters.get(name)
        if counted is None:
            counted = self.counters[name] = Counted(*name, count=0)
        return counted

    def _admit(self, namespace: str, prefix: str) -> tuple[str, str]:
        """Where a pair not met before is counted."""
        room = MAX_PAIRS - len(self._pairs)
        if room > 0 or prefix == OTHER:
            pair = (_plain(namespace), _plain(prefix))
            self._pairs[namespace, prefix] = pair
            return pair
        if namespace in self._spaces or len(self._spaces) < 4 * MAX_PAIRS:
            self._spaces.add(namespace)
            return _plain(namespace), OTHER
        return OTHER, OTHER

    def _admit_event(self, event: _Event) -> _Event:
        """As what an event not met before is counted: reasons may be anybody's words."""
        tier, kind, outcome, reason = map(_plain, event)
        if len(self._events) >= MAX_EVENTS:
            return tier, kind, outcome, OTHER
        self._events[event] = (tier, kind, outcome, reason)
        return self._events[event]

    def spread(self, minute: int, namespace: str, tier: str, what: str) -> Histogram:
        """The histogram of that name, made when it isn't there yet."""
        if namespace not in self._spaces:
            if len(self._spaces) < 4 * MAX_PAIRS:
                self._spaces.add(namespace)
            else:
                namespace = OTHER
        name = SpreadName(minute, _plain(namespace), tier, what)
        found = self.spreads.get(name)
        if found is None:
            found = self.spreads[name] = Histogram()
        return found

    def merge(self, counted: Iterable[Counted], spreads: Iterable[Spread], *, at: int | None = None) -> None:
        """Add what a file holds, all of it at the minute *at* if that is given; `check_rows` let it through."""
        for row in counted:
            into = self._counter(row.name_at(row.minute if at is None else at))
            into.count += row.count
            into.size += row.size
            into.cost += row.cost
            into.costed += row.costed
            into.seconds += row.seconds
        for spread in spreads:
            minute = spread.minute if at is None else at
            name = SpreadName(minute, spread.namespace, spread.tier, spread.what)
            histogram = self.spreads.get(name)
            if histogram is None:
                histogram = self.spreads[name] = Histogram()
            histogram.take(spread.values)

    def take_in(self, other: Tally) -> None:
        """Add what another tally holds."""
        self.merge(other.counted(), other.spread_rows())

    def counted(self) -> list[Counted]:
        """The counters, as files hold them."""
        return list(self.counters.values())

    def spread_rows(self) -> list[Spread]:
        """The histograms, as files hold them."""
        return [Spread(*name, values=histogram.to_list()) for name, histogram in self.spreads.items()]

    def coarsened(self, before_minute: int | None = None) -> Tally:
        """The same figures, with every minute (before *before_minute*) counted at the beginning of its hour."""
        found = Tally()
        found.merge(
            (_at_hour(row, before_minute) for row in self.counters.values()),
            (_at_hour(row, before_minute) for row in self.spread_rows()),
        )
        return found

    def summed(self) -> Tally:
        """The same figures, all counted at the first minute there is."""
        rows, spreads, found = self.counted(), self.spread_rows(), Tally()
        found.merge(rows, spreads, at=first_minute_of(rows, spreads))
        return found

    def without_rare_prefixes(self) -> Tally:
        """The same figures, with all but the `MAX_PAIRS` busiest pairs of namespace and prefix counted as `OTHER`."""
        busy: Counter[tuple[str, str]] = Counter()
        for row in self.counters.values():
            busy[row.namespace, row.prefix] += row.count
        named = {pair for pair, _ in busy.most_common(MAX_PAIRS)}
        found = Tally()
        found.merge(
            (
                row if (row.namespace, row.prefix) in named else msgspec.structs.replace(row, prefix=OTHER)
                for row in self.counters.values()
            ),
            self.spread_rows(),
        )
        return found


def first_minute_of(counted: Iterable[Counted], spreads: Iterable[Spread]) -> int:
    """The first minute of any row, 0 without one."""
    return min(chain((row.minute for row in counted), (row.minute for row in spreads)), default=0)


def check_rows(counted: Iterable[Counted], spreads: Iterable[Spread]) -> None:
    """Raise ValueError for figures that can't have been counted."""
    for row in counted:
        if row.count < 0 or row.size < 0 or not math.isfinite(row.cost) or not math.isfinite(row.seconds):
            raise ValueError("not a counter: a negative or endless figure")
    for spread in spreads:
        check_list(spread.values)


_Row = TypeVar("_Row", Counted, Spread)


def _at_hour(row: _Row, before_minute: int | None) -> _Row:
    if before_minute is not None and row.minute >= before_minute:
        return row
    return msgspec.structs.replace(row, minute=row.minute - row.minute % MINUTES_PER_HOUR)
