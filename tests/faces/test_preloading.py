"""`warm`: keys are loaded ahead of need, each with a result of its own."""

from __future__ import annotations

import asyncio
import threading

import pytest

from scoutcache import Cache, WarmedKey
from scoutcache.errors import CacheError, InvalidKey, InvalidTTL


def outcomes(result):
    return {key: one.outcome for key, one in result.items()}


def test_each_key_is_loaded_and_stored(cache):
    result = cache.warm(["llm:a", "llm:b"], lambda key: key.upper(), ttl=60, tags=["t"])
    assert outcomes(result) == {"llm:a": "warmed", "llm:b": "warmed"}
    assert cache.get_many(["llm:a", "llm:b"]) == {"llm:a": "LLM:A", "llm:b": "LLM:B"}
    assert cache.ttl("llm:a") == pytest.approx(60, abs=1)
    assert cache.get_entry("llm:a").tags == ("t",)


def test_a_loader_that_raises_fails_its_key_alone_and_what_was_there_stays(cache):
    def load(key):
        if key == "b":
            raise ValueError("no b")
        return key

    cache.set("b", "old")
    result = cache.warm(["a", "b", "c"], load)
    assert outcomes(result) == {"a": "warmed", "b": "failed", "c": "warmed"}
    assert result["b"].error == "ValueError: no b"
    assert (bool(result["a"]), bool(result["b"])) == (True, False)
    assert cache.get("b") == "old"


def test_a_value_that_cannot_be_stored_fails_its_key(cache):
    result = cache.warm(["a"], lambda key: threading.Lock())
    assert not result["a"]
    assert "value" in result["a"].error


def test_what_is_there_is_loaded_anew_unless_only_what_is_missing_is_wanted(cache):
    cache.set("a", 1)
    assert outcomes(cache.warm(["a", "b"], lambda key: 2, only_missing=True)) == {"a": "skipped", "b": "warmed"}
    assert cache.get("a") == 1
    assert outcomes(cache.warm(["a"], lambda key: 3)) == {"a": "warmed"}
    assert cache.get("a") == 3


def test_a_key_that_stands_there_twice_is_loaded_once(cache):
    asked = []
    assert len(cache.warm(["a", "b", "a"], lambda key: asked.append(key) or key)) == 2
    assert sorted(asked) == ["a", "b"]


def test_no_keys_are_no_work(cache):
    assert cache.warm([], lambda key: key) == {}


def test_an_invalidation_while_the_loader_runs_wins(cache):
    def load(key):
        with Cache(cache.config, attended=False) as other:
            other.invalidate(key)
        return "outdated"

    if "disk" not in cache.config.tiers:
        pytest.skip("processes share nothing without a disk")
    result = cache.warm(["a"], load, concurrency=1)
    assert result["a"].outcome == "failed"
    assert "invalidated meanwhile" in result["a"].error
    assert cache.get("a") is None


def test_it_is_no_request_and_no_miss(cache):
    cache.warm(["a", "b"], lambda key: key)
    stats = cache.stats()
    assert (stats.total_requests, stats.cache_misses, stats.sets) == (0, 0, 2)


def test_as_many_keys_at_once_as_told_and_no_more(cache):
    at_once, most, lock = [0], [0], threading.Lock()
    full = threading.Barrier(3)

    def load(key):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        if not cache.is_async:
            full.wait(10)  # three are here at the same time, or this breaks
        with lock:
            at_once[0] -= 1
        return key

    assert all(cache.warm([str(n) for n in range(9)], load, concurrency=3).values())
    assert most[0] == (1 if cache.is_async else 3)


def test_coroutine_functions_are_awaited_side_by_side_and_refused_by_the_blocking_face(cache):
    meet = []

    async def load(key):
        meet.append(key)
        while len(meet) < 3:
            await asyncio.sleep(0)
        return key

    if not cache.is_async:
        with pytest.raises(CacheError, match="coroutine function"):
            cache.warm(["a"], load)
        return
    assert all(cache.warm(["a", "b", "c"], load, concurrency=3).values())


@pytest.mark.parametrize(
    ("keys", "options", "error"),
    [
        ([""], {}, InvalidKey), ("abc", {}, InvalidKey), (["a"], {"ttl": -1}, InvalidTTL),
        (["a"], {"tll": 1}, TypeError),
        (["a"], {"concurrency": 0}, CacheError), (["a"], {"concurrency": True}, CacheError),
        (["a"], {"namespace": "\n"}, InvalidKey),
    ],
)  # fmt: skip
def test_impossible_arguments_are_refused_before_anything_is_loaded(cache, keys, options, error):
    asked = []
    with pytest.raises(error):
        cache.warm(keys, asked.append, **options)
    assert asked == []


def test_what_is_no_function_is_no_loader(cache):
    with pytest.raises(CacheError, match="can't be 3"):
        cache.warm(["a"], 3)


def test_a_namespace_may_be_named_or_looked_into(cache):
    cache.warm(["a"], lambda key: 1, namespace="tenant")
    cache.namespace("other").warm(["a"], lambda key: 2)
    assert cache.get("a") is None
    assert (cache.get("a", namespace="tenant"), cache.get("a", namespace="other")) == (1, 2)


def test_a_loader_may_say_how_its_value_is_kept(cache):
    def load(key, ctx):
        ctx.ttl = 5
        return key

    cache.warm(["a"], load, ttl=60)
    assert cache.ttl("a") <= 5


def test_a_cache_that_is_switched_off_loads_nothing(tmp_path):
    asked = []
    with Cache(directory=tmp_path, enabled=False) as cache:
        assert cache.warm(["a"], asked.append) == {
            "a": WarmedKey(key="a", outcome="skipped", error="the cache is switched off")
        }
    assert asked == []
