"""A cache lets go of everything when it is closed, collected, or the interpreter ends."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from scoutcache import AsyncCache, Cache, CacheError


def test_a_cache_nobody_holds_is_collected_with_its_thread_and_files(tmp_path):
    threads = threading.active_count()
    cache = Cache(directory=tmp_path)
    cache.set("a", 1)
    core = weakref.ref(cache._core)
    thread = cache._core.background._thread
    del cache
    gc.collect()
    thread.join(10)  # it may be in the middle of a turn, which holds the cache
    gc.collect()
    assert core() is None
    assert threading.active_count() == threads


def test_what_was_counted_is_written_down_though_nobody_closed_it(tmp_path):
    code = (
        "import sys; from scoutcache import Cache; "
        "c = Cache(directory=sys.argv[1]); c.get('a'); c.set('a', 1); c.get('a')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-m", "scoutcache", "--directory", str(tmp_path), "stats", "--json"],
        check=True, timeout=60, capture_output=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["hits"], found["misses"], found["sets"]) == (1, 1, 1)


def test_a_closed_cache_says_so(tmp_path):
    cache = Cache(directory=tmp_path)
    cache.set("a", 1)
    view = cache.namespace("tenant")
    cache.close()
    cache.close()
    calls = (lambda: cache.get("a"), lambda: cache.set("a", 2), lambda: view.get("a"), lambda: cache.invalidate("a"),
             lambda: list(cache.keys()))  # fmt: skip
    for call in calls:
        with pytest.raises(CacheError, match="closed"):
            call()


async def _use_after_closing(directory):
    async with AsyncCache(directory=directory) as cache:
        await cache.set("a", 1)
    await cache.get("a")


def test_a_closed_asynchronous_cache_says_so(tmp_path):
    import asyncio

    with pytest.raises(CacheError, match="closed"):
        asyncio.run(_use_after_closing(tmp_path))


def test_a_closed_cache_still_tells_what_it_counted(open_cache):
    cache = open_cache(["memory", "disk"])
    cache.set("a", 1)
    assert cache.get("a") == 1
    cache.close()
    assert (cache.stats().cache_hits, cache.health()["healthy"], cache.flush()) == (1, False, None)


def test_a_cache_stays_where_it_was_opened_when_the_process_goes_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with Cache(directory="cache", tiers=["disk"]) as cache:
        cache.set("a", 1)
        monkeypatch.chdir("elsewhere")
        with ThreadPoolExecutor(1) as other:  # a thread opens a connection of its own
            assert other.submit(cache.get, "a").result(20) == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_miss_after_the_end_of_an_entry_is_not_called_cold(tmp_path, fake_clock):
    from scoutcache.core.core import Clocks

    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    reasons = []
    with Cache(directory=tmp_path, clocks=clocks) as cache:
        cache.on("miss", lambda record: reasons.append(record.reason))
        cache.get("a")
        cache.set("a", 1, ttl=5)
        fake_clock.advance(6)
        cache.get("a")
        cache.set("a", 1, ttl=5)
        fake_clock.advance(6)
        cache.get_or_compute("a", lambda: 2)
    assert reasons == ["cold", "expired", "expired"]
