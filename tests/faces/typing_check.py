"""Checked by mypy --strict, never run: what a caller gets to see of the types."""

from __future__ import annotations

from typing import Any, assert_type

from scoutcache import AsyncCache, Cache, CacheConfig, CacheEntry, CacheStatistics, InvalidationRule
from scoutcache.models import EmitResult, InvalidationResult, RuleResult


def blocking(cache: Cache) -> None:
    assert_type(cache.get("k"), Any)
    assert_type(cache.set("k", 1, ttl="2h", tags=["a"]), bool)
    assert_type(cache.set("k", 1, tags=None, depends_on=None), bool)
    assert_type(cache.get_many(["k"]), dict[str, Any])
    assert_type(cache.delete_many(["k"]), int)
    assert_type(cache.ttl("k"), float | None)
    assert_type(cache.get_entry("k"), CacheEntry | None)
    assert_type(cache.invalidate("k*"), InvalidationResult)
    assert_type(cache.stats(), CacheStatistics)
    assert_type(cache.namespace("tenant"), Cache)
    assert_type(cache.config, CacheConfig)
    assert_type([*cache.keys()], list[str])
    assert_type(cache.emit("e", id=1), EmitResult)
    assert_type(cache.rules.run_due(), list[RuleResult])
    assert_type(list(cache.rules), list[InvalidationRule])


async def awaited(cache: AsyncCache) -> None:
    assert_type(await cache.set("k", 1), bool)
    assert_type(await cache.exists("k"), bool)
    assert_type(await cache.clear(), InvalidationResult)
    assert_type([key async for key in cache.keys("*")], list[str])
    assert_type(cache.namespace("tenant"), AsyncCache)
    assert_type(await cache.rules.test("e", id=1), EmitResult)


def opened() -> None:
    with Cache(directory="somewhere", memory={"max_entries": 10}) as cache:
        assert_type(cache, Cache)
    Cache(CacheConfig(), raise_errors=True)


def blocking_patterns(cache: Cache) -> None:
    @cache.cached(ttl="1h")
    def add(a: int, b: str = "") -> float:
        return a + len(b)

    class Service:
        @cache.cached(self_in_key=True)
        def answer(self, n: int) -> list[str]:
            return [str(n)]

    assert_type(add(1, b="x"), float)
    assert_type(add.refresh(1), float)
    assert_type(add.key(1), str)
    assert_type(add.invalidate(1), bool)
    add("1")  # type: ignore[arg-type]
    assert_type(Service().answer(1), list[str])
    assert_type(Service().answer.invalidate(1), bool)
    Service().answer("1")  # type: ignore[arg-type]
    assert_type(cache.through(loader=str).get_many(["k"]), dict[str, Any])
    assert_type(cache.hash("k").set_field("f", 1), bool)
    assert_type(cache.behind(writer=print).pending(), int)
    assert_type(cache.versioned("catalog").key(1), str)


async def awaited_patterns(cache: AsyncCache) -> None:
    @cache.cached()
    async def slow(a: int) -> float:
        return a

    @cache.cached()
    def plain(a: int) -> float:
        return a

    class Service:
        @cache.cached()
        async def answer(self, n: int) -> list[str]:
            return [str(n)]

    assert_type(await slow(1), float)
    assert_type(await slow.refresh(1), float)
    assert_type(await plain(1), float)
    assert_type(await plain.invalidate(1), bool)
    assert_type(await Service().answer(1), list[str])
    await slow("1")  # type: ignore[arg-type]
    assert_type(await cache.hash("k").get_all(), dict[str, Any])
    assert_type(await cache.behind(writer=print).flush(), bool)
