"""S3-FIFO: a small queue for newcomers, a main queue for those asked for again, and a list of those that left.

Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023.  Nobody moves on a hit; the counter is
capped at 3.  The small queue has 10 % of the capacity.  Its oldest moves to main when it was asked for often enough,
else it leaves and its hash is remembered; a newcomer so remembered goes to main at once.  Main's oldest goes round
again as often as its counter says.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import inf
from typing import ClassVar, Final

from scoutcache.eviction.base import Chain, Node, Policy, ghost_name
from scoutcache.eviction.ghosts import Ghosts

__all__ = ["S3Fifo"]

CAP: Final = 3
SHARE: Final = 0.1


class S3Fifo(Policy):
    """S3-FIFO as in the paper: newcomers that were not asked for twice leave early."""

    name = "s3fifo"

    threshold: ClassVar[int] = 2
    """How often a newcomer must be asked for to move to main."""
    remembered: ClassVar[float] = 1 - SHARE
    """What is remembered of those that left small: as much of the capacity, for main has room for it."""

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        super().__init__(max_entries, max_bytes)
        self._small, self._main = Chain(), Chain()
        self._capacity, self._least = self._most_bytes, 1.0
        if max_entries is not None:
            self._capacity = max_bytes or max_entries
            self._least = self._capacity / max_entries
        self._early = Ghosts(self._capacity * self.remembered)
        self.share = SHARE
        """The small queue's part of the capacity."""

    def reset(self) -> None:
        self._small.reset()
        self._main.reset()
        self._early.reset()
        self.share = SHARE
        self.entries = self.size_bytes = 0

    def nodes(self) -> Iterator[Node]:
        return chain(self._small, self._main)

    def _enter(self, node: Node) -> None:
        known = self._remembers(ghost_name(node.key, node.space), self._room(node))
        (self._main if known else self._small).push(node)

    def _room(self, node: Node) -> float:
        """What *node* takes of the capacity: bytes, and no less than its part of the entries; or 1 of the entries."""
        return self._least if self.max_bytes is None else max(node.size, self._least)

    def _remembers(self, name: int, room: float) -> bool:
        """Did a newcomer leave lately?  That is asked when others have left for it, as in the paper."""
        return self._early.take(name, room)

    def _choose(self) -> Node:
        while True:
            victim = self._from_small() if self._small_is_large() else self._from_main()
            if victim is not None:
                return victim

    def _small_is_large(self) -> bool:
        """Has the small queue its share of either limit?"""
        small = self._small
        return not self._main.count or (
            small.count > 0
            and (small.count >= self._part(self._most_entries) or small.size_bytes >= self._part(self._most_bytes))
        )

    def _part(self, capacity: float) -> float:
        """The small queue's share of a limit, in whole entries or bytes; of no limit none."""
        return capacity if capacity == inf else int(self.share * capacity)

    def _from_small(self) -> Node | None:
        """The oldest newcomer leaves, or moves to main with its counter at zero."""
        node = self._small.oldest
        assert node is not None
        self._small.remove(node)
        if node.hits - node.mark < self.threshold:
            self._left_small(node)
            return node
        node.mark = node.hits
        self._main.push(node)
        return None

    def _from_main(self) -> Node | None:
        """The oldest of main leaves, or goes round again with its counter lowered."""
        node = self._main.oldest
        assert node is not None
        frequency = min(node.hits - node.mark, CAP)
        if frequency > 0:
            node.mark = node.hits - frequency + 1
            self._main.renew(node)
            return None
        self._main.remove(node)
        self._left_main(node)
        return node

    def _left_small(self, node: Node) -> None:
        self._early.add(ghost_name(node.key, node.space), self._room(node))

    def _left_main(self, node: Node) -> None:
        """The paper remembers nobody here."""
