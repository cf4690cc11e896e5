"""What the sections of a report say in single cases, and logs that nobody would wish for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoutcache.insight.log import frame
from scoutcache.insight.log.logtable import Log
from scoutcache.insight.log.operations import Operations, files_of
from scoutcache.insight.report.export import report_csv, report_html
from scoutcache.insight.report.logged import _per_step
from scoutcache.insight.report.page import LARGEST
from scoutcache.insight.report.report import build_report
from scoutcache.insight.report.sections import shown_figure
from scoutcache.insight.report.trouble import Levels
from scoutcache.oplog.recorder import Recorder
from scoutcache.oplog.records import MISS_REASONS

Say = Callable[..., None]
HOUR = 3600


def row(found: Any, section: str, **names: Any) -> dict[str, Any]:
    """The row of a section in which these columns have these values."""
    rows = [one for one in found.section(section).rows if all(one[name] == value for name, value in names.items())]
    assert len(rows) == 1, found.section(section).rows
    return rows[0]


def test_every_reason_of_a_miss_says_what_it_means(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    for reason in MISS_REASONS:
        say("get", "miss", reason=reason)
    recorder.close({})
    rows = build_report(directory, now=fake_clock.wall()).section("miss_reasons").rows
    assert {row["reason"] for row in rows if row["meaning"]} == {*MISS_REASONS}


def test_a_period_is_compared_with_the_one_before(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    for rate in (1, 3):
        fake_clock.advance(-fake_clock.wall() % HOUR)
        for number in range(40):
            say("get", "hit" if number % 4 < rate else "miss", tier="disk" if number % 4 < rate else None, cost=1.0)
            fake_clock.advance(HOUR / 40 - 1)
    recorder.close({})
    found = build_report(directory, since=fake_clock.wall() - HOUR, now=fake_clock.wall())
    assert row(found, "trend", figure="requests") == {
        "figure": "requests", "before": 40, "now": 40, "change": 0, "change_share": 0, "unit": "count",
    }  # fmt: skip
    assert row(found, "trend", figure="hit rate")["change"] == pytest.approx(0.5)
    assert row(found, "trend", figure="money saved")["change_share"] == pytest.approx(2.0)
    moved = row(found, "movers", prefix="llm")
    assert (moved["before"], moved["now"], shown_figure("change", moved)) == (0.25, 0.75, "+50.0 points")
    halves = build_report(directory, now=fake_clock.wall(), compare="halves")
    assert row(halves, "trend", figure="hit rate")["change"] == pytest.approx(0.5)


def test_what_is_compared_is_what_the_summary_counts(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    """So long ago counters are kept by the hour, and the period begins with the hour that it begins in."""
    fake_clock.advance(-fake_clock.wall() % HOUR + 600)
    say("get", "miss")
    recorder.close({})
    since = fake_clock.wall() + 1200
    fake_clock.advance(30 * HOUR)
    found = build_report(directory, since=since, now=fake_clock.wall())
    assert found.section("summary").rows[0]["requests"] == 1
    assert row(found, "trend", figure="requests")["now"] == 1


def test_where_little_is_kept_from_before_counts_are_not_compared(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    say("get", "miss")
    fake_clock.advance(1000)
    say("get", "hit", tier="disk")
    recorder.close({})
    found = build_report(directory, since=fake_clock.wall() - 300, now=fake_clock.wall())
    requests = row(found, "trend", figure="requests")
    assert (requests["before"], requests["now"], requests["change"]) == (None, 1, None)
    assert "Nothing is kept from before" in found.section("trend").note
    longer = build_report(directory, since=fake_clock.wall() - 900, now=fake_clock.wall())
    assert row(longer, "trend", figure="requests")["change"] is None
    assert row(longer, "trend", figure="hit rate")["change"] == 1.0
    assert "can't be compared" in longer.section("trend").note


def test_a_log_of_one_minute_has_no_halves(recorder: Recorder, say: Say, directory: Path, fake_clock: Any) -> None:
    say("get", "miss")
    recorder.close({})
    assert build_report(directory, now=fake_clock.wall()).section("trend").rows == []


def test_money_says_what_it_rests_on(recorder: Recorder, say: Say, directory: Path, fake_clock: Any) -> None:
    say("set", "stored", "said:1", cost=0.5)
    say("get", "hit", "said:1", tier="disk", cost=0.5)
    say("set", "stored", "model:1", size=4_000_000, tags=("model:big",))
    say("get", "hit", "model:1", tier="disk")
    say("get", "hit", "none:1", tier="disk")
    recorder.close({})
    now = fake_clock.wall()
    found = build_report(directory, now=now)
    said = row(found, "savings", prefix="said")
    assert (said["cost_saved_usd"], said["cost_spent_usd"], said["estimated"]) == (0.5, 0.5, False)
    assert row(found, "savings", prefix="none")["cost_saved_usd"] is None
    assert row(found, "savings", prefix="none")["estimated"] is None
    priced = build_report(directory, now=now, models={"big": 2.0})
    assert row(priced, "savings", prefix="model")["cost_saved_usd"] == pytest.approx(2.0)  # a million tokens
    assert row(priced, "savings", prefix="model")["estimated"] is True
    assert "prices of models for 1 hit, at least" in row(priced, "savings", prefix="model")["based_on"]
    both = build_report(directory, costs=0.1, now=now, models={"big": 2.0})
    (total,) = both.section("summary").rows
    assert total["cost_saved_usd"] == pytest.approx(2.6)
    assert total["cost_estimated_usd"] == pytest.approx(2.1)
    assert row(both, "savings", prefix="none")["based_on"] == "default_call_usd for 1 hit"


def test_a_default_price_counted_at_the_time_is_an_estimate(tmp_path: Path, fake_clock: Any) -> None:
    from scoutcache.oplog.recorder import OplogSettings

    recorder = Recorder(tmp_path, OplogSettings(default_call_usd=0.2), wall=fake_clock.wall,
                        monotonic_ns=fake_clock.monotonic_ns, token=lambda: "a" * 16)  # fmt: skip
    for _ in range(3):
        recorder.record("get", "default", "llm:1", tier="disk", outcome="hit", began_ns=0, ended_ns=5000)
    recorder.close({})
    found = row(build_report(tmp_path, costs=0.2, now=fake_clock.wall()), "savings", prefix="llm")
    assert (found["cost_saved_usd"], found["estimated"]) == (pytest.approx(0.6), True)
    assert found["based_on"] == "default_call_usd"


def test_the_money_of_a_default_price_is_the_same_in_every_section(tmp_path: Path, fake_clock: Any) -> None:
    from scoutcache import Cache
    from scoutcache.core.core import Clocks

    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    with Cache(directory=tmp_path, tiers=["memory"], memory={"max_entries": 50}, costs={"default_call_usd": 0.01},
               clocks=clocks) as cache:  # fmt: skip
        for number in [*range(30), *range(30), *range(100)]:
            cache.get_or_compute(f"j:{number}", lambda: 1, tags=["t"])
        cache.get_or_compute("x:1", lambda: 1)
    found = build_report(tmp_path, now=fake_clock.wall())
    hits = row(found, "by_prefix", prefix="j")["hits"]
    assert hits >= 60
    for section, name in (("by_prefix", {"prefix": "j"}), ("by_tag", {"tag": "t"}), ("savings", {"prefix": "j"})):
        assert row(found, section, **name)["cost_saved_usd"] == pytest.approx(hits * 0.01)
    assert row(found, "savings", prefix="j")["based_on"] == "default_call_usd"
    assert row(found, "savings", prefix="j")["estimated"] is True
    spent = row(found, "savings", prefix="x")
    assert (spent["cost_saved_usd"], spent["cost_spent_usd"], spent["based_on"]) == (None, 0.01, "default_call_usd")
    assert {one["cost_usd"] for one in found.section("most_costly").rows} == {0.01}


def test_the_ttl_advised_would_have_answered_four_in_five(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    for number in range(120):
        say("compute", "miss", f"llm:{number}", reason="cold", factory_s=1.0, cost=0.1)
        say("set", "stored", f"llm:{number}", ttl=60.0, cost=0.1)
    fake_clock.advance(5000)
    for number in range(240):
        say("get", "miss", f"llm:{number % 120}", reason="expired")
    say("get", "hit", "llm:0", tier="disk", cost=0.1)
    recorder.close({})
    advice = row(build_report(directory, now=fake_clock.wall()), "recommendations",
                 figure="share of misses that had expired")  # fmt: skip
    # Written over 240 s, asked again after 5000 s in the same order: eight in ten were 4,952 to 5,168 s old.
    assert "a ttl of 1h 30m ([ttl] llm)" in advice["advice"]
    assert (advice["calls"], advice["worth_usd"]) == (240, pytest.approx(24.0))


def test_the_keys_of_one_call_are_one_slow_operation(recorder: Recorder, directory: Path, fake_clock: Any) -> None:
    began = fake_clock.monotonic_ns()
    for number in range(50):
        recorder.record("set", "default", f"llm:{number}", tier=None, outcome="stored", began_ns=began,
                        ended_ns=began + 80_000_000 + number)  # fmt: skip
    recorder.close({})
    found = build_report(directory, now=fake_clock.wall())
    assert (row(found, "slow", prefix="llm")["slow"], len(found.section("slowest").rows)) == (1, 1)
    assert not build_report(directory, now=fake_clock.wall(), levels=Levels(operation=0.1)).section("slow").rows


def test_computing_is_not_slow_but_making_a_key_may_be(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    say("compute", "miss", factory_s=0.0019, keygen_us=250_000.0)
    recorder.close({})
    found = build_report(directory, now=fake_clock.wall(), levels=Levels(operation=0.001))
    (slow,) = found.section("slow").rows
    assert (slow["what"], slow["slow"], slow["max_us"], slow["level_us"]) == ("making the key", 1, 250_000, 100_000)


def test_what_a_source_took_to_fail_is_not_the_caches(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    say("compute", "miss", reason="cold", error="TimeoutError")
    say("compute", "miss", reason="cold")
    recorder.close({})
    found = build_report(directory, now=fake_clock.wall(), levels=Levels(operation=0.001))
    assert [row["slow"] for row in found.section("slow").rows] == [1]


def test_a_storm_names_who_and_what_it_cost(recorder: Recorder, say: Say, directory: Path, fake_clock: Any) -> None:
    for number in range(6):
        say("compute", "miss", f"llm:{number}", reason="cold", factory_s=2.0, cost=0.5)
        say("set", "stored", f"llm:{number}", cost=0.5)
    fake_clock.advance(3600 - fake_clock.wall() % 60)
    for number in range(5):
        say("invalidate", "invalidated", f"tag:t{number}", reason="deploy")
    for number in range(6):
        more = {"factory_s": 2.0, "cost": 0.5} if number < 4 else {}
        say("compute" if more else "get", "miss", f"llm:{number}", reason="invalidated", **more)
    recorder.close({})
    (storm,) = build_report(directory, now=fake_clock.wall()).section("storms").rows
    assert (storm["invalidations"], storm["reason"], storm["what"]) == (5, "deploy", "tag:t0 and 4 more")
    assert (storm["misses_after"], storm["keys_lost"], storm["recomputed"]) == (6, 6, 4)
    assert (storm["recompute_s"], storm["recompute_usd"]) == (8, 2)


def test_a_time_in_the_future_is_empty_and_a_log_from_the_future_is_read(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    say("get", "hit", tier="disk")
    recorder.close({})
    ahead = build_report(directory, since=fake_clock.wall() + HOUR, now=fake_clock.wall())
    assert (ahead.empty, report_html(ahead).count("Nothing was recorded")) == (True, 1)
    behind = build_report(directory, now=fake_clock.wall() - 100 * 86_400)
    assert behind.section("summary").rows[0]["requests"] == 1
    assert report_html(behind)


def test_torn_and_foreign_files_cost_themselves_only(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    for number in range(4):
        say("compute", "miss", f"llm:{number}", factory_s=1.0)
    recorder.close({})
    (file,) = (directory / "oplog").glob("*.jsonl")
    whole = file.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 150, 20, 0):
        file.write_bytes(whole[:length])
        found = build_report(directory, now=fake_clock.wall())
        assert found.records <= 4
        assert found.section("summary").rows[0]["requests"] == 4, "the counters are elsewhere"
    file.write_bytes(whole)
    (directory / "oplog" / "web.jsonl").write_bytes(b"127.0.0.1 GET /\n" * 9)
    (directory / "oplog" / "junk.jsonl").write_bytes(bytes(range(256)) * 9)
    found = build_report(directory, now=fake_clock.wall())
    assert (found.records, found.skipped_files) == (4, 2)
    assert "2 unreadable files" in report_html(found)


def test_a_hundred_thousand_keys_make_no_larger_page(tmp_path: Path, fake_clock: Any) -> None:
    (tmp_path / "oplog").mkdir()
    with (tmp_path / "oplog" / "a.jsonl").open("w") as file:
        file.write('{"time":1.0,"op":"start","process":"me"}\n')
        file.writelines(
            f'{{"time":{1_800_000_000 + number},"op":"get","key":"<{number % 700}>:{number}",'
            f'"namespace":"&{number % 90}","outcome":"hit","tier":"disk","latency_us":{number % 999},"size":{number},'
            f'"tags":["{number % 300}&"]}}\n'
            for number in range(100_000)
        )
    found = build_report(tmp_path, now=1.8e9 + 100_000, files=files_of([tmp_path / "oplog"]))
    assert found.records == 100_000
    page = report_html(found)
    assert len(page.encode()) < LARGEST
    assert page.count("<svg") > 20
    report_csv(found, tmp_path / "csv")
    assert len((tmp_path / "csv" / "by_prefix.csv").read_text().splitlines()) == 101


def test_figures_by_step_are_right_however_many_entries_and_steps_there_are(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    for turn in range(4):
        for number in range(100):
            say("get", "hit" if turn else "miss", f"llm:{number}", tier="disk" if turn else None, tags=(f"t:{number}",))
        fake_clock.advance(3600)
    recorder.close({})
    log = Log(frame.as_frame(Operations(directory)))
    found = _per_step(log, log.tags["entry"].to_numpy(), 60)
    assert len(found.groupby(["entry", "at"])) == len(found) == 400
    assert found["requests"].tolist() == [1] * 400


@pytest.mark.parametrize(
    ("hits", "cost", "kept"),
    [(0, None, False), (20, None, False), (4_000, None, True), (20, 0.001, False), (20, 5.0, True)],
    ids=["no hits", "few hits", "nearly all requests are hits", "few cheap hits", "few dear hits"],
)
def test_a_prefix_whose_hits_pay_is_not_given_up_for_what_nobody_reads(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any, hits: int, cost: float | None, kept: bool
) -> None:
    for number in range(300):
        say("compute", "miss", f"faq:{number}", factory_s=0.1)
        say("set", "stored", f"faq:{number}", size=10)
    for number in range(hits):
        say("compute", "hit", f"faq:{number % 10}", tier="memory", cost=cost)
    for _ in range(2_000):
        say("compute", "hit", "other:1", tier="memory", cost=0.01)
    recorder.close({})
    found = build_report(directory, now=fake_clock.wall())
    advice = row(found, "recommendations", figure="share of entries written and never read")["advice"]
    assert ("don't cache it" in advice, "keep it" in advice) == (not kept, kept)
