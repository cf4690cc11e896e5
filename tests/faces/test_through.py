"""Read-through and write-through: the source is asked first, and the cache never says more than it knows."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scoutcache import MISSING, AsyncCache, Cache
from scoutcache.errors import CacheError, FlightCycle, SerializationError


class Source:
    """A dict that says what it was asked, and fails when told to."""

    def __init__(self, **held: Any) -> None:
        self.held = held
        self.asked: list[tuple[Any, ...]] = []
        self.broken = False

    def _note(self, *what: Any) -> None:
        self.asked.append(what)
        if self.broken:
            raise OSError("the source is away")

    def load(self, key: str) -> Any:
        self._note("load", key)
        return self.held.get(key, MISSING)

    def write(self, key: str, value: Any) -> None:
        self._note("write", key, value)
        self.held[key] = value

    def delete(self, key: str) -> None:
        self._note("delete", key)
        self.held.pop(key, None)


@pytest.fixture
def source() -> Source:
    return Source(a=1, b=[2])


@pytest.fixture
def through(cache: Any, source: Source) -> Any:
    return cache.through(loader=source.load, writer=source.write, deleter=source.delete, ttl=60)


def test_a_miss_is_loaded_once_and_kept(through, source, cache):
    assert [through.get("a"), through.get("a"), through.get("b")] == [1, 1, [2]]
    assert source.asked == [("load", "a"), ("load", "b")]
    assert cache.get("b") == [2]
    assert 0 < cache.ttl("a") <= 60


def test_what_the_source_has_not_is_the_default_and_is_asked_for_again(through, source, cache):
    cache.on("unstorable", pytest.fail)
    assert through.get("z") is None
    assert through.get("z", "none") == "none"
    assert source.asked == [("load", "z")] * 2
    assert cache.exists("z") is False
    source.held["z"] = None
    assert through.get("z", "none") is None
    assert cache.exists("z") is True


def test_a_write_goes_to_the_source_and_then_to_the_cache(through, source, cache):
    assert through.set("a", 5) is True
    assert (source.held["a"], cache.get("a"), through.get("a")) == (5, 5, 5)
    assert source.asked == [("write", "a", 5)]


def test_the_cache_is_untouched_when_the_source_fails(through, source, cache):
    through.get("a")
    source.broken = True
    for change in (lambda: through.set("a", 9), lambda: through.delete("a")):
        with pytest.raises(OSError, match="away"):
            change()
    assert cache.get("a") == 1
    with pytest.raises(OSError, match="away"):
        through.get("new")
    assert cache.keys() == ["a"]


def test_a_deletion_goes_to_the_source_first(through, source, cache):
    through.get("a")
    assert through.delete("a") is True
    assert "a" not in source.held
    assert cache.get("a") is None
    assert through.delete("a") is False


def test_a_value_that_cant_be_stored_is_refused_before_the_source_is_asked(through, source):
    with pytest.raises(SerializationError):
        through.set("a", {"x": object()})
    assert source.asked == []


def test_an_old_value_doesnt_answer_for_one_that_the_cache_may_not_keep(cache, source):
    cache.set("a", 1)
    fleeting = cache.through(writer=source.write, ttl=0)
    assert fleeting.set("a", 2) is False
    assert cache.get("a") is None


def test_many_are_loaded_as_far_as_they_are_missing(through, source):
    through.get("a")
    assert through.get_many(["a", "b", "z", "b"]) == {"a": 1, "b": [2]}
    assert sorted(source.asked) == [("load", "a"), ("load", "b"), ("load", "z")]
    assert through.get_many([]) == {}


def test_without_a_loader_or_writer_it_says_so(cache, source):
    reading, writing = cache.through(loader=source.load), cache.through(writer=source.write)
    assert writing.get("a") is None
    assert writing.get_many(["a"]) == {}
    with pytest.raises(CacheError, match="no writer"):
        reading.set("a", 1)
    with pytest.raises(CacheError, match="no deleter"):
        writing.delete("a")
    with pytest.raises(CacheError, match="needs a loader"):
        cache.through()
    with pytest.raises(CacheError, match="loader is a function"):
        cache.through(loader="a")


def test_options_and_namespaces_hold(cache, source):
    tenant = cache.namespace("tenant").through(loader=source.load, writer=source.write, tags=["t"], ttl="2h")
    other = cache.through(loader=source.load, namespace="other", ttl=5)
    tenant.set("a", 7)
    tenant.get("b")
    other.get("b")
    assert sorted(cache.keys(namespace="tenant", tag="t")) == ["a", "b"]
    assert cache.keys(namespace="other") == ["b"]
    assert cache.keys() == []
    assert cache.ttl("b", namespace="other") <= 5


def test_with_the_cache_off_the_source_is_all_there_is(open_cache, source):
    off = open_cache(enabled=False).through(loader=source.load, writer=source.write)
    assert off.set("a", 4) is False
    assert [off.get("a"), off.get("a")] == [4, 4]
    assert len(source.asked) == 3


def test_a_loader_gets_the_context_where_it_asks_for_it(cache):
    def load(key, ctx):
        ctx.tags = [f"of:{key}"]
        return key

    assert cache.through(loader=load).get("k") == "k"
    assert cache.keys(tag="of:k") == ["k"]


def test_a_writer_that_writes_its_own_key_again_is_told_so(tmp_path):
    with Cache(directory=tmp_path) as cache:
        through = cache.through(writer=lambda key, value: through.set(key, value + 1))
        with pytest.raises(FlightCycle):
            through.set("k", 1)
        assert cache.get("k") is None


@pytest.mark.parametrize("tiers", [["memory"], ["memory", "disk"]])
def test_writes_of_one_key_come_in_one_order_to_source_and_cache(tmp_path, tiers):
    order, start = [], threading.Barrier(8)
    with Cache(directory=tmp_path, tiers=tiers) as cache:
        through = cache.through(writer=lambda key, value: order.append(value))

        def write(number):
            start.wait()
            for step in range(5):
                through.set("k", number * 10 + step)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(write, range(8)))
        assert len(order) == 40
        assert cache.get("k") == order[-1]


def test_a_value_loaded_before_a_write_loses_against_it(tmp_path):
    loading, go_on = threading.Event(), threading.Event()

    def load(key):
        loading.set()
        assert go_on.wait(30)
        return "old"

    with Cache(directory=tmp_path) as cache, ThreadPoolExecutor(1) as threads:
        through = cache.through(loader=load, writer=lambda key, value: None)
        loaded = threads.submit(through.get, "k")
        assert loading.wait(30)
        through.set("k", "new")
        go_on.set()
        assert loaded.result() == "old"
        assert cache.get("k") == "new"


def test_on_a_loop_the_functions_may_be_coroutine_functions_and_a_write_ends_though_its_caller_is_gone(tmp_path, turns):
    async def main():
        source, begun = {"a": 1}, asyncio.Event()

        async def load(key):
            return source.get(key, MISSING)

        async def write(key, value):
            begun.set()
            await turns()
            source[key] = value

        async with AsyncCache(directory=tmp_path) as cache:
            through = cache.through(loader=load, writer=write)
            assert await through.get_many(["a", "z"]) == {"a": 1}
            task = asyncio.ensure_future(through.set("a", 2))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await through.set("a", 3)
            assert (source["a"], await cache.get("a")) == (3, 3)

    asyncio.run(main())


def test_a_write_that_was_left_behind_by_its_loop_holds_up_no_other_one(tmp_path):
    loop = asyncio.new_event_loop()
    begun, over = asyncio.Event(), asyncio.Event()

    async def write(*_):
        begun.set()
        await over.wait()

    async def begin():
        cache = AsyncCache(directory=tmp_path)
        setting = asyncio.ensure_future(cache.through(writer=write).set("k", "left behind"))
        await begun.wait()
        return cache, setting

    async def end(cache, setting):
        over.set()
        await setting
        await cache.close()

    left = loop.run_until_complete(begin())  # and from now on it stands still
    with Cache(directory=tmp_path) as cache, ThreadPoolExecutor(1) as pool:
        through = cache.through(writer=lambda *_: None)
        assert pool.submit(through.set, "k", "new").result(20)
        loop.run_until_complete(end(*left))
    loop.close()


def test_coroutine_functions_on_a_blocking_cache_are_refused(tmp_path):
    async def load(key):
        return key

    with Cache(directory=tmp_path, tiers=["memory"]) as cache, pytest.raises(CacheError, match="coroutine function"):
        cache.through(loader=load)
