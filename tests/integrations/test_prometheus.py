"""What a process exposes to Prometheus is exact, never falls, and costs hits nothing."""

from __future__ import annotations

import sys

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.core.core import Clocks
from scoutcache.errors import CacheError
from scoutcache.integrations.prometheus import CacheCollector

client = pytest.importorskip("prometheus_client")


@pytest.fixture
def cache(tmp_path, fake_clock):
    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    with Cache(directory=tmp_path / "cache", clocks=clocks) as cache:
        yield cache


@pytest.fixture
def scrape(cache):
    registry = client.CollectorRegistry()
    registry.register(CacheCollector(cache, {"app": "shop"}))
    return lambda name, **labels: registry.get_sample_value(name, {"app": "shop", **labels})


GETS = {"namespace": "default", "prefix": "llm", "tier": "memory", "result": "hit"}


def test_hits_in_memory_are_there_at_once(cache, scrape):
    cache.set("llm:a", 1)
    for _ in range(3):
        cache.get("llm:a")
    cache.get("llm:no")
    assert scrape("cache_gets_total", **GETS) == 3
    assert scrape("cache_gets_total", **{**GETS, "tier": "", "result": "miss"}) == 1
    assert scrape("cache_misses_total", namespace="default", reason="cold") == 1
    assert scrape("cache_puts_total", namespace="default", prefix="llm", result="stored") == 1
    assert scrape("cache_entries", tier="memory") == scrape("cache_entries", tier="disk") == 1
    assert scrape("cache_saved_usd_total", namespace="default") is None


def test_counters_do_not_fall_when_a_segment_is_over(cache, scrape, fake_clock):
    cache.set("llm:a", 1)
    for number in range(1, 6):
        cache.get("llm:a")
        fake_clock.advance(700)
        cache._core.background.turn()
        assert scrape("cache_gets_total", **GETS) == number


def test_it_is_the_process_s_own_and_not_what_others_counted(cache, scrape, tmp_path):
    with Cache(directory=tmp_path / "cache", tiers=["disk"]) as other:
        other.get("llm:no")
    assert scrape("cache_gets_total", **{**GETS, "tier": "", "result": "miss"}) is None


def test_an_alert_stands_as_one(cache, scrape):
    for _ in range(50):
        cache.invalidate("x:*")
    assert scrape("cache_alert", alert="invalidations_per_hour", level="WARNING") == 1
    assert scrape("cache_invalidations_total", namespace="default") == 50


def test_its_own_text_is_what_the_client_writes(cache):
    from scoutcache.insight.live.metrics import exposition, families
    from tests.insight.live.test_metrics import read

    cache.set('we"ird\\:a', 1)
    cache.get('we"ird\\:a')
    registry = client.CollectorRegistry()
    registry.register(CacheCollector(cache))
    theirs = read(client.generate_latest(registry).decode())
    usages = {tier.name: tier.usage() for tier in cache._core.tiers}
    assert read(exposition(families(cache._core.recorder.lived(), usages))) == theirs


async def _asynchronous(place):
    async with AsyncCache(directory=place) as cache:
        await cache.get("llm:no")
        registry = client.CollectorRegistry()
        registry.register(CacheCollector(cache))
        return registry.get_sample_value("cache_misses_total", {"namespace": "default", "reason": "cold"})


def test_the_asynchronous_face_has_them_too(tmp_path):
    import asyncio

    assert asyncio.run(_asynchronous(tmp_path / "two")) == 1


def test_without_the_client_it_says_what_to_install(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(CacheError, match="need its client") as caught:
        CacheCollector(cache)
    assert "scoutcache[prometheus]" in caught.value.hint
