"""Models of the policies that remember who left: S3-FIFO, its adaptive form, and ARC."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

from scoutcache.eviction.adaptive import AdaptiveS3Fifo as AdaptivePolicy
from scoutcache.eviction.adaptive import moved
from scoutcache.eviction.s3fifo import CAP, SHARE
from scoutcache.eviction.s3fifo import S3Fifo as Policy
from scoutcache.insight.simulation.base import Model

__all__ = ["AdaptiveS3Fifo", "Arc", "S3Fifo"]

Queue = OrderedDict[int, None]


class S3Fifo(Model):
    """A small queue for newcomers, a main queue for those asked for again, and a list of those that left."""

    name = "s3fifo"
    threshold: ClassVar[int] = Policy.threshold
    remembered: ClassVar[float] = Policy.remembered

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._small: Queue = OrderedDict()
        self._main: Queue = OrderedDict()
        self._early = _Ghosts(capacity * self.remembered, rooms)
        self._in_small = 0
        self._share = SHARE

    def enter(self, key: int) -> None:
        self.count[key] = 0
        if self.remembers(key):
            self._main[key] = None
        else:
            self._small[key] = None
            self._in_small += self.rooms[key]

    def remembers(self, key: int) -> bool:
        """Did a newcomer leave lately?"""
        return self._early.take(key)

    def evict(self) -> int:
        # One function without calls of its own: with a million requests these are most of the time.
        small, main, count, rooms = self._small, self._main, self.count, self.rooms
        border = int(self._share * self.capacity)
        while True:
            if small and (self._in_small >= border or not main):
                key = small.popitem(last=False)[0]
                self._in_small -= rooms[key]
                if count[key] < self.threshold:
                    self._early.add(key)
                    return key
                count[key] = 0
                main[key] = None
                continue
            key = main.popitem(last=False)[0]
            frequency = count[key]
            if not frequency:
                self.left_main(key)
                return key
            count[key] = min(frequency, CAP) - 1
            main[key] = None

    def left_main(self, key: int) -> None:
        """The paper remembers nobody here."""

    def leave(self, key: int) -> None:
        if key in self._small:
            del self._small[key]
            self._in_small -= self.rooms[key]
        else:
            del self._main[key]


class _Ghosts:
    """Those that left last, of so many that together they needed *limit*."""

    def __init__(self, limit: float, rooms: Sequence[int]) -> None:
        self._limit, self._rooms = limit, rooms
        self._keys: Queue = OrderedDict()
        self.room = 0

    def add(self, key: int) -> None:
        rooms, keys = self._rooms, self._keys
        keys[key] = None
        self.room += rooms[key]
        while self.room > self._limit:
            self.room -= rooms[keys.popitem(last=False)[0]]

    def take(self, key: int) -> bool:
        if key not in self._keys:
            return False
        del self._keys[key]
        self.room -= self._rooms[key]
        return True


class AdaptiveS3Fifo(S3Fifo):
    """S3-FIFO with a border that moves; once asked for is enough to stay."""

    name = "adaptive"
    threshold = AdaptivePolicy.threshold
    remembered = AdaptivePolicy.remembered

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._late = _Ghosts(capacity, rooms)

    def left_main(self, key: int) -> None:
        self._late.add(key)

    def remembers(self, key: int) -> bool:
        early, late, room = self._early, self._late, self.rooms[key]
        part = room / self.capacity
        if early.take(key):
            self._share = moved(self._share, part, late.room / (early.room + room))
        elif late.take(key):
            self._share = moved(self._share, -part, early.room / (late.room + room))
        else:
            return False
        return True


class Arc(Model):
    """Two lists, of those asked for once and more often, each with ghosts that move the border between them.

    Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003; the lists reckoned in room.
    """

    name = "arc"
    greets = True

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._once: Queue = OrderedDict()
        self._often: Queue = OrderedDict()
        self._once_left: Queue = OrderedDict()
        self._often_left: Queue = OrderedDict()
        self._in_once = self._in_once_left = self._in_often_left = 0
        self._target = 0.0
        self._known = self._from_often = False
        self.touch = self._promote

    def _promote(self, key: int) -> None:
        if key in self._once:
            del self._once[key]
            self._in_once -= self.rooms[key]
            self._often[key] = None
        else:
            self._often.move_to_end(key)

    def greet(self, key: int) -> None:
        room, once, often = self.rooms[key], self._in_once_left, self._in_often_left
        self._known, self._from_often = True, False
        if key in self._once_left:
            del self._once_left[key]
            self._in_once_left -= room
            self._target = min(self.capacity, self._target + room * max(1.0, often / once))
        elif key in self._often_left:
            del self._often_left[key]
            self._in_often_left -= room
            self._target = max(0.0, self._target - room * max(1.0, once / often))
            self._from_often = True
        else:
            self._known = False
            self._forget(room)

    def _forget(self, room: int) -> None:
        """Let go of ghosts for a newcomer that needs *room*."""
        while self._once_left and self._in_once + self._in_once_left + room > self.capacity:
            self._in_once_left -= self.rooms[self._once_left.popitem(last=False)[0]]
        while self._often_left and self.used + self._in_once_left + self._in_often_left + room > 2 * self.capacity:
            self._in_often_left -= self.rooms[self._often_left.popitem(last=False)[0]]

    def enter(self, key: int) -> None:
        if self._known:
            self._often[key] = None
        else:
            self._once[key] = None
            self._in_once += self.rooms[key]

    def evict(self) -> int:
        once, target = self._in_once, self._target
        if self._once and (once > target or (self._from_often and once == target) or not self._often):
            key = self._once.popitem(last=False)[0]
            self._in_once -= self.rooms[key]
            self._once_left[key] = None
            self._in_once_left += self.rooms[key]
        else:
            key = self._often.popitem(last=False)[0]
            self._often_left[key] = None
            self._in_often_left += self.rooms[key]
        return key

    def leave(self, key: int) -> None:
        if key in self._once:
            del self._once[key]
            self._in_once -= self.rooms[key]
        else:
            del self._often[key]
