"""SIEVE: one queue, and a hand that walks from old to new and takes the first that was not asked for since it passed.

Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024.
"""

from __future__ import annotations

from scoutcache.eviction.base import Node
from scoutcache.eviction.fifo import Fifo

__all__ = ["Sieve"]


class Sieve(Fifo):
    """The first under the hand that nobody asked for since the hand last passed leaves; nobody ever moves."""

    name = "sieve"

    _hand: Node | None = None

    def reset(self) -> None:
        super().reset()
        self._hand = None

    def _choose(self) -> Node:
        queue = self._queue
        node = self._hand or queue.oldest
        assert node is not None
        while node.hits != node.mark:
            node.mark = node.hits
            node = queue.after(node) or queue.oldest
            assert node is not None
        self._hand = queue.after(node)
        queue.remove(node)
        return node

    def _leave(self, node: Node) -> None:
        if node is self._hand:
            self._hand = self._queue.after(node)
        super()._leave(node)

    def _swap(self, old: Node, new: Node) -> None:
        if old is self._hand:
            self._hand = new
        super()._swap(old, new)
