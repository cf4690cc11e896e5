from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoutcache.insight.log.operations import Operations, read_operations
from scoutcache.oplog.recorder import Recorder

Say = Callable[..., None]
START = b'{"time":1.0,"op":"start","process":"me"}\n'
LINE = b'{"time":2.0,"op":"get","key":"k","outcome":"miss"}\n'


def put(directory: Path, content: bytes, name: str = "a.jsonl") -> Path:
    (directory / "oplog").mkdir(parents=True, exist_ok=True)
    (directory / "oplog" / name).write_bytes(content)
    return directory / "oplog" / name


def test_every_record_comes_back_with_the_process_that_wrote_it(recorder: Recorder, say: Say, directory: Path) -> None:
    say("get", "miss", reason="cold")
    assert recorder.hit_log is not None
    recorder.hit_log((0, 1500, "default", "llm:1", 5))
    recorder.close({})
    lines = list(read_operations(directory))
    assert [(line.op, line.outcome, line.tier) for line in lines] == [("get", "miss", None), ("get", "hit", "memory")]
    assert {line.process for line in lines} == {recorder._process}


def test_hits_that_share_a_line_come_back_one_by_one(recorder: Recorder, directory: Path, fake_clock: Any) -> None:
    assert recorder.hit_log is not None
    for at in (0, 500_000_000, 2_000_000_000):
        recorder.hit_log((fake_clock.monotonic_ns() + at, fake_clock.monotonic_ns() + at + 900, "default", "llm:1", 5))
    recorder.close({})
    lines = list(read_operations(directory))
    assert [line.time - lines[0].time for line in lines] == pytest.approx([0, 0.5, 2.0])
    assert {(line.key, line.outcome, line.size, line.more_ns) for line in lines} == {("llm:1", "hit", 5, None)}


def test_of_no_log_there_is_nothing_to_read(directory: Path) -> None:
    operations = read_operations(directory)
    assert (list(operations), operations.skipped_files) == ([], 0)


@pytest.mark.parametrize("torn", [b'{"time":3.0,"op":"ge', b"{", b'{"time":3.0,"op":"get"}'])
def test_a_torn_last_line_is_skipped_and_counted(directory: Path, torn: bytes) -> None:
    put(directory, START + LINE + torn)
    operations = read_operations(directory)
    assert (len(list(operations)), operations.skipped_lines) == (1, 1)


@pytest.mark.parametrize(
    "bad",
    [
        b"not json", b"[]", b"{}", b'{"time":"x","op":"get"}', b'{"time":1e300,"op":"get"}', b'{"time":-1,"op":"get"}',
        b'{"time":2,"op":"get","latency_us":-4}', b'{"time":2,"op":"get","size":1e99}',
        b'{"time":2,"op":"get","key":5}',
        b'{"time":NaN,"op":"get"}', b'{"time":2,"op":"get","more_ns":[-1]}',
        b"\xff\xfe\x00", b'{"time":2,"op":"get","key":"\\ud800"}', b"x" * (3 << 20),
    ],
)  # fmt: skip
def test_an_impossible_line_costs_itself_and_nothing_else(directory: Path, bad: bytes) -> None:
    put(directory, START + LINE + bad + b"\n" + LINE)
    operations = read_operations(directory)
    assert [line.key for line in operations] == ["k", "k"]
    assert operations.skipped_lines >= 1


@given(st.binary(max_size=300))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_bytes_reading_gives_records_or_skips(directory: Path, content: bytes) -> None:
    put(directory, START + content)
    assert all(line.op for line in read_operations(directory))
    put(directory, content)
    assert all(line.op for line in read_operations(directory))


def test_another_programs_file_is_skipped_whole_and_counted(directory: Path) -> None:
    put(directory, LINE + LINE, "other.jsonl")
    put(directory, b"line of a web server\n" * 5, "web.jsonl")
    put(directory, START + LINE)
    (directory / "oplog" / "link.jsonl").symlink_to("/etc/passwd")
    (directory / "oplog" / "folder.jsonl").mkdir()
    operations = read_operations(directory)
    assert (len(list(operations)), operations.skipped_files, operations.skipped_lines) == (1, 2, 0)


def test_only_what_happened_since_is_given(directory: Path) -> None:
    path = put(directory, START + LINE + LINE.replace(b"2.0", b"9.0"))
    os.utime(path, (10, 10))
    old = put(directory, START + LINE, "old.jsonl")
    os.utime(old, (2, 2))
    assert [line.time for line in read_operations(directory, since=5.0)] == [9.0]


def test_what_the_writers_left_out_is_summed(directory: Path) -> None:
    put(directory, START + b'{"time":2.0,"op":"left_out","reason":"rate","count":7,"rate":0.5}\n' * 2)
    operations = read_operations(directory)
    assert (list(operations), dict(operations.left_out)) == ([], {"rate": 14})


def test_who_wrote_a_change_is_told_with_it(recorder: Recorder, say: Say, directory: Path) -> None:
    say("invalidate", "invalidated", "llm:*", reason="release")
    say("get", "hit", tier="disk")
    recorder.close({})
    change, asked = read_operations(directory)
    assert (change.pid, change.process, bool(change.user), bool(change.command)) == (
        os.getpid(), recorder._process, True, True,
    )  # fmt: skip
    assert asked.pid is None


@pytest.mark.parametrize("start", [START[:20], START[:-1]])
def test_a_file_whose_first_line_is_torn_says_so(directory: Path, start: bytes) -> None:
    path = put(directory, start)
    operations = read_operations(directory)
    assert list(operations) == []
    [problem] = operations.problems.named
    assert (problem.path, problem.line, problem.what[:5]) == (path, 1, "torn:")


def test_who_asks_for_some_keys_hears_of_what_is_no_line_too(directory: Path) -> None:
    put(directory, START + LINE + b"rubbish\n" + LINE[:-4])
    operations = Operations(directory, keys=frozenset({"other"}))
    assert list(operations) == []
    assert [problem.line for problem in operations.problems.named] == [3, 4]


@pytest.mark.parametrize("cut", [1, 10, 2000, -1, -5])
def test_a_packed_file_that_ends_too_early_is_told(directory: Path, cut: int) -> None:
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(START + b"".join(
        LINE.replace(b'"k"', b'"%x"' % (number * 7919**5)) for number in range(500)))  # fmt: skip
    put(directory, packed, "a.jsonl.zst")
    assert (len(list(read_operations(directory))), len(packed) > 2000) == (500, True)
    put(directory, packed[:cut], "a.jsonl.zst")
    operations = read_operations(directory)
    assert len(list(operations)) <= 500
    assert any("damaged after line" in problem.what for problem in operations.problems.named)
