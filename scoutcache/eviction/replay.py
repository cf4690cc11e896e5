"""What a policy would have done with a sequence of requests, without a cache and without a clock."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from scoutcache.eviction.base import Node, Policy

__all__ = ["Outcome", "replay"]


class Outcome(NamedTuple):
    """How a replay went."""

    requests: int
    hits: int
    requested_bytes: int
    hit_bytes: int
    evictions: int

    @property
    def hit_ratio(self) -> float:
        """Hits per request, 0 to 1."""
        return self.hits / self.requests if self.requests else 0.0

    @property
    def byte_hit_ratio(self) -> float:
        """Bytes answered per byte requested, 0 to 1."""
        return self.hit_bytes / self.requested_bytes if self.requested_bytes else 0.0


def replay(policy: Policy, requests: Iterable[tuple[Hashable, int]]) -> Outcome:
    """Send *requests*, each a key and its size in bytes, through *policy*; a miss is stored, if it fits at all.

    >>> from scoutcache.eviction import make_policy
    >>> replay(make_policy("lru", 2, None), [("a", 1), ("b", 1), ("a", 1), ("c", 1), ("a", 1)]).hits
    2
    """
    nodes: dict[Hashable, Node] = {}
    note = policy.note
    largest = float("inf") if policy.max_bytes is None else policy.max_bytes
    total = hits = requested_bytes = hit_bytes = evictions = 0
    for key, size in requests:
        total += 1
        requested_bytes += size
        node = nodes.get(key)
        if node is not None:
            node.hits += 1
            hits += 1
            hit_bytes += size
            if note is not None:
                note(node)
        elif size <= largest:
            nodes[key] = node = Node(key, size)
            for victim in policy.admit(node):
                evictions += 1
                del nodes[victim.key]
    return Outcome(total, hits, requested_bytes, hit_bytes, evictions)
