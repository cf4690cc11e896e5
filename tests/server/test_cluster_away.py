"""A cluster of which no node answers is away, and nothing else is raised."""

from __future__ import annotations

import asyncio

import pytest

from scoutcache import AsyncCache, Cache

NOBODY = {"nodes": ["127.0.0.1:1", "127.0.0.1:2"], "timeout": 0.2, "connect_timeout": 0.2}


def test_threads_go_on_without_it(tmp_path):
    with Cache(tiers=["memory", "redis"], directory=tmp_path, redis=NOBODY) as cache:
        assert cache.set("k", 1)
        assert cache.get("k") == 1
        assert cache.get_or_compute("other", lambda: 2) == 2
        assert not cache.health()["tiers"]["redis"]["ok"]


def test_so_does_an_event_loop(tmp_path):
    async def work():
        async with AsyncCache(tiers=["memory", "redis"], directory=tmp_path, redis=NOBODY) as cache:
            assert await cache.set("k", 1)
            assert await cache.get("k") == 1
            assert await cache.get("nothing") is None

    asyncio.run(work())


def test_who_wants_to_hear_of_it_does(tmp_path):
    from scoutcache.errors import TierUnavailable

    cache = Cache(tiers=["redis"], directory=tmp_path, redis=NOBODY, raise_errors=True)
    with cache, pytest.raises(TierUnavailable):
        cache.get("k")
