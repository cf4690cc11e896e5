"""What the log is told beside outcome and time: bytes stored, the codec's work, a key's making, the wait for others."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from scoutcache import CacheKey
from scoutcache.insight.log.operations import read_operations
from scoutcache.insight.reasons import Story
from scoutcache.oplog.records import Line
from scoutcache.oplog.totals import collect_stats

TEXT = "a text that compresses well. " * 400


def logged(cache: Any, op: str) -> list[Line]:
    """What the log says of *op* by now, in the order it happened."""
    cache.flush()
    return sorted([line for line in read_operations(cache.core.directory) if line.op == op], key=lambda line: line.time)


def test_a_write_says_what_it_takes_in_the_tiers_and_what_the_codec_did(open_cache):
    cache = open_cache(["memory", "disk"])
    cache.set("plain", "x" * 100)
    cache.set("llm:1", TEXT)
    plain, packed = logged(cache, "set")
    assert (plain.codec, packed.codec) == ("none", "lz4")
    assert packed.size == len(TEXT)
    assert packed.stored == cache.get_entry("llm:1").size_bytes or packed.stored < packed.size / 5
    assert plain.codec_us == packed.codec_us == 0, "the clock of this test stands still"


def test_a_hit_below_memory_says_both_sizes(open_cache):
    cache = open_cache(["disk"])
    cache.set("llm:1", TEXT)
    assert cache.get("llm:1") == TEXT
    assert cache.get_or_compute("llm:1", pytest.fail) == TEXT
    [written], [read], [found] = (logged(cache, op) for op in ("set", "get", "compute"))
    assert written.stored == read.stored == found.stored == cache.get_entry("llm:1").size_bytes
    assert read.size == found.size == len(msgspec.msgpack.encode(TEXT))
    assert read.codec == found.codec == "lz4"


def test_memory_alone_has_nothing_stored(open_cache):
    cache = open_cache(["memory"])
    cache.set("k", TEXT)
    assert cache.get("k") == TEXT
    for line in (*logged(cache, "set"), *logged(cache, "get")):
        assert (line.stored, line.codec, line.codec_us) == (None, None, None)


def test_a_computed_value_is_accounted_for_once(open_cache):
    cache = open_cache(["memory", "disk"])
    assert cache.get_or_compute("k", lambda: TEXT) == TEXT
    [computed], [written] = logged(cache, "compute"), logged(cache, "set")
    assert written.codec == "lz4"
    assert written.stored
    assert (computed.stored, computed.codec, computed.codec_us) == (None, None, None)


def test_the_making_of_a_key_is_said_once(open_cache):
    cache = open_cache(["memory", "disk"])
    key = CacheKey("llm", "summarize", {"model": "m", "text": TEXT})
    assert cache.get(key) is None
    cache.set(key, 1)
    cache.set(CacheKey("llm", "a"), 1)
    cache.get_many([CacheKey("llm", "a"), "plain"])
    cache.get_or_compute(CacheKey("llm", "b"), lambda: 1)
    cache.delete(CacheKey("llm", "b"))
    made = {op: [line.keygen_us for line in logged(cache, op)] for op in ("get", "set", "compute", "delete")}
    assert [one is not None and one > 0 for one in made["set"]] == [False, True, False]
    assert sum(one is not None for one in made["get"]) == 2
    assert made["compute"][0] > 0
    assert made["delete"][0] > 0


def test_hits_in_memory_by_a_made_key_are_logged_once_and_counted_once(open_cache):
    cache = open_cache(["memory"])
    cache.set("llm:a:v1", 1)
    for _ in range(3):
        assert cache.get(CacheKey("llm", "a")) == 1
    assert cache.get("llm:a:v1") == 1
    lines = logged(cache, "get")
    assert [line.outcome for line in lines] == ["hit"] * 4
    assert sum(line.keygen_us is not None for line in lines) == 3
    assert cache.stats().cache_hits == 4


def test_whoever_joins_a_computation_says_how_long_it_waited(open_cache, fake_clock):
    cache = open_cache(["memory", "disk"])
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> str:
        begun.set()
        assert go_on.wait(20)
        return "value"

    def joined() -> bool:
        return len(cache.core.world.flights) == 1

    if cache.is_async:
        async def both() -> list[Any]:
            event = asyncio.Event()

            async def slowly_too() -> str:
                await event.wait()
                return "value"

            first = asyncio.ensure_future(cache.cache.get_or_compute("k", slowly_too))
            while not joined():
                await asyncio.sleep(0)
            second = asyncio.ensure_future(cache.cache.get_or_compute("k", slowly_too))
            for _ in range(5):
                await asyncio.sleep(0)
            fake_clock.advance(2.5)
            event.set()
            return await asyncio.gather(first, second)

        assert cache.runner.run(both()) == ["value", "value"]
    else:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(cache.get_or_compute, "k", slowly)
            assert begun.wait(20)
            flight = cache.core.world.flights.get(("default", "k"))
            asking, wait = threading.Event(), flight.future.exception

            def watched(timeout: float | None = None) -> Any:
                asking.set()
                return wait(timeout)

            flight.future.exception = watched
            second = pool.submit(cache.get_or_compute, "k", slowly)
            assert asking.wait(20)
            fake_clock.advance(2.5)
            go_on.set()
            assert [first.result(20), second.result(20)] == ["value", "value"]
    waits = {line.reason: line.wait_us for line in logged(cache, "compute")}
    assert waits["joined"] == pytest.approx(2.5e6)
    assert waits["cold"] is None


def test_what_an_entry_depends_on_is_no_request(open_cache, tiers):
    cache = open_cache(tiers)
    cache.set("parent", 1)
    cache.set("child", 2, depends_on=["parent"])
    assert cache.stats().total_requests == 0


def failing() -> None:
    raise KeyError("a question nobody may read")


def test_a_computation_that_fails_was_asked_for_all_the_same(open_cache):
    cache = open_cache(["memory", "disk"])
    with pytest.raises(KeyError):
        cache.get_or_compute("k", failing)
    with pytest.raises(KeyError):
        cache.get_or_compute("k", failing, condition=lambda: False)
    cache.set("there", 1)
    with pytest.raises(KeyError):
        cache.get_or_compute_many(["there", "x", "y"], lambda _: failing())
    lines = [(line.key, line.outcome, line.reason, line.error) for line in logged(cache, "compute")]
    assert sorted(lines) == [
        ("k", "miss", "bypassed", "KeyError"), ("k", "miss", "cold", "KeyError"),
        ("x", "miss", "cold", "KeyError"), ("y", "miss", "cold", "KeyError"),
    ]  # fmt: skip
    found = cache.stats()
    assert (found.total_requests, found.cache_hits, found.cache_misses) == (5, 1, 4)


def test_why_a_failed_computation_was_needed_is_said(open_cache, fake_clock):
    cache = open_cache(["memory", "disk"])
    cache.set("k", 1, ttl=10)
    fake_clock.advance(11)
    with pytest.raises(KeyError):
        cache.get_or_compute("k", failing)
    assert [line.reason for line in logged(cache, "compute")] == ["expired"]


def test_a_write_says_what_the_factory_said(open_cache):
    cache = open_cache(["memory", "disk"])

    def factory(ctx: Any) -> str:
        ctx.ttl, ctx.tags, ctx.depends_on = 5, ["said"], ["source"]
        return "value"

    cache.get_or_compute("k", factory, ttl=100, tags=["asked"])
    cache.get_or_compute("none", lambda: None, ttl=100, negative_ttl=2)
    lines = {line.key: (line.tags, line.depends_on, line.ttl) for line in logged(cache, "set")}
    assert lines == {"k": (("said",), ("source",), 5.0), "none": ((), (), 2.0)}
    assert {line.key: line.tags for line in logged(cache, "compute")} == {"k": ("said",), "none": ()}


def test_a_hit_is_not_logged_with_tags_that_its_entry_does_not_carry(open_cache):
    cache = open_cache(["disk"])
    cache.set("k", 1, tags=["carried"])
    assert cache.get_or_compute("k", pytest.fail, tags=["named"]) == 1
    assert [line.tags for line in logged(cache, "compute")] == [()]


def test_a_refresh_beside_the_calls_is_a_run_and_a_write(open_cache, fake_clock):
    cache = open_cache(["memory", "disk"])
    for value in ("old", "new"):
        cache.get_or_compute("k", lambda value=value: value, ttl=10, stale_ttl=60, cost=0.5, tags=["t"])
        fake_clock.advance(11)
    cache.close()  # which waits for it
    lines = sorted(read_operations(cache.core.directory), key=lambda line: line.time)
    [refresh], [_, written] = ([line for line in lines if line.op == op] for op in ("refresh", "set"))
    assert (refresh.outcome, refresh.cost, refresh.size) == ("stored", 0.5, len("new"))
    assert (written.tags, written.cost, written.ttl, written.codec) == (("t",), 0.5, 70.0, "none")


def test_a_key_named_twice_is_one_request(open_cache, tiers):
    cache = open_cache(tiers)
    cache.set("k", 1)
    assert cache.get_many(["k", "gone", "k", "gone"]) == {"k": 1}
    assert (cache.stats().cache_hits, cache.stats().cache_misses) == (1, 1)
    assert len(logged(cache, "get")) == 2


def test_what_was_not_there_was_not_deleted(open_cache, tiers):
    cache = open_cache(tiers)
    cache.set("k", 1)
    assert [cache.delete("k"), cache.delete("k"), cache.delete_many(["x", "y"])] == [True, False, 0]
    assert [line.outcome for line in logged(cache, "delete")] == ["deleted", "absent", "absent", "absent"]
    assert cache.stats().deletes == 1


def test_of_several_only_those_that_were_there_were_deleted(open_cache, tiers):
    cache = open_cache(tiers)
    removed = []
    cache.on("removed", lambda record: removed.append((record.key, record.tiers)))
    cache.set_many({"a": 1, "b": 2})
    assert cache.delete_many(["a", "gone", "b", "a"]) == 2
    outcomes = {line.key: line.outcome for line in logged(cache, "delete")}
    assert outcomes == {"a": "deleted", "gone": "absent", "b": "deleted"}
    assert [key for key, _ in removed] == ["a", "b"]
    assert all(set(where) <= set(tiers) for _, where in removed)
    assert cache.stats().deletes == 2


def test_several_that_lie_in_different_tiers_are_counted_together(open_cache):
    cache = open_cache(policies=[{"policy_id": "m", "applies_to": "m:*", "allowed_backends": ["memory"]},
                                 {"policy_id": "d", "applies_to": "d:*", "allowed_backends": ["disk"]}])  # fmt: skip
    cache.set_many({"m:a": 1, "d:a": 2})
    removed = []
    cache.on("removed", lambda record: removed.append((record.key, record.tiers)))
    assert cache.delete_many(["m:a", "d:a", "d:gone"]) == 2
    assert removed == [("m:a", ("memory",)), ("d:a", ("disk",))]


@pytest.mark.parametrize("where", [["redis"], ["memory", "redis", "disk"]], ids="+".join)
def test_of_several_on_a_server_too(open_cache, where):
    cache = open_cache(where)
    cache.set_many({"a": 1, "b": 2})
    assert cache.delete_many(["a", "gone", "b"]) == 2
    outcomes = {line.key: line.outcome for line in logged(cache, "delete")}
    assert outcomes == {"a": "deleted", "gone": "absent", "b": "deleted"}


@pytest.mark.parametrize("op", ["get", "set", "delete"])
def test_each_key_of_a_batch_took_its_share_of_it(open_cache, op):
    cache = open_cache(["disk"])
    values = {f"k{number}": number for number in range(10)}
    if op != "set":
        cache.set_many(values)
    ticks = itertools.count(0, 1_000_000)
    object.__setattr__(cache.core.clocks, "monotonic_ns", ticks.__next__)
    if op == "get":
        assert len(cache.get_many([*values, "absent"])) == 10
    elif op == "set":
        cache.set_many(values)
    else:
        assert cache.delete_many(values) == 10
    took = {line.latency_us for line in logged(cache, op) if line.latency_us}
    assert len(took) == 1, "one after the other they seemed to take longer and longer"
    assert took.pop() * 10 <= next(ticks) / 1000


def test_what_changes_an_entry_is_logged_and_what_only_looks_at_one_is_not(open_cache):
    cache = open_cache(["memory", "disk"])
    cache.set("k", 1, ttl=50, stale_ttl=10)
    assert cache.touch("k", 90)
    assert not cache.touch("absent", 90)
    assert cache.touch("k", "never")
    assert (cache.exists("k"), cache.exists("absent"), cache.ttl("k")) == (True, False, float("inf"))
    assert cache.get_entry("k").key == "k"
    assert list(cache.keys()) == ["k"]
    cache.flush()
    told = [(line.op, line.key, line.outcome, line.tier, line.ttl) for line in read_operations(cache.core.directory)]
    assert told == [("set", "k", "stored", None, 60), ("touch", "k", "done", None, 100),
                    ("touch", "absent", "absent", None, None), ("touch", "k", "done", None, None)]  # fmt: skip


def test_what_a_damaged_database_may_have_held_is_missed_for_that_wherever_one_looks(open_cache):
    cache = open_cache(["disk"])
    cache.set("big:7", "x")
    directory = cache.core.directory
    cache.close()
    with (directory / "disk" / "cache.db").open("r+b") as file:
        file.write(b"not a database")
    again = open_cache(["disk"])
    assert again.get("big:7") is None
    assert again.get("big:7") is None
    (error,) = logged(again, "error")
    assert (error.tier, error.reason, "set aside as damaged" in error.error) == ("disk", "CorruptEntry", True)
    told = collect_stats(directory, now=again.core.world.now()).total
    assert (dict(told.misses_by_reason), told.errors) == ({"corrupt": 1, "cold": 1}, 1)
    assert [one["reason"] for one in Story.of(directory, "default", "big:7").last(9)] == ["cold", "corrupt"]
