from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoutcache.entry import Usage
from scoutcache.oplog.recorder import Recorder
from scoutcache.oplog.totals import collect_stats

CONTRACT = {
    "requests", "hits", "misses", "hit_rate", "evictions", "sets", "deletes", "errors", "expirations",
    "evictions_by_reason", "period_start", "period_end", "hit_p50_us", "hit_p95_us", "miss_p50_us", "miss_p95_us",
    "tiers", "calls_saved", "cost_saved_usd",
}  # fmt: skip
TIER = {"name", "entries", "size_bytes", "max_bytes", "hits", "hit_p50_us", "hit_p95_us"}


def test_the_fields_are_those_of_the_contract(directory: Path) -> None:
    found = collect_stats(directory, now=1.8e9, usages={"disk": Usage(1, 2, None, 3)}).as_dict()
    assert found.keys() >= CONTRACT
    assert found["tiers"][0].keys() >= TIER


def test_of_a_cache_that_nobody_used_rates_and_times_are_unknown_and_counts_are_none(directory: Path) -> None:
    found = collect_stats(directory, now=1.8e9, usages={"memory": None, "disk": Usage(0, 0, None, 5)}).as_dict()
    assert (found["requests"], found["hit_rate"], found["hit_p50_us"], found["cost_saved_usd"]) == (0, None, None, None)
    assert (found["period_start"], found["period_end"]) == (None, "2027-01-15T08:00:00+00:00")
    memory, disk = found["tiers"]
    assert (memory["entries"], memory["hits"], memory["hit_p50_us"]) == (None, None, None)
    assert (disk["entries"], disk["hits"], disk["max_bytes"]) == (0, None, 5)
    assert not directory.exists()


@pytest.fixture
def recorder(make_recorder: Callable[..., Recorder]) -> Recorder:
    return make_recorder()


def say(recorder: Recorder, kind: str, outcome: str, key: str = "llm:1", **more: Any) -> None:
    fields = {"tier": None, "namespace": "default", "began_ns": 0, "ended_ns": 2_000_000, **more}
    recorder.record(kind, fields.pop("namespace"), key, outcome=outcome, **fields)


def test_requests_are_hits_and_misses_of_both_kinds_of_reading(
    recorder: Recorder, directory: Path, fake_clock: Any
) -> None:
    say(recorder, "get", "hit", tier="disk")
    say(recorder, "get", "stale", tier="disk")
    say(recorder, "compute", "hit", reason="joined")
    say(recorder, "compute", "miss", reason="expired", factory_s=1.5)
    say(recorder, "get", "miss", reason="cold")
    say(recorder, "get", "miss", tier="disk")  # that tier's share, no request
    recorder.publish({"memory": None, "disk": None})
    found = collect_stats(directory, now=fake_clock.wall())
    assert (found.total.requests, found.total.hits, found.total.misses, found.total.hit_rate) == (5, 3, 2, 0.6)
    assert dict(found.total.misses_by_reason) == {"expired": 1, "cold": 1}
    assert found.hit.count == 2
    assert found.miss.count == 2
    assert [(tier.name, tier.lookups, tier.hits) for tier in found.tiers] == [("memory", 4, 0), ("disk", 4, 2)]


def test_a_request_that_bypassed_the_cache_looked_into_no_tier(
    recorder: Recorder, directory: Path, fake_clock: Any
) -> None:
    say(recorder, "get", "miss", reason="bypassed")
    recorder.publish({"memory": None})
    found = collect_stats(directory, now=fake_clock.wall())
    assert (found.total.misses, found.tiers[0].lookups, found.tiers[0].hits) == (1, None, None)


def test_a_change_counts_once_however_many_tiers_took_part(
    recorder: Recorder, directory: Path, fake_clock: Any
) -> None:
    for tier in (None, "memory", "disk"):
        say(recorder, "set", "stored", tier=tier)
        say(recorder, "delete", "deleted", tier=tier)
    say(recorder, "set", "refused")
    say(recorder, "delete", "absent")
    recorder.evicted("default", "llm:1", "size", 5, "memory")
    recorder.evicted("default", "llm:2", "expired", 5, "memory")
    recorder.error("disk", OSError("gone"))
    recorder.publish({})
    total = collect_stats(directory, now=fake_clock.wall()).total
    assert (total.sets, total.deletes, total.evictions, total.expirations, total.errors) == (1, 1, 1, 1, 1)
    assert dict(total.evictions_by_reason) == {"size": 1}


def test_a_period_takes_its_minutes_and_a_namespace_its_own(
    recorder: Recorder, directory: Path, fake_clock: Any
) -> None:
    for minute in range(10):
        began = fake_clock.monotonic_ns()
        space = "a" if minute % 2 else "b"
        say(recorder, "get", "miss", reason="cold", namespace=space, began_ns=began, ended_ns=began + 1000)
        recorder.publish({})
        fake_clock.advance(60)
    now = fake_clock.wall()
    assert collect_stats(directory, now=now).total.misses == 10
    assert collect_stats(directory, now=now, period_s=300).total.misses == 5
    assert collect_stats(directory, now=now, namespace="a").total.misses == 5
    assert collect_stats(directory, now=now, period_s=300).period_start == now // 60 * 60 - 300
    groups = collect_stats(directory, now=now, by="namespace").as_dict()["namespaces"]
    assert [(group["namespace"], group["misses"]) for group in groups] == [("a", 5), ("b", 5)]


def test_prefixes_are_summed_over_tiers_and_the_busiest_comes_first(
    recorder: Recorder, directory: Path, fake_clock: Any
) -> None:
    recorder.count_hits({("default", "llm"): 5}, "memory")
    say(recorder, "get", "hit", tier="disk")
    say(recorder, "get", "miss", key="bare", reason="cold")
    recorder.publish({})
    groups = collect_stats(directory, now=fake_clock.wall(), by="prefix").as_dict()["prefixes"]
    assert [(group["prefix"], group["hits"], group["hit_rate"]) for group in groups] == [("llm", 6, 1.0), ("", 0, 0.0)]


def test_what_names_no_key_is_no_prefix(recorder: Recorder, directory: Path, fake_clock: Any) -> None:
    say(recorder, "get", "hit", tier="disk")
    say(recorder, "invalidate", "invalidated", key="tag:model:gpt-4")
    say(recorder, "invalidate", "cleared", key="*")
    say(recorder, "error", "failed", namespace="", key="", tier="disk")
    recorder.left("disk", "size", 3)
    recorder.publish({})
    by_prefix = collect_stats(directory, now=fake_clock.wall(), by="prefix").as_dict()
    assert [(group["prefix"], group["hits"]) for group in by_prefix["prefixes"]] == [("llm", 1)]
    assert by_prefix["prefixes"][0]["invalidations"] is None
    assert (by_prefix["invalidations"], by_prefix["evictions"]) == (2, 3)
    by_namespace = collect_stats(directory, now=fake_clock.wall(), by="namespace").as_dict()["namespaces"]
    assert [(group["namespace"], group["invalidations"]) for group in by_namespace] == [("default", 2)]


def test_what_left_a_tier_unnamed_is_unknown_by_group_and_not_0(
    recorder: Recorder, directory: Path, fake_clock: Any
) -> None:
    say(recorder, "get", "hit", tier="disk")
    say(recorder, "evict", "done", tier="memory", reason="bytes")
    recorder.left("disk", "oversize", 3)
    recorder.publish({})
    now = fake_clock.wall()
    for by, noun in (("namespace", "namespaces"), ("prefix", "prefixes")):
        found = collect_stats(directory, now=now, by=by).as_dict()
        (group,) = found[noun]
        assert (group["evictions"], group["evictions_by_reason"]) == (None, {"bytes": 1, "oversize": None})
        assert group["expirations"] == 0
        assert (found["evictions"], found["evictions_by_reason"]) == (4, {"bytes": 1, "oversize": 3})
    recorder.left("disk", "expired", 2)
    recorder.publish({})
    found = collect_stats(directory, now=now, namespace="default").as_dict()
    assert (found["evictions"], found["expirations"]) == (None, None)
    assert collect_stats(directory, now=now).as_dict()["expirations"] == 2


def test_the_memory_of_living_processes_is_summed_and_what_the_caller_sees_counts_for_the_rest(
    make_recorder: Callable[..., Recorder], directory: Path, fake_clock: Any
) -> None:
    one, other = make_recorder(), make_recorder()
    one.publish({"memory": Usage(3, 30, 100, 1000), "disk": None})
    other.publish({"memory": Usage(4, 40, 100, 1000), "disk": None})
    usages = {"memory": None, "disk": Usage(9, 90, None, 900)}
    found = collect_stats(directory, now=fake_clock.wall(), usages=usages)
    assert [(tier.name, tier.entries, tier.size_bytes, tier.max_bytes) for tier in found.tiers] == [
        ("memory", 7, 70, 2000), ("disk", 9, 90, 900),
    ]  # fmt: skip
    other.publish({"memory": Usage(None, 40, 100, None), "disk": None})
    memory = collect_stats(directory, now=fake_clock.wall(), usages=usages).tiers[0]
    assert (memory.entries, memory.size_bytes, memory.max_bytes) == (None, 70, None)


def test_reading_statistics_imports_no_heavy_library() -> None:
    import subprocess
    import sys

    code = "import sys, scoutcache.insight.live.stats; print({'pandas', 'numpy', 'rich', 'redis'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_what_is_dated_after_now_is_in_no_period_but_in_all_that_is_kept(
    make_recorder: Callable[..., Recorder], directory: Path, fake_clock: Any, miss: Callable[..., None]
) -> None:
    now = fake_clock.wall()
    for folded in (True, False):
        recorder = make_recorder()
        miss(recorder)
        fake_clock.advance(90 * 86400)
        recorder.publish({})
        miss(recorder)
        if folded:
            recorder.close({})
        else:
            recorder.publish({})
        fake_clock.advance(-90 * 86400)
    found = collect_stats(directory, now=now, period_s=86400)
    assert (found.total.misses, found.ahead) == (2, (now + 90 * 86400) // 60 * 60)
    assert (collect_stats(directory, now=now).total.misses, collect_stats(directory, now=now).ahead) == (4, None)
