"""What a policy would have done with a sequence of requests, without a cache and without a clock."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from scoutcache.eviction import Node, Policy


class Outcome(NamedTuple):
    """How a replay went."""

    requests: int
    hits: int
    evictions: int

    @property
    def hit_ratio(self) -> float:
        """Hits per request, 0 to 1."""
        return self.hits / self.requests if self.requests else 0.0


def replay(policy: Policy, requests: Iterable[tuple[Hashable, int]]) -> Outcome:
    """Send *requests*, each a key and its size in bytes, through *policy*; a miss is stored, if it fits at all."""
    nodes: dict[Hashable, Node] = {}
    note = policy.note
    largest = float("inf") if policy.max_bytes is None else policy.max_bytes
    total = hits = evictions = 0
    for key, size in requests:
        total += 1
        node = nodes.get(key)
        if node is not None:
            node.hits += 1
            hits += 1
            if note is not None:
                note(node)
        elif size <= largest:
            nodes[key] = node = Node(key, size)
            for victim in policy.admit(node):
                evictions += 1
                del nodes[victim.key]
    return Outcome(total, hits, evictions)
