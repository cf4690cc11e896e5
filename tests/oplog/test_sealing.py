"""Sealing keeps every record once, whatever dies in the middle."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoutcache.insight.log.operations import Operations
from scoutcache.oplog import columns, sealing
from scoutcache.oplog.filing import find_files
from scoutcache.oplog.linelog import LineLog, LogLimits
from scoutcache.oplog.reading import LineFile, Problems
from scoutcache.oplog.records import FORMAT, Line
from scoutcache.oplog.sealing import Sealer, clear_drafts, seal

NOW = 1_800_000_000.0
START = Line(NOW, "start", process="me", user="ann", pid=7, command="serve.py", format=FORMAT)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
HOSTILE = st.sampled_from(["\x1b]0;owned\x07", "<script>", "=1+1", "\u202egnp.exe", "\x00", 'a"b\\', "\ufeff", "'; --"])
FIGURE = st.none() | st.floats(0, 1e15)
COUNT = st.none() | st.integers(0, 10**15)
NAMES = st.lists(TEXT | HOSTILE, max_size=3).map(tuple)
TIME = st.integers(0, 2_000_000_000_000_000).map(lambda micros: micros / 1e6)
LINES = st.builds(
    Line, TIME, st.sampled_from(["get", "set", "compute", "invalidate"]), TEXT | HOSTILE, TEXT | HOSTILE,
    tier=st.none() | TEXT, outcome=st.none() | TEXT, reason=st.none() | TEXT | HOSTILE, latency_us=FIGURE, size=COUNT,
    factory_s=FIGURE, cost=FIGURE, error=st.none() | TEXT | HOSTILE, tags=NAMES, depends_on=NAMES, ttl=FIGURE,
    stored=COUNT, codec=st.none() | TEXT, codec_us=FIGURE, keygen_us=FIGURE, wait_us=FIGURE,
    more_ns=st.none() | st.lists(st.integers(0, 10**12), max_size=3),
)  # fmt: skip


def put(directory: Path, lines: list[Line], name: str = "a.jsonl", start: Line = START) -> Path:
    path = directory / "oplog" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.Encoder().encode_lines([start, *lines]))
    return path


def get(number: int, key: str = "llm:1") -> Line:
    return Line(NOW + number, "get", key, "default", outcome="miss", reason="cold", latency_us=1.5)


def many(count: int = 1000) -> list[Line]:
    return [get(number, f"llm:{number % 50:032}") for number in range(count)]


def read(directory: Path) -> list[Line]:
    return list(Operations(directory))


@given(st.lists(LINES, max_size=8))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_comes_out_of_a_sealed_file_is_what_went_in(directory: Path, lines: list[Line]) -> None:
    path = put(directory, lines)
    before = read(directory)
    done = seal(path, NOW, smallest=0)
    assert done.path is not None
    assert not path.exists()
    after = read(directory)
    done.path.unlink()
    assert [round(line.time * 1e6) for line in before] == [round(line.time * 1e6) for line in after]
    for line in (*before, *after):
        line.time = 0.0
    assert before == after


def test_a_row_is_one_operation_with_plain_columns(directory: Path) -> None:
    import duckdb
    import pandas as pd

    hits = Line(NOW, "get", "k", "default", tier="memory", outcome="hit", size=5, more_ns=[1_000_000, 2_000_000])
    done = seal(put(directory, [hits, Line(NOW, "set", "k", "default", tags=("a", "b"))]), NOW, smallest=0)
    rows = duckdb.sql(f"select op, key, tags, process, pid, epoch_us(time) - {NOW * 1e6:.0f} from '{done.path}'")
    assert rows.fetchall() == [
        ("get", "k", None, "me", 7, 0), ("get", "k", None, "me", 7, 1000), ("get", "k", None, "me", 7, 2000),
        ("set", "k", '["a","b"]', "me", 7, 0),
    ]  # fmt: skip
    table = pd.read_parquet(done.path)
    assert list(table.columns) == list(columns.COLUMNS)
    assert table["time"].dt.tz is not None


@pytest.mark.parametrize("gone", ["lines", "sealed"])
def test_a_file_that_is_removed_while_it_is_sealed_is_no_failure(
    directory: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Another process keeps the log within its limits."""
    path, told = put(directory, many()), list[OSError]()
    settle = sealing._settle

    def keeps(*_: object) -> None:
        path.unlink()

    def settled(draft: Path, into: Path, status: os.stat_result) -> None:
        settle(draft, into, status)
        into.unlink()

    if gone == "lines":
        monkeypatch.setattr(sealing, "_not_worth_it", keeps)
    else:
        monkeypatch.setattr(sealing, "_settle", settled)
    sealer = Sealer(told.append, lambda: NOW)
    sealer.work([path])
    sealer.close()
    assert told == []
    assert list((directory / "oplog").iterdir()) == []


def test_a_log_of_both_formats_is_read_and_sealed(directory: Path) -> None:
    old = msgspec.structs.replace(START, format=None, process="old")
    first, second = put(directory, many(), "old.jsonl", old), put(directory, many(), "new.jsonl")
    assert len(read(directory)) == 2000
    os.utime(first, (NOW, NOW))
    assert seal(first, NOW + 60).why == "may be written"
    assert seal(first, NOW + 7200).why == seal(second, NOW).why == "sealed"
    assert {line.process for line in read(directory)} == {"old", "me"}


def test_what_the_writers_left_out_and_what_was_no_record_is_still_told(directory: Path) -> None:
    path = put(directory, [*many(), Line(NOW, "left_out", reason="rate", count=7, rate=0.5)])
    with path.open("ab") as file:
        file.write(b'nonsense\n{"time":3.0,"op":"ge')
    done = seal(path, NOW)
    assert done.skipped == 2
    operations = Operations(directory)
    assert len(list(operations)) == 1000
    assert (dict(operations.left_out), operations.skipped_lines) == ({"rate": 7}, 2)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"line of a web server\n" * 9000, "not ours"), (b"", "small"), (b'{"time":1,"op":"start","pro', "small")],
)
def test_what_is_not_ours_or_not_worth_it_stays(directory: Path, content: bytes, why: str) -> None:
    path = put(directory, [])
    path.write_bytes(content)
    assert seal(path, NOW).why == why
    assert path.read_bytes() == content


def test_without_pyarrow_files_are_packed_and_become_parquet_once_it_is_there(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(directory, many())
    before, size = read(directory), path.stat().st_size
    with monkeypatch.context() as without:
        without.setattr(sealing, "can_parquet", lambda: False)
        packed = seal(path, NOW).path
        assert packed is not None
        assert packed.name == "a.jsonl.zst"
        assert packed.stat().st_size < size / 5
        assert read(directory) == before
        assert seal(packed, NOW).why in {"packed already", "small"}
    assert seal(packed, NOW, smallest=0).path == directory / "oplog" / "a.parquet"
    assert [file.path.name for file in find_files(directory / "oplog")] == ["a.parquet"]
    assert read(directory) == before


def test_a_sealed_file_keeps_the_time_of_its_last_line_and_is_private(directory: Path) -> None:
    path = put(directory, many())
    os.utime(path, (5, NOW - 40))
    done = seal(path, NOW)
    assert done.path is not None
    assert done.path.stat().st_mtime == NOW - 40
    assert done.path.stat().st_mode & 0o777 == 0o600


def test_a_dry_run_tells_and_changes_nothing(directory: Path) -> None:
    path = put(directory, many())
    done = seal(path, NOW, dry_run=True)
    assert (done.path, done.why) == (directory / "oplog" / "a.parquet", "would be sealed")
    assert [one.name for one in path.parent.iterdir()] == ["a.jsonl"]


def test_a_file_that_is_being_written_is_left_alone(directory: Path) -> None:
    log = LineLog(directory, LogLimits(), token=lambda: "f", process="me")
    log.write([], [(at, at + 9, "default", f"{at:040}", 5) for at in range(3000)], offset_ns=0, now=NOW)
    path = directory / "oplog" / "f.jsonl"
    assert seal(path, NOW).why == "being written"
    log.close()
    assert seal(path, NOW).why == "sealed"
    assert len(read(directory)) == 3000


def test_a_full_file_is_let_go_to_be_sealed(directory: Path) -> None:
    names = iter(range(100))
    log = LineLog(directory, LogLimits(max_bytes=1_000_000), token=lambda: f"f{next(names)}", process="me")
    for turn in range(3):
        hits = [(at, at + 9, "default", f"{at:040}", 5) for at in range(turn * 1000, turn * 1000 + 1000)]
        log.write([], hits, offset_ns=0, now=NOW)
    assert [path.name for path in log.full] == ["f0.jsonl", "f1.jsonl", "f2.jsonl"]
    Sealer(pytest.fail, lambda: NOW).work(log.full)
    assert {file.form for file in find_files(directory / "oplog")} == {".parquet"}
    assert len(read(directory)) == 3000


def test_what_can_not_be_sealed_is_told_and_stays(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, told = put(directory, many()), []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealing.os, "fsync", full)
    sealer = Sealer(told.append, lambda: NOW)
    assert sealer.begin([path])
    sealer.close()
    assert [error.errno for error in told] == [28]
    assert [one.name for one in path.parent.iterdir()] == ["a.jsonl"]


def test_beside_the_calls_it_rests_until_somebody_waits(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(directory, many())
    monkeypatch.setattr(sealing, "REST_S", 3600)
    sealer = Sealer(pytest.fail, lambda: NOW)
    assert sealer.begin([path])
    assert not sealer.begin([path])
    sealer.close()
    assert [one.name for one in path.parent.iterdir()] == ["a.parquet"]


def test_a_forked_child_that_inherits_pyarrow_leaves_it_to_others(directory: Path) -> None:
    """Its locks may be held by threads that the child hasn't got."""
    pytest.importorskip("pyarrow")
    path = put(directory, many())
    child = os.fork()
    if child == 0:
        os._exit(int(Sealer(pytest.fail, lambda: NOW).begin([path])))
    assert os.waitpid(child, 0)[1] == 0
    assert [one.name for one in path.parent.iterdir()] == ["a.jsonl"]
    sealer = Sealer(pytest.fail, lambda: NOW)
    assert sealer.begin([path])
    sealer.close()
    assert [one.name for one in path.parent.iterdir()] == ["a.parquet"]


def test_slices_make_the_file_that_all_lines_at_once_make(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = put(directory, many())
    whole = path.with_name("b.jsonl")
    shutil.copyfile(path, whole)
    monkeypatch.setattr(sealing, "SLICE", 7)
    seal(path, NOW)
    monkeypatch.setattr(sealing, "SLICE", 100_000)
    seal(whole, NOW)
    sliced, plain = (parquet.ParquetFile(path.with_name(name)) for name in ("a.parquet", "b.parquet"))
    assert sliced.read() == plain.read()
    assert sliced.num_row_groups == plain.num_row_groups == 1


# -- killed in the middle

SEALS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from scoutcache.oplog import sealing

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

where = sys.argv[2]
if where == "writing":
    write = sealing.table_of
    calls = []
    def table_of(batch):
        calls.append(1)
        return write(batch) if len(calls) < 2 else die()
    sealing.table_of = table_of
    sealing.SLICE = sealing.BATCH = 100
elif where == "renaming":
    Path.replace = die
elif where == "removing":
    sealing.sync_folder = die
sealing.seal(Path(sys.argv[1]), 2e9)
"""


@pytest.mark.parametrize("where", ["writing", "renaming", "removing"])
def test_a_sealer_killed_anywhere_loses_and_doubles_nothing(directory: Path, where: str) -> None:
    path = put(directory, many())
    before = read(directory)
    done = subprocess.run([sys.executable, "-c", SEALS_AND_DIES, str(path), where], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    left = sorted(one.name.split(".parquet.")[0] for one in path.parent.iterdir())
    assert left == (["a.jsonl", "a.parquet"] if where == "removing" else [".a", "a.jsonl"])
    assert read(directory) == before
    assert seal(path, NOW).why == "sealed"
    assert [one.name for one in path.parent.iterdir()] == ["a.parquet"]
    assert read(directory) == before


WRITES = """
import sys
from scoutcache import Cache
cache = Cache(directory=sys.argv[1], oplog={"max_records_per_s": 10**9, "max_bytes": 3_000_000})
number = 0
while True:
    for _ in range(500):
        cache.get(f"llm:{number:040}")
        number += 1
    cache.flush()
    print(number, flush=True)
"""


def test_a_writer_killed_while_it_writes_and_seals_loses_nothing_it_had_flushed(
    directory: Path, until: Callable[..., None]
) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITES, str(directory)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 6000:
                break

        def found() -> set[str]:  # between two files there is none that is being written
            live = [file.path for file in find_files(directory / "oplog") if file.form == ".jsonl"]
            return {seal(path, NOW).why for path in live}

        until(lambda: "being written" in found(), "the present file is left alone")
        process.kill()
        flushed = int((line + process.stdout.read()).split()[-1])
    keys = [int(line.key[4:]) for line in read(directory)]
    assert len(set(keys)) == len(keys)
    assert set(range(flushed)) <= set(keys)
    for file in find_files(directory / "oplog"):
        if file.form == ".jsonl":
            assert seal(file.path, NOW).why in {"sealed", "small"}
    assert sorted(int(line.key[4:]) for line in read(directory)) == sorted(keys)


def test_drafts_of_files_that_are_gone_are_removed_after_a_day(directory: Path) -> None:
    put(directory, [])
    old, young = directory / "oplog" / ".x.parquet.1", directory / "oplog" / ".y.parquet.1"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (NOW - 90_000, NOW - 90_000))
    os.utime(young, (NOW, NOW))
    clear_drafts(directory / "oplog", NOW)
    assert not old.exists()
    assert young.exists()


def test_problems_are_named_by_line(directory: Path) -> None:
    path, problems = put(directory, [get(1)]), Problems()
    with path.open("ab") as file:
        file.write(b'what?\n{"time":2,"op":"get"}\n' + b"x" * (3 << 20) + b'\n{"time":2')
    with path.open("rb") as file:
        assert len(list(LineFile(file, path, problems))) == 2
    assert [problem.line for problem in problems.named] == [3, 5, 6]
    assert "torn" in problems.named[2].what


def test_what_a_full_file_took_to_seal_is_given_back(tmp_path):
    """Or each process of an application holds it for good: pyarrow keeps what it has freed, and so does glibc."""
    dice = random.Random(1)
    lines = [Line(NOW + number, "get", f"m:{dice.randrange(20_000)}", "default", outcome="hit", tier="memory",
                  latency_us=10 * dice.random()) for number in range(100_000)]  # fmt: skip
    paths = [put(tmp_path, lines[:count], f"{count}.jsonl") for count in (1000, len(lines))]
    code = """
import os, sys
from pathlib import Path
from threading import Thread
from scoutcache.oplog.sealing import seal

def sealed(path):
    thread = Thread(target=seal, args=(Path(path), 0.0))
    thread.start()
    thread.join()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

before = sealed(sys.argv[1])
print(sealed(sys.argv[2]) - before)
"""
    ran = subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True, capture_output=True, text=True)
    assert [path.exists() for path in paths] == [False, False]
    assert float(ran.stdout) < 20, "it was 40"
