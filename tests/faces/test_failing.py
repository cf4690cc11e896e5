"""A computation that failed says so, and with what, wherever the log is looked at; the message is told nowhere."""

from __future__ import annotations

import asyncio
import threading

import pytest

from scoutcache import Cache
from scoutcache.errors import FactoryTimeout
from scoutcache.insight.log.operations import read_operations
from scoutcache.insight.reasons import Story
from scoutcache.insight.report.report import build_report


def fails():
    raise LookupError("the secret that was asked for")


def lines(cache):
    cache.flush()
    return [(line.op, line.outcome, line.reason, line.error) for line in read_operations(cache.core.directory)
            if line.error is not None]  # fmt: skip


def failures(cache):
    cache.flush()
    core = cache._core if isinstance(cache, Cache) else cache.core
    found = build_report(core.directory, now=core.world.now() + 1)
    rows = found.section("failures").rows
    assert found.section("summary").rows[0]["errors"] == 0  # those are of tiers
    assert "secret" not in str(found.as_dict())
    return [tuple(row[name] for name in ("prefix", "error", "failures", "calls", "keys")) for row in rows]


def test_a_factory_that_raises_is_named_by_its_error(open_cache):
    cache = open_cache(["memory"])
    for key in ("llm:a", "llm:b"):
        with pytest.raises(LookupError):
            cache.get_or_compute(key, fails)
    cache.get_or_compute("llm:a", lambda: 1)
    assert lines(cache) == [("compute", "miss", "cold", "LookupError")] * 2
    assert failures(cache) == [("llm", "LookupError", 2, 2, 2)]
    last, first = Story.of(cache.core.directory, "default", "llm:a").last(2)
    assert (first["reason"], first["error"], last["error"]) == ("cold", "LookupError", None)


def test_an_error_that_was_kept_is_no_further_computation(open_cache):
    cache = open_cache(["memory"])
    for factory in (fails, pytest.fail, pytest.fail):
        with pytest.raises(LookupError):
            cache.get_or_compute("llm:a", factory, error_ttl=60)
    assert failures(cache) == [("llm", "LookupError", 1, 3, 1)]
    told = Story.of(cache.core.directory, "default", "llm:a").last(3)
    assert [(one["reason"], one["error"]) for one in told] == [
        ("failed", "LookupError"), ("failed", "LookupError"), ("cold", "LookupError")]  # fmt: skip


def test_nor_is_one_that_callers_waited_for_together(make_async, sync):
    async def fails_late():
        await asyncio.sleep(0.01)
        fails()

    async def ask():
        async with make_async() as cache:
            asked = [cache.get_or_compute("llm:a", fails_late) for _ in range(3)]
            return await asyncio.gather(*asked, return_exceptions=True)

    assert [type(one) for one in asyncio.run(ask())] == [LookupError] * 3
    assert failures(sync) == [("llm", "LookupError", 1, 3, 1)]


def test_nor_one_that_a_caller_stopped_waiting_for(sync):
    go, done = threading.Event(), threading.Event()
    sync.on("stored", lambda _: done.set())
    with pytest.raises(FactoryTimeout):
        sync.get_or_compute("llm:a", lambda: go.wait(10), hard_timeout=0.05)
    go.set()
    assert done.wait(10)
    assert sync.get("llm:a") is True
    assert failures(sync) == [("llm", "FactoryTimeout", 0, 1, 1)]
    found = build_report(sync._core.directory, now=sync._core.world.now() + 1)
    assert not [row for row in found.section("recommendations").rows if "fails with" in row["advice"]]


def test_so_is_a_refresh_that_nobody_waited_for(open_cache, fake_clock):
    cache = open_cache(["memory"])
    cache.set("llm:a", "old", ttl=10, stale_ttl=100)
    fake_clock.advance(20)
    assert cache.get_or_compute("llm:a", fails, ttl=10, stale_ttl=100) == "old"
    cache.settle()
    assert lines(cache) == [("refresh", "failed", None, "LookupError")]
    assert failures(cache) == [("llm", "LookupError", 1, 0, 1)]


def test_so_is_one_that_was_told_to_be_made_anew(open_cache):
    cache = open_cache(["memory"])
    double = cache.cached(key="llm:a")(lambda n: n / 0)
    with pytest.raises(ZeroDivisionError):
        double.refresh(1)
    assert failures(cache) == [("llm", "ZeroDivisionError", 1, 0, 1)]


def test_what_fails_is_the_first_thing_that_is_advised(open_cache):
    cache = open_cache(["memory"])
    with pytest.raises(LookupError):
        cache.get_or_compute("llm:a", fails)
    cache.flush()
    (row,) = build_report(cache.core.directory, now=cache.core.world.now() + 1).section("recommendations").rows
    assert (row["figure"], row["value"], row["about"]) == ("computations that failed", 1, "llm")
    assert "LookupError" in row["advice"]
