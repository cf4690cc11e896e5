"""What of a log can't be read is named by every command that reads one."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from scoutcache.cli.printing.unread import SHOWN
from scoutcache.oplog.columns import SIGNATURE, table_of
from scoutcache.oplog.records import FORMAT, Line
from scoutcache.oplog.sealing import seal

NOW: Final = 1_700_000_000.0
LINES: Final = [
    Line(NOW + number, "compute" if number % 3 == 0 else "get", f"k:{number % 5}", "default", outcome="miss",
         reason="cold", size=9)
    for number in range(30)
]  # fmt: skip
NAMED: Final = [("report",), ("advise",), ("simulate", "--policy", "lru")]
OWN: Final = [
    ("report",), ("advise",), ("simulate", "--policy", "lru"), ("explain", "k:1"), ("keystats",),
    ("stats", "--by", "tag"), ("warm", "--predict"), ("warm", "--frequent", "1", "--dry-run"),
    ("warm", "--predict", "--evaluate"),
]  # fmt: skip


def put(path: Path, more: bytes = b"", form: int = FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    start = Line(NOW, "start", process="me", user="ann", pid=7, command="serve.py", format=form)
    path.write_bytes(msgspec.json.Encoder().encode_lines([start, *LINES]) + more)
    return path


def name(command: tuple[str, ...]) -> str:
    return command[0]


@pytest.mark.parametrize("command", NAMED, ids=name)
@pytest.mark.parametrize("more", [b"rubbish\n", b'{"time":1700'])
def test_a_line_of_a_named_file_is_told_and_the_exit_code_says_so(cli, command, more):
    put(Path("torn.jsonl"), more)
    ran = cli(*command, "torn.jsonl", "--json")
    assert ran.code == 3, ran.err
    assert json.loads(ran.out)["schema_version"] == 1
    assert ran.err.count("warning: torn.jsonl, line 32: ") == 1


@pytest.mark.parametrize("command", NAMED, ids=name)
@pytest.mark.parametrize("kind", ["torn.parquet", "other.jsonl", "later.jsonl", "foreign.parquet", "torn.jsonl.zst"])
def test_a_named_file_of_which_nothing_can_be_read_is_told_with_the_reason(cli, workplace, command, kind):
    said = "doesn't begin with a start line"
    if kind == "torn.parquet":
        path = seal(put(Path("torn.jsonl")), NOW, smallest=0).path
        assert path is not None
        Path(kind).write_bytes(path.read_bytes()[:-50])
        said = "not a whole Parquet file"
    elif kind == "other.jsonl":
        Path(kind).write_text('{"foo":1}\n')
    elif kind == "later.jsonl":
        put(Path(kind), form=99)
        said = f"written in format 99, this version knows {FORMAT}"
    elif kind == "foreign.parquet":
        pq.write_table(pa.table({"trip": [1], "fare": [2.5]}), kind)
        said = "its metadata lacks the signature"
    else:
        Path(kind).write_bytes(zstandard.compress(put(Path("whole.jsonl")).read_bytes() * 99)[:40])
        said = "damaged after line 0"
    ran = cli(*command, kind)
    assert ran.code == (3 if command == ("report",) else 1)
    assert f"{kind}: " in ran.err
    assert said in ran.err
    assert "nothing was recorded" not in ran.err
    assert "unexpected" not in ran.err


@pytest.mark.parametrize("command", OWN, ids=name)
def test_in_the_caches_own_folder_it_is_a_warning(cli, directory, command):
    folder = directory / "oplog"
    put(folder / "a.jsonl", b'{"time":1700')
    (folder / "other.jsonl").write_text('{"foo":1}\n')
    pq.write_table(pa.table({"trip": [1], "fare": [2.5]}), folder / "taxi.parquet")
    ran = cli(*command)
    assert ran.code == 0, ran.err
    assert f"warning: {folder / 'a.jsonl'}, line 32: torn" in ran.err
    assert f"warning: {folder / 'other.jsonl'}: not a log of scoutcache" in ran.err
    assert f"warning: {folder / 'taxi.parquet'}: not a log of scoutcache" in ran.err


AHEAD: Final = [
    ("report", "--since", "24h"), ("advise", "--since", "24h"), ("simulate", "--policy", "lru", "--since", "24h"),
    ("stats", "--by", "tag", "--period", "24h"), ("warm", "--frequent", "9", "--dry-run"), ("warm", "--predict"),
]  # fmt: skip


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("command", AHEAD, ids=name)
def test_what_is_dated_after_now_is_in_no_period_that_ends_now(cli, directory, command, sealed):
    now = time.time()
    lines = [Line(at, "get", key, "default", outcome="miss", reason="cold") for at, key in
             ((now - 60, "then"), (now + 30, "soon"), (now + 9e5, "later"), (now + 8e5, "later"))]  # fmt: skip
    start = Line(now, "start", process="me", user="ann", pid=7, command="serve.py", format=FORMAT)
    file = directory / "oplog" / "a.jsonl"
    file.write_bytes(msgspec.json.Encoder().encode_lines([start, *lines]))
    if sealed:
        assert seal(file, now, smallest=0).path is not None
    ran = cli(*command, "--json")
    assert ran.code == 0, ran.err
    latest = datetime.fromtimestamp(now + 9e5, UTC)
    assert ran.err.count(f"not counted: records dated in the future, up to {latest:%Y-%m-%d %H:%M:%SZ}") == 1
    assert "later" not in ran.out
    if command[0] in {"report", "warm"} and "--predict" not in command:
        assert '"then"' in ran.out
        assert '"soon"' in ran.out


@pytest.mark.parametrize("command", [*NAMED, ("log", "convert", "-o", "out.jsonl")], ids=name)
def test_many_are_counted_beyond_the_first(cli, command):
    put(Path("a.jsonl"), b"rubbish\n" * 150)
    ran = cli(*command, "a.jsonl")
    assert (ran.code, ran.err.count("a.jsonl, line")) == (3, SHOWN)
    assert "warning: and 130 more in the log that could not be read" in ran.err


@pytest.mark.parametrize("command", [*NAMED, ("log", "convert", "-o", "out.jsonl")], ids=name)
def test_a_file_that_is_not_there_is_a_wrong_use(cli, workplace, command):
    ran = cli(*command, "nofile.jsonl")
    assert (ran.code, ran.out) == (2, "")
    assert "nofile.jsonl" in ran.err


@pytest.mark.parametrize("command", NAMED, ids=name)
def test_a_packed_log_is_a_log(cli, workplace, command):
    Path("a.jsonl.zst").write_bytes(zstandard.compress(put(Path("whole.jsonl")).read_bytes()))
    ran = cli(*command, "a.jsonl.zst", "--json")
    assert ran.code == 0, ran.err
    assert ran.out


@pytest.mark.parametrize("command", [*(one for one in OWN if one[0] != "keystats"), ("log", "tail")], ids=name)
def test_that_no_log_is_kept_is_told_once_where_figures_rest_on_it(cli, directory, command, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_OPLOG__ENABLED", "false")
    for file in (directory / "oplog").iterdir():
        file.unlink()
    assert cli(*command).err.count("no operation log is kept here: [oplog] enabled is false\n") == 1


@pytest.mark.parametrize("command", NAMED, ids=name)
def test_a_plain_folder_of_log_files_is_a_log(cli, workplace, command):
    put(Path("backup/a.jsonl"))
    put(Path("backup/b.jsonl"), b"rubbish\n")
    ran = cli(*command, "backup", "--json")
    assert ran.code == 3, ran.err
    assert ran.err.count("backup/b.jsonl, line 32: ") == 1
    assert ran.out


@pytest.mark.parametrize("command", [("advise",), ("simulate",)], ids=name)
def test_a_folder_without_a_log_says_what_was_expected(cli, workplace, command):
    Path("empty").mkdir()
    ran = cli(*command, "empty")
    assert (ran.code, ran.out) == (2, "")
    assert "empty holds no files of a log" in ran.err
    assert "those end in .jsonl, .jsonl.zst or .parquet" in ran.err
    Path("foreign").mkdir()
    Path("foreign/other.jsonl").write_text('{"foo":1}\n')
    ran = cli(*command, "foreign")
    assert ran.code == 2
    assert "warning: foreign/other.jsonl: not a log of scoutcache" in ran.err


@pytest.mark.parametrize("command", NAMED, ids=name)
def test_what_is_whole_is_told_without_a_word(cli, workplace, command):
    put(Path("a.jsonl"))
    ran = cli(*command, "a.jsonl")
    assert (ran.code, "warning" in ran.err) == (0, False)


@pytest.mark.parametrize("into", ["out.parquet", "out.jsonl", "out.csv"])
def test_a_signed_file_that_lacks_columns_is_converted(cli, workplace, into):
    table = table_of(LINES).drop_columns(["key", "namespace", "size"])
    pq.write_table(table.replace_schema_metadata({SIGNATURE: b"{}"}), "lacking.parquet")
    ran = cli("log", "convert", "lacking.parquet", "-o", into, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["rows"] == len(LINES)


class TestCounters:
    @pytest.fixture
    def garbled(self, cli, directory):
        """The counters of an hour, overwritten by something else."""
        assert cli("set", "a", "1").code == 0
        (path,) = (directory / "counters").glob("h*.json")
        path.write_bytes(b"garbage")
        return path

    def test_stats_name_files_that_are_missing_in_the_figures(self, garbled, cli, workplace):
        said = f"{garbled}: can't be read: what was counted there is missing"
        for arguments in ((), ("--json",), ("--by", "prefix"), ("--prom-textfile", str(workplace / "m.prom"))):
            ran = cli("stats", *arguments)
            assert (ran.code, ran.err.count(said)) == (0, 1)
        assert json.loads(cli("stats", "--json").out)["skipped_files"] == 1

    def test_what_was_set_aside_since_is_still_missing(self, garbled, cli):
        assert cli("set", "b", "1").code == 0
        aside = garbled.with_name(f"{garbled.name}.unreadable")
        assert aside.read_bytes() == b"garbage"
        assert f"{aside}: can't be read" in cli("stats").err
        aside.unlink()
        assert cli("stats").err == ""

    def test_doctor_says_what_to_do(self, garbled, cli):
        (check,) = [one for one in json.loads(cli("doctor", "--json").out)["checks"] if one["name"] == "counters"]
        assert (check["status"], garbled.name in check["detail"]) == ("warn", True)
        assert "delete them" in check["fix"]
        garbled.unlink()
        assert "counters" not in [one["name"] for one in json.loads(cli("doctor", "--json").out)["checks"]]
