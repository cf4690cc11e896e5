"""What runs beside the calls: a process at rest looks at no entries, and no hit is forgotten."""

from __future__ import annotations

import math
import threading

import pytest

from scoutcache import Cache
from scoutcache.assembly.background import looks_every
from scoutcache.core.core import Clocks


@pytest.fixture
def cache(tmp_path, fake_clock):
    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    with Cache(directory=tmp_path, clocks=clocks) as cache:
        yield cache


@pytest.fixture
def looks(cache, monkeypatch):
    """The times that memory was searched for hits."""
    memory, looks = cache._core.memory, []
    harvest = memory.harvest
    monkeypatch.setattr(memory, "harvest", lambda: looks.append(1) or harvest())
    return looks


def test_at_rest_nothing_is_searched_for(cache, looks):
    cache.set("k", 1)
    cache.get("k")
    cache._core.flush(searching=False)
    assert len(looks) == 1
    for _ in range(5):
        cache._core.flush(searching=False)
    assert len(looks) == 1


def test_a_hit_is_counted_with_the_next_turn(cache, looks):
    cache.set("k", 1)
    for hits in (1, 2, 3):
        cache.get("k")
        cache._core.flush(searching=False)
        assert cache.stats().cache_hits == hits


def test_without_a_log_every_turn_searches(tmp_path):
    with Cache(directory=tmp_path, oplog={"enabled": False}) as cache:
        assert cache._core.recorder.may_have_hits


@pytest.mark.parametrize(("seconds", "turns"), [(3600, 20), (10, 20), (2, 4), (0.7, 1), (0.001, 1), (math.inf, 20)])
def test_memory_is_looked_at_as_often_as_entries_may_have_to_go_down(seconds, turns):
    assert looks_every(seconds) == turns


def test_entries_go_down_soon_after_their_time(tmp_path):
    down = threading.Event()
    with Cache(directory=tmp_path, placement={"demote_after": 0.2}) as cache:
        cache.on("demoted", lambda _: down.set())
        cache.set("k", 1)
        assert down.wait(8), "looks at memory come every ten seconds otherwise"


def test_what_no_tier_below_takes_stays_in_memory(cache, fake_clock, monkeypatch):
    core = cache._core
    ref, disk = cache._calls.ref("k", None), core.tier("disk")
    cache.set("k", 1, ttl="never")
    fake_clock.advance(core.config.placement.demote_after + 1)
    disk.remove([ref])
    with monkeypatch.context() as refusing:
        refusing.setattr(disk, "write", lambda *_: 0)
        core.background.turn()
    assert core.memory.look(ref) is not None
    fake_clock.advance(core.config.placement.demote_after + 1)
    core.memory.harvest()
    fake_clock.advance(core.config.placement.demote_after + 1)
    core.background.turn()
    assert core.memory.look(ref) is None
    assert cache.get("k") == 1
