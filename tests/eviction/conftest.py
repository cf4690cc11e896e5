"""Policies to test, and a bounded cache that does to a policy what the memory tier does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scoutcache.eviction import STRATEGIES, Node, Policy, make_policy


class Shelf:
    """Nodes by key under one policy; knows at every moment who should be there."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.nodes: dict[int, Node] = {}
        self.left: list[Node] = []

    def ask(self, key: int) -> bool:
        node = self.nodes.get(key)
        if node is None:
            return False
        node.hits += 1
        if self.policy.note is not None:
            self.policy.note(node)
        return True

    def put(self, key: int, size: int = 1) -> list[int]:
        """Store, and return the keys that left for it."""
        node, old = Node(key, size), self.nodes.get(key)
        victims = self.policy.admit(node) if old is None else self.policy.replace(old, node)
        self._gone(victims)
        self.nodes[key] = node
        return [victim.key for victim in victims]

    def forget(self, key: int) -> None:
        node = self.nodes.pop(key, None)
        if node is not None:
            self.policy.forget(node)
            self.left.append(node)

    def evict(self) -> Node:
        node = self.policy.evict()
        self._gone([node])
        return node

    def _gone(self, nodes: list[Node]) -> None:
        for node in nodes:
            assert self.nodes.pop(node.key) is node, "it left twice, or was never there"
            self.left.append(node)


@pytest.fixture(params=sorted(STRATEGIES))
def strategy(request: pytest.FixtureRequest) -> str:
    """Each strategy in turn."""
    return request.param


@pytest.fixture
def make_shelf(strategy: str) -> Callable[..., Shelf]:
    """A bounded cache under the strategy in turn."""
    return lambda max_entries=None, max_bytes=None: Shelf(make_policy(strategy, max_entries, max_bytes))


@pytest.fixture
def shelf_of() -> Callable[..., Shelf]:
    """A bounded cache under the strategy named."""
    return lambda name, max_entries=None, max_bytes=None: Shelf(make_policy(name, max_entries, max_bytes))
