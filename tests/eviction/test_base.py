"""What holds for every policy."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoutcache.errors import ConfigError
from scoutcache.eviction import DEFAULT, STRATEGIES, Node, make_policy

KEYS = st.integers(0, 15)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), KEYS, st.integers(1, 5)),
        st.tuples(st.just("put"), KEYS, st.integers(0, 12)),
        st.tuples(st.just("forget"), KEYS, st.just(0)),
        st.tuples(st.just("evict"), st.just(0), st.just(0)),
        st.tuples(st.just("settle"), st.just(0), st.just(0)),
        st.tuples(st.just("reset"), st.just(0), st.just(0)),
    ),
    max_size=120,
)


def check(shelf):
    """The policy's view is the shelf's, and neither limit is exceeded."""
    policy = shelf.policy
    assert {id(node) for node in policy.nodes()} == {id(node) for node in shelf.nodes.values()}
    assert len(list(policy.nodes())) == policy.entries == len(shelf.nodes)
    assert policy.size_bytes == sum(node.size for node in shelf.nodes.values())
    assert policy.max_entries is None or policy.entries <= policy.max_entries
    assert policy.max_bytes is None or policy.size_bytes <= policy.max_bytes
    assert all(node.home is None for node in shelf.left)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=STEPS, max_entries=st.none() | st.integers(1, 8), max_bytes=st.none() | st.integers(12, 40))
def test_whatever_happens_limits_hold_and_everybody_leaves_once(make_shelf, steps, max_entries, max_bytes):
    shelf = make_shelf(max_entries, max_bytes)
    for step, key, number in steps:
        if step == "ask":
            for _ in range(number):
                shelf.ask(key)
        elif step == "put":
            shelf.put(key, number)
            assert key in shelf.nodes, "nobody expects what was just stored to be gone"
        elif step == "forget":
            shelf.forget(key)
        elif step == "settle":
            shelf.policy.settle()
        elif step == "reset":
            shelf.policy.reset()
            shelf.nodes.clear()
            shelf.left.clear()
        elif shelf.nodes:
            shelf.evict()
        check(shelf)


def test_evicting_until_empty_returns_each_node_once(make_shelf):
    shelf = make_shelf(50)
    for key in range(50):
        shelf.put(key)
        for _ in range(key % 7):
            shelf.ask(key)
    assert sorted(shelf.evict().key for _ in range(50)) == list(range(50))
    with pytest.raises(IndexError):
        shelf.policy.evict()


def test_a_node_that_left_can_be_forgotten_without_effect(make_shelf):
    shelf = make_shelf(2)
    shelf.put(1)
    node = shelf.evict()
    shelf.policy.forget(node)
    assert shelf.policy.entries == 0


def test_a_node_larger_than_everything_is_refused(make_shelf):
    shelf = make_shelf(5, 10)
    shelf.put(1, 10)
    with pytest.raises(ValueError, match="11 bytes"):
        shelf.policy.admit(Node(2, 11))
    check(shelf)


def test_one_large_newcomer_may_cost_many_small_ones(make_shelf):
    shelf = make_shelf(100, 10)
    for key in range(10):
        shelf.put(key)
    assert len(shelf.put(99, 7)) == 7
    check(shelf)


def test_a_replacement_that_needs_more_room_evicts_others_and_stays(make_shelf):
    shelf = make_shelf(None, 10)
    for key in range(5):
        shelf.put(key, 2)
    shelf.put(0, 9)
    assert set(shelf.nodes) == {0}
    check(shelf)


def test_asking_costs_the_policy_no_second_counter(make_shelf):
    """Whatever a policy learns of hits comes from the one counter, which it never changes."""
    shelf = make_shelf(4)
    for key in range(4):
        shelf.put(key)
        for _ in range(10):
            shelf.ask(key)
    for key in range(4, 40):
        shelf.put(key)
    assert all(node.hits == (10 if node.key < 4 else 0) for node in [*shelf.left, *shelf.nodes.values()])


def test_no_node_that_left_is_kept_alive(make_shelf):
    """Ghosts are hashes: what left is freed at once, without the garbage collector's help."""

    class Watched(Node):
        __slots__ = ("__weakref__",)

    policy = make_shelf(10).policy
    gc.disable()
    try:
        watched = []
        for key in range(100):
            node = Watched(key)
            watched.append(weakref.ref(node))
            policy.admit(node)
        del node
        assert sum(ref() is not None for ref in watched) == 10
    finally:
        gc.enable()


@pytest.mark.parametrize("limits", [(0, 10), (10, 0), (-1, None)])
def test_limits_below_one_are_refused(strategy, limits):
    with pytest.raises(ValueError, match="at least 1"):
        make_policy(strategy, *limits)


def test_an_unknown_strategy_is_refused_by_name():
    with pytest.raises(ConfigError, match="'mru'") as error:
        make_policy("mru", 1, 1)
    assert "sieve" in error.value.hint


def test_the_default_is_adaptive_s3_fifo():
    assert STRATEGIES[DEFAULT].__name__ == "AdaptiveS3Fifo"


def test_the_strategies_a_configuration_may_name_are_those_that_are_there():
    from scoutcache.policies import AVAILABLE_STRATEGIES, CacheStrategy

    assert {strategy.value for strategy in CacheStrategy} & STRATEGIES.keys() == AVAILABLE_STRATEGIES


def test_an_unavailable_strategy_is_named_as_it_is_written():
    from scoutcache.policies import CacheStrategy

    with pytest.raises(ConfigError, match=r"is called 'predictive'$"):
        make_policy(CacheStrategy.PREDICTIVE, 10, None)
