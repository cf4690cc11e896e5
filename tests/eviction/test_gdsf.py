"""GDSF: worth is frequency times cost over size."""

from __future__ import annotations

from scoutcache.eviction import Node, make_policy


class Priced(Node):
    """A node that cost something."""

    __slots__ = ("price",)

    def __init__(self, key, size=1, price=None):
        super().__init__(key, size)
        self.price = price

    @property
    def cost(self):
        return self.price


def keys(nodes):
    return [node.key for node in nodes]


def test_the_large_leaves_before_the_small(shelf_of):
    shelf = shelf_of("gdsf", None, 100)
    shelf.put("small", 10)
    shelf.put("large", 80)
    assert shelf.put("new", 20) == ["large"]


def test_the_often_asked_for_stays_though_it_is_large(shelf_of):
    shelf = shelf_of("gdsf", None, 100)
    shelf.put("small", 10)
    shelf.put("large", 80)
    for _ in range(20):
        shelf.ask("large")
    assert shelf.put("new", 20) == ["small"]


def test_the_dear_stays():
    policy = make_policy("gdsf", 2, None)
    for key, price in (("dear", 5.0), ("cheap", 0.1)):
        policy.admit(Priced(key, 1, price))
    assert keys(policy.admit(Priced("new", 1, 1.0))) == ["cheap"]
    assert keys(policy.nodes()) == ["new", "dear"]


def test_who_has_no_cost_counts_as_the_average_does():
    policy = make_policy("gdsf", 3, None)
    for key, price in (("dear", 9.0), ("cheap", 1.0), ("unknown", None)):
        policy.admit(Priced(key, 1, price))
    assert keys(policy.nodes()) == ["cheap", "unknown", "dear"]


def test_old_fame_fades(shelf_of):
    shelf = shelf_of("gdsf", 2)
    shelf.put("famous")
    for _ in range(5):
        shelf.ask("famous")
    shelf.policy.settle()
    left = []
    for key in range(20):
        left += shelf.put(key)
    assert "famous" in left


def test_marks_that_no_longer_count_are_swept_out(shelf_of):
    shelf = shelf_of("gdsf", 4)
    for key in range(4):
        shelf.put(key)
    for _ in range(1000):
        shelf.ask(1)
        shelf.policy.settle()
    assert len(shelf.policy._heap) <= 4 * 4 + 64
    assert keys(shelf.policy.nodes()) == [0, 2, 3, 1]


def test_a_replacement_is_weighed_anew(shelf_of):
    shelf = shelf_of("gdsf", 5, 100)
    shelf.put("a", 10)
    shelf.put("b", 20)
    shelf.put("a", 40)
    assert keys(shelf.policy.nodes()) == ["a", "b"]


def test_of_two_worth_the_same_the_one_asked_for_earlier_leaves(shelf_of):
    shelf = shelf_of("gdsf", None, 9)
    shelf.put("one", 4)
    shelf.ask("one")
    shelf.put("other", 2)
    assert shelf.put("new", 5) == ["one"]
