"""Who leaves first, policy by policy."""

from __future__ import annotations

import pytest


def fill(shelf, keys):
    for key in keys:
        shelf.put(key)


@pytest.mark.parametrize("strategy", ["fifo", "ttl"])
def test_fifo_lets_the_oldest_go_however_often_it_was_asked_for(shelf_of, strategy):
    shelf = shelf_of(strategy, 3)
    fill(shelf, "abc")
    for _ in range(9):
        shelf.ask("a")
    assert shelf.put("d") == ["a"]
    assert shelf.put("e") == ["b"]


def test_lru_lets_the_one_go_that_was_not_asked_for_the_longest(shelf_of):
    shelf = shelf_of("lru", 3)
    fill(shelf, "abc")
    shelf.ask("a")
    assert [shelf.put("d"), shelf.put("e")] == [["b"], ["c"]]
    assert shelf.put("f") == ["a"]


def test_lru_keeps_the_newest_hits_when_more_come_than_its_buffer_holds(shelf_of):
    shelf = shelf_of("lru", 3)
    fill(shelf, "abc")
    for _ in range(10_000):
        shelf.ask("b")
    shelf.ask("a")
    assert [shelf.put("d"), shelf.put("e")] == [["c"], ["b"]]


def test_lru_is_not_confused_by_hits_on_what_left_since(shelf_of):
    shelf = shelf_of("lru", 3)
    fill(shelf, "abc")
    shelf.ask("a")
    shelf.forget("a")
    shelf.put("a")
    assert shelf.put("d") == ["b"]


def test_lru_settles_without_an_eviction(shelf_of):
    shelf = shelf_of("lru", 3)
    fill(shelf, "abc")
    shelf.ask("a")
    shelf.policy.settle()
    assert [node.key for node in shelf.policy.nodes()] == ["b", "c", "a"]


def test_lfu_lets_the_one_go_that_was_asked_for_least_often(shelf_of):
    shelf = shelf_of("lfu", 3)
    fill(shelf, "abc")
    for key, times in (("a", 5), ("b", 1), ("c", 3)):
        for _ in range(times):
            shelf.ask(key)
    assert [shelf.put("d"), shelf.put("e"), shelf.evict().key] == [["b"], ["d"], "e"]
    assert [shelf.evict().key, shelf.evict().key] == ["c", "a"]


def test_lfu_lets_the_older_of_two_equals_go(shelf_of):
    shelf = shelf_of("lfu", 3)
    fill(shelf, "abc")
    assert [shelf.put("d"), shelf.put("e")] == [["a"], ["b"]]


def test_sieve_spares_who_was_asked_for_since_the_hand_last_passed(shelf_of):
    shelf = shelf_of("sieve", 3)
    fill(shelf, "abc")
    shelf.ask("a")
    assert shelf.put("d") == ["b"]
    assert shelf.put("e") == ["c"], "the hand goes on from where it stood"
    assert shelf.put("f") == ["d"]
    assert shelf.put("g") == ["e"]


def test_sieve_goes_on_when_the_node_under_its_hand_is_removed_or_replaced(shelf_of):
    shelf = shelf_of("sieve", 4)
    fill(shelf, "abcd")
    shelf.put("e")  # a leaves, the hand stands at b
    shelf.put("b")
    assert shelf.put("f") == ["b"]
    shelf.forget("c")
    shelf.put("g")
    assert shelf.put("h") == ["d"]


@pytest.mark.parametrize(("strategy", "times"), [("s3fifo", 2), ("adaptive", 1)])
def test_s3_fifo_keeps_newcomers_asked_for_often_enough(shelf_of, strategy, times):
    shelf = shelf_of(strategy, 10)
    fill(shelf, range(10))
    for _ in range(times):
        shelf.ask(0)
    for _ in range(times - 1):
        shelf.ask(1)
    shelf.put(10)
    assert 0 in shelf.nodes
    assert 1 not in shelf.nodes


@pytest.mark.parametrize("strategy", ["s3fifo", "adaptive"])
def test_a_scan_does_not_drive_out_what_is_in_use(shelf_of, strategy):
    shelf = shelf_of(strategy, 100)
    for _ in range(3):
        for key in range(50):
            if not shelf.ask(key):
                shelf.put(key)
    for key in range(1000, 6000):
        shelf.put(key)
    assert sum(key in shelf.nodes for key in range(50)) == 50


@pytest.mark.parametrize("strategy", ["s3fifo", "adaptive"])
def test_who_comes_back_soon_after_leaving_early_enters_main(shelf_of, strategy):
    shelf = shelf_of(strategy, 10)
    fill(shelf, range(11))
    assert 0 not in shelf.nodes
    shelf.put(0)
    assert shelf.nodes[0].home is shelf.policy._main


def test_main_lets_hits_count_three_times_at_most(shelf_of):
    shelf = shelf_of("s3fifo", 10)
    fill(shelf, range(11))
    shelf.put(0)  # remembered, so it enters main
    for _ in range(1000):
        shelf.ask(0)
    policy = shelf.policy
    assert [policy._from_main() is None for _ in range(4)] == [True, True, True, False]


def test_a_return_from_the_early_ghosts_raises_the_small_queues_share(shelf_of):
    shelf = shelf_of("adaptive", 10)
    fill(shelf, range(11))
    before = shelf.policy.share
    shelf.put(0)
    assert shelf.policy.share == pytest.approx(before + 1 / 10)


def test_a_return_from_the_late_ghosts_lowers_it(shelf_of):
    shelf = shelf_of("adaptive", 10)
    fill(shelf, range(10))
    for key in range(10):
        shelf.ask(key)
    fill(shelf, range(100, 110))  # all of the first ten moved to main, and some of them left it
    gone = next(key for key in range(10) if key not in shelf.nodes)
    shelf.policy.share = 0.5
    shelf.put(gone)
    assert shelf.policy.share < 0.5


def test_the_share_stays_between_two_and_ninety_percent(shelf_of):
    shelf = shelf_of("adaptive", 10)
    for turn in range(50):
        for key in range(11 + turn % 5):
            if not shelf.ask(key):
                shelf.put(key)
            assert 0.02 <= shelf.policy.share <= 0.9


def test_a_loop_larger_than_the_cache_is_what_the_default_loses(shelf_of):
    """Stated so that nobody wonders: pure loops want another policy."""
    shelf = shelf_of("adaptive", 10)
    hits = sum(shelf.ask(key) or bool(shelf.put(key)) * 0 for _ in range(30) for key in range(100))
    assert hits == 0


def test_a_replaced_node_is_as_often_asked_for_as_the_one_before(shelf_of):
    shelf = shelf_of("lfu", 2)
    fill(shelf, "ab")
    for _ in range(5):
        shelf.ask("a")
    shelf.put("a")
    shelf.ask("b")
    assert shelf.put("c") == ["b"]
