"""A process hears when an alert of its own begins and when it ends, from the background and never from a hit."""

from __future__ import annotations

from collections import UserDict

import pytest

from scoutcache import Cache, CacheKey, keys
from scoutcache.alerts import Figures
from scoutcache.config.sections import AlertsSection
from scoutcache.core.alarms import LEAST, Alarms
from scoutcache.core.core import Clocks
from scoutcache.errors import TierUnavailable
from scoutcache.oplog.counting import timed_as


@pytest.fixture
def make(tmp_path, fake_clock):
    """Open a cache whose time is moved by hand."""
    opened = []

    def make(**settings):
        clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
        opened.append(Cache(directory=tmp_path / "cache", clocks=clocks, **settings))
        return opened[-1]

    yield make
    for cache in opened:
        cache.close()


@pytest.fixture
def told(make):
    """A cache, and what its hook was told: name, level, and whether it began."""
    cache, heard = make(), []
    cache.on("alert", lambda record: heard.append((record.alert, record.level, record.began)))
    return cache, heard


def turn(cache):
    cache._core.background.turn()


def test_it_is_told_when_it_begins_and_when_it_ends_and_not_between(told, fake_clock):
    cache, heard = told
    for _ in range(50):
        cache.invalidate("x:*")
    turn(cache)
    turn(cache)
    assert heard == [("invalidations_per_hour", "WARNING", True)]
    fake_clock.advance(3700)
    turn(cache)
    turn(cache)
    assert heard == [("invalidations_per_hour", "WARNING", True), ("invalidations_per_hour", "WARNING", False)]


def test_a_level_that_rises_ends_the_lower_one(told):
    cache, heard = told
    for _ in range(2):
        for _ in range(50):
            cache.invalidate("x:*")
        turn(cache)
    name = "invalidations_per_hour"
    assert heard == [(name, "WARNING", True), (name, "WARNING", False), (name, "CRITICAL", True)]


def test_a_hit_rate_of_few_requests_says_nothing(told):
    cache, heard = told
    for number in range(LEAST - 1):
        cache.get(f"no:{number}")
    turn(cache)
    assert heard == []
    cache.get("no")
    turn(cache)
    assert heard == [("hit_rate", "WARNING", True)]


@pytest.mark.parametrize("what", ["set", "hit"])
def test_what_few_operations_took_says_nothing(make, fake_clock, what):
    cache, heard = make(tiers=["disk"], alerts={"hit_rate": 0}), []
    cache.on("alert", lambda record: heard.append((record.alert, record.began)))
    cache.set("k", 1)
    tier, name = cache._core.tier("disk"), "write" if what == "set" else "read"
    done = getattr(tier, name)

    def slowly(*args):
        fake_clock.advance(0.06)
        return done(*args)

    setattr(tier, name, slowly)

    def call():
        return cache.set("k", 1) if what == "set" else cache.get("k")

    for _ in range(LEAST - 2):
        call()
    turn(cache)
    assert heard == []
    call(), call()
    turn(cache)
    assert heard == [("operation", True)]


CALLS = {
    "one": lambda cache, key, make, many: cache.get_or_compute(key, make),
    "many": lambda cache, key, make, many: cache.get_or_compute_many([key, f"{key}+", f"{key}++"], many),
    "warm": lambda cache, key, make, many: cache.warm([key], make),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("slow", ["what computes", "the tier"])
def test_only_the_own_time_of_what_a_computation_stored_counts(make, fake_clock, call, slow):
    cache, heard = make(tiers=["disk"], alerts={"hit_rate": 0}), []
    cache.on("alert", lambda record: heard.append((record.alert, record.began)))
    tier = cache._core.tier("disk")
    write = tier.write

    def slowly(*args):
        fake_clock.advance(0.06 if slow == "the tier" else 0)
        return write(*args)

    def compute(*_):
        fake_clock.advance(0.2)
        return 1

    tier.write = slowly
    for number in range(LEAST):
        call(cache, f"k:{number}", compute, lambda keys: dict.fromkeys(keys, compute()))
    turn(cache)
    assert heard == ([("operation", True)] if slow == "the tier" else [])


def test_what_an_answer_waited_for_is_no_time_of_the_tier_that_gave_it():
    assert timed_as("memory", "compute", "stale", "slow") == timed_as("", "compute", "hit", "joined") == ("", "joined")
    assert timed_as("memory", "compute", "stale", "refreshing") == ("memory", "hit")


def test_hits_in_memory_count_and_tell_nobody(told):
    cache, heard = told
    for number in range(LEAST):
        cache.get(f"no:{number}")
    cache.set("k", 1)
    for _ in range(3 * LEAST):
        cache.get("k")
    assert heard == []
    turn(cache)
    assert heard == []


def test_what_is_over_an_hour_ago_is_forgotten_and_what_a_segment_took_away_is_not(told, fake_clock):
    cache, heard = told
    for _ in range(49):
        cache.invalidate("x:*")
    for _ in range(3):  # each turn begins another segment
        fake_clock.advance(700)
        turn(cache)
    assert heard == []
    cache.invalidate("x:*")
    turn(cache)
    assert [one[0] for one in heard] == ["invalidations_per_hour"]


def test_memory_is_this_process_s(make):
    cache, heard = make(alerts={"memory": {"warn": "1KB", "critical": "1MB"}}), []
    cache.on("alert", heard.append)
    cache.set("k", "x" * 2000)
    turn(cache)
    (record,) = heard
    assert (record.alert, record.level, record.threshold) == ("memory", "WARNING", 1000)
    assert record.measured >= 2000
    cache.delete("k")
    turn(cache)
    assert not heard[-1].began


def test_how_long_keys_take_to_make_is_measured(told, fake_clock, monkeypatch):
    cache, heard = told
    monkeypatch.setattr(keys, "_ticks", fake_clock.monotonic_ns)

    class Slow(UserDict):
        def __iter__(self):
            fake_clock.advance(0.2)
            return super().__iter__()

    key = CacheKey("llm", "slow", Slow({"a": 1}))
    cache.get(key)
    turn(cache)
    assert heard == [("key_generation", "WARNING", True)]
    assert cache._core.recorder.lived().spreads  # and it is among what is written down
    assert key.generate().startswith("llm:slow:v1:")


def test_a_tier_that_fails_is_away_for_a_while(told, fake_clock):
    cache, heard = told
    cache._core.world.down("disk", TierUnavailable("disk", "full"))
    turn(cache)
    assert heard == [("disk_away", "ERROR", True)]
    fake_clock.advance(31)
    turn(cache)
    assert heard[1:] == [("disk_away", "ERROR", False)]


def test_who_does_not_listen_pays_nothing(make, monkeypatch):
    cache = make()
    monkeypatch.setattr(type(cache._core.recorder), "lived", lambda *_: pytest.fail("nobody asked"))
    turn(cache)


def test_whoever_begins_to_listen_is_told_what_stands(make):
    cache, heard = make(), []
    for _ in range(50):
        cache.invalidate("x:*")
    turn(cache)
    take_off = cache.on("alert", heard.append)
    turn(cache)
    take_off()
    turn(cache)
    cache.on("alert", heard.append)
    turn(cache)
    assert [one.began for one in heard] == [True, True]


def test_a_hook_that_raises_ends_nothing(told):
    cache, heard = told
    cache.on("alert", lambda _: 1 / 0)
    for _ in range(50):
        cache.invalidate("x:*")
    turn(cache)
    turn(cache)
    assert len(heard) == 1


def test_edges_alone():
    alarms, told, levels = Alarms(), [], AlertsSection()
    for errors in (0, 10, 11, 10, 9, 0, 0, 10):
        alarms.judge(Figures(errors=errors), levels, lambda record: told.append(record.began))
    assert told == [True, False, True]
