"""Keys from the log, entries from another cache, pairs from a generator."""

from __future__ import annotations

import asyncio
import sys

import pytest

from scoutcache import Cache
from scoutcache.config import CacheConfig
from scoutcache.errors import WarmingError
from scoutcache.oplog.records import Line
from scoutcache.warming.fill import fill
from scoutcache.warming.lines import BadLine
from scoutcache.warming.sources import cache_items, check_log_has_keys, expiring_keys, frequent_keys, generated


def asked(key, times=1, namespace="ns", outcome="hit"):
    return [Line(1.0, "get", key, namespace, outcome=outcome)] * times


def stored(key, at, ttl):
    return Line(at, "set", key, "ns", outcome="stored", ttl=ttl)


def test_the_most_frequent_come_first_and_others_tenants_count_for_nothing():
    log = [*asked("b", 3), *asked("a", 3), *asked("c", 5), *asked("d"), *asked("e", 9, "other"), stored("d", 1, 9)]
    assert frequent_keys(log, 3, "ns") == ["c", "a", "b"]
    assert frequent_keys(log, 100, "ns") == ["c", "a", "b", "d"]
    assert frequent_keys([], 3, "ns") == []


def test_expiring_are_those_in_use_that_end_soon_the_soonest_first():
    log = [
        stored("soon", 100, 60), stored("sooner", 100, 30), stored("late", 100, 600), stored("unused", 100, 30),
        stored("renewed", 100, 30), stored("renewed", 120, 600), stored("over", 10, 5), stored("gone", 100, 30),
        Line(110.0, "delete", "gone", "ns"), stored("never", 100, None), stored("touched", 100, 600),
        Line(110.0, "touch", "touched", "ns", outcome="done", ttl=100.0), stored("kept", 100, 30),
        Line(110.0, "touch", "kept", "ns", outcome="done", ttl=600.0),
        *(line for key in ("soon", "sooner", "late", "renewed", "over", "gone", "never", "touched", "kept")
          for line in asked(key)),
    ]  # fmt: skip
    assert expiring_keys(log, 100, 121.0, "ns") == ["sooner", "soon", "touched"]


def test_a_log_without_keys_is_told():
    with pytest.raises(WarmingError, match="holds no keys"):
        check_log_has_keys(CacheConfig(oplog={"redact_keys": True}))
    check_log_has_keys(CacheConfig())


def test_another_cache_gives_values_tags_and_the_time_that_is_left(cache, tmp_path):
    with Cache(directory=tmp_path / "other", tiers=["disk"]) as other:
        other.set("llm:a", {"n": (1, 2)}, ttl=100, tags=["t"], cost=0.5)
        other.set("llm:b", 2, ttl="never", depends_on=["llm:a"])
        other.set("job:c", 3)
        result = fill(cache, cache_items(other, "llm:*"))
    assert (result.warmed, result.failed) == (2, 0)
    assert cache.get("llm:a") == {"n": (1, 2)}
    assert 90 < cache.ttl("llm:a") <= 100
    assert cache.ttl("llm:b") == float("inf")
    assert (cache.get_entry("llm:a").tags, cache.get_entry("llm:a").cost) == (("t",), 0.5)
    cache.invalidate(tags=["t"])
    assert not cache.exists("llm:b")  # it depends on what the tag took
    assert not cache.exists("job:c")


def test_a_generator_gives_pairs_and_objects_and_its_mistakes_are_bad_lines():
    def many():
        yield "a", 1
        yield {"key": "b", "value": 2, "ttl": "1h"}
        yield 3
        yield {"value": 4}
        yield "", 5

    first, second, *bad = generated(many)
    assert (first.key, first.value, second.key, second.options) == ("a", 1, "b", {"ttl": "1h"})
    assert [(one.line, type(one)) for one in bad] == [(3, BadLine), (4, BadLine), (5, BadLine)]


def test_what_a_generator_raises_ends_it_and_what_came_before_counts(cache):
    def many():
        yield "a", 1
        raise RuntimeError("over")

    result = fill(cache, generated(many))
    assert (result.warmed, result.failed, result.errors[0].line) == (1, 1, 2)
    assert result.errors[0].error == "the source ended: RuntimeError: over"


@pytest.mark.parametrize("is_async", [False, True])
def test_an_exit_in_a_generator_ends_it_and_not_the_filling(cache, is_async):
    def many():
        yield "a", 1
        sys.exit(0)

    async def amany():
        for one in many():
            yield one

    result = fill(cache, generated(amany if is_async else many))
    assert (result.warmed, result.failed, result.errors[0].error) == (1, 1, "the source ended: SystemExit: 0")


def test_an_asynchronous_generator_is_drawn_from_too(cache):
    async def many():
        for key in "abc":
            await asyncio.sleep(0)
            yield key, key.upper()

    assert fill(cache, generated(many), concurrency=3).warmed == 3
    assert cache.get_many(list("abc")) == {"a": "A", "b": "B", "c": "C"}
