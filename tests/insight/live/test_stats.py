from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scoutcache import Cache
from scoutcache.insight.live.stats import collect_stats
from scoutcache.oplog.recorder import Recorder

Say = Callable[..., None]


def test_a_request_counts_for_every_tag_its_key_was_last_written_with(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    say("compute", "miss", reason="cold", tags=("old",))
    say("set", "stored", tags=("model:a", "team:x"))
    say("get", "hit", tier="disk", cost=0.5)
    say("set", "stored", key="llm:2", tags=("team:x",))
    say("get", "miss", key="llm:3", reason="cold")
    recorder.close({})
    found = collect_stats(directory, now=fake_clock.wall(), by="tag").as_dict()
    names = ("tag", "requests", "hits", "sets", "cost_saved_usd")
    assert [tuple(tag[name] for name in names) for tag in found["tags"]] == [
        ("model:a", 2, 1, 1, 0.5), ("team:x", 2, 1, 2, 0.5),
    ]  # fmt: skip
    assert found["requests"] == 3


def test_tags_go_by_period_and_namespace(recorder: Recorder, say: Say, directory: Path, fake_clock: Any) -> None:
    say("set", "stored", tags=("a",))
    say("set", "stored", namespace="other", tags=("b",))
    fake_clock.advance(600)
    say("set", "stored", key="llm:2", tags=("c",))
    recorder.close({})

    def tags(**more: Any) -> list[str]:
        return [tag["tag"] for tag in collect_stats(directory, now=fake_clock.wall(), by="tag", **more).groups]

    assert (tags(), tags(namespace="other"), tags(period_s=60)) == (["a", "b", "c"], ["b"], ["c"])


def test_a_hit_that_says_no_cost_saved_what_its_keys_calls_cost_on_the_mean(
    recorder: Recorder, say: Say, directory: Path, fake_clock: Any
) -> None:
    say("set", "stored", cost=0.5, tags=("t",))
    say("get", "hit", tier="disk", cost=0.7)
    say("get", "hit", tier="memory")
    say("get", "hit", tier="memory")
    say("set", "stored", key="llm:2", tags=("t", "u"))
    say("get", "hit", key="llm:2", tier="memory")
    recorder.close({})

    def saved(**more: Any) -> dict[str, tuple[float | None, int]]:
        rows = collect_stats(directory, now=fake_clock.wall(), by="tag", **more).groups
        return {row["tag"]: (row["cost_saved_usd"], row["hits_with_cost"]) for row in rows}

    assert saved() == {"t": (1.9, 3), "u": (None, 0)}
    assert saved(price=0.1) == {"t": (2.0, 4), "u": (0.1, 1)}


def test_an_invalidation_counts_for_the_tag_that_it_names(directory: Path) -> None:
    with Cache(directory=directory) as cache:
        cache.set_many({"a:1": 1, "a:2": 2}, tags=["t", "u"])
        for tags in (["t"], ["t"], ["t", "u"], ["unused"]):
            cache.invalidate(tags=tags)
        cache.invalidate("a:1", "a:*")
        now = cache._core.clocks.wall()
    found = collect_stats(directory, now=now, by="tag").as_dict()
    assert {row["tag"]: row["invalidations"] for row in found["tags"]} == {"t": 3, "u": 1, "unused": 1}
    assert found["invalidations"] == 7


def test_by_tag_of_no_log_there_is_no_row(directory: Path) -> None:
    assert collect_stats(directory, now=1.8e9, by="tag").as_dict()["tags"] == []
    assert collect_stats(None, now=1.8e9, by="tag").groups == ()
