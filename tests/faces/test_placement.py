"""Where entries stand: up after two hits, down when nobody asks, below what overflows, away when damaged."""

from __future__ import annotations

import os
import sqlite3

import pytest

from scoutcache.entry import Ref


@pytest.fixture
def two(open_cache):
    """Memory and disk."""
    return open_cache(["memory", "disk"])


def ref(key):
    return Ref("default", key)


def in_memory(cache, key):
    return cache.tier("memory").entry(ref(key)) is not None


def on_disk(cache, key, now):
    return cache.tier("disk").read(ref(key), now) is not None


def only_on_disk(cache, key, value, **options):
    cache.set(key, value, **options)
    cache.tier("memory").remove([ref(key)], superseded=True)  # it wasn't ended


def test_promotion_after_two_hits_and_not_after_one(two):
    only_on_disk(two, "k", "value")
    assert two.get("k") == "value"
    assert not in_memory(two, "k")
    assert two.get("k") == "value"
    assert in_memory(two, "k")


def test_many_at_once_are_promoted_likewise(two):
    for key in "abc":
        only_on_disk(two, key, key)
    two.get_many(["a", "b", "c"])
    assert not in_memory(two, "a")
    two.get_many(["a", "b"])
    assert (in_memory(two, "a"), in_memory(two, "b"), in_memory(two, "c")) == (True, True, False)


def test_promotion_carries_the_remaining_time_to_live(two, fake_clock):
    only_on_disk(two, "k", "value", ttl=10)
    fake_clock.advance(6)
    two.get("k"), two.get("k")
    assert in_memory(two, "k")
    assert two.ttl("k") == pytest.approx(4, abs=1e-4)
    fake_clock.advance(4.001)
    assert two.get("k") is None


def test_looking_without_asking_promotes_nothing(two):
    only_on_disk(two, "k", "value")
    for _ in range(5):
        two.exists("k"), two.ttl("k"), two.get_entry("k"), two.keys()
    assert not in_memory(two, "k")


def test_demotion_of_what_nobody_asked_for(open_cache, fake_clock):
    cache = open_cache(["memory", "disk"], placement={"demote_after": "60s"})
    demoted = []
    cache.on("demoted", demoted.append)
    cache.set("idle", {"a": 1}, ttl="1h", tags=["red"])
    cache.set("asked", 2, ttl="1h")
    fake_clock.advance(50)
    cache.get("asked")
    cache.turn()
    fake_clock.advance(20)
    cache.turn()
    assert (in_memory(cache, "idle"), in_memory(cache, "asked")) == (False, True)
    assert [(one.key, one.from_tier, one.to_tier) for one in demoted] == [("idle", "memory", "disk")]
    assert cache.get("idle") == {"a": 1}
    assert cache.ttl("idle") == pytest.approx(3600 - 70, abs=1e-4)
    cache.invalidate(tags=["red"])
    assert cache.get("idle") is None


def test_demotion_brings_nothing_back_to_life(open_cache, fake_clock, tmp_path):
    """What another process invalidated isn't written down again, whether this one heard of it yet or not."""
    cache = open_cache(["memory", "disk"], placement={"demote_after": "60s"})
    other = open_cache(["memory", "disk"])
    cache.set("k", "old", ttl="1h")
    fake_clock.advance(70)
    background = cache.core.background
    background._keep_up(cache.core)
    other.delete("k")
    background._demote(cache.core)
    assert cache.get("k") is None
    assert other.get("k") is None


def test_memory_alone_has_nowhere_to_demote_to(open_cache, fake_clock):
    cache = open_cache(["memory"], placement={"demote_after": "60s"})
    cache.set("k", 1, ttl="1h")
    fake_clock.advance(100)
    cache.turn()
    assert cache.get("k") == 1


def test_what_overflows_memory_is_still_read_from_disk(open_cache):
    cache = open_cache(["memory", "disk"], memory={"max_entries": 10})
    evicted = []
    cache.on("evicted", evicted.append)
    cache.set_many({f"k:{n}": n for n in range(50)})
    assert cache.tier("memory").usage().entries <= 10
    assert len(evicted) >= 40
    assert [cache.get(f"k:{n}") for n in range(50)] == list(range(50))
    assert len(cache.keys()) == 50
    assert cache.tier("memory").usage().entries <= 10


def test_memorys_limit_in_bytes_is_never_exceeded(open_cache):
    cache = open_cache(["memory", "disk"], memory={"max_bytes": 10_000})
    for n in range(40):
        cache.set(f"k:{n}", "x" * 900)
        assert cache.tier("memory").usage().size_bytes <= 10_000
    cache.set("large", "y" * 20_000)
    assert not in_memory(cache, "large")
    assert cache.get("large") == "y" * 20_000


def test_a_value_of_50_mb_goes_in_chunks_and_comes_back(open_cache, face):
    cache = open_cache(["disk"])
    value = os.urandom(1_000_000) * (50 if face == "sync" else 3)  # the tier is the same, and once is enough
    assert cache.set("large", value)
    assert cache.get("large") == value
    sealed = cache.tier("disk").read(ref("large"), cache.core.world.now())
    assert len(sealed.chunks) >= 1
    assert max(map(len, sealed.chunks)) <= (1 << 20) + 1024
    assert cache.delete("large")
    assert cache.tier("disk").usage().size_bytes == 0


def damage(cache, key):
    """Flip a byte of the entry in the middle of what is stored."""
    (path,) = cache.core.directory.joinpath("disk").glob("*.db")
    with sqlite3.connect(path) as con:
        (value,) = con.execute("SELECT value FROM Cache WHERE key LIKE ?", (f"%{key}",)).fetchone()
        spoilt = bytearray(value)
        spoilt[len(spoilt) // 2] ^= 0xFF
        con.execute("UPDATE Cache SET value = ? WHERE key LIKE ?", (bytes(spoilt), f"%{key}"))
    con.close()


def test_a_corrupt_entry_is_a_miss_reported_and_removed(two, fake_clock):
    told, misses = [], []
    two.on("corrupt", told.append)
    two.on("miss", misses.append)
    only_on_disk(two, "spoilt", "x" * 200)
    damage(two, "spoilt")
    assert two.get("spoilt", "default") == "default"
    assert [(one.key, one.tier) for one in told] == [("spoilt", "disk")]
    assert [one.reason for one in misses] == ["corrupt"]
    assert not on_disk(two, "spoilt", fake_clock.wall())
    assert two.get_or_compute("spoilt", lambda: "anew") == "anew"
    assert two.get("spoilt") == "anew"


def test_the_reason_of_a_miss_is_told(two, fake_clock):
    misses = []
    two.on("miss", misses.append)
    two.get("never")
    only_on_disk(two, "late", 1, ttl=1, stale_ttl=10)
    fake_clock.advance(2)
    two.get("late")
    only_on_disk(two, "dead", 1, tags=["red"])
    two.invalidate(tags=["red"])
    two.get("dead")
    assert {one.key: one.reason for one in misses} == {"never": "cold", "late": "expired", "dead": "invalidated"}


@pytest.mark.parametrize(
    "end",
    [
        lambda cache: cache.delete("k"), lambda cache: cache.delete_many(["k", "never"]),
        lambda cache: cache.invalidate("k"), lambda cache: cache.invalidate(keys=["k", "never"]),
        lambda cache: cache.invalidate("k*", action="mark_stale"),
        lambda cache: cache.invalidate(keys=["k"], action="mark_stale"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stale_ttl", [None, 50])
def test_what_this_process_ended_without_having_had_it_in_memory_is_missed_for_that(two, end, stale_ttl):
    only_on_disk(two, "k", 1, ttl=100, stale_ttl=stale_ttl)
    end(two)
    missed = []
    two.on("miss", lambda miss: missed.append((miss.key, miss.reason)))
    assert two.get("k") is None
    assert two.get_many(["k", "never"]) == {}
    assert missed == [("k", "invalidated"), ("k", "invalidated"), ("never", "cold")]


def test_what_was_written_again_is_missed_for_what_became_of_it_then(two, fake_clock):
    only_on_disk(two, "k", 1)
    two.delete("k")
    two.set("k", 2, ttl=1)
    fake_clock.advance(2)
    missed = []
    two.on("miss", lambda miss: missed.append(miss.reason))
    two.get("k")
    only_on_disk(two, "large", 1)
    two.delete("large")
    two.set("large", "x" * 2_000_000, ttl=1)
    fake_clock.advance(2)
    two.get("large")
    assert missed == ["expired", "expired"]


def test_what_another_process_ended_and_wrote_again_is_missed_for_what_became_of_it_then(open_cache, two, fake_clock):
    other, missed = open_cache(["memory", "disk"]), []
    two.set("k", 1)
    other.delete("k")
    assert two.get("k") is None
    other.set("k", 2, ttl=1)
    fake_clock.advance(2)
    two.on("miss", lambda miss: missed.append(miss.reason))
    two.get("k")
    assert missed == ["expired"]


def test_a_removed_directory_under_a_live_cache_is_survived(two, tmp_path, open_cache, fake_clock):
    import shutil

    two.set("k", "old")
    shutil.rmtree(tmp_path / "cache")
    two.turn()
    assert two.get("k") is None
    assert two.set("k", "new")
    other = open_cache(["memory", "disk"])
    assert other.get("k") == "new"
    fake_clock.advance(1e-6)  # of two writers the later start wins
    other.set("k", "theirs")
    assert two.get("k") == "theirs"
    other.invalidate("k")
    assert two.get("k") is None


def test_two_caches_over_one_directory_see_each_others_changes(two, open_cache, fake_clock):
    other = open_cache(["memory", "disk"])
    two.set("k", 1, tags=["red"])
    assert other.get("k") == other.get("k") == other.get("k") == 1
    two.set("k", 2, tags=["red"])
    assert other.get("k") == 2
    fake_clock.advance(1e-6)  # of two writers the later start wins
    other.set("k", 3, tags=["red"])
    assert two.get("k") == 3
    by_tag = lambda: two.invalidate(tags=["red"])  # noqa: E731
    for change in (lambda: two.delete("k"), lambda: two.invalidate("k*"), by_tag, two.clear):
        other.set("k", 4, tags=["red"])
        assert two.get("k") == 4
        assert other.get("k") == 4
        change()
        assert other.get("k") is None


def test_a_turn_in_which_something_fails_is_told_and_the_rest_of_it_happens(two, monkeypatch):
    told, kept_up = [], []
    two.on("trouble", told.append)
    monkeypatch.setattr(two.core, "flush", lambda: {}["no such thing"])
    monkeypatch.setattr(two.tier("disk"), "maintain", lambda now: kept_up.append(now) or {})
    two.turn()
    assert [one.where for one in told] == ["write_down"]
    assert kept_up


def test_when_the_background_ends_no_entry_stays_fresh_on_its_last_word(open_cache):
    """Its ticks spare hits the clock; without them each hit must ask."""
    cache = open_cache(["memory"])
    memory, background = cache.tier("memory"), cache.core.background
    memory.tick(cache.core.clocks.monotonic())
    background._stop.set()
    background._run()
    assert memory._pulse.horizon == float("inf")


# -- with a server


@pytest.fixture(params=["memory+redis", "all_three"])
def on_server(request, open_cache):
    """Memory over a server, with and without a disk below."""
    return open_cache(["memory", "redis", "disk"] if request.param == "all_three" else ["memory", "redis"])


def test_what_a_server_has_is_promoted_after_two_hits_with_the_rest_of_its_life(on_server, fake_clock):
    on_server.set("k", {"a": 1}, ttl=10, tags=["red"])
    on_server.tier("memory").remove([ref("k")])
    fake_clock.advance(6)
    assert on_server.get("k") == {"a": 1}
    assert not in_memory(on_server, "k")
    assert on_server.get("k") == {"a": 1}
    assert in_memory(on_server, "k")
    assert on_server.ttl("k") == pytest.approx(4, abs=1e-4)
    on_server.invalidate(tags=["red"])
    assert on_server.get("k") is None


def test_what_only_the_disk_has_goes_up_to_the_server(open_cache, fake_clock):
    cache = open_cache(["memory", "redis", "disk"])
    cache.set("k", "value")
    for tier in ("memory", "redis"):
        cache.tier(tier).remove([ref("k")])
    assert cache.get("k") == cache.get("k") == "value"
    assert in_memory(cache, "k")
    assert cache.tier("redis").read(ref("k"), fake_clock.wall()) is not None


def test_damage_on_the_server_is_a_miss_reported_and_removed(on_server, redis_server, fake_clock):
    told = []
    on_server.on("corrupt", told.append)
    on_server.set("spoilt", "x" * 200)
    for tier in {"memory", "disk"} & {tier.name for tier in on_server.core.tiers}:
        on_server.tier(tier).remove([ref("spoilt")])
    name = on_server.tier("redis").layout.entry(ref("spoilt"))
    redis_server.cli("SETRANGE", name, redis_server.cli("STRLEN", name) // 2, b"\xff\x00\xff")
    assert on_server.get("spoilt", "default") == "default"
    assert [(one.key, one.tier) for one in told] == [("spoilt", "redis")]
    assert redis_server.cli("EXISTS", name) == 0
