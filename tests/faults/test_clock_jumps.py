"""Somebody sets the clock while a cache is open: within the process nothing comes back to life, and nothing is lost."""

from __future__ import annotations

import pytest

from scoutcache import Cache
from scoutcache.core.core import Clocks

JUMPS = [-86_400, -3600, -1, 1, 3600, 86_400]


@pytest.fixture
def clock(fake_clock):
    return fake_clock


@pytest.fixture
def open_cache(tmp_path, clock):
    opened = []

    def open_one(*tiers):
        clocks = Clocks(clock.wall, clock.monotonic, clock.monotonic_ns, ticking=False)
        opened.append(Cache({"tiers": tiers}, directory=tmp_path, clocks=clocks))
        return opened[-1]

    yield open_one
    for cache in opened:
        cache.close()


@pytest.fixture
def cache(open_cache):
    return open_cache("memory", "disk")


@pytest.mark.parametrize("jump", JUMPS)
def test_an_entry_in_memory_lives_as_long_as_it_was_told(open_cache, clock, jump):
    """On the disk it lives as long as all processes say, which have nothing but the wall clock in common."""
    cache = open_cache("memory")
    cache.set("k", 1, ttl=10)
    clock.step_wall(jump)
    clock.advance(9.9)
    assert cache.get("k") == 1
    assert list(cache.keys()) == ["k"]
    clock.advance(0.2)
    assert cache.get("k") is None
    assert list(cache.keys()) == []
    clock.step_wall(-jump)
    assert cache.get("k") is None, "and doesn't come back"


@pytest.mark.parametrize("jump", JUMPS)
def test_what_is_written_and_what_is_invalidated_after_it_counts(cache, clock, jump):
    cache.set("k", "before")
    clock.step_wall(jump)
    cache.set("k", "after")
    cache._core.memory.clear(None)
    assert cache.get("k") == "after", "on the disk as well"
    cache.invalidate("k*")
    assert cache.get("k") is None
    assert cache.get_or_compute("k", lambda: "computed") == "computed"
    cache._core.memory.clear(None)
    assert cache.get("k") == "computed"


@pytest.mark.parametrize("jump", JUMPS)
def test_a_computation_during_which_it_was_set_is_kept_or_beaten_as_ever(cache, clock, jump):
    def compute():
        clock.step_wall(jump)
        return "kept"

    assert cache.get_or_compute("k", compute, ttl=100) == "kept"
    assert cache.get("k") == "kept"

    def beaten():
        clock.step_wall(jump)
        cache.invalidate(tags=["red"])
        return "beaten"

    assert cache.get_or_compute("other", beaten, tags=["red"]) == "beaten"
    assert cache.get("other") is None
