"""get_or_compute: one call of the factory however many ask, and what becomes of errors and of those who leave."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import suppress

import pytest

from scoutcache import Cache, CacheError
from scoutcache.entry import Ref
from scoutcache.face import _UNHEEDED

PATIENCE = 20.0
"""Seconds after which a hang is called one; nothing here waits so long."""

pytestmark = pytest.mark.usefixtures("no_hang")


def flights(cache):
    return len(cache._core.world.flights)


# -- what it gives


def test_a_value_is_computed_once_and_kept(cache):
    calls = []
    for _ in range(10):
        assert cache.get_or_compute("k", lambda: calls.append(1) or {"a": 1}) == {"a": 1}
    assert len(calls) == 1
    assert cache.get("k") == {"a": 1}


def test_its_options_are_those_of_set(cache, fake_clock):
    cache.get_or_compute("k", lambda: 1, ttl=10, tags=["red"], depends_on=["db"], namespace="tenant", cost=0.25)
    entry = cache.get_entry("k", namespace="tenant")
    assert (entry.tags, entry.depends_on, entry.cost) == (("red",), ("db",), 0.25)
    cache.invalidate(tags=["red"], namespace="tenant")
    assert cache.get_or_compute("k", lambda: 2, namespace="tenant") == 2


def test_an_option_that_doesnt_exist_is_refused_on_a_hit_too(cache):
    assert cache.get_or_compute("k", lambda: 1) == 1
    with pytest.raises(TypeError, match="unexpected keyword argument 'tll'"):
        cache.get_or_compute("k", lambda: 2, tll=10)


def test_no_option_of_a_call_keeps_a_hit_in_memory_from_being_one(cache):
    own = set(inspect.signature(Cache.get_or_compute).parameters) - {"self", "key", "factory"}
    assert own - {"condition", "validate", "refresh_ahead", "namespace"} == _UNHEEDED
    cache.set("k", 1)
    every = dict.fromkeys(_UNHEEDED) | {"tags": ("red",), "depends_on": ["db"]}
    assert cache.get_or_compute("k", pytest.fail, **every) == 1


def test_a_condition_that_is_false_goes_past_the_cache(cache):
    cache.set("k", "kept")
    assert cache.get_or_compute("k", lambda: "fresh", condition=lambda: False) == "fresh"
    assert cache.get("k") == "kept"
    assert cache.get_or_compute("k", pytest.fail, condition=lambda: True) == "kept"


EMPTY = {
    "plain": {},
    "in time": {"hard_timeout": PATIENCE},
    "kept": {"error_ttl": 60},
    "past the cache": {"condition": lambda: False},
}


@pytest.mark.parametrize("how", EMPTY.values(), ids=EMPTY)
def test_a_factory_that_ends_an_iteration_ends_its_callers(cache, how):
    expected, named = (RuntimeError, r"the factory raised StopIteration\('dry'\)") if cache.is_async else (
        StopIteration, "dry")  # fmt: skip

    def stop():
        raise StopIteration("dry")

    for _ in range(2):  # the second time it may be answered from what is kept
        with pytest.raises(expected, match=named):
            cache.get_or_compute("k", stop, **how)


def test_an_asynchronous_iteration_that_ends_does_so_for_its_caller(cache):
    def stop():
        raise StopAsyncIteration("dry")

    with pytest.raises(StopAsyncIteration, match="dry"):
        cache.get_or_compute("k", stop)


def test_store_if_decides_after(cache):
    assert cache.get_or_compute("k", lambda: "bad", store_if=lambda value: value != "bad") == "bad"
    assert not cache.exists("k")


def test_a_factorys_error_is_the_callers_and_isnt_kept(cache):
    def fail():
        raise LookupError("upstream")

    for _ in range(2):
        with pytest.raises(LookupError, match="upstream"):
            cache.get_or_compute("k", fail)
    assert cache.get_or_compute("k", lambda: "fine") == "fine"
    assert flights(cache.cache) == 0


def test_a_value_that_cant_be_stored_is_returned(cache):
    thing = object()
    assert cache.get_or_compute("k", lambda: thing) is thing
    assert not cache.exists("k")


def test_repeated_calls_are_saved(cache):
    """More than 70 % fewer calls, more than 60 % hits, as a service that is asked the same again sees it."""
    calls = []
    for n in range(200):
        cache.get_or_compute(f"q:{n % 20}", lambda n=n: calls.append(n) or f"answer {n % 20}")
    assert len(calls) == 20 < 200 * 0.3
    for n in range(200):
        if cache.get(f"r:{n % 40}") is None:
            cache.set(f"r:{n % 40}", n)
    cache.flush()
    assert cache.stats().hit_rate > 0.6


def test_a_blocking_cache_refuses_a_coroutine(sync):
    async def factory():
        raise AssertionError

    with pytest.raises(CacheError, match="coroutine"):
        sync.get_or_compute("k", factory)
    assert flights(sync) == 0


def test_a_loops_cache_takes_plain_and_coroutine_functions(make_async, turns):
    async def factory():
        await turns()
        return "awaited"

    async def main():
        async with make_async() as cache:
            assert await cache.get_or_compute("a", factory) == "awaited"
            assert await cache.get_or_compute("b", lambda: "plain") == "plain"

    asyncio.run(main())


# -- many at once


def test_64_threads_call_the_factory_once_and_each_gets_a_value_of_its_own(sync, in_threads):
    calls, barrier, go = [], threading.Barrier(64), threading.Event()

    def factory():
        calls.append(1)
        assert go.wait(PATIENCE)
        return {"list": [1]}

    def ask():
        if barrier.wait() == 0:
            threading.Timer(0, go.set).start()
        return sync.get_or_compute("k", factory)

    results = in_threads(*[ask] * 64)
    assert results == [{"list": [1]}] * 64
    assert len({id(result) for result in results}) == 64
    assert len(calls) == 1
    assert flights(sync) == 0


def test_1000_tasks_call_the_factory_once_and_each_gets_a_value_of_its_own(make_async, turns):
    calls = []

    async def factory():
        calls.append(1)
        await turns(5)
        return {"list": [1]}

    async def main():
        async with make_async() as cache:
            results = await asyncio.gather(*(cache.get_or_compute("k", factory) for _ in range(1000)))
            assert flights(cache) == 0
            return results

    results = asyncio.run(main())
    assert results == [{"list": [1]}] * 1000
    assert len({id(result) for result in results}) == 1000
    assert len(calls) == 1


def test_an_error_reaches_every_task_that_waited(make_async, turns):
    async def factory():
        await turns()
        raise LookupError("upstream")

    async def main():
        async with make_async() as cache:
            tasks = [cache.get_or_compute("k", factory) for _ in range(50)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [LookupError] * 50
            assert flights(cache) == 0

    asyncio.run(main())


async def cancelled(*tasks):
    """Cancel them, one after the other; each has ended when this returns."""
    for task in tasks:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE)


def test_what_a_cancelled_leader_has_begun_goes_on_for_the_followers(make_async, turns):
    """It may be a call that is paid for: a client that hangs up must not have it made once more for the others."""
    calls = []

    async def main():
        async with make_async() as cache:
            started, go = asyncio.Event(), asyncio.Event()

            async def factory():
                calls.append(1)
                started.set()
                await go.wait()
                return 7

            leader = asyncio.create_task(cache.get_or_compute("k", factory))
            await started.wait()
            followers = [asyncio.create_task(cache.get_or_compute("k", factory)) for _ in range(20)]
            await turns()
            await cancelled(leader, *followers[:10])
            go.set()
            assert await asyncio.wait_for(asyncio.gather(*followers[10:]), PATIENCE) == [7] * 10
            assert flights(cache) == 0
            assert await cache.get("k") == 7

    asyncio.run(main())
    assert calls == [1]


def test_the_last_who_waits_ends_what_a_cancelled_leader_has_begun(make_async, turns):
    """Or a factory that hangs would keep its key for ever, each caller waiting as long as he cares to."""
    ended = []

    async def main():
        async with make_async() as cache:
            started = asyncio.Event()

            async def factory():
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append(1)

            leader = asyncio.create_task(cache.get_or_compute("k", factory))
            await started.wait()
            followers = [asyncio.create_task(cache.get_or_compute("k", factory)) for _ in range(3)]
            await turns()
            await cancelled(leader, *followers[:2])
            assert ended == []
            await cancelled(followers[2])
            await turns()
            assert ended == [1]
            assert await asyncio.wait_for(cache.get_or_compute("k", lambda: 8), PATIENCE) == 8
            assert flights(cache) == 0

    asyncio.run(main())


def test_a_leader_alone_that_is_cancelled_ends_its_factory_before_it_ends(make_async, turns):
    ended = []

    async def main():
        async with make_async() as cache:
            started = asyncio.Event()

            async def factory():
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
                    ended.append(1)

            leader = asyncio.create_task(cache.get_or_compute("k", factory))
            await started.wait()
            await cancelled(leader)
            assert ended == [1]
            assert flights(cache) == 0

    asyncio.run(main())


def test_a_factory_that_goes_on_though_its_only_caller_is_cancelled_is_answered_and_kept(make_async):
    async def main():
        async with make_async() as cache:
            started = asyncio.Event()

            async def factory():
                started.set()
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                return 7

            leader = asyncio.create_task(cache.get_or_compute("k", factory))
            await started.wait()
            leader.cancel()
            assert await asyncio.wait_for(leader, PATIENCE) == 7
            assert await cache.get("k") == 7

    asyncio.run(main())


@pytest.mark.parametrize("stored", [False, True])
def test_a_cancellation_is_not_lost_while_the_value_is_on_its_way(make_async, turns, stored):
    """What was computed may have come to its end already, and its caller not have been woken."""
    async def main():
        async with make_async(tiers=["memory"]) as cache:
            for late in range(12):
                done = asyncio.Event()
                asking = cache.get_or_compute(f"k{late}", done.wait, store_if=lambda _: stored)
                caller = asyncio.create_task(asking)
                await turns(5)
                done.set()
                await turns(late)
                if not caller.done():
                    await cancelled(caller)

    asyncio.run(main())


def test_what_is_not_begun_when_its_only_caller_is_cancelled_is_not_begun_at_all(make_async, monkeypatch):
    """He was cancelled while a value that he refuses was removed, before the factory's turn."""
    async def main():
        async with make_async() as cache:
            await cache.set("k", "refused")
            disk, removing, go = cache._core.tier("disk"), threading.Event(), threading.Event()
            remove, called = disk.remove, []

            def slowly(refs):
                removing.set()
                assert go.wait(PATIENCE)
                return remove(refs)

            monkeypatch.setattr(disk, "remove", slowly)
            asking = cache.get_or_compute("k", lambda: called.append(1), validate=lambda value: value != "refused")
            caller = asyncio.create_task(asking)
            await asyncio.to_thread(removing.wait, PATIENCE)
            await cancelled(caller)
            go.set()
            while flights(cache):
                await asyncio.sleep(0.001)
            assert not called
            assert await cache.get("k") is None

    asyncio.run(main())


def test_who_was_cancelled_waits_for_nobody_when_his_own_part_is_stored(make_async, monkeypatch, turns):
    """Else he would be one who waits for the other part, and that would go on though nobody wants it."""
    async def main():
        async with make_async() as cache:
            started, ended = asyncio.Event(), asyncio.Event()

            async def factory():
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.set()

            other = asyncio.create_task(cache.get_or_compute("other", factory))
            await started.wait()
            disk, writing, go = cache._core.tier("disk"), threading.Event(), threading.Event()
            write = disk.write

            def slowly(*given):
                writing.set()
                assert go.wait(PATIENCE)
                return write(*given)

            monkeypatch.setattr(disk, "write", slowly)
            asking = cache.get_or_compute_many(["own", "other"], lambda keys: dict.fromkeys(keys, 1))
            caller = asyncio.create_task(asking)
            await asyncio.to_thread(writing.wait, PATIENCE)
            await cancelled(caller)
            go.set()
            while flights(cache) > 1:
                await asyncio.sleep(0.001)
            await turns(5)
            await cancelled(other)
            await asyncio.wait_for(ended.wait(), PATIENCE)
            assert flights(cache) == 0
            assert await cache.get("own") == 1

    asyncio.run(main())


def test_a_thread_goes_on_waiting_for_what_a_cancelled_task_has_begun(sync, make_async):
    """Both faces over one directory share what is under way."""
    async def main():
        async with make_async() as cache:
            started, go = asyncio.Event(), asyncio.Event()

            async def factory():
                started.set()
                await go.wait()
                return 7

            leader = asyncio.create_task(cache.get_or_compute("k", factory))
            await started.wait()
            flight = cache._core.world.flights.get(Ref("default", "k"))
            waiting = asyncio.create_task(asyncio.to_thread(sync.get_or_compute, "k", lambda: 8))
            while not flight.followers:
                await asyncio.sleep(0)
            await cancelled(leader)
            go.set()
            assert await asyncio.wait_for(waiting, PATIENCE) == 7

    asyncio.run(main())


def test_a_cancelled_follower_leaves_the_flight_alone(make_async, turns):
    async def main():
        async with make_async() as cache:
            go = asyncio.Event()

            async def factory():
                await go.wait()
                return 7

            leader, doomed, third = (asyncio.create_task(cache.get_or_compute("k", factory)) for _ in range(3))
            await turns(3)
            doomed.cancel()
            await turns()
            go.set()
            results = await asyncio.wait_for(asyncio.gather(leader, doomed, third, return_exceptions=True), PATIENCE)
            assert (results[0], results[2]) == (7, 7)
            assert isinstance(results[1], asyncio.CancelledError)
            assert flights(cache) == 0

    asyncio.run(main())


def test_everybody_cancelled_leaves_nothing_behind(make_async, turns):
    async def main():
        async with make_async() as cache:
            forever = asyncio.Event()
            tasks = [asyncio.create_task(cache.get_or_compute("k", forever.wait)) for _ in range(10)]
            await turns(3)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert flights(cache) == 0
            assert await cache.get_or_compute("k", lambda: 1) == 1

    asyncio.run(main())


def test_threads_and_tasks_share_one_flight(sync, make_async, in_threads, turns):
    """Two caches over one directory in one process: a thread leads, a task joins."""
    started, go, calls = threading.Event(), threading.Event(), []

    def factory():
        calls.append(1)
        started.set()
        assert go.wait(PATIENCE)
        return "shared"

    async def main():
        async with make_async() as cache:
            task = asyncio.create_task(cache.get_or_compute("k", pytest.fail))
            await turns()
            go.set()
            return await asyncio.wait_for(task, PATIENCE)

    def join():
        assert started.wait(PATIENCE)
        return asyncio.run(main())

    assert in_threads(lambda: sync.get_or_compute("k", factory), join) == ["shared", "shared"]
    assert calls == [1]


def test_who_asks_after_an_invalidation_isnt_answered_by_what_began_before_it(sync, in_threads):
    started, go = threading.Event(), threading.Event()

    def old():
        started.set()
        assert go.wait(PATIENCE)
        return "old"

    def after():
        assert started.wait(PATIENCE)
        sync.invalidate("k*")
        try:
            return sync.get_or_compute("k", lambda: "new")
        finally:
            go.set()

    assert in_threads(lambda: sync.get_or_compute("k", old), after) == ["old", "new"]
    assert sync.get("k") == "new"
    assert flights(sync) == 0
