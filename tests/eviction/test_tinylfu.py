"""W-TinyLFU, its sketch, and what it is for."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from scoutcache.eviction import Node, make_policy
from scoutcache.eviction.sketch import Sketch

from .replaying import replay


@given(st.lists(st.integers(1, 200), max_size=300))
def test_a_count_is_never_too_low_and_never_over_fifteen(names):
    sketch, exact = Sketch(), Counter(names)
    sketch.make_room(100)
    for name in names:
        sketch.add(name)
    assert all(min(15, exact[name]) <= sketch.count(name) <= 15 for name in range(1, 201))
    assert sketch.added == len(names)


def test_counts_are_halved_and_start_over_when_there_is_more_to_count():
    sketch = Sketch()
    for _ in range(9):
        sketch.add(7)
    sketch.halve()
    assert (sketch.count(7), sketch.added) == (4, 0)
    sketch.make_room(10)
    assert sketch.count(7) == 4, "there was room enough"
    sketch.make_room(1000)
    assert sketch.count(7) == 0


def test_it_hits_in_a_loop_where_recency_never_does():
    loop = [(key, 1) for _ in range(40) for key in range(120)]
    assert replay(make_policy("lru", 100, None), loop).hits == 0
    assert replay(make_policy("tinylfu", 100, None), loop).hit_ratio > 0.5


def test_a_scan_leaves_the_favourites_alone():
    favourites = [(key, 1) for _ in range(30) for key in range(50)]
    scan = [(key, 1) for key in range(1000, 1400)]
    after = [(key, 1) for key in range(50)]
    policy = make_policy("tinylfu", 60, None)
    held = dict.fromkeys(key for key, _ in favourites)
    replay(policy, [*favourites, *scan])
    assert sum(node.key in held for node in policy.nodes()) >= 45
    assert replay(make_policy("lru", 60, None), [*favourites, *scan, *after]).hits == 29 * 50


def test_hits_on_what_left_since_change_nothing(shelf_of):
    shelf = shelf_of("tinylfu", 3)
    for key in "abc":
        shelf.put(key)
    shelf.ask("a")
    shelf.forget("a")
    shelf.policy.settle()
    assert {node.key for node in shelf.policy.nodes()} == {"b", "c"}


def test_the_window_moves_with_the_hit_ratio():
    policy = make_policy("tinylfu", 50, None)
    replay(policy, [(number // 2, 1) for number in range(20_000)])
    assert policy.share > 0.01, "only newcomers are asked for again here"


def test_it_is_bounded_by_bytes_and_keeps_what_is_just_stored():
    policy = make_policy("tinylfu", None, 100)
    for key in range(200):
        node = Node(key, 1 + key % 60)
        policy.admit(node)
        assert policy.size_bytes <= 100
        assert node.home is not None
