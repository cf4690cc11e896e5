"""Models of the policies that remember who left: S3-FIFO, its adaptive form, and ARC."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

from scoutcache.eviction.adaptive import LEAST, MOST
from scoutcache.eviction.s3fifo import CAP, SHARE
from scoutcache.insight.simulation.base import Model

__all__ = ["AdaptiveS3Fifo", "Arc", "S3Fifo"]

Queue = OrderedDict[int, None]


class S3Fifo(Model):
    """A small queue for newcomers, a main queue for those asked for again, and a list of those that left."""

    name = "s3fifo"
    greets = True
    threshold: ClassVar[int] = 2

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._small: Queue = OrderedDict()
        self._main: Queue = OrderedDict()
        self._early: Queue = OrderedDict()
        self._in_small = 0
        self._share = SHARE
        self._known = False

    def greet(self, key: int) -> None:
        self._known = key in self._early
        if self._known:
            del self._early[key]

    def enter(self, key: int) -> None:
        self.count[key] = 0
        if self._known:
            self._main[key] = None
        else:
            self._small[key] = None
            self._in_small += self.rooms[key]

    def evict(self) -> int:
        # One function without calls of its own: with a million requests these are most of the time.
        small, main, count, rooms = self._small, self._main, self.count, self.rooms
        border = int(self._share * self.capacity)
        while True:
            if small and (self._in_small >= border or not main):
                key = small.popitem(last=False)[0]
                self._in_small -= rooms[key]
                if count[key] < self.threshold:
                    self.left_small(key)
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

    def left_small(self, key: int) -> None:
        """Remember as many as main has room for."""
        _remember(self._early, key, max(1, (len(self._small) + len(self._main)) * 9 // 10))

    def left_main(self, key: int) -> None:
        """The paper remembers nobody here."""

    def leave(self, key: int) -> None:
        if key in self._small:
            del self._small[key]
            self._in_small -= self.rooms[key]
        else:
            del self._main[key]


def _remember(ghosts: Queue, key: int, limit: int) -> None:
    ghosts[key] = None
    while len(ghosts) > limit:
        ghosts.popitem(last=False)


class AdaptiveS3Fifo(S3Fifo):
    """S3-FIFO with a border that moves; once asked for is enough to stay."""

    name = "adaptive"
    threshold = 1

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._late: Queue = OrderedDict()

    def greet(self, key: int) -> None:
        early, late = self._early, self._late
        self._known = True
        if key in early:
            del early[key]
            entries = max(1, len(self._small) + len(self._main))
            self._share = min(MOST, self._share + max(1.0, len(late) / (len(early) + 1)) / entries)
        elif key in late:
            del late[key]
            entries = max(1, len(self._small) + len(self._main))
            self._share = max(LEAST, self._share - max(1.0, len(early) / (len(late) + 1)) / entries)
        else:
            self._known = False

    def left_small(self, key: int) -> None:
        _remember(self._early, key, len(self._small) + len(self._main) + 1)

    def left_main(self, key: int) -> None:
        _remember(self._late, key, len(self._small) + len(self._main) + 1)


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
