"""A node of a cluster that is frozen, with nobody to take its place: it is waited for once."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.entry import Ref
from scoutcache.errors import ConfigError, TierUnavailable
from scoutcache.server import nodes
from scoutcache.server.breaker import Breaker
from scoutcache.server.faults import Fault, Kind
from scoutcache.server.nodes import ASK_AGAIN, Breakers, Looker

TIMEOUT = 1.0


@pytest.fixture
def lonely(start_cluster):
    """A cluster whose replicas take over nothing in time."""
    cluster = start_cluster()
    for server in cluster.members:
        server.cli("CONFIG", "SET", "cluster-node-timeout", "60000")
    return cluster


def settings(cluster, tmp_path):
    nodes = [f"{host}:{port}" for host, port in cluster.nodes]
    return {"tiers": ["memory", "redis"], "directory": tmp_path, "redis": {"nodes": nodes, "timeout": TIMEOUT}}


@contextmanager
def frozen(cluster, name, *, itself):
    """The node that has *name*, or another one."""
    node = cluster.master_of(name)
    victim = node if itself else next(one for one in cluster.masters() if one is not node)
    victim.pause()
    try:
        yield victim
    finally:
        victim.resume()


def took(begun):
    return time.monotonic() - begun


@pytest.mark.parametrize("of_events", [True, False], ids=["its stream's node", "another node"])
def test_an_invalidation_waits_for_a_frozen_node_once(of_events, lonely, tmp_path, until):
    """To announce, to remove and to announce again ask it, and the map of slots is asked for in between."""
    with Cache(settings(lonely, tmp_path)) as cache:
        cache.set_many({f"k{n}": n for n in range(50)})
        with frozen(lonely, cache._core.tier("redis").layout.events, itself=of_events):
            begun = time.monotonic()
            cache.invalidate("k1*")
            assert took(begun) < 2 * TIMEOUT
            until_then = time.monotonic() + 3 * TIMEOUT
            longest = 0.0
            while time.monotonic() < until_then:
                begun = time.monotonic()
                cache.invalidate("k2*")
                longest = max(longest, took(begun))
            assert longest < TIMEOUT, "a caller waited again"
        until(lambda: not cache._core.tier("redis").conduit.breakers.away(), "it is found to be back")
        until(lambda: not cache.invalidate("k*").failed, "it is asked again")


def test_on_an_event_loop_too(lonely, tmp_path):
    async def work():
        async with AsyncCache(settings(lonely, tmp_path)) as cache:
            await cache.set_many({f"k{n}": n for n in range(50)})
            with frozen(lonely, cache._core.tier("redis").layout.events, itself=True):
                times, ends = [], time.monotonic() + 4 * TIMEOUT
                while time.monotonic() < ends:
                    begun = time.monotonic()
                    await cache.invalidate("k1*")
                    times.append(took(begun))
            return times

    first, *later = asyncio.run(work())
    assert first < 2 * TIMEOUT
    assert max(later) < TIMEOUT


def test_the_nodes_behind_one_that_is_frozen_are_rid_of_what_was_invalidated(lonely, tmp_path):
    """It is said that one could not be asked; what the others hold nobody need be served."""
    with Cache(settings(lonely, tmp_path)) as cache:
        cache.set_many({f"k{n}": n for n in range(100)})
        first = min(lonely.masters(), key=lambda server: f"127.0.0.1:{server.port}")
        others = [server for server in lonely.masters() if server is not first]
        first.pause()
        try:
            assert "redis" in cache.invalidate("k*").failed
            left = [name for server in others for name in server.cli("KEYS", "scoutcache:e:*")]
            assert left == []
        finally:
            first.resume()


@pytest.fixture
def left_behind(lonely, tmp_path):
    """Stores some keys, and gives what freezes the node of the first; that gives what the other nodes hold of them."""
    with Cache(settings(lonely, tmp_path)) as cache:
        cache.set_many(dict.fromkeys(NAMES, 1))
        name, masters = cache._core.tier("redis").layout.entry(Ref("default", NAMES[0])), lonely.masters()

    @contextmanager
    def freeze():
        with frozen(lonely, name, itself=True) as first:
            others = [server for server in masters if server is not first]
            yield lambda: [name for server in others for name in server.cli("KEYS", "scoutcache:e:*")]

    return freeze


NAMES = [f"k{number}" for number in range(30)]


def test_so_are_they_of_keys_that_are_named(left_behind, lonely, tmp_path):
    with Cache(settings(lonely, tmp_path)) as cache:
        assert cache.get(NAMES[0])
        with left_behind() as left:
            assert left()
            assert "redis" in cache.invalidate(keys=NAMES).failed
            assert left() == []


def test_on_an_event_loop_so_are_they_too(left_behind, lonely, tmp_path):
    async def work():
        async with AsyncCache(settings(lonely, tmp_path)) as cache:
            assert await cache.get(NAMES[0])
            with left_behind() as left:
                assert "redis" in (await cache.invalidate(keys=NAMES)).failed
                assert left() == []

    asyncio.run(work())


def test_the_thread_that_looks_lives_as_long_as_a_node_is_away(lonely, tmp_path, until):
    def looks():
        return any(thread.name == "scoutcache-looker" for thread in threading.enumerate())

    with Cache(settings(lonely, tmp_path)) as cache:
        layout = cache._core.tier("redis").layout
        assert not looks()
        with frozen(lonely, layout.events, itself=False):
            cache.invalidate("k*")
            assert looks()
        until(lambda: not looks(), "it ends")
        with frozen(lonely, layout.events, itself=False):
            cache.invalidate("k*")
            assert looks()
    until(lambda: not looks(), "it ends with the cache")


class Node:
    name = "n:1"


class Manager:
    def __init__(self, *known):
        self.startup_nodes = {"n:1": 1, "n:2": 2}
        self.nodes_cache = dict.fromkeys(known or self.startup_nodes)


@pytest.fixture
def breakers(fake_clock):
    def make(name):
        return Breaker(name, fake_clock.monotonic, lambda _: None)

    whole = make("all")
    whole.patience = 5.0
    return Breakers(whole, make)


@pytest.mark.parametrize(("kind", "rest"), [(Kind.TIMEOUT, 5.0), (Kind.UNREACHABLE, ASK_AGAIN)])
def test_where_nobody_looks_a_caller_does_and_sooner_where_it_need_not_wait(kind, rest, breakers, fake_clock):
    breakers.of(Node).failed(Fault(kind, "gone", None, away=True))
    fake_clock.advance(rest - 0.01)
    with pytest.raises(TierUnavailable):
        breakers.of(Node).check()
    fake_clock.advance(0.02)
    breakers.of(Node).check()


def test_who_is_away_is_asked_for_no_map_unless_all_are(breakers):
    manager = Manager()
    breakers.of(Node).failed(Fault(Kind.TIMEOUT, "gone", None, away=True))
    with breakers.asking(manager):
        assert manager.startup_nodes == {"n:2": 2}
    assert manager.startup_nodes == {"n:1": 1, "n:2": 2}
    manager.startup_nodes = {"n:1": 1}
    with breakers.asking(manager):
        assert manager.startup_nodes == {"n:1": 1}


def test_the_others_are_asked_again_after_a_moment_and_only_about_who_is_away(breakers, fake_clock):
    assert not breakers.to_be_asked([Node])
    breakers.of(Node).failed(Fault(Kind.TIMEOUT, "gone", None, away=True))
    assert breakers.to_be_asked([Node])
    with breakers.asking(Manager()):
        pass
    assert not breakers.to_be_asked([Node])
    fake_clock.advance(ASK_AGAIN)
    assert breakers.to_be_asked([Node])


def test_what_a_frozen_node_alone_could_vouch_for_is_missed_for_its_sake(lonely, tmp_path):
    """An entry on a node that answers, whose versions of tags lie on one that doesn't."""
    with Cache(settings(lonely, tmp_path / "one")) as cache:
        cache.set_many({f"k{n}": n for n in range(20)})
        layout = cache._core.tier("redis").layout
        guardian = lonely.master_of(layout.versions("default"))
        here = [key for key in (f"k{n}" for n in range(20))
                if lonely.master_of(layout.entry(Ref("default", key))) is not guardian]  # fmt: skip
    down, missed = [], []
    with Cache(settings(lonely, tmp_path / "other")) as cache:
        cache.on("tier_down", down.append)
        cache.on("miss", missed.append)
        guardian.pause()
        try:
            assert cache.get(here[0]) is None
        finally:
            guardian.resume()
    assert {one.tier for one in down} == {"redis"}
    assert [one.reason for one in missed] == ["unavailable"]


def test_who_is_no_node_any_more_is_looked_at_by_nobody(breakers):
    """Its address may be somebody else's by now, who would be told the password."""
    breakers.of(Node).failed(Fault(Kind.TIMEOUT, "gone", None, away=True))
    with breakers.asking(Manager("n:1", "n:2")):
        pass
    assert [node.name for node, _ in breakers.away()] == ["n:1"]
    with pytest.raises(OSError, match="nobody answers"), breakers.asking(Manager("n:2")):
        raise OSError("nobody answers")
    assert [node.name for node, _ in breakers.away()] == ["n:1"], "no map, no news"
    with breakers.asking(Manager("n:2")):
        pass
    assert not breakers.away()


class Lacking:
    """The settings name a file that is away for a moment, as a secret that is renewed is."""

    section = SimpleNamespace(timeout=TIMEOUT)

    def __init__(self):
        self.times = threading.Semaphore(0)

    def connection_to(self, *_):
        self.times.release()
        raise ConfigError("redis.password_file: no such file")


def test_a_look_that_can_not_be_taken_does_not_end_the_looking(breakers, monkeypatch):
    monkeypatch.setattr(nodes, "LOOK_EVERY", 0.001)
    source = Lacking()
    looker = Looker(source, breakers)
    looker.start()
    try:
        breakers.of(Node).failed(Fault(Kind.TIMEOUT, "gone", None, away=True))
        for _ in range(3):
            assert source.times.acquire(timeout=20)
        assert breakers.away()
    finally:
        looker.close()
