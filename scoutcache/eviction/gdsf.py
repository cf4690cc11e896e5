"""GDSF: what is dear to compute, small and often asked for stays.

Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Labs 1998.  A node is
worth how often it was asked for, times its cost, over its size.  What the last victim was worth is added to what comes
or is asked for later, so that old fame fades.

Rule 1: a node without a cost counts as much as those that have one do on average, or 1 where none has.
Rule 2: it must hear of every hit, as `Lru`, by the same bounded buffer; a hit takes no lock.
Rule 3: each node has one mark in the heap that counts; older ones hold no node and are swept out in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from scoutcache.eviction.base import Chain, Node, Policy

__all__ = ["Gdsf"]

_BUFFER: Final = 4096


class _Mark:
    """What a node is worth; *node* is None when that no longer counts."""

    __slots__ = ("node", "turn", "worth")

    def __init__(self, worth: float, turn: int, node: Node) -> None:
        self.worth, self.turn = worth, turn
        self.node: Node | None = node

    def __lt__(self, other: _Mark) -> bool:
        return self.worth < other.worth or (self.worth == other.worth and self.turn < other.turn)


class Gdsf(Policy):
    """The one leaves that is worth least."""

    name = "gdsf"

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        super().__init__(max_entries, max_bytes)
        self._noted: deque[Node] = deque(maxlen=_BUFFER)
        self.note = self._noted.append
        self._queue = Chain()
        self._start()

    def _start(self) -> None:
        self._heap: list[_Mark] = []
        self._marks: dict[Node, _Mark] = {}
        self._turn = 0
        self._floor = 0.0
        self._costs, self._costed = 0.0, 0

    def reset(self) -> None:
        self._queue.reset()
        self._noted.clear()
        self._start()
        self.entries = self.size_bytes = 0

    def nodes(self) -> Iterator[Node]:
        self.settle()
        return (mark.node for mark in sorted(self._heap) if mark.node is not None)

    def settle(self) -> None:
        noted, queue = self._noted, self._queue
        while noted:
            node = noted.popleft()
            if node.home is queue:  # else it left since
                self._weigh(node)

    def _weigh(self, node: Node) -> None:
        """Give *node* a new mark."""
        old = self._marks.get(node)
        if old is not None:
            old.node = None
        cost = node.cost
        if cost is None:
            cost = self._costs / self._costed if self._costed and self._costs else 1.0
        self._turn += 1
        worth = self._floor + (node.hits - node.mark + 1) * cost / max(node.size, 1)
        mark = self._marks[node] = _Mark(worth, self._turn, node)
        heappush(self._heap, mark)
        if len(self._heap) > 4 * len(self._marks) + 64:
            self._heap = [mark for mark in self._heap if mark.node is not None]
            heapify(self._heap)

    def _enter(self, node: Node) -> None:
        self.settle()  # who was asked for before has the earlier turn, also where nobody has to leave
        self._queue.push(node)
        if node.cost is not None:
            self._costs += node.cost
            self._costed += 1
        self._weigh(node)

    def _choose(self) -> Node:
        self.settle()
        while True:
            mark = heappop(self._heap)
            node = mark.node
            if node is not None:
                self._floor = mark.worth
                del self._marks[node]
                self._queue.remove(node)
                return node

    def _leave(self, node: Node) -> None:
        self._marks.pop(node).node = None
        super()._leave(node)

    def _swap(self, old: Node, new: Node) -> None:
        self._marks.pop(old).node = None
        super()._swap(old, new)
        self._weigh(new)
