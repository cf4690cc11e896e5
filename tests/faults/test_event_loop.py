"""Another process holds the lock of the cache's directory: the event loop goes on."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scoutcache import AsyncCache

HOLD = """
import fcntl
held = open(sys.argv[1], "a")
fcntl.lockf(held, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def cache(tmp_path):
    made = AsyncCache(directory=tmp_path / "cache", tiers=["disk"])
    asyncio.run(made.set("k", "value"))
    yield made
    asyncio.run(made.close())


@pytest.fixture
def in_new_thread():
    """Runs a coroutine on an event loop in a thread that has never read."""
    with ThreadPoolExecutor(1) as thread:
        yield lambda coroutine: thread.submit(asyncio.run, coroutine).result(timeout=60)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_first_read_waits_for_the_lock_and_the_loop_doesnt(cache, in_new_thread, run_python, damaged):
    """The lock is let go by the loop itself: if it stood still, the read would fail after some seconds."""
    tier = cache._core.tier("disk")

    async def read():
        holder = run_python(HOLD, tier.directory / "disk.lock")
        assert holder.stdout.readline() == "held\n"
        if damaged:
            tier._database._let_go(tier._database._cache)  # as a read does that finds it damaged
        assert not tier.ready()
        reading = asyncio.create_task(cache.get("k"))
        many = asyncio.create_task(cache.get_many(["k", "other"]))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not reading.done()
        assert not many.done()
        holder.kill()
        holder.wait()
        assert (await reading, await many) == ("value", {"k": "value"})
        assert tier.ready()
        return await cache.get("k")

    assert in_new_thread(read()) == "value"


ASK = """
from scoutcache import Cache
settings = {"tiers": ["redis"], "redis": {"url": sys.argv[2]}} if sys.argv[2:] else {"tiers": ["disk"]}
with Cache(directory=sys.argv[1], **settings) as cache:
    print(cache.get_or_compute("k", lambda: "another's"), flush=True)
"""


@pytest.mark.parametrize("where", ["machine", "server"])
@pytest.mark.parametrize("how", ["computing", "refreshing"])
def test_what_a_closed_loop_left_behind_keeps_no_other_process_from_computing(
    tmp_path, run_python, request, where, how
):
    url = request.getfixturevalue("redis_url") if where == "server" else None
    settings = {"tiers": ["redis"], "redis": {"url": url}} if url else {"tiers": ["disk"]}
    cache, loop = AsyncCache(directory=tmp_path / "one", **settings), asyncio.new_event_loop()

    async def hang():
        await asyncio.sleep(3600)

    async def begin():
        if how == "refreshing":
            await cache.set("k", "stale", ttl=0.01, stale_ttl=1.0)
            await asyncio.sleep(0.05)
        asking = asyncio.create_task(cache.get_or_compute("k", hang, stale_ttl="1h"))
        await asyncio.sleep(0.2)
        return asking

    left = loop.run_until_complete(begin())
    loop.close()
    time.sleep(1 if how == "refreshing" else 0)  # till it is too old
    other = run_python(ASK, tmp_path / ("two" if url else "one"), *([url] if url else []))
    assert other.communicate(timeout=20)[0] == "another's\n"
    del left
    asyncio.run(cache.close())
