"""Sliding expiration: a hit renews the life of an entry whose policy says so, through both faces, in every tier."""

from __future__ import annotations

import pytest

from scoutcache import MISSING, Cache

BOTH = ["memory", "disk"]
SLIDING = {"applies_to": "session:*", "ttl_seconds": 100, "refresh_on_access": True}


@pytest.mark.parametrize("tiers", [["memory"], ["disk"], BOTH], ids="+".join)
def test_each_hit_renews_the_life_of_an_entry_that_slides(with_policies, fake_clock, tiers):
    cache = with_policies(SLIDING, tiers=tiers)
    cache.set_many({"session:a": {"user": 1}, "session:idle": 2, "fixed": 3}, ttl=None)
    asks = (
        lambda: cache.get("session:a"),
        lambda: cache.get_many(["session:a", "nothing"])["session:a"],
        lambda: cache.get_or_compute("session:a", pytest.fail),
        lambda: cache.get_or_compute_many(["session:a"], pytest.fail)["session:a"],
        lambda: cache.get_or_compute("session:a", pytest.fail, validate=bool),
    )
    for ask in asks:
        fake_clock.advance(80)
        assert ask() == {"user": 1}
        assert cache.ttl("session:a") == pytest.approx(100, abs=1e-3)
    assert cache.get("session:idle") is None
    assert cache.get("fixed") == 3
    fake_clock.advance(100.01)
    assert cache.get("session:a") is None


def test_looking_at_an_entry_does_not_renew_it(with_policies, fake_clock):
    cache = with_policies(SLIDING)
    cache.set("session:a", 1)
    fake_clock.advance(80)
    assert cache.exists("session:a")
    assert cache.get_entry("session:a").value == 1
    assert cache.keys() == ["session:a"]
    assert cache.ttl("session:a") == pytest.approx(20, abs=1e-3)


def test_a_life_is_renewed_at_most_once_in_each_tenth_of_it(with_policies, fake_clock):
    cache = with_policies(SLIDING)
    cache.set("session:a", 1)
    writes, disk = [], cache.tier("disk")
    write, disk.write = disk.write, lambda rows, *more: writes.append(rows) or write(rows, *more)
    for _ in range(100):
        fake_clock.advance(1)
        assert cache.get("session:a") == 1
    assert len(writes) == 10


def test_renewals_reach_the_disk_and_so_the_next_process(with_policies, fake_clock, open_cache):
    cache = with_policies(SLIDING)
    cache.set("session:a", [1], stale_ttl=50)
    fake_clock.advance(80)
    cache.get("session:a")
    cache.close()
    again = open_cache(BOTH)
    assert again.ttl("session:a") == pytest.approx(100, abs=1e-3)
    entry = again.get_entry("session:a")
    assert (entry.expires_at - entry.fresh_until).total_seconds() == pytest.approx(50, abs=1e-3)
    assert (entry.fresh_until - entry.created_at).total_seconds() == pytest.approx(180, abs=1e-3)


def test_a_shorter_life_of_its_own_is_not_renewed_and_a_longer_one_not_cut(with_policies, fake_clock):
    cache = with_policies(SLIDING)
    cache.set("session:short", 1, ttl=50)
    cache.set("session:long", 1, ttl=500)
    cache.set("session:ever", 1, ttl="never")
    fake_clock.advance(40)
    for key in ("session:short", "session:long", "session:ever"):
        cache.get(key)
    lives = [cache.ttl(key) for key in ("session:short", "session:long", "session:ever")]
    assert lives == pytest.approx([10, 460, float("inf")], abs=1e-3)
    fake_clock.advance(450)
    cache.get("session:long")
    assert cache.ttl("session:long") == pytest.approx(100, abs=1e-3)


def test_without_a_time_of_its_own_the_policy_renews_what_the_configuration_says(with_policies, fake_clock):
    cache = with_policies({"refresh_on_access": True}, ttl={"llm": "10s"}, freshness={"jitter": 0.5})
    cache.get_or_compute("llm:a", lambda: 1)
    fake_clock.advance(8)
    assert cache.get("llm:a") == 1
    assert cache.ttl("llm:a") == pytest.approx(10, abs=1e-3)


def test_hits_of_entries_that_slide_are_counted_and_told_as_others_are(with_policies, fake_clock):
    cache = with_policies(SLIDING)
    told = []
    cache.on("hit", told.append)
    cache.set("session:a", 1)
    for _ in range(5):
        fake_clock.advance(30)
        cache.get("session:a")
    assert [record.tier for record in told] == ["memory"] * 5
    assert cache.get_entry("session:a").access_count == 5
    assert cache.stats().cache_hits == 5


def test_a_hit_leaves_the_short_way_only_when_it_is_to_renew(with_policies, fake_clock):
    cache = with_policies(SLIDING)
    cache.set("session:a", 1)
    cache.set("session:short", 2, ttl=50)
    keys = ("session:a", "session:short")
    short = lambda: [cache.cache._peek(key, "the long way", None) is not MISSING for key in keys]  # noqa: E731
    assert short() == [True, True]
    fake_clock.advance(10.1)
    assert short() == [False, True]
    assert cache.get_many(keys) == {"session:a": 1, "session:short": 2}
    assert short() == [True, True]


def test_a_renewal_brings_nothing_back_to_life(with_policies, fake_clock, clocks, request):
    """Another process deletes the entry between the hit and the renewal's write."""
    cache = with_policies(SLIDING)
    other = Cache({"directory": cache.core.directory}, clocks=clocks)
    request.addfinalizer(other.close)
    cache.set("session:a", 1)
    fake_clock.advance(50)
    disk = cache.tier("disk")
    write = disk.write

    def late(rows, now, allow=None):
        disk.write = write
        other.delete("session:a")
        return write(rows, now, allow)

    disk.write = late
    cache.get("session:a")
    assert cache.get("session:a") is None
    assert other.get("session:a") is None


@pytest.mark.parametrize(
    ("patterns", "named"), [(["session:*"], {}), ([], {"tags": ["red"]}), ([], {"keys": ["session:a"]})], ids=str
)
def test_a_hit_renews_nothing_that_was_marked_stale(with_policies, fake_clock, patterns, named):
    cache = with_policies(SLIDING)
    cache.set("session:a", 1, tags=["red"], stale_ttl=500)
    fake_clock.advance(50)
    cache.invalidate(*patterns, **named, action="mark_stale")
    assert cache.get("session:a") is None
    fake_clock.advance(1)
    assert cache.ttl("session:a") is None
