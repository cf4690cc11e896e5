"""Models of the policies that rank: LFU, and GDSF, which weighs cost and size as well."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace

from scoutcache.insight.simulation.base import Model

__all__ = ["Gdsf", "GdsfByBytes", "Lfu"]

_Standing = tuple[float, int, int]
"""What a key is worth, the turn it was last asked for in, and the key."""


class Lfu(Model):
    """The one leaves that was asked for least often, of several the one not asked for the longest."""

    name = "lfu"

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._by_count: defaultdict[int, OrderedDict[int, None]] = defaultdict(OrderedDict)
        self._least = 1
        self.touch = self._rise

    def _rise(self, key: int) -> None:
        by_count, frequency = self._by_count, self.count[key]
        del by_count[frequency][key]
        self.count[key] = frequency = frequency + 1
        by_count[frequency][key] = None

    def enter(self, key: int) -> None:
        self.count[key] = self._least = 1
        self._by_count[1][key] = None

    def evict(self) -> int:
        by_count, least = self._by_count, self._least
        while not by_count[least]:
            del by_count[least]
            least += 1
        self._least = least
        return by_count[least].popitem(last=False)[0]

    def leave(self, key: int) -> None:
        del self._by_count[self.count[key]][key]


class Gdsf(Model):
    """Worth is how often it was asked for, times its cost, over its size; the one leaves that is worth least.

    Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", HP 1998.  What the
    last victim was worth is added to each newcomer and to each hit, so that old fame fades.

    What a key is worth only grows while it is there.  So the heap may hold an older standing of it, which is put right
    when it comes to the top, and a hit need not touch the heap.
    """

    name = "gdsf"

    def __init__(self, capacity: int, rooms: Sequence[int], costs: Sequence[float] = ()) -> None:
        super().__init__(capacity, rooms, costs)
        self._costs = costs or [1.0] * len(rooms)
        self._standing: list[_Standing | None] = [None] * len(rooms)
        self._ranks: list[_Standing] = []
        self._turn = 0
        self._floor = 0.0
        self._entries = 0
        self.touch = self._rise

    def _rise(self, key: int) -> _Standing:
        """*key* was asked for: note where it stands now."""
        frequency = self.count[key] = self.count[key] + 1
        self._turn = turn = self._turn + 1
        self._standing[key] = now = (self._floor + frequency * self._costs[key] / self.rooms[key], turn, key)
        return now

    def enter(self, key: int) -> None:
        self.count[key] = 0
        self._entries += 1
        heappush(self._ranks, self._rise(key))
        if len(self._ranks) > 4 * self._entries + 64:
            self._sweep()

    def _sweep(self) -> None:
        """Forget what the heap holds of keys that were removed."""
        standing = self._standing
        self._ranks = [now for key in {key for _, _, key in self._ranks} if (now := standing[key]) is not None]
        heapify(self._ranks)

    def evict(self) -> int:
        ranks, standing = self._ranks, self._standing
        while True:
            lowest = ranks[0]
            worth, _, key = lowest
            now = standing[key]
            if now is lowest:
                heappop(ranks)
                self._floor = worth
                standing[key] = None
                self._entries -= 1
                return key
            if now is None:
                heappop(ranks)
            else:
                heapreplace(ranks, now)

    def leave(self, key: int) -> None:
        self._standing[key] = None
        self._entries -= 1


class GdsfByBytes(Gdsf):
    """GDSF as it was published, for caches bounded by bytes: a newcomer is weighed with the others, and may leave.

    Reference figures go by this.  A cache of ours keeps what was just written, for somebody is about to read it: on the
    traces of the reference that is at most 0.1 points apart, and 1.2 where there is room for ten entries.
    """

    def admit(self, key: int) -> None:
        rooms, held = self.rooms, self.held
        held[key] = True
        self.used += rooms[key]
        self.enter(key)
        while self.used > self.capacity:
            victim = self.evict()
            self.used -= rooms[victim]
            held[victim] = False
