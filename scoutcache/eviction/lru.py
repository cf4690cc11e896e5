"""Least recently used: the one policy that must hear of every hit.

A hit appends its node to a bounded buffer, which takes no lock, and the order is brought up to date before anybody
leaves.  When more hits come between two writes than the buffer holds, the oldest of them are lost to the order; the
newest, which decide who is recent, are kept.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from scoutcache.eviction.base import Node
from scoutcache.eviction.fifo import Fifo

__all__ = ["Lru"]

_BUFFER: Final = 4096


class Lru(Fifo):
    """The one not asked for the longest leaves."""

    name = "lru"

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        super().__init__(max_entries, max_bytes)
        self._noted: deque[Node] = deque(maxlen=_BUFFER)
        self.note = self._noted.append

    def settle(self) -> None:
        noted, queue = self._noted, self._queue
        while noted:
            node = noted.popleft()
            if node.home is queue:  # else it left since
                queue.renew(node)

    def reset(self) -> None:
        super().reset()
        self._noted.clear()

    def _enter(self, node: Node) -> None:
        self.settle()  # who was asked for before is older, also where nobody has to leave
        super()._enter(node)

    def _choose(self) -> Node:
        self.settle()
        return super()._choose()
