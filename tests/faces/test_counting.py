"""Every call is one request, and a hit only where the cached value was served: in the counters as in the log."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scoutcache.insight.log.operations import read_operations
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS

TIERS = {"memory": ["memory"], "memory+disk": ["memory", "disk"], "memory+redis": ["memory", "redis"]}


def made() -> str:
    return "made"


def fails(keys: list[str] | None = None) -> Any:
    raise LookupError("the source is away")


def many(keys: list[str]) -> dict[str, str]:
    return dict.fromkeys(keys, "made")


def times(number: int, **how: Any) -> Any:
    """So many calls of one key, the first of which computes it."""

    def call(cache: Any, clock: Any) -> None:
        for _ in range(number):
            assert cache.get_or_compute("llm:k", made, **how) == "made"

    return call


def due(cache: Any, clock: Any) -> None:
    cache.get_or_compute("llm:k", made, ttl=10, refresh_ahead=0.5)
    for _ in range(3):
        clock.advance(6)
        cache.get_or_compute("llm:k", made, ttl=10, refresh_ahead=0.5)
        cache.settle()


def decorated(cache: Any, clock: Any) -> None:
    double = cache.cached(refresh_ahead=0.8, ttl=60)(lambda n: n * 2)
    assert [double(4) for _ in range(5)] == [8] * 5
    assert double.refresh(4) == 8  # nobody asked for a value that may be there


def batches(cache: Any, clock: Any) -> None:
    for _ in range(3):
        cache.get_or_compute_many(["a", "b"], many, refresh_ahead=0.8, ttl=60)
    cache.get_or_compute_many(["a", "b", "c"], many, validate=lambda value: True)


def refused_batches(cache: Any, clock: Any) -> None:
    cache.set_many({"a": "good", "b": "bad"})
    cache.get_or_compute_many(["a", "b"], many, validate=lambda value: value != "bad")


def failing_batch(cache: Any, clock: Any) -> None:
    cache.set_many({"a": 1, "b": 2})
    with pytest.raises(LookupError):
        cache.get_or_compute_many(["a", "b", "c"], fails)


def stale(cache: Any, clock: Any) -> None:
    cache.get_or_compute("llm:k", made, ttl=10, stale_ttl=100)
    clock.advance(20)
    for _ in range(3):
        cache.get_or_compute("llm:k", fails, ttl=10, stale_ttl=100, refresh_ahead=0.5)
        cache.settle()


def waited_softly(cache: Any, clock: Any) -> None:
    cache.get_or_compute("llm:k", made, ttl=10, stale_ttl=100)
    clock.advance(20)
    assert cache.get_or_compute("llm:k", lambda: "anew", ttl=10, stale_ttl=100, soft_timeout="never") == "anew"


def sliding(cache: Any, clock: Any) -> None:
    for _ in range(4):
        cache.get_or_compute("session:k", made, validate=lambda value: True)
        clock.advance(60)
    cache.get("session:k")
    cache.get_or_compute("session:k", made)
    cache.get_or_compute_many(["session:k"], many, refresh_ahead=0.9)


def checked(cache: Any, clock: Any) -> None:
    cache.set("k", "old")
    assert cache.get_with_validation("k", lambda value: True) == "old"
    assert cache.get_with_validation("k", lambda value: True, made) == "old"
    assert cache.get_with_validation("k", lambda value: False, default="none") == "none"
    assert cache.get_with_validation("k", lambda value: True, default="none") == "none"


def reloaded(cache: Any, clock: Any) -> None:
    assert cache.get_or_reload("k", lambda key: 1, exists=lambda key: True) == 1
    assert cache.get_or_reload("k", lambda key: 2, exists=lambda key: True, refresh_ahead=0.8) == 1
    assert cache.get_or_reload("k", lambda key: 3, exists=lambda key: False) is None


def looked_at(cache: Any, clock: Any) -> None:
    cache.set("k", 1)
    cache.exists("k"), cache.ttl("k"), cache.get_entry("k"), cache.touch("k", 60)


def conditioned(cache: Any, clock: Any) -> None:
    for told in (True, True, False):
        cache.get_or_compute("llm:k", made, condition=lambda told=told: told)


def joined(cache: Any, clock: Any) -> None:
    how = {"refresh_ahead": 0.8, "validate": lambda value: True}
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> str:
        begun.set()
        assert go_on.wait(20)
        return "made"

    if cache.is_async:

        async def both() -> None:
            let = asyncio.Event()

            async def slowly_too() -> str:
                await let.wait()
                return "made"

            asked = [asyncio.ensure_future(cache.cache.get_or_compute("llm:k", slowly_too, **how)) for _ in range(2)]
            for _ in range(20):
                await asyncio.sleep(0)
            let.set()
            await asyncio.gather(*asked)

        cache.runner.run(both())
    else:
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(cache.get_or_compute, "llm:k", slowly, **how)]
            assert begun.wait(20)
            asked.append(pool.submit(cache.get_or_compute, "llm:k", pytest.fail, **how))
            go_on.set()
            assert [one.result(20) for one in asked] == ["made", "made"]


CALLS = {
    "plain": (times(5), 5, 4),
    "refresh_ahead": (times(5, refresh_ahead=0.8), 5, 4),
    "validate accepts": (times(5, validate=lambda value: True), 5, 4),
    "validate refuses": (times(5, validate=lambda value: False), 5, 0),
    "both": (times(5, validate=lambda value: True, refresh_ahead=0.8), 5, 4),
    "due": (due, 4, 3),
    "decorated": (decorated, 5, 4),
    "batches": (batches, 9, 6),
    "refused in a batch": (refused_batches, 2, 1),
    "a batch that fails": (failing_batch, 3, 2),
    "stale": (stale, 4, 3),
    "waited for softly": (waited_softly, 2, 1),
    "sliding": (sliding, 7, 6),
    "checked": (checked, 4, 2),
    "reloaded": (reloaded, 3, 1),
    "only looked at": (looked_at, 0, 0),
    "condition": (conditioned, 3, 1),
    "joined": (joined, 2, 1),
}


def of_the_log(cache: Any) -> tuple[int, int]:
    outcomes = Counter(line.outcome in HIT_OUTCOMES for line in read_operations(cache.core.directory)
                       if line.op in REQUESTS)  # fmt: skip
    return outcomes.total(), outcomes[True]


def counted(cache: Any) -> tuple[int, int]:
    cache.flush()
    found = cache.stats()
    assert found.total_requests == found.cache_hits + found.cache_misses
    assert found.api_calls_saved == found.cache_hits
    return found.total_requests, found.cache_hits


@pytest.mark.parametrize("settled", [True, False], ids=["", "refresh_ahead by configuration"])
@pytest.mark.parametrize("tiers", TIERS.values(), ids=list(TIERS))
@pytest.mark.parametrize(("calls", "requests", "hits"), CALLS.values(), ids=list(CALLS))
def test_each_call_is_one_request_and_a_hit_where_the_cached_value_was_served(
    open_cache, fake_clock, tiers, calls, requests, hits, settled
):
    policy = {"policy_id": "sliding", "applies_to": "session:*", "ttl_seconds": 100, "refresh_on_access": True}
    cache = open_cache(tiers, policies=[policy], freshness={} if settled else {"refresh_ahead": 0.9})
    calls(cache, fake_clock)
    cache.settle()
    assert counted(cache) == (requests, hits)
    assert of_the_log(cache) == (requests, hits)
