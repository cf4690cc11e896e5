"""The model of W-TinyLFU, which lets only those stay who are asked for more than who would leave for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar, Final

from scoutcache.eviction.climbing import PROTECTED, SAMPLE, START, STEP, climbed
from scoutcache.insight.simulation.base import Model

__all__ = ["TinyLfu"]

Queue = OrderedDict[int, None]

_MOST: Final = 15
"""A counter has four bits."""


class TinyLfu(Model):
    """W-TinyLFU: a window of newcomers, and a main part that only those enter who are asked for more than its last.

    Einziger, Eizenberg, Friedman, Manes, "Adaptive Software Cache Management", Middleware 2018: the window grows and
    shrinks by hill climbing.  Frequencies are counted exactly here, where a sketch would guess.
    """

    name = "tinylfu"
    greets = True
    start: ClassVar[float] = START
    """The window's part of the capacity, at first."""
    adaptive: ClassVar[bool] = True

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._window: Queue = OrderedDict()
        self._probation: Queue = OrderedDict()
        self._protected: Queue = OrderedDict()
        self._in_window = self._in_protected = 0
        self._divide(self.start)
        self._hits = self._misses = 0
        self._halvings = 0
        self._halved = [0] * len(rooms)
        self._before, self._step = 0.0, STEP
        self.touch = self._hit

    def _divide(self, share: float) -> None:
        """Give the window that *share* of the capacity."""
        self._share = share
        self._border = int(share * self.capacity)
        self._most_protected = PROTECTED * (self.capacity - share * self.capacity)

    def _asked(self, key: int) -> None:
        """Count one more request; counters are halved when they are looked at."""
        if self._halved[key] != self._halvings:
            self._halve(key)
        if self.count[key] < _MOST:
            self.count[key] += 1

    def _halve(self, key: int) -> None:
        self.count[key] >>= self._halvings - self._halved[key]
        self._halved[key] = self._halvings

    def _frequency(self, key: int) -> int:
        if self._halved[key] != self._halvings:
            self._halve(key)
        return self.count[key]

    def _hit(self, key: int) -> None:
        self._asked(key)
        self._hits += 1
        if key in self._window:
            self._window.move_to_end(key)
        elif key in self._protected:
            self._protected.move_to_end(key)
        else:
            del self._probation[key]
            self._protected[key] = None
            self._in_protected += self.rooms[key]
            if self._in_protected > self._most_protected:
                self._settle()

    def _settle(self) -> None:
        """Those of the protected that are too many go back on probation."""
        while self._in_protected > self._most_protected:
            down = self._protected.popitem(last=False)[0]
            self._in_protected -= self.rooms[down]
            self._probation[down] = None

    def greet(self, key: int) -> None:
        self._asked(key)
        self._misses += 1
        entries = len(self._window) + len(self._probation) + len(self._protected)
        if self._hits + self._misses >= SAMPLE * (entries or 1):
            self._age()

    def _age(self) -> None:
        requests = self._hits + self._misses
        self._halvings += 1
        if self.adaptive:
            self._climb(self._hits / requests)
        self._hits = self._misses = 0

    def _climb(self, ratio: float) -> None:
        """Move the border on in the same direction as long as that is for the better."""
        share, self._step = climbed(self._share, self._step, ratio - self._before)
        self._divide(share)
        self._before = ratio

    def enter(self, key: int) -> None:
        window, rooms = self._window, self.rooms
        window[key] = None
        self._in_window += rooms[key]
        most = max(self._border, rooms[key])
        while self._in_window > most:
            first = window.popitem(last=False)[0]
            self._in_window -= rooms[first]
            self._probation[first] = None

    def evict(self) -> int:
        """The last of main leaves, or the last of a full window if that was asked for less often."""
        window, main = self._window, self._probation or self._protected
        if not main:
            return self._from_window()
        if window and self._in_window >= self._border:
            candidate, victim = next(iter(window)), next(iter(main))
            if self._frequency(candidate) <= self._frequency(victim):
                return self._from_window()
            self._probation[self._from_window()] = None
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
