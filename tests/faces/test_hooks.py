"""Hooks: whoever asks to be told of hits is told of each, also of those that take the short way."""

from __future__ import annotations

import logging

import pytest

from scoutcache import CacheError


def test_hits_are_told_from_every_tier(cache):
    told = []
    cache.set("k", 1)
    cache.get("k")
    cache.on("hit", told.append)
    cache.get("k"), cache.get_many(["k"]), cache.get_or_compute("k", pytest.fail)
    assert [(hit.namespace, hit.key) for hit in told] == [("default", "k")] * 3
    assert {hit.tier for hit in told} <= {tier.name for tier in cache.core.tiers}


def test_a_hook_may_come_and_go_and_hits_stay_hits(cache):
    told = []
    cache.set("k", [1])
    take_off = cache.on("hit", told.append)
    cache.get("k")
    take_off()
    cache.get("k")
    take_off()
    again = cache.on("*", told.append)
    cache.get("k")
    again()
    assert cache.get("k") == [1]
    assert [hit.name for hit in told] == ["hit", "hit"] or [hit.name for hit in told] == ["hit", "promoted", "hit"]


def test_a_view_and_a_method_taken_before_step_aside_as_well(open_cache):
    cache = open_cache(["memory"])
    told, early = [], cache.get
    view = cache.namespace("tenant")
    cache.set("k", 1), view.set("k", 2)
    view.on("hit", told.append)
    early("k"), cache.get("k", namespace="tenant"), view.get("k")
    assert [hit.namespace for hit in told] == ["default", "tenant", "tenant"]


def test_counted_once_whichever_way_they_took(cache):
    cache.set("k", 1)
    cache.get("k")
    take_off = cache.on("hit", lambda _: None)
    cache.get("k")
    take_off()
    cache.get("k")
    cache.flush()
    assert cache.stats().cache_hits == 3


def test_a_hit_after_a_hook_was_added_still_heeds_what_others_announced(open_cache):
    cache, other = open_cache(["memory", "disk"]), open_cache(["memory", "disk"])
    cache.set("k", 1)
    take_off = cache.on("hit", lambda _: None)
    other.set("k", 2)
    assert cache.get("k") == 2
    other.set("k", 3)
    take_off()
    assert cache.get("k") == 3


def test_every_kind_of_event_is_told(cache, fake_clock):
    names = []
    cache.on("*", lambda record: names.append(record.name))
    cache.get("k")
    cache.set("k", 1)
    cache.get("k")
    cache.delete("k")
    cache.get_or_compute("c", lambda: 1)
    cache.invalidate("c")
    cache.clear()
    with pytest.raises(LookupError):
        cache.get_or_compute("f", lambda: {}["missing"])
    assert [name for name in names if name != "promoted"] == [
        "miss", "stored", "hit", "removed", "stored", "computed", "miss", "invalidated", "cleared", "factory_failed",
        "miss",
    ]  # fmt: skip


def test_a_hook_that_raises_breaks_nothing(cache, caplog):
    def broken(_):
        raise RuntimeError("the hook's own fault")

    cache.on("*", broken)
    with caplog.at_level(logging.ERROR, "scoutcache"):
        cache.set("k", 1)
        assert cache.get("k") == 1
    assert "the hook" in caplog.text


def test_an_event_that_doesnt_exist_is_refused_with_the_nearest(cache):
    with pytest.raises(CacheError) as caught:
        cache.on("hits", print)
    assert "hit" in caught.value.hint
    with pytest.raises(CacheError):
        cache.on("hit", "no callable")


def fill_over(cache):
    """Ten entries for a disk tier that holds about four."""
    for number in range(10):
        cache.set(f"k:{number}", bytes([number]) * 100_000)
    return 10 - len(list(cache.keys("k:*")))


@pytest.fixture
def small(open_cache):
    """A cache of a small disk tier, which is given back by opening it again."""
    return lambda **more: open_cache(["disk"], disk={"max_bytes": 400_000}, compression={"type": "none"}, **more)


def test_evictions_of_the_disk_are_told_with_their_number_and_counted_at_once(small):
    told, cache = [], small()
    cache.on("evicted", told.append)
    gone = fill_over(cache)
    stats = cache.stats()
    assert (stats.eviction_count, stats.evictions_by_reason) == (gone, {"oversize": gone})
    assert [(one.tier, one.reason, one.namespace, one.key) for one in told] == [("disk", "oversize", "", "")]
    assert sum(one.count for one in told) == gone > 0
    cache.turn()
    assert cache.stats().eviction_count == gone


def test_evictions_of_the_disk_are_counted_though_the_cache_is_closed_at_once(small):
    told, cache = [], small()
    cache.on("evicted", told.append)
    gone = fill_over(cache)
    cache.close()
    assert sum(one.count for one in told) == gone
    assert small().stats().eviction_count == gone > 0


def test_expirations_of_the_disk_are_told_with_their_number(open_cache, fake_clock):
    told, cache = [], open_cache(["disk"])
    cache.on("expired", told.append)
    cache.set_many({"a": 1, "b": 2}, ttl=1)
    fake_clock.advance(2)
    cache.turn()
    assert [(one.tier, one.count, one.key) for one in told] == [("disk", 2, "")]
    assert cache.stats().expirations == 2


def test_what_expired_in_memory_is_told_and_counted_as_that(open_cache, fake_clock):
    cache, told = open_cache(["memory"]), []
    cache.on("expired", told.append), cache.on("evicted", told.append)
    cache.set("k", 1, ttl=1)
    fake_clock.advance(2)
    assert cache.get("k") is None
    assert [(record.name, record.key, record.tier) for record in told] == [("expired", "k", "memory")]
    assert (cache.stats().expirations, cache.stats().eviction_count) == (1, 0)
