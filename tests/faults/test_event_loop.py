"""Another process holds the lock of the cache's directory: the event loop goes on."""

from __future__ import annotations

import asyncio
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
