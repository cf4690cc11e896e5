"""A queue that its members carry themselves: no container besides it, and anybody leaves from the middle in O(1).

Two words in each node cost 16 bytes; a deque costs 8 but can't let go of one in the middle, a dict costs 50 to 100.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

__all__ = ["Chain", "Node"]


class Node:
    """What a policy knows of an entry; the memory tier's slots derive from it.

    *hits* only grows.  *mark* belongs to the policy, *home* is the chain it is in, None when it is in none.
    """

    __slots__ = ("hits", "home", "key", "mark", "newer", "older", "size", "space")

    home: Chain | None
    newer: Node
    older: Node

    def __init__(self, key: Hashable, size: int = 1, space: str = "") -> None:
        self.key = key
        self.space = space
        self.size = size
        self.hits = 0
        self.mark = 0
        self.home = None

    @property
    def cost(self) -> float | None:
        """What computing it cost, in any unit; None when nobody said."""
        return None


class Chain:
    """Nodes from the oldest to the newest, with their number and bytes.  *level* is whatever the owner likes."""

    __slots__ = ("_ring", "count", "level", "size_bytes")

    def __init__(self, level: int = 0) -> None:
        self._ring = Node("")
        self.level = level
        self.reset()

    def reset(self) -> None:
        """Empty it without visiting the nodes, which keep believing that they are in it."""
        ring = self._ring = Node("")
        ring.newer = ring.older = ring
        self.count = 0
        self.size_bytes = 0

    @property
    def oldest(self) -> Node | None:
        """The one that came first."""
        return self._ring.newer if self.count else None

    def push(self, node: Node) -> None:
        """Add *node* as the newest."""
        ring = self._ring
        newest = ring.older
        node.older = newest
        node.newer = ring
        newest.newer = ring.older = node
        node.home = self
        self.count += 1
        self.size_bytes += node.size

    def remove(self, node: Node) -> None:
        """Take *node* out, wherever it stands."""
        older, newer = node.older, node.newer
        older.newer = newer
        newer.older = older
        # A removed node may be held by a reader for a while: it must not hold others.
        del node.older, node.newer
        node.home = None
        self.count -= 1
        self.size_bytes -= node.size

    def renew(self, node: Node) -> None:
        """Make *node* the newest."""
        ring = self._ring
        older, newer = node.older, node.newer
        older.newer = newer
        newer.older = older
        newest = ring.older
        node.older = newest
        node.newer = ring
        newest.newer = ring.older = node

    def swap(self, old: Node, new: Node) -> None:
        """Put *new* in the place of *old*."""
        older, newer = old.older, old.newer
        new.older, new.newer = older, newer
        older.newer = newer.older = new
        new.home = self
        del old.older, old.newer
        old.home = None
        self.size_bytes += new.size - old.size

    def after(self, node: Node) -> Node | None:
        """The next newer one, None after the newest."""
        newer = node.newer
        return None if newer is self._ring else newer

    def __iter__(self) -> Iterator[Node]:
        node = self._ring.newer
        while node is not self._ring:
            yield node
            node = node.newer
