from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scoutcache.oplog.linelog import LineLog, LogLimits
from scoutcache.oplog.records import Event, kept_at, redacted
from scoutcache.oplog.who import this_process

NOW = 1_800_000_000.0
OFFSET = int(NOW * 1e9)


def make(directory: Path, **limits: Any) -> LineLog:
    names = iter(range(1000))
    return LineLog(directory, LogLimits(**limits), token=lambda: f"f{next(names):03d}", process="me")


def event(key: str = "llm:1", outcome: str = "miss", **more: Any) -> Event:
    fields = {"kind": "get", "namespace": "default", "key": key, "tier": "", "outcome": outcome, "reason": "cold",
              "began_ns": 1000, "ended_ns": 3500, "size": None, "error": None, "cost": None, "factory_s": None,
              "tags": ()}  # fmt: skip
    return Event(**{**fields, **more})


def hit(key: str, at: int = 0) -> tuple[int, int, str, str, int]:
    return (at, at + 700, "default", key, 10)


def lines(directory: Path) -> list[dict[str, Any]]:
    files = sorted((directory / "oplog").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def write(
    log: LineLog, events: list[Event] | None = None, hits: list[Any] | None = None, now: float = NOW
) -> dict[str, int]:
    return dict(+log.write(events or [], hits or [], offset_ns=OFFSET, now=now))


def test_a_record_says_what_happened_in_named_fields(directory: Path) -> None:
    log = make(directory)
    write(log, [event(size=7, cost=0.5, factory_s=1.5, error="ValueError: x", tags=("a",))], [hit("llm:2")])
    me = this_process()
    assert lines(directory) == [
        {"time": NOW, "op": "start", "process": "me", "user": me.user, "pid": me.pid, "command": me.command,
         "format": 2, "sample_rate": 1.0},
        {"time": NOW + 1e-6, "op": "get", "key": "llm:1", "namespace": "default", "outcome": "miss", "reason": "cold",
         "latency_us": 2.5, "size": 7, "factory_s": 1.5, "cost": 0.5, "error": "ValueError: x", "tags": ["a"]},
        {"op": "get", "time": NOW, "key": "llm:2", "namespace": "default", "tier": "memory", "outcome": "hit",
         "latency_us": 0.7, "size": 10},
    ]  # fmt: skip


def test_nothing_is_made_before_there_is_something_to_write(directory: Path) -> None:
    write(make(directory))
    assert not directory.exists()


def test_over_budget_misses_come_first_and_hits_are_thinned_by_key(directory: Path) -> None:
    log = make(directory, max_records_per_s=40)
    hits = [hit(f"k{at % 40}", at) for at in range(400)]
    left_out = write(log, [event(f"m{at}") for at in range(60)], hits)
    written = lines(directory)
    kept = [line["key"] for line in written if line.get("outcome") == "hit" for _ in (0, *line["more_ns"])]
    assert sum(line.get("outcome") == "miss" for line in written) == 60
    assert 0 < len(set(kept)) <= 20
    assert all(kept.count(key) == 10 for key in kept), "a key is kept with all its uses or not at all"
    said = [line for line in written if line["op"] == "left_out"]
    assert (left_out, said[0]["count"], said[0]["reason"]) == ({"rate": 400 - len(kept)}, 400 - len(kept), "rate")
    assert set(kept) == {f"k{at}" for at in range(40) if kept_at(f"k{at}") < said[0]["rate"]}


def test_the_budget_comes_back_with_time(directory: Path) -> None:
    log = make(directory, max_records_per_s=10)
    assert write(log, [event() for _ in range(25)]) == {"rate": 5}
    assert write(log, [event()], now=NOW) == {"rate": 1}
    assert write(log, [event() for _ in range(5)], now=NOW + 0.5) == {}
    assert write(log, [event() for _ in range(40)], now=NOW + 3600) == {"rate": 20}


def test_without_a_cap_everything_is_written(directory: Path) -> None:
    hits = [hit(f"k{at}") for at in range(20_000)]
    assert write(make(directory, max_records_per_s=0), [event()] * 2000, hits) == {}
    assert len(lines(directory)) == 22_001


def test_hits_of_one_key_share_a_line_of_bounded_length(directory: Path) -> None:
    write(make(directory), hits=[hit("k", 10 * at) for at in reversed(range(2500))] + [hit("single", 7)])
    several = lines(directory)[1:-1]
    assert [len(line["more_ns"]) for line in several] == [999, 999, 499]
    assert several[-1]["time"] == NOW
    assert several[-1]["more_ns"] == [10 * at for at in range(1, 500)]
    assert (lines(directory)[-1]["key"], lines(directory)[-1]["latency_us"]) == ("single", 0.7)


def test_hits_of_one_key_in_two_sizes_keep_both(directory: Path) -> None:
    write(make(directory), hits=[hit("k"), (5, 6, "default", "k", 99), hit("k", 9)])
    assert [(line["size"], line.get("more_ns")) for line in lines(directory)[1:]] == [(10, [9]), (99, None)]


def test_a_sample_takes_whole_keys_and_is_counted_but_not_said(directory: Path) -> None:
    keys = [f"k{at}" for at in range(100)]
    left_out = write(make(directory, sample_rate=0.3), [event(key) for key in keys * 2], [hit(key) for key in keys])
    written = lines(directory)[1:]
    kept = {key for key in keys if kept_at(key) < 0.3}
    assert {line["key"] for line in written} == kept
    assert (len(written), left_out) == (3 * len(kept), {"sampled": 300 - 3 * len(kept)})
    assert 10 < len(kept) < 50


def test_redacted_keys_keep_their_prefix_and_errors_their_type_only(directory: Path) -> None:
    log = make(directory, redact_keys=True)
    write(log, [event("llm:secret", error="ValueError: about llm:secret"), event("secret")], [hit("llm:secret")])
    text = "\n".join(file.read_text() for file in (directory / "oplog").iterdir())
    assert "secret" not in text
    first, second, third = (line["key"] for line in lines(directory)[1:])
    assert first == third == redacted("default", "llm:secret")
    assert (first[:5], second[0]) == ("llm:#", "#")
    assert redacted("other", "llm:secret") != first


def test_a_key_that_utf8_cannot_hold_is_written_with_a_replacement(directory: Path) -> None:
    write(make(directory), [event("llm:\ud800", error="\udfff")], [hit("\ud800"), hit("fine")])
    assert [line["key"] for line in lines(directory)[1:]] == ["llm:?", "?", "fine"]


def test_files_are_rotated_and_the_oldest_go_first(directory: Path) -> None:
    log = make(directory, max_bytes=8000)
    for second in range(300):
        write(log, [event(f"llm:{second}")], now=NOW + second)
    sizes = [file.stat().st_size for file in (directory / "oplog").iterdir()]
    assert len(sizes) > 3
    assert sum(sizes) <= 8000 + 1200
    assert lines(directory)[-1]["key"] == "llm:299"


def test_files_older_than_the_maximal_age_go(directory: Path) -> None:
    log = make(directory, max_age=3600)
    write(log, [event()])
    old = next((directory / "oplog").iterdir())
    os.utime(old, (NOW - 7200, NOW - 7200))
    log.close()
    write(log, [event("llm:new")], now=NOW + 61)
    assert [line.get("key") for line in lines(directory)] == [None, "llm:new"]


def test_when_the_file_or_the_folder_is_removed_the_next_line_begins_another(directory: Path) -> None:
    log = make(directory)
    write(log, [event()])
    next((directory / "oplog").iterdir()).unlink()
    write(log, [event("llm:again")])
    assert [line["op"] for line in lines(directory)] == ["start", "get"]


def test_a_write_cut_short_costs_one_line(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = make(directory)
    write(log, [event("llm:before")])
    real = os.write

    def short(fd: int, content: Any) -> int:
        if len(content) <= 10:
            raise OSError(28, "No space left on device")
        return real(fd, bytes(content[:-10]))

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        write(log, [event("llm:torn")])
    monkeypatch.undo()
    write(log, [event("llm:after")])
    texts = next((directory / "oplog").iterdir()).read_text().splitlines()
    readable = []
    for text in texts:
        try:
            readable.append(json.loads(text).get("key"))
        except ValueError:
            readable.append("torn")
    assert readable == [None, "llm:before", "torn", "llm:after"]
