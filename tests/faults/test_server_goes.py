"""The server goes away in the middle of a change, at each step of it in turn: nobody is left with an old value."""

from __future__ import annotations

import itertools
import time

import pytest

from scoutcache import Cache
from scoutcache.core.core import Clocks
from scoutcache.server.faults import Fault, Kind, unavailable

TIERS = ["memory", "redis", "disk"]

AWAY = Fault(Kind.TIMEOUT, "no answer in time", None, away=True)

OLD = {"parent": 1, "child": "of 1", "grandchild": "of it"}

CHANGES = {
    "delete": lambda cache: cache.delete("parent"),
    "pattern": lambda cache: cache.invalidate("par*"),
    "tag": lambda cache: cache.invalidate(tags=["T"]),
    "all": lambda cache: cache.invalidate("par*", tags=["T"], match="all"),
    "clear": lambda cache: cache.clear(),
    "set": lambda cache: cache.set("parent", 2),
    "stale": lambda cache: cache.invalidate("parent", action="mark_stale"),
    "stale-pattern": lambda cache: cache.invalidate("par*", action="mark_stale"),
    "stale-tag": lambda cache: cache.invalidate(tags=["T"], action="mark_stale"),
    "stale-all": lambda cache: cache.invalidate("par*", tags=["T"], match="all", action="mark_stale"),
}


class Going:
    """The way of *cache* to the server, which goes as it is asked for the *at*-th time, or misses that *once*."""

    def __init__(self, cache, at, *, once):
        self.conduit, self.at, self.once, self.asked = cache._core.journal.conduit, at, once, 0
        self.execute, self.conduit.execute = self.conduit.execute, self.ask

    def ask(self, batch):
        self.asked += 1
        if self.asked < self.at or (self.once and self.asked > self.at):
            return self.execute(batch)
        if not self.once:
            self.conduit.breaker.failed(AWAY)
        raise unavailable(AWAY)

    def end(self):
        del self.conduit.execute
        self.conduit.breaker.answered()


@pytest.fixture
def machines(tmp_path, redis_url):
    """Opens caches without threads on a server of which each round has a part of its own."""
    rounds, opened = itertools.count(), []

    def begin():
        end()
        number = str(next(rounds))

        def open_one(*tiers):
            where = tmp_path / number / ("here" if tiers else "far")
            clocks = Clocks(time.time, time.monotonic, time.monotonic_ns, ticking=False)
            opened.append(Cache(tiers=tiers or ["redis"], directory=where, clocks=clocks,
                                redis={"url": redis_url, "key_prefix": f"{number}:"}))  # fmt: skip
            return opened[-1]

        return open_one

    def end():
        for cache in opened:
            cache.close()
        opened.clear()

    yield begin
    end()


def store(cache):
    cache.set("parent", 1, tags=["T"])
    cache.set("child", "of 1", depends_on=["parent"])
    cache.set("grandchild", "of it", depends_on=["child"])


def nobody_has_the_old(*caches, what):
    for cache in caches:
        left = [key for key, value in OLD.items() if cache.get(key) == value]
        assert not left, f"{what}: {left}"


@pytest.mark.parametrize(
    ("way", "once"), [*((way, False) for way in CHANGES), ("tag", True), ("all", True), ("stale-tag", True)]
)
def test_at_each_step_of_a_change(machines, way, once):
    for at in itertools.count(1):
        open_one = machines()
        store(open_one())
        neighbour, changing = open_one(*TIERS), open_one(*TIERS)
        for _ in range(2):
            assert neighbour.get_many(OLD) == OLD
        going = Going(changing, at, once=once)
        CHANGES[way](changing)
        going.end()
        if going.asked < at:
            break
        nobody_has_the_old(changing, neighbour, what=f"it went at step {at}")
        for _ in range(2):
            changing._core.background._make_good(changing._core)
        assert not changing._core.world.doubts[1], f"it went at step {at}"
        nobody_has_the_old(open_one(), neighbour, what=f"it went at step {at}, and that was made good")
    assert at > 2
