"""With ``redact_keys`` no text of a key reaches the log or the counters, and what names none stays readable."""

from __future__ import annotations

from typing import Any

import pytest

from scoutcache.insight.log.operations import read_operations
from scoutcache.insight.reasons import Story
from scoutcache.oplog.records import redacted

KEY = "user:ann@example.com"


@pytest.fixture
def cache(open_cache: Any) -> Any:
    return open_cache(["memory", "disk"], oplog={"redact_keys": True}, memory={"max_entries": 3})


def what_of_invalidations(cache: Any) -> list[str]:
    cache.flush()
    return [line.key for line in read_operations(cache.core.directory) if line.op == "invalidate"]


def test_whatever_is_done_with_a_key_its_text_is_in_no_file_of_the_log_or_the_counters(cache: Any) -> None:
    def fails() -> None:
        raise KeyError(KEY)

    cache.set(KEY, 1, tags=["mine"])
    cache.get(KEY)
    cache.touch(KEY, 60)
    cache.get_or_compute("view:1", lambda: 2, depends_on=[KEY])
    cache.set("view:2", 2, depends_on=[KEY])
    cache.get_or_compute(f"{KEY}/none", object)
    with pytest.raises(KeyError):
        cache.get_or_compute(f"{KEY}/fails", fails)
    for number in range(9):
        cache.set(f"{KEY}/{number}", number)
    cache.get(f"{KEY}/0")
    cache.delete_many([KEY, f"{KEY}/absent"])
    cache.invalidate(f"{KEY}*", keys=[KEY], tags=["mine"])
    cache.invalidate(f"{KEY}/?", action="mark_stale")
    cache.flush()
    directory = cache.core.directory
    written = b"".join(path.read_bytes() for name in ("oplog", "procs", "counters")
                       for path in (directory / name).glob("*"))  # fmt: skip
    assert b'"mine"' in written
    assert b"ann@example" not in written


def test_a_tag_is_logged_by_the_name_that_entries_carry_and_a_pattern_that_names_no_key_as_it_is(cache: Any) -> None:
    cache.set(KEY, 1, tags=["mine"])
    cache.invalidate("user:*", "user:??", f"{KEY}*", "ann*", keys=["tag:ann"], tags=["mine"])
    cache.clear()
    hashed = [redacted("default", name) for name in (f"{KEY}*", "ann*", "tag:ann")]
    assert what_of_invalidations(cache) == ["user:*", "user:??", *hashed, "tag:mine", "*"]


@pytest.mark.parametrize(("patterns", "named"), [(["user:*"], {}), ([], {"tags": ["mine"]}), ([], {"keys": [KEY]})])
def test_explain_knows_who_ended_an_entry(cache: Any, patterns: list[str], named: dict[str, Any]) -> None:
    cache.set(KEY, 1, tags=["mine"])
    cache.invalidate(*patterns, **named, reason="cleaning")
    cache.get(KEY)
    cache.flush()
    [miss] = Story.of(cache.core.directory, "default", KEY).last(20)
    assert (miss["reason"], miss["by"]["reason"]) == ("invalidated", "cleaning")
