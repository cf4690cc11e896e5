"""Computations that would wait for themselves are told so, in whatever way the circle closes, instead of hanging."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from scoutcache.errors import FlightCycle

PATIENCE = 20.0
"""Seconds after which a hang is called one; nothing here waits so long."""

pytestmark = pytest.mark.usefixtures("no_hang")


def flights(cache):
    return len(cache._core.world.flights)


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


def test_threads_whose_factories_ask_for_each_others_keys_are_told_so(sync, in_threads):
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


def test_a_ring_through_a_third_and_through_gathered_tasks_is_seen(make_async, turns):
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
            await turns()
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


def test_in_another_thread_a_blocking_call_joins_what_the_loop_leads(sync, make_async, turns):
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
            await turns()
            go.set()
            return await asyncio.wait_for(asyncio.gather(leader, thread), PATIENCE)

    assert asyncio.run(main()) == ["awaited", "awaited"]


def test_a_factory_that_asks_for_its_key_from_a_thread_it_started_is_told_so(sync, in_threads):
    def own():
        context = contextvars.copy_context()
        (result,) = in_threads(lambda: context.run(sync.get_or_compute, "k", pytest.fail))
        raise result

    with pytest.raises(FlightCycle):
        sync.get_or_compute("k", own)
