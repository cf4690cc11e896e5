"""Why keys were missed, and who ended entries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoutcache.entry import KEY_MARK, NAMESPACE_MARK
from scoutcache.insight.reasons import Story, who_ended
from scoutcache.oplog.linelog import LogLimits
from scoutcache.oplog.recorder import OplogSettings, Recorder

Say = Callable[..., None]


def explain(
    directory: Path, namespace: str, key: str, limit: int = 20, *, hits: bool = False
) -> list[dict[str, Any]]:
    return Story.of(directory, namespace, key, hits=limit if hits else 0).last(limit, hits=hits)


def test_explain_gives_the_last_misses_newest_first_with_what_went_before(
    recorder: Recorder, say: Say, directory: Path
) -> None:
    say("compute", "miss", reason="cold", factory_s=1.5)
    say("set", "stored")
    say("get", "hit", tier="disk")
    say("evict", "done", reason="size", tier="memory")
    say("get", "miss", reason="evicted")
    say("get", "miss", "llm:2", reason="cold")
    say("get", "miss", namespace="other", reason="cold")
    recorder.close({})
    outcomes = explain(directory, "default", "llm:1")
    assert [one["reason"] for one in outcomes] == ["evicted", "cold"]
    assert (outcomes[0]["after"]["op"], outcomes[0]["after"]["reason"], outcomes[1]["after"]) == ("evict", "size", None)
    assert outcomes[1]["factory_s"] == 1.5
    assert outcomes[0]["at"] == "2027-01-15T08:00:04+00:00"
    assert [one["reason"] for one in explain(directory, "default", "llm:1", limit=1)] == ["evicted"]
    assert explain(directory, "default", "llm:1", limit=0) == explain(directory, "default", "llm:absent") == []


def test_explain_finds_keys_that_json_escapes_and_keys_that_were_redacted(directory: Path, fake_clock: Any) -> None:
    key = 'llm:"quoted"\\ ünïcode 😀'
    for redact in (False, True):
        recorder = Recorder(directory, OplogSettings(limits=LogLimits(redact_keys=redact)), wall=fake_clock.wall,
                            monotonic_ns=fake_clock.monotonic_ns, token=lambda: os.urandom(8).hex())  # fmt: skip
        recorder.record("get", "default", key, tier=None, outcome="miss", reason="cold", began_ns=0, ended_ns=1)
        recorder.close({})
    assert len(explain(directory, "default", key)) == 2


@pytest.mark.parametrize(
    ("taken", "outcome", "what", "reason"),
    [
        ("delete", "deleted", "llm:1", "invalidated"),
        ("invalidate", "invalidated", "llm:1", "invalidated"),
        ("invalidate", "invalidated", "llm:*", "invalidated"),
        ("invalidate", "invalidated", "tag:t", "invalidated"),
        ("invalidate", "cleared", "*", "invalidated"),
        ("evict", "done", "llm:1", "evicted"),
        ("expire", "done", "llm:1", "expired"),
        ("delete", "absent", "llm:1", "evicted"),
        ("delete", "deleted", "llm:2", "evicted"),
        ("invalidate", "invalidated", "job:*", "evicted"),
        ("invalidate", "invalidated", "tag:other", "evicted"),
        ("invalidate", "invalidated", "[", "evicted"),
        ("promote", "done", "llm:1", "evicted"),
    ],
)
def test_a_miss_nobody_could_explain_has_the_reason_of_what_took_the_key_away(
    taken: str, outcome: str, what: str, reason: str, recorder: Recorder, say: Say, directory: Path
) -> None:
    say("set", "stored", tags=("t",))
    say(taken, outcome, what, reason="release")
    say("get", "miss", reason="cold")
    recorder.left("disk", "oversize", 1)
    recorder.close({})
    (miss,) = explain(directory, "default", "llm:1")
    assert miss["reason"] == reason
    if reason == "invalidated":
        by = miss["by"]
        assert (by["op"], by["what"], by["reason"], by["pid"]) == (taken, what, "release", os.getpid())
        assert by["at"] == "2027-01-15T08:00:01+00:00"
        assert by["user"]
    else:
        assert miss["by"] is None


def test_what_was_written_or_found_again_is_not_gone(recorder: Recorder, say: Say, directory: Path) -> None:
    say("set", "stored")
    say("delete", "deleted")
    say("set", "stored")
    say("get", "miss", reason="cold")
    say("evict", "done", tier="memory")
    say("get", "hit", tier="disk")
    say("get", "miss", reason="cold")
    recorder.left("disk", "oversize", 1)
    recorder.close({})
    assert [(one["reason"], one["by"]) for one in explain(directory, "default", "llm:1")] == [("evicted", None)] * 2


def test_what_was_stored_and_is_gone_was_evicted_or_had_expired(
    recorder: Recorder, say: Say, directory: Path
) -> None:
    say("get", "miss", reason="cold")
    say("set", "stored", ttl=1.5)
    say("get", "miss", reason="cold")
    say("get", "miss", reason="cold")
    recorder.left("disk", "oversize", 1)
    recorder.close({})
    assert [one["reason"] for one in explain(directory, "default", "llm:1")] == ["expired", "evicted", "cold"]


def test_where_no_tier_removed_any_without_a_name_it_is_as_cold_as_it_was_counted(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    """What was stored may have met a full disk, or somebody removed the files: nobody is blamed."""
    recorder.left("disk", "oversize", 1)
    fake_clock.advance(120)
    say("set", "stored")
    say("get", "miss", reason="cold")
    recorder.close({})
    assert [one["reason"] for one in explain(directory, "default", "llm:1")] == ["cold"]


def test_what_was_pruned_on_request_is_put_down_to_that(recorder: Recorder, say: Say, directory: Path) -> None:
    say("set", "stored")
    recorder.left("disk", "older", 1)
    say("get", "miss", reason="cold")
    recorder.flush({})
    (miss,) = explain(directory, "default", "llm:1")
    assert (miss["reason"], miss["by"]["op"], miss["by"]["what"]) == ("evicted", "evict", "older")
    recorder.left("disk", "oversize", 1)
    recorder.close({})
    assert last(directory) == ("evicted", None)  # one or the other


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"ttl": 0.0}, "invalidated"), ({"reason": "too_large", "ttl": 60.0}, "invalidated"),
        ({"reason": "bypassed", "ttl": 60.0}, "cold"), ({"ttl": 60.0}, "cold"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["llm:1", "source"])
def test_a_set_of_what_is_not_to_be_kept_ends_what_was_there(
    how: dict[str, Any], reason: str, key: str, recorder: Recorder, say: Say, directory: Path
) -> None:
    say("set", "stored", depends_on=("source",))
    say("set", "refused", key, **how)
    say("get", "miss", reason="cold")
    recorder.close({})
    (miss,) = explain(directory, "default", "llm:1")
    assert (miss["reason"], miss["by"] and miss["by"]["what"]) == (reason, key if reason == "invalidated" else None)


def test_what_was_damaged_is_there_no_more(recorder: Recorder, say: Say, directory: Path) -> None:
    say("set", "stored")
    say("get", "miss", reason="corrupt")
    recorder.left("disk", "oversize", 1)
    say("get", "miss", reason="cold")
    recorder.close({})
    assert [one["reason"] for one in explain(directory, "default", "llm:1")] == ["cold", "corrupt"]


def test_an_entry_lives_as_long_as_it_was_last_told_to(recorder: Recorder, say: Say, directory: Path) -> None:
    say("set", "stored", ttl=1.5)
    say("touch", "done", ttl=60.0)
    say("touch", "absent", "llm:2")
    say("get", "miss", reason="cold")
    say("touch", "done", ttl=0.5)
    say("get", "miss", reason="cold")
    recorder.left("disk", "oversize", 1)
    recorder.close({})
    last, first = explain(directory, "default", "llm:1")
    assert [one["reason"] for one in (first, last)] == ["evicted", "expired"]
    assert (first["after"]["op"], first["after"]["at"]) == ("touch", "2027-01-15T08:00:01+00:00")


def test_a_miss_while_the_key_was_being_computed_is_a_cold_one(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    began = fake_clock.monotonic_ns()
    fake_clock.advance(1)
    say("get", "miss", reason="cold")
    recorder.record("set", "default", "llm:1", tier=None, outcome="stored", began_ns=began,
                    ended_ns=fake_clock.monotonic_ns())  # fmt: skip
    recorder.close({})
    assert [one["reason"] for one in explain(directory, "default", "llm:1")] == ["cold"]


def test_a_reason_that_was_recorded_stands(recorder: Recorder, say: Say, directory: Path) -> None:
    say("set", "stored")
    say("invalidate", "invalidated", "llm:*")
    say("get", "miss", reason="corrupt")
    say("get", "miss", reason="bypassed")
    say("get", "miss", reason="invalidated")
    recorder.close({})
    assert [one["reason"] for one in explain(directory, "default", "llm:1")] == ["invalidated", "bypassed", "corrupt"]


def test_an_entry_whose_time_a_mark_cut_short_was_invalidated(recorder: Recorder, say: Say, directory: Path) -> None:
    """What a pattern marked stale is past its time for who asks for it, and is served to who takes it stale."""
    say("set", "stored", ttl=100.0)
    say("invalidate", "invalidated", "llm:*", reason="release")
    say("compute", "stale", tier="disk", reason="refreshing")
    say("get", "miss", reason="expired")
    say("set", "stored", ttl=1.5)
    say("get", "miss", reason="expired")
    recorder.close({})
    outcomes = explain(directory, "default", "llm:1")
    assert [one["reason"] for one in outcomes] == ["expired", "invalidated"]
    assert (outcomes[0]["by"], outcomes[1]["by"]["what"], outcomes[1]["by"]["reason"]) == (None, "llm:*", "release")


def test_what_was_past_its_time_before_anybody_invalidated_it_expired(
    recorder: Recorder, say: Say, directory: Path
) -> None:
    say("set", "stored", ttl=0.5)
    say("invalidate", "invalidated", "llm:*")
    say("get", "miss", reason="expired")
    recorder.close({})
    assert last(directory) == ("expired", None)


def test_an_invalidation_of_another_namespace_is_none_of_this_key(
    recorder: Recorder, say: Say, directory: Path
) -> None:
    say("set", "stored")
    say("invalidate", "cleared", "*", namespace="other")
    say("get", "miss", reason="cold")
    recorder.left("disk", "oversize", 1)
    recorder.close({})
    assert last(directory) == ("evicted", None)


@pytest.mark.parametrize(("redact", "rate"), [(True, 1.0), (False, 1e-9)])
def test_invalidations_are_known_though_keys_are_redacted_or_sampled(
    redact: bool, rate: float, directory: Path, fake_clock: Any
) -> None:
    limits = LogLimits(redact_keys=redact, sample_rate=rate)
    recorder = Recorder(directory, OplogSettings(limits=limits), wall=fake_clock.wall,
                        monotonic_ns=fake_clock.monotonic_ns, token=lambda: os.urandom(8).hex())  # fmt: skip
    for what in ("tag:t", "llm:1"):
        recorder.record("invalidate", "default", what, tier=None, outcome="invalidated", reason="why", began_ns=0,
                        ended_ns=1)  # fmt: skip
    recorder.close({})
    ended = who_ended(directory, "default", ["t", KEY_MARK + "llm:1", "other"], 0.0)
    assert [by and by["reason"] for by in ended.values()] == ["why", "why", None]


def test_the_last_act_since_the_entry_was_made_is_the_one_that_ended_it(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    say("invalidate", "invalidated", "tag:t", reason="before")
    created = fake_clock.wall()
    say("invalidate", "invalidated", "tag:t", reason="first")
    say("invalidate", "invalidated", "tag:t", reason="last")
    say("set", "stored", "job:1")
    say("invalidate", "cleared", "*", reason="swept")
    say("invalidate", "invalidated", "depends-on:job:2", reason="dependents")
    recorder.close({})
    marks = ["t", KEY_MARK + "job:1", KEY_MARK + "job:2", NAMESPACE_MARK, "never"]
    ended = who_ended(directory, "default", marks, created)
    assert [by and (by["op"], by["reason"]) for by in ended.values()] == [
        ("invalidate", "last"), ("invalidate", "swept"), ("invalidate", "dependents"), ("invalidate", "swept"), None,
    ]  # fmt: skip


def last(directory: Path) -> tuple[str, str | None]:
    """The reason of the last miss, and of whom the log blames for it."""
    miss = explain(directory, "default", "llm:1")[0]
    return miss["reason"], miss["by"] and (miss["by"]["op"], miss["by"]["what"])


@pytest.mark.parametrize("op", ["set", "delete"])
def test_what_died_of_a_key_it_depends_on_names_the_change_of_that_key(
    op: str, recorder: Recorder, say: Say, directory: Path
) -> None:
    say("set", "stored", "llm:parent")
    say("set", "stored", depends_on=("llm:parent",))
    say(op, "stored", "llm:parent")
    say("get", "miss", reason="invalidated")
    recorder.close({})
    assert last(directory) == ("invalidated", (op, "llm:parent"))


def test_dependencies_are_followed_to_the_keys_behind(recorder: Recorder, say: Say, directory: Path) -> None:
    say("set", "stored", "job:2", depends_on=("job:1",))
    say("set", "stored", depends_on=("job:2",))
    say("invalidate", "invalidated", "job:1")
    say("get", "miss", reason="invalidated")
    recorder.close({})
    assert last(directory) == ("invalidated", ("invalidate", "job:1"))


def test_a_tag_of_the_key_behind_that_was_written_before_is_known(
    recorder: Recorder, say: Say, directory: Path
) -> None:
    say("set", "stored", "job:1", tags=("jobs",))
    say("set", "stored", "job:0", tags=("jobs",))
    say("set", "stored", depends_on=("job:0", "job:1"))
    say("invalidate", "invalidated", "tag:jobs")
    say("get", "miss", reason="invalidated")
    recorder.close({})
    assert last(directory) == ("invalidated", ("invalidate", "tag:jobs"))


def test_who_came_after_the_entry_had_ended_is_not_blamed(recorder: Recorder, say: Say, directory: Path) -> None:
    say("set", "stored")
    say("delete", "deleted")
    say("invalidate", "invalidated", "llm:*", reason="innocent")
    say("get", "miss", reason="cold")
    recorder.close({})
    assert last(directory) == ("invalidated", ("delete", "llm:1"))


def test_of_a_changed_dependency_and_a_later_invalidation_neither_is_named(
    recorder: Recorder, say: Say, directory: Path
) -> None:
    """The dependency may have been written with the value it had, which ends nothing."""
    say("set", "stored", depends_on=("job:1",))
    say("set", "stored", "job:1")
    say("invalidate", "invalidated", "llm:*", reason="innocent")
    say("get", "miss", reason="invalidated")
    recorder.close({})
    assert last(directory) == ("invalidated", None)


@pytest.mark.parametrize("recorded", ["cold", "expired"])
def test_who_came_after_the_end_of_its_ttl_is_not_blamed(
    recorded: str, recorder: Recorder, say: Say, directory: Path
) -> None:
    say("set", "stored", ttl=0.5)
    say("invalidate", "invalidated", "llm:*", reason="innocent")
    say("get", "miss", reason=recorded)
    recorder.close({})
    assert last(directory) == ("expired", None)


def test_an_invalidation_before_anything_was_known_to_be_there_is_not_blamed(
    recorder: Recorder, say: Say, directory: Path
) -> None:
    say("invalidate", "invalidated", "llm:*", reason="innocent")
    say("get", "miss", reason="cold")
    recorder.close({})
    assert last(directory) == ("cold", None)


def test_what_was_answered_is_told_too_when_asked_for(recorder: Recorder, say: Say, directory: Path) -> None:
    say("compute", "miss", reason="cold", factory_s=1.5)
    say("set", "stored")
    say("get", "hit", tier="disk")
    say("compute", "stale", tier="memory", reason="refreshing")
    say("compute", "hit", reason="joined")
    say("get", "miss", reason="bypassed")
    say("get", "miss", tier="disk", reason="corrupt")  # that tier's share of a request
    say("get", "miss", reason="corrupt")
    say("get", "hit", key="llm:2", tier="disk")
    recorder.close({})
    told = [(one["reason"], one["outcome"], one["tier"], one["wait_us"]) for one in
            explain(directory, "default", "llm:1", hits=True)]  # fmt: skip
    assert told == [
        ("corrupt", "miss", None, None), ("bypassed", "miss", None, None), ("joined", "hit", None, 2000.0),
        ("stale", "stale", "memory", None), ("fresh", "hit", "disk", None), ("cold", "miss", None, None),
    ]  # fmt: skip
    assert [one["reason"] for one in explain(directory, "default", "llm:1", limit=2)] == ["corrupt", "bypassed"]


@pytest.mark.parametrize(("seconds", "named"), [(3, True), (0.5, False)])
def test_what_was_made_while_an_act_was_under_way_may_have_died_of_it_too(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any, seconds: float, named: bool
) -> None:
    """It is announced before and after it; of one that was over by then it did not."""
    say("set", "stored")
    now = fake_clock.monotonic_ns()
    recorder.record("delete", "default", "llm:1", outcome="deleted", tier=None, began_ns=now,
                    ended_ns=now + int(seconds * 1e9))  # fmt: skip
    fake_clock.advance(1)
    say("get", "miss", reason="invalidated")
    say("set", "stored")
    say("get", "miss", reason="invalidated")
    recorder.close({})
    again, first = explain(directory, "default", "llm:1")
    assert first["by"]["op"] == "delete"
    assert (again["by"] is not None) == named


def test_of_two_acts_the_one_that_was_under_way_then_ended_what_was_made(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    """Though the other had ended what was there before."""
    say("set", "stored")
    say("delete", "deleted")
    fake_clock.advance(1)
    now = fake_clock.monotonic_ns()
    recorder.record("invalidate", "default", "llm:*", outcome="done", tier=None, began_ns=now,
                    ended_ns=now + int(3e9))  # fmt: skip
    fake_clock.advance(1)
    say("set", "stored")
    say("get", "miss", reason="invalidated")
    recorder.close({})
    assert last(directory) == ("invalidated", ("invalidate", "llm:*"))


def test_all_that_missed_by_one_act_before_the_key_was_back_are_told_of_it(
    recorder: Recorder, fake_clock: Any, directory: Path
) -> None:
    """Lines are in the order in which things began; what one of several computed was there when it was over."""
    started = fake_clock.monotonic_ns()

    def say(at_ms: int, ms: int, kind: str, outcome: str, key: str = "llm:1", **more: Any) -> None:
        began = started + at_ms * 1_000_000
        recorder.record(kind, "default", key, outcome=outcome, began_ns=began, ended_ns=began + ms * 1_000_000,
                        **{"tier": None, **more})  # fmt: skip

    say(0, 1, "set", "stored", ttl=3600.0)
    say(100, 1, "invalidate", "invalidated", "llm:*", reason="deploy")
    say(103, 12, "compute", "hit", reason="joined")
    say(105, 10, "compute", "miss", reason="invalidated")
    say(105, 10, "set", "stored", ttl=3600.0)
    say(110, 10, "compute", "miss", reason="invalidated")
    say(110, 10, "set", "stored", ttl=3600.0)
    say(118, 5, "compute", "miss", reason="invalidated")
    say(118, 5, "set", "stored", ttl=3600.0)
    say(900, 1, "compute", "miss", reason="invalidated")  # by what the log doesn't hold
    recorder.close({})
    told = [one["by"] and one["by"]["reason"] for one in explain(directory, "default", "llm:1")]
    assert told == [None, "deploy", "deploy", "deploy"]


def test_a_miss_is_put_down_to_what_a_clock_that_was_ahead_dates_after_it(directory: Path, fake_clock: Any) -> None:
    def wrote(*acts: tuple[str, str, str]) -> None:
        recorder = Recorder(directory, OplogSettings(), wall=fake_clock.wall, monotonic_ns=fake_clock.monotonic_ns,
                            token=lambda: os.urandom(8).hex())  # fmt: skip
        for op, outcome, key in acts:
            began = fake_clock.monotonic_ns()
            fake_clock.advance(1)
            recorder.record(op, "default", key, tier=None, outcome=outcome, began_ns=began, ended_ns=began + 1000,
                            reason="cold" if outcome == "miss" else None,
                            tags=("t",) if op == "set" else ())  # fmt: skip
        recorder.close({})

    wrote(("get", "miss", "k"), ("set", "stored", "k"))
    fake_clock.step_wall(86400)
    wrote(("invalidate", "invalidated", "other:*"), ("invalidate", "invalidated", "tag:t"), ("delete", "deleted", "k"))
    fake_clock.step_wall(-86400)
    wrote(("get", "miss", "k"), ("get", "miss", "k"), ("set", "stored", "k"), ("get", "miss", "k"),
          ("set", "stored", "k"), ("get", "miss", "k"))  # fmt: skip
    told = Story.of(directory, "default", "k", now=fake_clock.wall()).last(9)
    assert [(one["reason"], one["by"] and one["by"]["what"]) for one in reversed(told)] == [
        ("cold", None), ("invalidated", "tag:t"), ("invalidated", "tag:t"), ("invalidated", "k"), ("cold", None),
    ]  # fmt: skip
