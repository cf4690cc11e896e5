"""What a node's answers say of it."""

from __future__ import annotations

from redis.exceptions import AskError, MovedError, OutOfMemoryError, TryAgainError

from scoutcache.server.breaker import Breaker
from scoutcache.server.nodes import Breakers


class Node:
    name = "a node"


def test_an_answer_that_sends_elsewhere_says_nothing_of_the_node():
    said = []
    breakers = Breakers(Breaker("all", float, said.append), lambda name: Breaker(name, float, said.append))
    commands = [("GET", key) for key in "abcd"]
    elsewhere = [MovedError("1 127.0.0.1:1"), AskError("1 127.0.0.1:1"), TryAgainError("soon")]
    breakers.answered(Node, commands, [*elsewhere, b"value"])
    assert said == []
    breakers.answered(Node, commands, [*elsewhere, OutOfMemoryError("full")])
    assert [line.split(" (")[0] for line in said] == ["a node refuses writes"]
