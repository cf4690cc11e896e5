"""How computations end that nobody waits for any more: cancelled, or outlived by loop, cache or process."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.assembly import assemble as assembly
from scoutcache.calls.calls import Calls
from scoutcache.calls.get_or_compute import obtain, options
from scoutcache.entry import Ref
from scoutcache.errors import FactoryTimeout, FlightCycle

PATIENCE = 20.0
STALE = {"ttl": 10, "stale_ttl": 1000}


@pytest.fixture(autouse=True)
def no_hang():
    """A hang ends the run with every stack."""
    faulthandler.dump_traceback_later(90.0, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def make(tmp_path, clocks):
    """Open caches of either kind over one directory; a thread has its blocking ones closed."""
    opened = []

    def one(kind=Cache, **settings):
        cache = kind({"directory": tmp_path / "c", **settings}, clocks=clocks)
        if kind is Cache:
            opened.append(cache)
        return cache

    yield one
    for cache in opened:
        cache.close()


def left(cache):
    """What is under way, or was left behind."""
    core = cache._core
    folder = core.directory / "leases"
    files = list(folder.iterdir()) if folder.exists() else []
    return [*core.world.flights._flights, *core.world.refreshes._flights, *core.ports.leases._held, *files]


def settled(cache):
    return not wait(list(cache._core.ports.beside), timeout=PATIENCE).not_done


def written_in(directory):
    """When each file was written last, but for leases, which are let go of."""
    files = [path for path in directory.rglob("*") if path.is_file() and "leases" not in path.parts]
    return {str(path): path.stat().st_mtime_ns for path in files}


# -- cancelled


KINDS = {
    "missing": {},
    "stale": {**STALE},
    "soft": {**STALE, "soft_timeout": "never"},
    "hard": {"hard_timeout": PATIENCE},
    "validated": {"validate": lambda value: value != "old"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_leader_cancelled_at_any_moment_leaves_nothing_and_its_followers_finish(make, fake_clock, kind):
    async def once(moment):
        """Cancel the first of three after so many turns of the loop; whether it had ended before."""
        cache, calls, stale = make(AsyncCache), [], kind in ("stale", "soft")
        await cache.delete("k")
        if stale or kind == "validated":
            await cache.set("k", "old", **STALE)
        if stale:
            fake_clock.advance(20)

        async def factory():
            calls.append(1)
            for _ in range(3):
                await asyncio.sleep(0)
            return "new"

        tasks = [asyncio.create_task(cache.get_or_compute("k", factory, **KINDS[kind])) for _ in range(3)]
        for _ in range(moment):
            await asyncio.sleep(0)
        early = tasks[0].done()
        tasks[0].cancel()
        first, *others = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
        assert early or isinstance(first, asyncio.CancelledError) or first == "new"
        assert set(others) <= ({"new", "old"} if stale else {"new"})
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait([task], timeout=PATIENCE)
        assert left(cache) == []
        assert len(calls) <= 2
        await cache.close()
        return early

    async def main():
        for moment in range(200):
            if await once(moment):
                return moment
        pytest.fail("it never ended")

    assert asyncio.run(main()) >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_cancelled_at_any_moment_leaves_nothing(make, fake_clock, kind):
    async def main():
        for moment in range(12):
            cache = make(AsyncCache)
            await cache.delete("k")
            await cache.set("k", "old", **STALE)
            fake_clock.advance(20 if kind in ("stale", "soft") else 0)
            if kind in ("missing", "hard"):
                await cache.delete("k")
            go = asyncio.Event()

            async def factory(go=go):
                await go.wait()
                return "new"

            tasks = [asyncio.create_task(cache.get_or_compute("k", factory, **KINDS[kind])) for _ in range(3)]
            for _ in range(moment):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=PATIENCE)
            go.set()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait([task], timeout=PATIENCE)
            assert left(cache) == []
            await cache.close()

    asyncio.run(main())


# -- loops


async def _hangs():
    await asyncio.Event().wait()


@pytest.mark.parametrize("how", ["stale", "hard"])
def test_a_loop_may_end_while_a_refresh_runs(make, fake_clock, how, caplog):
    """`asyncio.run` cancels it; who asks later, in a thread, computes anew."""
    sync = make()
    if how == "stale":
        sync.set("k", "old", **STALE)
        fake_clock.advance(20)

    async def main():
        cache = make(AsyncCache)
        if how == "stale":
            assert await cache.get_or_compute("k", _hangs, **STALE) == "old"
        else:
            with pytest.raises(FactoryTimeout):
                await cache.get_or_compute("k", _hangs, hard_timeout=0.01)
        assert left(cache) != []
        return cache

    cache = asyncio.run(main())
    assert left(sync) == []
    fake_clock.advance(2000)
    assert sync.get_or_compute("k", lambda: "new") == "new"
    asyncio.run(cache.close())
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_loop_that_is_left_standing_keeps_nobody_waiting(make, recwarn):
    """Not every loop is ended as `asyncio.run` ends one: its tasks are just never driven again."""
    sync, cache = make(), make(AsyncCache)
    loop = asyncio.new_event_loop()
    task = loop.create_task(cache.get_or_compute("k", _hangs))
    loop.run_until_complete(asyncio.sleep(0))
    assert left(sync) != []
    assert sync.get_or_compute("k", lambda: "mine") == "mine"

    async def another():
        async with make(AsyncCache) as third:
            await third.delete("k")
            return await asyncio.wait_for(third.get_or_compute("k", lambda: "theirs"), PATIENCE)

    assert asyncio.run(another()) == "theirs"
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    assert left(sync) == []
    loop.run_until_complete(cache.close())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_a_refresh_on_a_loop_that_stands_still_is_begun_again_elsewhere(make, fake_clock, monkeypatch):
    monkeypatch.setattr(assembly, "LATE_RESULTS", 0.02)
    sync, cache = make(), make(AsyncCache)
    sync.set("k", "old", **STALE)
    fake_clock.advance(20)
    with asyncio.Runner() as runner:
        assert runner.run(cache.get_or_compute("k", _hangs, **STALE)) == "old"
        runner.run(asyncio.sleep(0))
        fake_clock.advance(2000)
        assert sync.get_or_compute("k", lambda: "new", hard_timeout=PATIENCE) == "new"
        assert sync.get_or_compute("k", pytest.fail) == "new"
        runner.run(cache.close())
    assert left(sync) == []


def test_a_timeout_on_a_loop_leaves_no_error_that_nobody_asked_for(make, caplog):
    go = threading.Event()
    sync = make()

    def fails():
        assert go.wait(PATIENCE)
        raise LookupError("late")

    async def main():
        async with make(AsyncCache) as cache:
            with pytest.raises(Exception, match="takes longer"):
                await cache.get_or_compute("k", pytest.fail, hard_timeout=0.02)

    with pytest.raises(Exception, match="takes longer"):
        sync.get_or_compute("k", fails, hard_timeout=0.01)
    asyncio.run(main())
    go.set()
    assert settled(sync)
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert left(sync) == []


# -- circles


def test_a_refresh_that_asks_for_its_own_key_gets_the_stale_value(make, fake_clock):
    cache, got = make(), []
    cache.set("k", "old", **STALE)
    fake_clock.advance(20)

    def own(soft):
        def factory():
            got.append(cache.get_or_compute("k", pytest.fail, soft_timeout=soft, **STALE))
            return "new"

        return factory

    for soft in (None, "never"):
        assert cache.get_or_compute("k", own(soft), soft_timeout=soft, **STALE) in ("old", "new")
        assert settled(cache)
        assert cache.get("k") == "new"
        fake_clock.advance(20)
    assert got == ["old", "new"], "what was stale then"
    assert left(cache) == []


def test_a_computation_beside_the_calls_that_asks_for_its_own_key_ends_in_an_error(make):
    cache = make()

    def own():
        return cache.get_or_compute("k", pytest.fail)

    with pytest.raises(FlightCycle):
        cache.get_or_compute("k", own, hard_timeout=PATIENCE)
    assert settled(cache)
    assert left(cache) == []


def test_a_refresh_and_a_computation_that_ask_for_each_other_end(make, fake_clock):
    cache, both = make(), threading.Barrier(2)
    cache.set("a", "old", **STALE)
    fake_clock.advance(20)

    def a():
        both.wait(PATIENCE)
        return cache.get_or_compute("b", lambda: "b from a")

    def b():
        both.wait(PATIENCE)
        return cache.get_or_compute("a", pytest.fail, soft_timeout="never", **STALE)

    assert cache.get_or_compute("a", a, **STALE) == "old"
    assert cache.get_or_compute("b", b) == "old", "a circle, so it is given the stale value"
    assert settled(cache)
    assert left(cache) == []


def test_a_factory_that_ends_its_thread_ends_its_callers_instead(make, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # pytest's would call it an error
    cache = make()
    with pytest.raises(SystemExit):
        cache.get_or_compute("k", sys.exit, hard_timeout=PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "scoutcache-beside":
            thread.join(PATIENCE)
    assert left(cache) == []


# -- caches


def test_closing_doesnt_wait_for_ever_and_nothing_is_written_afterwards(make, fake_clock, monkeypatch, caplog):
    monkeypatch.setattr(assembly, "LATE_RESULTS", 0.02)
    cache, go, written = make(), threading.Event(), []
    cache.set("k", "old", **STALE)
    fake_clock.advance(20)

    def hangs():
        assert go.wait(PATIENCE)
        return "late"

    assert cache.get_or_compute("k", hangs, **STALE) == "old"
    beside = list(cache._core.ports.beside)
    cache.on("stored", written.append)
    cache.close()
    before = written_in(cache._core.directory)
    go.set()
    assert not wait(beside, timeout=PATIENCE).not_done
    assert written_in(cache._core.directory) == before
    assert left(cache) == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    with make() as again:
        assert again.get_entry("k").value == "old"


def test_who_computes_while_the_cache_is_closed_gets_the_value(make):
    cache, begun, go, got = make(), threading.Event(), threading.Event(), []

    def factory():
        begun.set()
        assert go.wait(PATIENCE)
        return "new"

    asking = threading.Thread(target=lambda: got.append(cache.get_or_compute("k", factory)))
    asking.start()
    assert begun.wait(PATIENCE)
    cache.close()
    go.set()
    asking.join(PATIENCE)
    assert got == ["new"]


def test_who_computes_on_a_loop_while_the_cache_is_closed_gets_the_value(make):
    async def main():
        cache, begun, go = make(AsyncCache), asyncio.Event(), asyncio.Event()

        async def factory():
            begun.set()
            await go.wait()
            return "new"

        asking = [asyncio.create_task(cache.get_or_compute("k", factory)) for _ in range(2)]
        await begun.wait()
        await cache.close()
        go.set()
        return await asyncio.wait_for(asyncio.gather(*asking), PATIENCE)

    assert asyncio.run(main()) == ["new", "new"]


def test_closing_waits_for_a_late_result_that_comes_soon(make, fake_clock):
    cache, go = make(), threading.Event()
    cache.set("k", "old", **STALE)
    fake_clock.advance(20)

    def soon():
        assert go.wait(PATIENCE)
        return "new"

    assert cache.get_or_compute("k", soon, **STALE) == "old"
    threading.Timer(0.05, go.set).start()
    cache.close()
    with make() as again:
        assert again.get("k") == "new"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_knows_nothing_of_its_parents_refreshes(make, fake_clock):
    cache, go = make(), threading.Event()
    cache.set("k", "old", **STALE)
    fake_clock.advance(20)

    def hangs():
        assert go.wait(PATIENCE)
        return "the parent's"

    assert cache.get_or_compute("k", hangs, **STALE) == "old"
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(PATIENCE))
        status = 1
        try:
            assert not cache._core.ports.beside
            assert not len(cache._core.world.refreshes)
            began = time.monotonic()
            cache.close()
            status = 0 if time.monotonic() - began < assembly.LATE_RESULTS / 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    go.set()
    assert settled(cache)
    assert cache.get("k") == "the parent's"
    assert left(cache) == []


def test_a_value_that_is_refused_is_computed_once_however_many_ask(make):
    """Its removal is announced by the very computation that replaces it."""

    async def main():
        async with make(AsyncCache) as cache:
            await cache.set("k", "old")
            calls = []

            async def factory():
                calls.append(1)
                await asyncio.sleep(0)
                return "new"

            asks = [cache.get_or_compute("k", factory, validate=lambda value: value != "old") for _ in range(50)]
            assert await asyncio.gather(*asks) == ["new"] * 50
            assert calls == [1]
            assert await cache.get("k") == "new"

    asyncio.run(main())


@pytest.mark.parametrize("closed", [False, True])
def test_a_process_ends_though_a_factory_hangs_beside_the_calls(tmp_path, closed):
    code = f"""
import threading
from scoutcache import Cache
from scoutcache.assembly import assemble as assembly
from scoutcache.errors import FactoryTimeout
assembly.LATE_RESULTS = 0.1
cache = Cache({{"directory": {str(tmp_path / "c")!r}}})
try:
    cache.get_or_compute("k", threading.Event().wait, hard_timeout=0.05)
except FactoryTimeout:
    print("timed out", flush=True)
if {closed}:
    cache.close()
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=PATIENCE,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "timed out\n", "")


def test_what_a_closed_loop_was_refreshing_is_refreshed_by_another(tmp_path):
    """A caller that is served the stale value joins nobody, so it must look itself whether the refresh goes on."""
    started = []

    async def factory():
        started.append(1)
        if len(started) == 2:
            await asyncio.Event().wait()
        return len(started)

    def ask(loop):
        return loop.run_until_complete(cache.get_or_compute("k", factory, ttl="1ms", stale_ttl="1h", soft_timeout=0))

    cache = AsyncCache(directory=tmp_path)
    first, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    assert ask(first) == 1
    while other.run_until_complete(cache.exists("k")):
        pass  # a millisecond
    assert ask(first) == 1
    first.run_until_complete(asyncio.sleep(0))
    first.close()
    assert ask(other) == 1
    settled = [asyncio.wrap_future(one, loop=other) for one in cache._core.ports.beside]
    if settled:
        other.run_until_complete(asyncio.wait(settled, timeout=10))
    assert len(started) == 3
    other.run_until_complete(cache.close())
    other.close()


@pytest.mark.parametrize("hard", [None, PATIENCE])
def test_who_waits_longer_for_another_process_is_not_given_the_end_of_who_waits_less(hard, tmp_path, until):
    """Both wait for the same lease, one of them through the other."""
    with Cache(directory=tmp_path) as cache, ThreadPoolExecutor(2) as pool:
        core, ref = cache._core, Ref("default", "k")
        lease = core.ports.leases.try_take(ref)  # as another process does

        def ask(seconds, **more):
            flow = obtain(Calls(core, "default"), "k", lambda: "own", options("get_or_compute", more),
                          core.clocks.monotonic() + seconds)  # fmt: skip
            return cache._run(flow)

        short = pool.submit(ask, 0.3, hard_timeout=hard)
        until(lambda: len(core.world.flights), "the first one waits")
        long = pool.submit(ask, PATIENCE, hard_timeout=PATIENCE)
        with pytest.raises(FactoryTimeout, match="another caller's"):
            short.result(PATIENCE)
        with suppress(TimeoutError):
            assert long.exception(0.05) is None
        lease.release()
        assert long.result(PATIENCE) == "own"
