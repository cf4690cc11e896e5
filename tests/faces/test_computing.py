"""get_or_compute and cached functions: one factory call however many ask, and named errors instead of hangs."""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import threading

import pytest

from scoutcache import AsyncCache, Cache, CacheError
from scoutcache.errors import FlightCycle

PATIENCE = 20.0
"""Seconds after which a hang is called one; nothing here waits so long."""


@pytest.fixture(autouse=True)
def no_hang():
    """A hang ends the run with every stack."""
    faulthandler.dump_traceback_later(60.0, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def in_threads(*works):
    """Run each in a thread of its own; their results, or what they raised."""
    results = [None] * len(works)

    def run(n, work):
        try:
            results[n] = work()
        except BaseException as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n, work), daemon=True) for n, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it hangs"
    return results


def flights(cache):
    return len(cache._core.world.flights)


@pytest.fixture
def sync(tmp_path, clocks):
    with Cache({"directory": tmp_path / "c"}, clocks=clocks) as cache:
        yield cache


@pytest.fixture
def make_async(tmp_path, clocks):
    return lambda **more: AsyncCache({"directory": tmp_path / "c", **more}, clocks=clocks)


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


def test_a_condition_that_is_false_goes_past_the_cache(cache):
    cache.set("k", "kept")
    assert cache.get_or_compute("k", lambda: "fresh", condition=lambda: False) == "fresh"
    assert cache.get("k") == "kept"
    assert cache.get_or_compute("k", pytest.fail, condition=lambda: True) == "kept"


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


def test_a_loops_cache_takes_plain_and_coroutine_functions(make_async):
    async def factory():
        await asyncio.sleep(0)
        return "awaited"

    async def main():
        async with make_async() as cache:
            assert await cache.get_or_compute("a", factory) == "awaited"
            assert await cache.get_or_compute("b", lambda: "plain") == "plain"

    asyncio.run(main())


# -- many at once


def test_64_threads_call_the_factory_once_and_each_gets_a_value_of_its_own(sync):
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


def test_1000_tasks_call_the_factory_once_and_each_gets_a_value_of_its_own(make_async):
    calls = []

    async def factory():
        calls.append(1)
        for _ in range(5):
            await asyncio.sleep(0)
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


def test_an_error_reaches_every_task_that_waited(make_async):
    async def factory():
        await asyncio.sleep(0)
        raise LookupError("upstream")

    async def main():
        async with make_async() as cache:
            tasks = [cache.get_or_compute("k", factory) for _ in range(50)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [LookupError] * 50
            assert flights(cache) == 0

    asyncio.run(main())


def test_a_cancelled_leader_lets_the_followers_finish(make_async):
    calls, started = [], asyncio.Event()

    async def factory():
        calls.append(1)
        started.set()
        if len(calls) == 1:
            await asyncio.Event().wait()
        return 7

    async def main():
        async with make_async() as cache:
            leader = asyncio.create_task(cache.get_or_compute("k", factory))
            await started.wait()
            followers = [asyncio.create_task(cache.get_or_compute("k", factory)) for _ in range(20)]
            await asyncio.sleep(0)
            leader.cancel()
            results = await asyncio.wait_for(asyncio.gather(leader, *followers, return_exceptions=True), PATIENCE)
            assert isinstance(results[0], asyncio.CancelledError)
            assert results[1:] == [7] * 20
            assert len(calls) == 2
            assert flights(cache) == 0

    asyncio.run(main())


def test_a_cancelled_follower_leaves_the_flight_alone(make_async):
    async def main():
        async with make_async() as cache:
            go = asyncio.Event()

            async def factory():
                await go.wait()
                return 7

            leader, doomed, third = (asyncio.create_task(cache.get_or_compute("k", factory)) for _ in range(3))
            for _ in range(3):
                await asyncio.sleep(0)
            doomed.cancel()
            await asyncio.sleep(0)
            go.set()
            results = await asyncio.wait_for(asyncio.gather(leader, doomed, third, return_exceptions=True), PATIENCE)
            assert (results[0], results[2]) == (7, 7)
            assert isinstance(results[1], asyncio.CancelledError)
            assert flights(cache) == 0

    asyncio.run(main())


def test_everybody_cancelled_leaves_nothing_behind(make_async):
    async def main():
        async with make_async() as cache:
            forever = asyncio.Event()
            tasks = [asyncio.create_task(cache.get_or_compute("k", forever.wait)) for _ in range(10)]
            for _ in range(3):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert flights(cache) == 0
            assert await cache.get_or_compute("k", lambda: 1) == 1

    asyncio.run(main())


def test_threads_and_tasks_share_one_flight(sync, make_async):
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
            await asyncio.sleep(0)
            go.set()
            return await asyncio.wait_for(task, PATIENCE)

    def join():
        assert started.wait(PATIENCE)
        return asyncio.run(main())

    assert in_threads(lambda: sync.get_or_compute("k", factory), join) == ["shared", "shared"]
    assert calls == [1]


def test_who_asks_after_an_invalidation_isnt_answered_by_what_began_before_it(sync):
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


# -- circles


def test_a_factory_that_asks_for_its_own_key_is_told_so(cache):
    if cache.is_async:

        async def own():
            return await cache.cache.get_or_compute("own", own)
    else:

        def own():
            return cache.cache.get_or_compute("own", own)

    with pytest.raises(FlightCycle, match="'own'"):
        cache.get_or_compute("own", own)
    assert flights(cache.cache) == 0
    assert cache.get_or_compute("own", lambda: 1) == 1


def test_threads_whose_factories_ask_for_each_others_keys_are_told_so(sync):
    barrier = threading.Barrier(2)

    def ask(mine, other):
        def factory():
            barrier.wait(PATIENCE)
            return sync.get_or_compute(other, lambda: pytest.fail("the other leads it"))

        return lambda: sync.get_or_compute(mine, factory)

    results = in_threads(ask("a", "b"), ask("b", "a"))
    assert all(isinstance(result, FlightCycle) for result in results), results
    assert any("'a'" in str(result) and "'b'" in str(result) for result in results)
    assert flights(sync) == 0


def test_tasks_whose_factories_ask_for_each_others_keys_are_told_so(make_async):
    async def main():
        async with make_async() as cache:
            ready = [asyncio.Event(), asyncio.Event()]

            async def factory(n):
                ready[n].set()
                await ready[1 - n].wait()
                return await cache.get_or_compute("ba"[n], pytest.fail)

            both = (cache.get_or_compute("ab"[n], lambda n=n: factory(n)) for n in range(2))
            results = await asyncio.wait_for(asyncio.gather(*both, return_exceptions=True), PATIENCE)
            assert all(isinstance(result, FlightCycle) for result in results), results
            assert "'a'" in str(results[0])
            assert "'b'" in str(results[0])
            assert flights(cache) == 0

    asyncio.run(main())


def test_a_ring_through_a_third_and_through_gathered_tasks_is_seen(make_async):
    async def main():
        async with make_async() as cache:

            async def ask(key, following):
                async def factory():
                    further = cache.get_or_compute(following, lambda: ask_next[following]())
                    return await asyncio.gather(further, cache.get_or_compute("fine", lambda: 1))

                return await cache.get_or_compute(key, factory)

            ask_next = {"b": lambda: ask("c", "a"), "c": lambda: ask("a", "b"), "a": lambda: ask("b", "c")}
            with pytest.raises(FlightCycle):
                await asyncio.wait_for(ask("a", "b"), PATIENCE)
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait([task], timeout=PATIENCE)
            assert flights(cache) == 0

    asyncio.run(main())


def test_a_blocking_call_on_the_loop_that_leads_is_refused(sync, make_async):
    """Whether the factory itself blocks, or somebody else on the same loop."""

    async def main():
        async with make_async() as cache:
            started, go = asyncio.Event(), asyncio.Event()

            async def factory():
                started.set()
                await go.wait()
                return "awaited"

            leader = asyncio.create_task(cache.get_or_compute("k", factory))
            await started.wait()
            with pytest.raises(FlightCycle, match="'k'"):
                sync.get_or_compute("k", pytest.fail)
            go.set()
            assert await asyncio.wait_for(leader, PATIENCE) == "awaited"
            assert sync.get_or_compute("k", pytest.fail) == "awaited"

            async def blocks():
                return sync.get_or_compute("own", pytest.fail)

            with pytest.raises(FlightCycle, match="'own'"):
                await cache.get_or_compute("own", blocks)
            assert flights(cache) == 0

    asyncio.run(main())


def test_in_another_thread_a_blocking_call_joins_what_the_loop_leads(sync, make_async):
    async def main():
        async with make_async() as cache:
            started, go = asyncio.Event(), asyncio.Event()

            async def factory():
                started.set()
                await go.wait()
                return "awaited"

            leader = asyncio.create_task(cache.get_or_compute("k", factory))
            await started.wait()
            thread = asyncio.get_running_loop().run_in_executor(None, sync.get_or_compute, "k", pytest.fail)
            await asyncio.sleep(0)
            go.set()
            return await asyncio.wait_for(asyncio.gather(leader, thread), PATIENCE)

    assert asyncio.run(main()) == ["awaited", "awaited"]


def test_a_factory_that_asks_for_its_key_from_a_thread_it_started_is_told_so(sync):
    def own():
        context = contextvars.copy_context()
        (result,) = in_threads(lambda: context.run(sync.get_or_compute, "k", pytest.fail))
        raise result

    with pytest.raises(FlightCycle):
        sync.get_or_compute("k", own)


# -- cached functions


def test_a_cached_function_is_called_once_for_the_same_arguments(cache):
    calls = []

    @cache.cached(ttl=60)
    def add(a, b=2, *more, c=3):
        calls.append((a, b))
        return a + b + c

    assert add(1) == add(1, 2) == add(a=1, c=3) == 6
    assert calls == [(1, 2)]
    assert add(1, 3) == 7
    assert add.key(1) == add.key(1, b=2) != add.key(1, 3)
    assert add.__name__ == "add"


def test_arguments_are_told_apart_by_type(cache):
    @cache.cached()
    def name(value):
        return type(value).__name__

    assert [name(value) for value in (1, "1", True, 1.0, None, "None", (1,), [1])] == [
        "int", "str", "bool", "float", "NoneType", "str", "tuple", "list",
    ]  # fmt: skip


def test_invalidate_and_refresh_take_the_same_arguments(cache):
    calls = []

    @cache.cached()
    def count(name):
        calls.append(name)
        return len(calls)

    assert (count("a"), count("b"), count("a")) == (1, 2, 1)
    assert count.invalidate("a") is True
    assert count.invalidate("a") is False
    assert (count("a"), count("b")) == (3, 2)
    assert count.refresh("b") == 4
    assert count("b") == 4


def test_key_tags_condition_and_namespace_may_follow_from_the_arguments(cache):
    @cache.cached(
        key=lambda user, **_: f"user:{user}", tags=lambda user, **_: [f"u{user}"], namespace="people", ttl=60,
        condition=lambda user, fresh=False: not fresh,
    )  # fmt: skip
    def profile(user, fresh=False):
        return [user, fresh]

    assert profile(1) == [1, False]
    assert cache.keys(namespace="people", tag="u1") == ["user:1"]
    assert profile(1, fresh=True) == [1, True]
    assert cache.get("user:1", namespace="people") == [1, False]


def test_methods_leave_out_self(cache):
    wrap = cache.cached()

    class Service:
        @wrap
        def answer(self, n):
            return n * 2

    method = Service.answer
    assert method(Service(), 2) == method(Service(), 2) == 4
    assert len(cache.keys()) == 1


def test_coroutines_are_cached_on_a_loop(make_async):
    async def main():
        async with make_async() as cache:
            calls = []

            @cache.cached(ttl="1h")
            async def slow(n):
                calls.append(n)
                return n

            assert await asyncio.gather(*(slow(n % 3) for n in range(30))) == [n % 3 for n in range(30)]
            assert sorted(calls) == [0, 1, 2]
            assert await slow.invalidate(0)

    asyncio.run(main())


def test_a_generator_has_no_result_to_cache(cache):
    def numbers():
        yield 1

    with pytest.raises(CacheError, match="generator"):
        cache.cached()(numbers)
