"""Caches with a directory each on one server, as on several machines: what one says holds for all."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scoutcache import Cache
from scoutcache.entry import Ref

ALL = ["memory", "redis", "disk"]


@pytest.fixture(params=[["memory", "redis"], ALL], ids="+".join)
def machine(request, machines):
    """Opens a cache of its own directory on the one server; its listener runs."""
    return functools.partial(machines, request.param)


@pytest.fixture
def three(machine):
    return [machine() for _ in range(3)]


def everywhere(caches, key):
    """What each says, from memory where it has it."""
    return [cache.get(key) for cache in caches]


@pytest.fixture
def warm(until):
    """Sets a value and has it stand in the memory of each."""

    def stands(cache, key, value):
        assert cache.get(key) == value
        return cache.tier("memory").entry(Ref("default", key)) is not None

    def make(caches, key, value, **options):
        caches[0].set(key, value, **options)
        for cache in caches:
            until(lambda cache=cache: stands(cache, key, value), "it is promoted", seconds=5)

    return make


WAYS = {
    "key": lambda one: one.delete("k:1"),
    "keys": lambda one: one.invalidate(keys=["k:1"]),
    "pattern": lambda one: one.invalidate("k:*"),
    "tag": lambda one: one.invalidate(tags=["red"]),
    "namespace": lambda one: one.clear(),
    "depends_on": lambda one: one.set("source", "changed"),
    "cascade": lambda one: one.delete("source"),
    "mark_stale": lambda one: one.invalidate("k:1", action="mark_stale"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_one_invalidates_no_other_serves(three, until, warm, way):
    one, *others = three
    one.set("source", "value")
    warm(three, "k:1", "old", tags=["red"], depends_on=["source"])
    WAYS[way](one)
    assert one.get("k:1") is None
    for other in others:
        until(lambda other=other: other.get("k:1") is None, f"{way} is heard", seconds=5)
    for cache in three:  # what is stale may be served until somebody has computed anew
        until(lambda cache=cache: cache.get_or_compute("k:1", lambda: "new") == "new", "it is computed", seconds=5)


@pytest.mark.parametrize("how", [{"keys": ["k:1"]}, {"patterns": "k:*"}], ids=["key", "pattern"])
def test_what_one_marks_stale_the_disk_of_who_set_it_does_not_bring_back(three, until, warm, how):
    one, setter, third = three
    warm([setter, one, third], "k:1", "old")
    one.invalidate(*[how["patterns"]] if "patterns" in how else [], keys=how.get("keys", ()), action="mark_stale")
    one.tier("redis").remove([Ref("default", "k:1")])  # as a server does that is short of memory
    assert one.get("k:1") is None
    for other in (setter, third):
        until(lambda other=other: other.get("k:1") is None, "it is heard", seconds=5)
    assert [cache.get("k:1") for cache in three for _ in range(3)] == [None] * 9


def test_what_one_sets_another_sees_within_50_ms(three, until, warm):
    """Though it holds the old value in memory; the least of five, for the machine is busy."""
    one, other, _ = three
    warm([one, other], "k", 0)
    took = []
    for n in range(1, 6):
        one.set("k", n)
        began = time.perf_counter()
        until(lambda n=n: other.get("k") == n, "it is seen", seconds=5)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05, took


def test_of_two_writers_on_two_machines_the_later_start_wins(three, until):
    slow, fast, third = three
    began, go_on = threading.Event(), threading.Event()

    def factory():
        began.set()
        assert go_on.wait(20)
        return "from the slow one"

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(compute, slow, "k", factory)
        assert began.wait(20)
        fast.set("k", "set later")
        go_on.set()
        assert call.result(20) == "from the slow one"
    for cache in three:
        until(lambda cache=cache: cache.get("k") == "set later", "the later one is there", seconds=5)
    assert third.get("k") == "set later"


def compute(cache, key, factory, **options):
    """In another thread, for an `AsyncCache` on a loop of its own."""
    if not cache.is_async:
        return cache.cache.get_or_compute(key, factory, **options)

    async def work():
        try:
            return await cache.cache.get_or_compute(key, lambda: asyncio.to_thread(factory), **options)
        finally:
            await cache.core.ports.close_on_loop()

    return asyncio.run(work())


@pytest.mark.parametrize("way", ["key", "pattern", "tag", "namespace", "depends_on"])
def test_an_invalidation_beats_a_computation_under_way_on_another_machine(three, until, way):
    slow, one, _ = three
    one.set("source", "value")
    began, go_on = threading.Event(), threading.Event()

    def factory():
        began.set()
        assert go_on.wait(20)
        return "computed from the old"

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(compute, slow, "k:1", factory, tags=["red"], depends_on=["source"])
        assert began.wait(20)
        WAYS[way](one)
        go_on.set()
        call.result(20)
    assert everywhere(three, "k:1") == [None] * 3


# -- cut off


@pytest.mark.parametrize("number", [1, 100, 301])
def test_who_was_cut_off_serves_nothing_that_was_invalidated_meanwhile(
    redis_url, redis_server, start_proxy, tmp_path, until, number
):
    """301 are one more than the stream keeps: then there is a gap, and everything is dropped."""
    proxy = start_proxy(redis_server.port)
    common = {"key_prefix": "cut:", "max_events": 300, "timeout": 2.0}
    config = {"tiers": ["memory", "redis"]}
    with (
        Cache({**config, "directory": tmp_path / "a", "redis": {**common, "url": redis_url}}) as one,
        Cache({**config, "directory": tmp_path / "b", "redis": {**common, "url": proxy.url}}) as other,
    ):
        keys = [f"k{n}" for n in range(number)]
        one.set_many(dict.fromkeys(keys, "old"))

        def promoted():
            assert len(other.get_many(keys)) == number
            return other._core.memory.usage().entries == number

        until(promoted, "all are in its memory", seconds=10)
        proxy.cut()
        for key in keys:
            one.delete(key)
        for n in range(400 if number > 300 else 0):  # a stream is trimmed by whole nodes of a hundred
            one.delete(f"other{n}")
        proxy.heal()
        until(lambda: other._core.follower.seen == one._core.follower.seen, "it has caught up", seconds=10)
        assert other.get_many(keys) == {}
        assert other._core.memory.usage().entries == 0


# -- tenants


def tenants(config, tmp_path):
    """Two namespaces of a cache, and two caches by their prefixes, one of which begins with the other's."""
    shared = Cache({**config, "directory": tmp_path / "shared"})
    own = Cache({**config, "directory": tmp_path / "own", "redis": {**config["redis"], "key_prefix": "scoutcache:e:"}})
    more = Cache({**config, "directory": tmp_path / "more", "redis": {**config["redis"], "key_prefix": "scout"}})
    return [shared, own, more], [
        shared.namespace("a"), shared.namespace("a:b"), shared.namespace("1:a"), own.namespace("a"),
        more.namespace("a"),
    ]  # fmt: skip


def test_nothing_crosses_between_tenants_on_one_server(redis_url, tmp_path):
    """Every call, at random, against a model of each tenant; the campaign: TEST_OPERATIONS=100000."""
    dice = random.Random(4)
    config = {"tiers": ["memory", "redis"], "redis": {"url": redis_url, "timeout": 5.0}}
    caches, views = tenants(config, tmp_path)
    models = [{} for _ in views]
    keys = ["k", "k:1", "a:k", "b:k", "é", "x" * 600]
    try:
        for n in range(int(os.environ.get("TEST_OPERATIONS", "2000"))):
            at = dice.randrange(len(views))
            operate(dice, views[at], models[at], f"{at}.{n}", keys)
        for view, model in zip(views, models, strict=True):
            assert view.get_many(keys) == model
            assert sorted(view.keys()) == sorted(model)
    finally:
        for cache in caches:
            cache.close()


def operate(dice, view, model, value, keys):
    """One call of one tenant, whose answer must be its own model's."""
    key = dice.choice(keys)
    match dice.randrange(13):
        case 0 | 1 | 2:
            view.set(key, value, tags=["red"])
            model[key] = value
        case 3:
            some = dict.fromkeys(dice.sample(keys, 3), value)
            view.set_many(some, tags=["red"])
            model.update(some)
        case 4 | 5:
            assert view.get(key) == model.get(key)
        case 6:
            assert view.get_many(keys) == {key: model[key] for key in keys if key in model}
        case 7:
            assert view.get_or_compute(key, lambda: value, tags=["red"]) == model.setdefault(key, value)
        case 8:
            entry = view.get_entry(key)
            assert (None if entry is None else entry.value) == model.get(key)
            assert view.exists(key) == (key in model)
        case 9:
            view.delete(key)
            model.pop(key, None)
        case 10:
            assert sorted(view.keys()) == sorted(model)
            assert sorted(view.keys(tag="red")) == sorted(model)
        case 11:
            prefix = dice.choice(["k", "a:"])
            view.invalidate(prefix + "*")
            for gone in [one for one in model if one.startswith(prefix)]:
                del model[gone]
        case 12:
            view.invalidate(tags=["red"]) if dice.random() < 0.5 else view.clear()
            model.clear()


# -- a cluster


def test_on_a_cluster_all_hear_of_all_though_the_streams_slot_moves(redis_cluster, tmp_path, until):
    """Nobody asks for what lies in that slot but who listens there."""
    nodes = [f"{host}:{port}" for host, port in redis_cluster.nodes]
    config = {"tiers": ["memory", "redis"], "redis": {"nodes": nodes, "key_prefix": "moving:", "timeout": 5.0}}
    with (
        Cache({**config, "directory": tmp_path / "a"}) as one,
        Cache({**config, "directory": tmp_path / "b"}) as other,
    ):
        for turn in range(2):
            one.set("k", turn, tags=["red"])

            def promoted(turn=turn):
                return other.get("k") == turn and other._core.memory.entry(Ref("default", "k")) is not None

            until(promoted, "it stands in its memory", seconds=10)
            if turn == 0:
                one.invalidate(tags=["red"])
                until(lambda: other.get("k") is None, "it is heard", seconds=10)
                redis_cluster.move_slots(1, key="moving:{events}")
        one.invalidate(tags=["red"])
        until(lambda: other._core.memory.entry(Ref("default", "k")) is None, "it is heard, unasked", seconds=10)
        assert other.get("k") is None
