"""The contract of an eviction policy: who leaves when a bounded cache takes one more.

Rule 1: a policy is bounded by entries and by bytes at once; `Policy.admit` returns whoever must leave first, so that
        neither limit is exceeded at any moment.
Rule 2: readers take no lock.  All they do is ``node.hits += 1``; a policy looks at ``node.hits - node.mark`` when it
        needs to know, and moves *mark*, never *hits*: one counter serves the policy and the statistics.
Rule 3: everything else happens under the owner's lock; a policy has none of its own, and no clock.
Rule 4: what a policy remembers of entries that left (its ghosts) is hashes, so that no key and no value stays alive.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from typing import ClassVar

from scoutcache.eviction.chain import Chain, Node

__all__ = ["Chain", "Node", "Policy"]


class Policy(ABC):
    """Which of the nodes it was given leaves next.

    *max_entries* and *max_bytes* are both at least 1; ``None`` for either is no limit.
    """

    name: ClassVar[str]

    note: Callable[[Node], None] | None = None
    """To be called with the node on each hit, from any thread; None where counting hits is enough."""

    def __init__(self, max_entries: int | None, max_bytes: int | None) -> None:
        if (max_entries is not None and max_entries < 1) or (max_bytes is not None and max_bytes < 1):
            raise ValueError(f"limits must be at least 1, not {max_entries} entries and {max_bytes} bytes")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._most_entries = float("inf") if max_entries is None else max_entries
        self._most_bytes = float("inf") if max_bytes is None else max_bytes
        self.entries = 0
        self.size_bytes = 0

    def admit(self, node: Node) -> list[Node]:
        """Take *node* in and return those that left to make room, in the order they left.

        Raises ValueError for a node that would not fit into an empty cache.
        """
        if node.size > self._most_bytes:
            raise ValueError(f"{node.size} bytes don't fit into {self.max_bytes}")
        self._greet(node)
        victims = []
        while self.entries >= self._most_entries or self.size_bytes + node.size > self._most_bytes:
            victims.append(self.evict())
        self._enter(node)
        self.entries += 1
        self.size_bytes += node.size
        return victims

    def evict(self) -> Node:
        """Let the next one go and return it.  Raises IndexError when there is nobody."""
        if not self.entries:
            raise IndexError("nobody to evict")
        node = self._choose()
        self.entries -= 1
        self.size_bytes -= node.size
        return node

    def forget(self, node: Node) -> None:
        """Let go of *node*, which was removed for another reason; no-op for one it doesn't hold."""
        if node.home is not None:
            self._leave(node)
            self.entries -= 1
            self.size_bytes -= node.size

    def replace(self, old: Node, new: Node) -> list[Node]:
        """Put *new* where *old* is, as often asked for as that; return those that left to make room.

        A *new* that needs more room than there is enters again as if it came for the first time, except that its
        frequency stays: nobody expects an entry just written to leave at once.
        """
        new.mark = new.hits - (old.hits - old.mark)
        if self.size_bytes - old.size + new.size > self._most_bytes:
            self.forget(old)
            return self.admit(new)
        self._swap(old, new)
        self.size_bytes += new.size - old.size
        return []

    def settle(self) -> None:  # noqa: B027  # most policies have nothing to work off
        """Work off what `note` collected.  Cheap; to be called now and then."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything, ghosts too."""

    @abstractmethod
    def nodes(self) -> Iterator[Node]:
        """All nodes, roughly in the order in which they would leave."""

    def _greet(self, node: Node) -> None:  # noqa: B027  # only policies with ghosts look
        """Look at a newcomer before anybody leaves for it."""

    @abstractmethod
    def _enter(self, node: Node) -> None:
        """Put it into a queue."""

    @abstractmethod
    def _choose(self) -> Node:
        """Take the victim out of its queue and return it."""

    def _leave(self, node: Node) -> None:
        """Take it out of its queue."""
        assert node.home is not None
        node.home.remove(node)

    def _swap(self, old: Node, new: Node) -> None:
        """Put *new* in the place of *old*."""
        assert old.home is not None
        old.home.swap(old, new)


def ghost_name(key: Hashable, space: str) -> int:
    """What a ghost list keeps of a key: 32 bits, never 0."""
    return (hash(key) ^ hash(space)) & 0xFFFF_FFFF or 1
