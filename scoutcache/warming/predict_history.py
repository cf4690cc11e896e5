"""What is remembered of each key's requests, for foreseeing the next: visits, a rate that fades, what followed what.

Rule 1: a *visit* is a request that comes more than `VISIT_GAP` after the one before it: a burst is one visit.
Rule 2: memory is bounded: the latest `VISITS` visits of a key, `MOST_KEYS` keys, `PREDECESSORS` keys before each.
Rule 3: only what came before is known: `History.observe` is called in the order of time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from scoutcache.oplog.records import NOT_LOOKED, REQUESTS, Line

__all__ = ["HALF_LIFE", "History", "KeyHistory", "Name", "Succession", "counts"]

VISIT_GAP: Final = 30.0
VISITS: Final = 128
MOST_KEYS: Final = 200_000
PREDECESSORS: Final = 16
LATELY: Final = 96
"""Keys that a visit may be said to follow."""
FOLLOWS_WITHIN: Final = 600.0
"""Seconds after which nothing follows any more."""
SELDOM: Final = 3600.0
"""Seconds between the visits of a key, on the mean, above which it is worth asking what it follows."""
HALF_LIFE: Final = 12 * 3600.0
"""Seconds after which a request counts half as much for the rate."""

LEAST_SPAN: Final = 3600.0
"""Seconds of a log below which its requests say nothing of a rate."""


class Name(NamedTuple):
    """A key in its namespace."""

    namespace: str
    key: str


def counts(line: Line) -> bool:
    """Is it a request that a warmed entry could have answered?"""
    return line.op in REQUESTS and line.reason not in NOT_LOOKED


class Succession(NamedTuple):
    """How often one key was visited after another, and after how many seconds on the mean."""

    times: int
    delay: float


@dataclass(slots=True, eq=False)
class KeyHistory:
    """The visits of one key."""

    name: Name
    first: float
    last: float = -math.inf
    """When it was last asked for."""
    visits: deque[float] = field(default_factory=lambda: deque(maxlen=VISITS))
    seen: int = 0
    """All visits, remembered or not."""
    weight: float = 0.0
    """Requests, each counting half as much after every `HALF_LIFE`, as of *last*."""
    after: dict[KeyHistory, Succession] = field(default_factory=dict)
    """What was visited after it, twice in a row or more."""
    before: set[KeyHistory] = field(default_factory=set)
    """The keys in whose *after* it is."""
    previous: tuple[KeyHistory, ...] = ()
    """What had been visited lately when it was last visited."""
    rhythm: object = None
    clock: list[tuple[float, float]] | None = None
    """What the models found in the visits, until there is another one."""

    def weight_at(self, now: float) -> float:
        """The weight as of *now*."""
        return float(self.weight * 0.5 ** ((now - self.last) / HALF_LIFE)) if self.seen else 0.0


class History:
    """The requests of a log so far."""

    def __init__(self) -> None:
        self.keys: dict[Name, KeyHistory] = {}
        self.began: float | None = None
        self.ended: float = 0.0
        self.by_hour = [0.0] * 24
        """Requests by the hour of the day, in UTC."""
        self._lately: dict[str | None, dict[KeyHistory, float]] = {}

    def observe(self, line: Line) -> None:
        """A line of the log, none of which came later than this one."""
        if counts(line):
            self.request(Name(line.namespace, line.key), line.time, line.process)

    def request(self, name: Name, time: float, process: str | None = None) -> None:
        """A request at *time* by *process*."""
        if self.began is None:
            self.began = time
        self.ended = time
        self.by_hour[int(time // 3600) % 24] += 1
        one = self.keys.get(name)
        if one is None:
            one = self.keys[name] = KeyHistory(name, time)
            if len(self.keys) > 2 * MOST_KEYS:
                self._forget(time)
        visit = time - one.last > VISIT_GAP
        one.weight = one.weight_at(time) + 1.0
        one.last = time
        if visit:
            one.visits.append(time)
            one.seen += 1
            one.rhythm = one.clock = None
            # A key that comes for the first time follows nothing yet, and one that comes often follows anything.
            if one.seen > 1 and (time - one.first) / one.seen > SELDOM:
                self._follow(one, time, process)

    def lately(self, now: float) -> list[tuple[float, KeyHistory]]:
        """The visits after which something may still follow."""
        return [
            (at, one) for visits in self._lately.values() for one, at in visits.items() if now - at <= FOLLOWS_WITHIN
        ]

    @property
    def days(self) -> float:
        """How long the log is."""
        return 0.0 if self.began is None else (self.ended - self.began) / 86400.0

    def rate(self, one: KeyHistory, now: float) -> float:
        """Requests a second, as of late.

        Nought for a key that was asked for once: nothing says yet that it will be again.  A log that is shorter than
        `LEAST_SPAN` counts as if it were as long: a rate is told by the hour, and of no hour is less known.
        """
        assert self.began is not None
        if one.last <= one.first:
            return 0.0
        # A log that is shorter than the half-life has had no time to gather the whole weight.
        gathered = 1.0 - 0.5 ** (max(now - self.began, LEAST_SPAN) / HALF_LIFE)
        return float(one.weight_at(now) * math.log(2) / HALF_LIFE / gathered)

    def _follow(self, one: KeyHistory, time: float, process: str | None) -> None:
        """Count what it follows: what came lately both at this visit and at the one before, or did so once."""
        lately = self._lately.setdefault(process, {})
        while lately and (len(lately) > LATELY or time - next(iter(lately.values())) > FOLLOWS_WITHIN):
            del lately[next(iter(lately))]
        lately.pop(one, None)
        for before in one.before & lately.keys() | lately.keys() & one.previous:
            if before.name.namespace == one.name.namespace:
                self._succeeds(before, one, time - lately[before])
        one.previous = tuple(lately)
        lately[one] = time

    def _succeeds(self, before: KeyHistory, one: KeyHistory, delay: float) -> None:
        found = before.after.get(one)
        if found is None:
            if len(one.before) >= PREDECESSORS:
                self._sweep(one)
            if len(one.before) >= PREDECESSORS:
                return
            one.before.add(before)
            found = Succession(1, delay)  # the visit before this one
        times = found.times + 1
        before.after[one] = Succession(times, found.delay + (delay - found.delay) / times)

    def _sweep(self, one: KeyHistory) -> None:
        """Forget what it followed only twice, which is what chance does."""
        rare = [before for before in one.before if before.after[one].times <= 2]
        for before in rare:
            del before.after[one]
        one.before.difference_update(rare)

    def _forget(self, now: float) -> None:
        ranked = sorted(self.keys.values(), key=lambda one: one.weight_at(now), reverse=True)
        self.keys = {one.name: one for one in ranked[:MOST_KEYS]}
        for one in ranked[MOST_KEYS:]:
            for before in one.before:
                before.after.pop(one, None)
            for after in one.after:
                after.before.discard(one)
