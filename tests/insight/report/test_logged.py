"""The keys that stand out: what is costly or large is named however few they are, and what never was is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scoutcache import Cache
from scoutcache.insight.report.report import build_report


def rows(directory: Path, section: str, **more: Any) -> list[dict[str, Any]]:
    return list(build_report(directory, now=more.pop("now"), **more).section(section).rows)


def test_the_costly_keys_come_first_though_few_of_many_have_a_price(recorder, say, directory, fake_clock):
    for number in range(40):
        say("compute", "miss", f"free:{number}", reason="cold", factory_s=9.0)
    for number in range(3):
        say("compute", "miss", f"dear:{number}", reason="cold", factory_s=0.1, cost=number + 1.0)
    recorder.close({})
    found = rows(directory, "most_costly", now=fake_clock.wall())
    assert [(row["key"], row["cost_usd"]) for row in found[:3]] == [("dear:2", 3.0), ("dear:1", 2.0), ("dear:0", 1.0)]
    assert len(found) == 20


def test_the_largest_entries_are_named_though_few_have_a_size(recorder, say, directory, fake_clock):
    for number in range(40):
        say("get", "miss", f"gone:{number}", reason="cold")
    for number in range(3):
        say("set", "stored", f"big:{number}", size=100 * (number + 1))
    recorder.close({})
    found = rows(directory, "largest", now=fake_clock.wall())
    assert [(row["key"], row["size_bytes"]) for row in found] == [("big:2", 300), ("big:1", 200), ("big:0", 100)]


def test_of_equal_ones_the_first_by_name_are_named(recorder, say, directory, fake_clock):
    for number in reversed(range(30)):
        say("set", "stored", f"k:{number:02}", size=100)
    recorder.close({})
    found = rows(directory, "largest", now=fake_clock.wall())
    assert [row["key"] for row in found] == [f"k:{number:02}" for number in range(20)]


NOT_STORED = {
    "store_if": {"store_if": lambda value: False}, "ttl": {"ttl": 0}, "condition": {"condition": lambda: False},
}  # fmt: skip


@pytest.mark.parametrize("how", NOT_STORED.values(), ids=list(NOT_STORED))
def test_what_was_never_stored_is_neither_written_nor_large(tmp_path, how):
    with Cache(directory=tmp_path) as cache:
        for number in range(5):
            cache.get_or_compute(f"not:{number}", lambda: "x" * 100, **how)
        cache.get_or_compute("kept:1", lambda: "x" * 100)
        cache.get_or_compute("kept:1", pytest.fail)
        assert cache.stats().sets == 1
        now = cache._core.clocks.wall()
    found = rows(tmp_path, "wasted", now=now)
    assert [(row["prefix"], row["written"], row["never_read"]) for row in found] == [("kept", 1, 0)]
    assert [row["key"] for row in rows(tmp_path, "largest", now=now)] == ["kept:1"]
