"""First in, first out: no order but age.  Hits count for nothing, so it is also the `ttl` strategy."""

from __future__ import annotations

from collections.abc import Iterator

from scoutcache.eviction.base import Chain, Node, Policy

__all__ = ["Fifo"]


class Fifo(Policy):
    """The oldest leaves."""

    name = "fifo"

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        super().__init__(max_entries, max_bytes)
        self._queue = Chain()

    def reset(self) -> None:
        self._queue.reset()
        self.entries = self.size_bytes = 0

    def nodes(self) -> Iterator[Node]:
        return iter(self._queue)

    def _enter(self, node: Node) -> None:
        self._queue.push(node)

    def _choose(self) -> Node:
        node = self._queue.oldest
        assert node is not None
        self._queue.remove(node)
        return node
