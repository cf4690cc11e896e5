from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoutcache.insight.live.stats import collect_stats
from scoutcache.insight.report.report import Report, build_report
from scoutcache.oplog.recorder import OplogSettings, Recorder

Say = Callable[..., None]


@pytest.fixture
def report(recorder: Recorder, say: Say, directory: Path, fake_clock: Any) -> Report:
    """Three questions asked, one twice more, one never again; an hour later somebody asks in vain."""
    for number in range(3):
        say("compute", "miss", f"llm:{number}", reason="cold", factory_s=2.0, cost=0.1 * (number + 1))
        say("set", "stored", f"llm:{number}", size=100 * (number + 1), tags=("model:a",))
    say("get", "hit", "llm:0", tier="disk", cost=0.1)
    assert recorder.hit_log is not None
    recorder.hit_log((fake_clock.monotonic_ns(), fake_clock.monotonic_ns() + 900, "default", "llm:0", 100))
    recorder.count_hits({("default", "llm"): 1}, "memory")
    say("get", "hit", "llm:1", tier="disk", cost=0.2)
    recorder.publish({"memory": None, "disk": None})
    fake_clock.advance(3600)
    say("get", "miss", "bare", reason="expired")
    recorder.evicted("default", "llm:2", "size", 300, "disk")
    recorder.close({"memory": None, "disk": None})
    return build_report(directory, now=fake_clock.wall())


def test_the_summary_says_calls_seconds_and_money_saved(report: Report) -> None:
    (row,) = report.section("summary").rows
    assert (row["requests"], row["hits"], row["misses"], row["hit_rate"]) == (7, 3, 4, 3 / 7)
    assert (row["calls_saved"], row["seconds_saved"], row["cost_saved_usd"]) == (3, 6.0, pytest.approx(0.3))
    assert (row["log_records"], row["evictions"], row["sets"]) == (11, 1, 3)


def test_what_the_log_no_longer_holds_is_no_share_of_it(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    """Its older files were removed, as its limits want it; the counters are kept for longer."""
    for number in range(90):
        say("get", "miss", f"llm:{number}", reason="cold")
    recorder.close({})
    for file in (directory / "oplog").iterdir():
        file.unlink()
    fake_clock.advance(7200)
    began = fake_clock.wall()
    for number in range(30):
        say("get", "miss", f"llm:{number}", reason="cold")
    recorder.close({})
    found = build_report(directory, now=fake_clock.wall())
    assert found.section("summary").rows[0]["log_share"] == 0.25
    assert found.section("most_requested").source == "operation log (25% of what happened)"
    lately = build_report(directory, began - 60, now=fake_clock.wall())
    assert (lately.section("summary").rows[0]["log_share"], lately.section("most_requested").source) == (
        1, "operation log"
    )  # fmt: skip


def test_a_log_that_was_off_holds_nothing_of_what_happened(directory: Path, fake_clock: Any) -> None:
    recorder = Recorder(directory, OplogSettings(enabled=False), wall=fake_clock.wall,
                        monotonic_ns=fake_clock.monotonic_ns, token=lambda: "a" * 16)  # fmt: skip
    for number in range(20):
        recorder.record("get", "default", f"k:{number}", tier=None, outcome="miss", began_ns=0, ended_ns=1)
    recorder.close({})
    assert build_report(directory, now=fake_clock.wall()).section("summary").rows[0]["log_share"] == 0


def test_nothing_computed_is_nothing_costly(recorder: Recorder, say: Say, directory: Path, fake_clock: Any) -> None:
    say("set", "stored")
    say("get", "hit", tier="disk")
    recorder.close({})
    assert build_report(directory, now=fake_clock.wall()).section("most_costly").rows == []


def test_a_price_given_counts_for_hits_of_unknown_cost(report: Report, directory: Path, fake_clock: Any) -> None:
    (row,) = build_report(directory, costs=2.0, now=fake_clock.wall()).section("summary").rows
    assert row["cost_saved_usd"] == pytest.approx(2.3)


def test_a_price_given_counts_the_same_everywhere(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    say("compute", "miss", reason="cold", factory_s=1.0, tags=("t",))
    say("set", "stored", tags=("t",))
    say("get", "hit", tier="disk")
    recorder.close({})
    for by in ("namespace", "prefix", "tag"):
        found = build_report(directory, by=by, costs=2.0, now=fake_clock.wall())
        sections = "summary", f"by_{by}", "by_prefix"
        assert [found.section(name).rows[0]["cost_saved_usd"] for name in sections] == [2.0] * 3
        assert found.section("most_costly").rows[0]["cost_usd"] == 2.0


def test_without_any_cost_money_is_unknown(recorder: Recorder, say: Say, directory: Path, fake_clock: Any) -> None:
    say("get", "hit", tier="disk")
    recorder.close({})
    found = build_report(directory, now=fake_clock.wall())
    (row,) = found.section("summary").rows
    assert row["cost_saved_usd"] is None
    assert found.section("recommendations").rows[-1]["figure"] == "hits without a known cost"


def test_every_section_counts_what_happened(report: Report) -> None:
    def rows(name: str, *columns: str) -> list[tuple[Any, ...]]:
        return [tuple(row[column] for column in columns) for row in report.section(name).rows]

    assert rows("over_time", "requests", "hits") == [(6, 3), (1, 0)]
    assert rows("by_namespace", "namespace", "requests") == [("default", 7)]
    assert rows("by_prefix", "prefix", "hits", "misses") == [("llm", 3, 3), ("", 0, 1)]
    assert rows("by_tier", "name", "lookups", "hits") == [("memory", 7, 1), ("disk", 6, 2)]
    assert rows("miss_reasons", "reason", "count", "share") == [("cold", 3, 0.75), ("expired", 1, 0.25)]
    assert rows("evictions", "reason", "count") == [("size", 1)]
    assert rows("most_requested", "key", "requests", "hits") == [
        ("llm:0", 3, 2), ("llm:1", 2, 1), ("bare", 1, 0), ("llm:2", 1, 0),
    ]  # fmt: skip
    assert rows("most_costly", "key", "cost_usd", "factory_s")[0] == ("llm:2", pytest.approx(0.3), 2)
    assert rows("largest", "key", "size_bytes") == [("llm:2", 300), ("llm:1", 200), ("llm:0", 100)]
    assert rows("wasted", "prefix", "written", "never_read", "size_bytes") == [("llm", 3, 1, 300)]
    latency = {(row["outcome"], row["tier"]): row for row in report.section("latency").rows}
    assert (latency["hit", "disk"]["count"], latency["factory", None]["count"]) == (2, 3)
    assert latency["hit", "disk"]["p50_us"] == latency["hit", "disk"]["max_us"] == 2000.0
    assert latency["factory", None]["p95_us"] == pytest.approx(2e6, rel=0.02)


def test_it_is_json_under_the_names_of_its_sections(report: Report) -> None:
    found = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert {section.name for section in report.sections} <= found.keys()
    for section in report.sections:
        assert all(tuple(row) == section.columns for row in section.rows), section.name


@pytest.mark.parametrize("by", ["namespace", "prefix", "tier", "tag"])
def test_groups_are_by_what_was_asked(report: Report, directory: Path, fake_clock: Any, by: Any) -> None:
    found = build_report(directory, by=by, now=fake_clock.wall())
    names = [section.name for section in found.sections]
    assert f"by_{by}" in names
    assert len(names) == len(set(names))
    assert found.section(f"by_{by}").rows


def test_since_leaves_out_what_was_before_and_a_namespace_what_is_of_others(
    report: Report, directory: Path, fake_clock: Any
) -> None:
    later = build_report(directory, since=fake_clock.wall() - 60, now=fake_clock.wall())
    assert (later.section("summary").rows[0]["requests"], later.records) == (1, 2)
    other = build_report(directory, now=fake_clock.wall(), namespace="other")
    assert (other.section("summary").rows[0]["requests"], other.records) == (0, 0)


def test_of_nothing_there_is_an_empty_report(directory: Path) -> None:
    found = build_report(directory, now=1.8e9)
    assert (found.empty, found.since, found.records) == (True, None, 0)
    assert all(not section.rows for section in found.sections if section.name != "summary")
    assert not directory.exists()


def test_a_log_of_only_another_programs_files_is_empty_and_says_so(directory: Path) -> None:
    (directory / "oplog").mkdir(parents=True)
    (directory / "oplog" / "x.jsonl").write_text("hello\n")
    found = build_report(directory, now=1.8e9)
    assert (found.empty, found.skipped_files) == (True, 1)


def test_recommendations_carry_the_number_they_rest_on(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    for number in range(150):
        say("get", "miss", f"old:{number}", reason="expired")
        say("set", "stored", f"old:{number}")
        say("get", "miss", f"big:{number}", reason="evicted")
        say("get", "miss", f"once:{number}", reason="cold")
        say("get", "miss", f"gone:{number}", reason="invalidated")
    say("get", "miss", reason="corrupt")
    recorder.error("disk", OSError("x"))
    recorder.close({})
    rows = build_report(directory, now=fake_clock.wall()).section("recommendations").rows
    found = {(row["about"], row["figure"]): row["value"] for row in rows}
    assert found == {
        ("all", "corrupt entries met"): 1,
        ("all", "errors"): 1,
        ("all", "share of misses that were evicted"): pytest.approx(150 / 601),
        ("old", "share of misses that had expired"): 1.0,
        ("gone", "share of misses that were invalidated"): 1.0,
        ("once", "hit rate"): 0.0,
        ("old", "share of entries written and never read"): 1.0,
    }


def test_few_events_make_no_advice(report: Report) -> None:
    assert [row["figure"] for row in report.section("recommendations").rows] == []


@pytest.mark.parametrize(
    ("op", "outcome", "what"),
    [
        ("invalidate", "invalidated", "llm:*"), ("invalidate", "invalidated", "tag:t"), ("invalidate", "cleared", "*"),
        ("delete", "deleted", None), ("invalidate", "invalidated", None), ("invalidate", "invalidated", "job:*"),
        ("delete", "absent", None),
    ],
)  # fmt: skip
def test_what_the_log_says_was_invalidated_is_not_to_be_warmed(
    op: str, outcome: str, what: str | None, recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    keys = [f"llm:{number}" for number in range(120)]
    for key in keys:
        say("set", "stored", key, tags=("t",))
    for key in [what] if what else keys:
        say(op, outcome, key)
    for key in keys:
        say("compute", "miss", key, reason="cold", factory_s=0.1)
        say("set", "stored", key, tags=("t",))
    say("get", "miss", "llm:new", reason="cold")
    recorder.close({})
    found = build_report(directory, now=fake_clock.wall())
    advice = " ".join(row["advice"] for row in found.section("recommendations").rows)
    ended = what != "job:*" and outcome != "absent"
    assert ("warm it" in advice) is not ended
    assert ("Invalidate this prefix more narrowly" in advice) is ended
    assert ("invalidated in 120 of the cold ones" in found.section("miss_reasons").note) is ended


def test_the_log_begins_where_the_counters_do(recorder: Recorder, say: Say, directory: Path, fake_clock: Any) -> None:
    for number in range(30):  # a request each second, in two minutes
        say("set", "stored", f"llm:{number}", tags=("t",))
        say("get", "hit", f"llm:{number}", tier="disk", cost=1.0)
    recorder.close({})
    now = fake_clock.wall()
    for since in (now - 5, now - 40):
        found = build_report(directory, since, now=now)
        (tag,), (summary,) = found.section("by_tag").rows, found.section("summary").rows
        assert (tag["hits"], tag["cost_saved_usd"]) == (summary["hits"], summary["cost_saved_usd"])
        assert found.records == summary["hits"] + summary["sets"] > 0
        by_tag = collect_stats(directory, now=now, period_s=now - since, by="tag").groups
        assert [one["hits"] for one in by_tag] == [summary["hits"]]
