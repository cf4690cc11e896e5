"""Models of the policies that weigh how often: GDSF, which weighs cost and size as well, and W-TinyLFU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import ClassVar, Final

from scoutcache.insight.simulation.base import Model

__all__ = ["Gdsf", "TinyLfu"]

Queue = OrderedDict[int, None]


class Gdsf(Model):
    """The one leaves that is worth least: how often it was asked for, times its cost, over its size.

    Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", HP 1998.  What the
    last victim was worth is added to each newcomer and to each hit, so that old fame fades.
    """

    name = "gdsf"

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._costs = costs or [1.0] * len(rooms)
        self._worth: list[tuple[float, int, int]] = []
        self._latest = [-1] * len(rooms)
        self._turn = 0
        self._floor = 0.0
        self._entries = 0
        self.touch = self._raise

    def enter(self, key: int) -> None:
        self.count[key] = 0
        self._entries += 1
        self._raise(key)

    def _raise(self, key: int) -> None:
        frequency = self.count[key] = self.count[key] + 1
        self._turn = turn = self._turn + 1
        self._latest[key] = turn
        heappush(self._worth, (self._floor + frequency * self._costs[key] / self.rooms[key], turn, key))
        if len(self._worth) > 4 * self._entries + 64:
            self._sweep()

    def _sweep(self) -> None:
        latest = self._latest
        self._worth = [one for one in self._worth if latest[one[2]] == one[1]]
        heapify(self._worth)

    def evict(self) -> int:
        worth, latest = self._worth, self._latest
        while True:
            floor, turn, key = heappop(worth)
            if latest[key] == turn:
                self._floor = floor
                self.leave(key)
                return key

    def leave(self, key: int) -> None:
        self._latest[key] = -1
        self._entries -= 1


_PROTECTED: Final = 0.8
"""The part of main that those asked for again may fill."""
_MOST: Final = 15
"""A counter has four bits."""
_AGED: Final = 10
"""Counters are halved after so many requests per entry."""
_STEP: Final = 0.0625
_FADING: Final = 0.98
_RESTART: Final = 0.05
_LEAST_SHARE: Final = 0.01
_MOST_SHARE: Final = 0.8


class TinyLfu(Model):
    """W-TinyLFU: a window of newcomers, and a main part that only those enter who are asked for more than its last.

    Einziger, Eizenberg, Friedman, Manes, "Adaptive Software Cache Management", Middleware 2018: the window grows and
    shrinks by hill climbing.  Frequencies are counted exactly here, where a sketch would guess.
    """

    name = "tinylfu"
    start: ClassVar[float] = 0.01
    """The window's part of the capacity, at first."""
    adaptive: ClassVar[bool] = True

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._window: Queue = OrderedDict()
        self._probation: Queue = OrderedDict()
        self._protected: Queue = OrderedDict()
        self._in_window = self._in_protected = 0
        self._share = self.start
        self._hits = self._misses = 0
        self._halvings = 0
        self._halved = [0] * len(rooms)
        self._before, self._step = 0.0, _STEP
        self.touch = self._hit

    def _frequency(self, key: int) -> int:
        """How often *key* was asked for; counters are halved when they are looked at."""
        times = self._halvings - self._halved[key]
        if times:
            self._halved[key] = self._halvings
            self.count[key] >>= times
        return self.count[key]

    def _hit(self, key: int) -> None:
        self.count[key] = min(_MOST, self._frequency(key) + 1)
        self._hits += 1
        if key in self._window:
            self._window.move_to_end(key)
        elif key in self._protected:
            self._protected.move_to_end(key)
        else:
            del self._probation[key]
            self._protected[key] = None
            self._in_protected += self.rooms[key]
            self._settle()

    def _settle(self) -> None:
        """Those of the protected that are too many go back on probation."""
        most = _PROTECTED * (self.capacity - self._share * self.capacity)
        while self._in_protected > most:
            down = self._protected.popitem(last=False)[0]
            self._in_protected -= self.rooms[down]
            self._probation[down] = None

    def greet(self, key: int) -> None:
        self.count[key] = min(_MOST, self._frequency(key) + 1)
        self._misses += 1
        entries = len(self._window) + len(self._probation) + len(self._protected)
        if self._hits + self._misses >= _AGED * max(entries, 1):
            self._age()

    def _age(self) -> None:
        requests = self._hits + self._misses
        self._halvings += 1
        if self.adaptive:
            self._climb(self._hits / requests)
        self._hits = self._misses = 0

    def _climb(self, ratio: float) -> None:
        """Move the border on in the same direction as long as that is for the better."""
        change = ratio - self._before
        amount = self._step if change >= 0 else -self._step
        self._step = (_STEP if amount >= 0 else -_STEP) if abs(change) >= _RESTART else _FADING * amount
        self._share = min(_MOST_SHARE, max(_LEAST_SHARE, self._share + amount))
        self._before = ratio

    def enter(self, key: int) -> None:
        self._window[key] = None
        self._in_window += self.rooms[key]
        most = max(int(self._share * self.capacity), self.rooms[key])
        while self._in_window > most:
            self._to_probation()

    def _to_probation(self) -> None:
        key = self._window.popitem(last=False)[0]
        self._in_window -= self.rooms[key]
        self._probation[key] = None

    def evict(self) -> int:
        """The last of main leaves, or the last of a full window if that was asked for less often."""
        window, main = self._window, self._probation or self._protected
        if not main:
            return self._from_window()
        if window and self._in_window >= int(self._share * self.capacity):
            candidate, victim = next(iter(window)), next(iter(main))
            if self._frequency(candidate) <= self._frequency(victim):
                return self._from_window()
            self._to_probation()
        key = main.popitem(last=False)[0]
        if main is self._protected:
            self._in_protected -= self.rooms[key]
        return key

    def _from_window(self) -> int:
        key = self._window.popitem(last=False)[0]
        self._in_window -= self.rooms[key]
        return key

    def leave(self, key: int) -> None:
        if key in self._window:
            del self._window[key]
            self._in_window -= self.rooms[key]
        elif key in self._protected:
            del self._protected[key]
            self._in_protected -= self.rooms[key]
        else:
            del self._probation[key]
