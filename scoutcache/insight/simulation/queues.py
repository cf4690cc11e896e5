"""Models of the policies with one order: FIFO, LRU, SIEVE.  Their figures equal the reference exactly."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from scoutcache.insight.simulation.base import Model

__all__ = ["Fifo", "Lru", "Sieve"]


class Fifo(Model):
    """The oldest leaves."""

    name = "fifo"

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._order: OrderedDict[int, None] = OrderedDict()

    def enter(self, key: int) -> None:
        self._order[key] = None

    def evict(self) -> int:
        return self._order.popitem(last=False)[0]

    def leave(self, key: int) -> None:
        del self._order[key]


class Lru(Fifo):
    """The one not asked for the longest leaves."""

    name = "lru"

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self.touch = self._order.move_to_end


class Sieve(Model):
    """A hand walks from old to new and takes the first that was not asked for since it passed."""

    name = "sieve"

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._ring = ring = len(rooms)
        self._newer = [ring] * (ring + 1)
        self._older = [ring] * (ring + 1)
        self._hand = ring

    def enter(self, key: int) -> None:
        ring, newer, older = self._ring, self._newer, self._older
        newest = older[ring]
        older[key], newer[key] = newest, ring
        newer[newest] = older[ring] = key
        self.count[key] = 0

    def evict(self) -> int:
        ring, newer, count = self._ring, self._newer, self.count
        key = self._hand if self._hand != ring else newer[ring]
        while count[key]:
            count[key] = 0
            key = newer[key]
            if key == ring:
                key = newer[ring]
        self._hand = key
        self.leave(key)
        return key

    def leave(self, key: int) -> None:
        after, before = self._newer[key], self._older[key]
        if key == self._hand:
            self._hand = after
        self._newer[before], self._older[after] = after, before
