"""Least frequently used, and of those the one that has been that infrequent for the longest.

One chain per frequency.  Nobody is moved on a hit: frequencies only grow, so a node in chain *f* has been used at
least *f* times, and the lowest chain is put right when a victim is looked for in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from scoutcache.eviction.base import Chain, Node, Policy

__all__ = ["Lfu"]


class Lfu(Policy):
    """The one asked for least often leaves.  It never forgets that something was popular once."""

    name = "lfu"

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        super().__init__(max_entries, max_bytes)
        self._chains: dict[int, Chain] = {}
        self._levels: list[int] = []

    def reset(self) -> None:
        self._chains.clear()
        self._levels.clear()
        self.entries = self.size_bytes = 0

    def nodes(self) -> Iterator[Node]:
        for level in sorted(self._chains):
            yield from self._chains[level]

    def _enter(self, node: Node) -> None:
        level = node.hits - node.mark
        chain = self._chains.get(level)
        if chain is None:
            chain = self._chains[level] = Chain(level)
            heappush(self._levels, level)
        chain.push(node)

    def _choose(self) -> Node:
        while True:
            chain = self._chains[self._levels[0]]
            node = chain.oldest
            if node is None:
                del self._chains[heappop(self._levels)]
                continue
            chain.remove(node)
            if node.hits - node.mark <= chain.level:
                return node
            self._enter(node)
