"""Everything that a cache may ask of its server: each call of both faces, and what operators' commands do besides."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from scoutcache import AsyncCache, Cache, CacheConfig
from scoutcache.calls.pruning import prune_dead
from scoutcache.calls.walking import Walk
from scoutcache.cli.checks.server import server_checks
from scoutcache.cli.waiting import wait_for_all
from scoutcache.errors import CacheError
from scoutcache.insight.keystats import KeyStats, collect
from scoutcache.insight.live.server import server_view
from scoutcache.patterns import Pattern


def config(section: dict[str, Any], folder: Path, tiers: tuple[str, ...] = ("memory", "redis", "disk")) -> CacheConfig:
    return CacheConfig(tiers=tiers, directory=folder, redis=section, rules=[
        {"rule_id": "r", "event_types": ["changed"], "target_pattern": "rule:*"}])  # fmt: skip


def everything(section: dict[str, Any], folder: Path, lose_position: Callable[[], object]) -> None:
    """A session of all calls; what one of them raises because it is not allowed, the next ones don't suffer from."""
    for steps in (_sync_steps, _operator_steps):
        with Cache(config(section, folder / "one")) as cache:
            for step in steps(cache):
                with suppress(CacheError):
                    step()
    with Cache(config(section, folder / "lost")) as cache:
        lose_position()
        with suppress(CacheError):
            cache.set("after:loss", 1)
    with suppress(CacheError):
        asyncio.run(_async_session(section, folder / "two"))
    with suppress(CacheError):
        _contend(section, folder)
    list(server_checks(CacheConfig(redis=section).redis))


def _sync_steps(cache: Cache) -> list[Callable[[], object]]:
    many = {f"many:{number}": number for number in range(20)}
    return [
        lambda: cache.set("a", 1, tags=["t"], ttl="1h"), lambda: cache.set("b", 2, depends_on=["a"], ttl="never"),
        lambda: cache.set("l" * 600, 2), lambda: cache.set_many(many), lambda: cache.get("a"), lambda: cache.get("no"),
        lambda: cache.get_many([*many, "no"]), lambda: cache.get_entry("b"), lambda: cache.exists("a"),
        lambda: cache.ttl("a"), lambda: cache.touch("a", "2h"), lambda: list(cache.keys("*")),
        lambda: cache.get_or_compute("c", lambda: 3, tags=["t"]),
        lambda: cache.get_or_compute_many(["d", "e"], lambda keys: dict.fromkeys(keys, 1)),
        lambda: cache.set("a", 5), lambda: cache.delete("b"), lambda: cache.delete_many(["d", "e"]),
        lambda: cache.invalidate("many:1*"), lambda: cache.invalidate(tags=["t"], count=True),
        lambda: cache.set("a", 1, tags=["t"], stale_ttl="1h"),
        lambda: cache.invalidate(tags=["t"], action="mark_stale"),
        lambda: cache.invalidate("a", action="refresh"), lambda: cache.emit("changed"),
        lambda: cache.hash("h").set_fields({"x": 1}), lambda: cache.hash("h").get_field("x"), cache.stats, cache.health,
        lambda: cache.namespace("tenant").set("a", 1), lambda: cache.clear("tenant"), cache.flush,
    ]  # fmt: skip


def _operator_steps(cache: Cache) -> list[Callable[[], object]]:
    core = cache._core
    tier: Any = core.tier("redis")
    return [
        lambda: core_keystats(core), lambda: tier.usage(), lambda: tier.verify(repair=True),
        lambda: tier.prune(time.time(), older_than=1e9),
        lambda: prune_dead(core), lambda: tier.count("default", None, time.time()),
        lambda: tier.forget_versions("default", tier.current("default", ["t"])), lambda: tier.erase(),
        lambda: server_view(tier), lambda: wait_for_all(core, 0.1),
    ]  # fmt: skip


def core_keystats(core: Any) -> None:
    stats = KeyStats(now=time.time(), top=3)
    collect(core, stats, namespace=None, pattern=Pattern.parse("*"), tier=None, walk=Walk())


async def _async_session(section: dict[str, Any], folder: Path) -> None:
    async with AsyncCache(config(section, folder)) as cache:
        await cache.set_many({"x": 1, "y": 2})
        await asyncio.gather(*(cache.get_or_compute(f"z{number % 3}", lambda: 1) for number in range(9)))
        await cache.get_many(["x", "y"])
        await cache.invalidate("x*")


def _contend(section: dict[str, Any], folder: Path) -> None:
    """Two machines compute one key: the one waits for the other's lease."""
    begun, done = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        done.wait(1.0)
        return 1

    with Cache(config(section, folder / "m1")) as one, Cache(config(section, folder / "m2")) as other:
        leader = threading.Thread(target=lambda: one.get_or_compute("contended", slow))
        follower = threading.Thread(target=lambda: other.get_or_compute("contended", lambda: 2))
        leader.start()
        begun.wait(5)
        follower.start()
        time.sleep(0.3)  # no sign says that it waits
        done.set()
        leader.join()
        follower.join()
