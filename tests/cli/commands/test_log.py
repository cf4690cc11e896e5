"""``log``: its end, its files, and the same in another form."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import msgspec
import pandas as pd
import pytest

from scoutcache.oplog import sealing
from scoutcache.oplog.records import FORMAT, Line

NOW = 1_700_000_000.0
HOSTILE = ["\x1b]0;owned\x07\x1b[31mred", "\u202egnp.exe", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "a\tb\nc"]


def line(number: int, key: str = "llm:1", op: str = "get", outcome: str = "miss", **more: object) -> Line:
    return Line(NOW + number, op, key, "default", outcome=outcome, latency_us=1.5, **more)


@pytest.fixture
def directory(workplace: Path) -> Path:
    place = workplace / "cache"
    (place / "oplog").mkdir(parents=True)
    return place


def put(directory: Path, lines: list[Line], name: str = "a.jsonl", more: bytes = b"") -> Path:
    path = directory / "oplog" / name
    start = Line(NOW, "start", process="me", user="ann", pid=7, command="serve.py", format=FORMAT)
    path.write_bytes(msgspec.json.Encoder().encode_lines([start, *lines]) + more)
    return path


def big(directory: Path, name: str = "a.jsonl") -> Path:
    return put(directory, [line(number, f"llm:{number:040}") for number in range(1000)], name)


# -- whose it is


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize(
    "command",
    ["log rotate", "log rotate --dry-run", "semantic prepare", "set k:1 1", "invalidate k:*", "prune", "clear --yes"],
)
def test_nothing_is_written_to_the_cache_of_another_user(cli, directory, command):
    """Root could; but the files would be root's, and the owner would have lost them."""
    big(directory)
    for path in (directory, *directory.rglob("*")):
        os.chown(path, 12345, 12345)
    done = cli(*command.split(), "--directory", str(directory))
    assert done.code == 10
    assert "belongs to user 12345, not to 0" in done.err
    assert "hint: run it as user 12345, whose cache it is" in done.err
    assert sorted(path.name for path in directory.rglob("*")) == ["a.jsonl", "oplog"]
    assert {path.stat().st_uid for path in directory.rglob("*")} == {12345}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_the_owner_is_named_where_that_one_has_a_name(cli, directory):
    os.chown(directory, 1, 1)
    for command in ("prune", "doctor"):
        done = cli(command, "--directory", str(directory))
        assert "run it as daemon (uid 1)" in done.out + done.err


# -- tail


def test_tail_shows_the_last_operations_the_oldest_first(cli, directory):
    put(directory, [line(number, f"k:{number}") for number in range(9)])
    done = cli("log", "tail", "-n", "2", "--directory", str(directory))
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "2023-11-14T22:13:27.000+00:00\tget\tmiss\t-\t-\tdefault\tk:7\t1.5\t-\t-\n"
        "2023-11-14T22:13:28.000+00:00\tget\tmiss\t-\t-\tdefault\tk:8\t1.5\t-\t-\n"
    )


def test_a_period_of_tail_ends_now_and_what_is_dated_later_is_told(cli, directory):
    now = time.time()
    put(directory, [Line(now - 10, "get", "k:now", "default", outcome="miss")])
    put(directory, [Line(now + 86400, "get", "k:later", "default", outcome="miss")], "b.jsonl")
    rows = {}
    for period in ((), ("--since", "1h")):
        done = cli("log", "tail", "-n", "1", *period, "--json", "--directory", str(directory))
        rows[period] = [row["key"] for row in json.loads(done.out)["operations"]]
        assert ("not counted: records dated in the future" in done.err) == bool(period)
    assert rows == {(): ["k:later"], ("--since", "1h"): ["k:now"]}


def test_tail_filters_by_operation_key_and_outcome(cli, directory):
    dropped = line(4, "tag:x", "invalidate", "invalidated")
    put(directory, [line(1, "llm:1"), line(2, "llm:2", "get", "hit"), line(3, "job:1"), dropped])

    def keys(*options: str) -> list[str]:
        done = cli("log", "tail", "--json", "--directory", str(directory), *options)
        return [row["key"] for row in json.loads(done.out)["operations"]]

    assert keys("--op", "invalidate") == ["tag:x"]
    assert keys("--op", "invalidate", "--op", "get") == ["llm:1", "llm:2", "job:1", "tag:x"]
    assert keys("--op", "invalidate, get", "--outcome", "hit") == ["llm:2"]
    assert keys("--key", "llm:*", "--outcome", "miss") == ["llm:1"]
    assert keys("--namespace", "other") == []
    assert keys("--since", "1h") == []


def test_tail_says_who_changed_something(cli, directory):
    put(directory, [line(4, "llm:*", "invalidate", "invalidated", reason="release")])
    done = cli("log", "tail", "--format", "jsonl", "--directory", str(directory))
    row = json.loads(done.out)
    assert (row["user"], row["pid"], row["command"], row["reason"]) == ("ann", 7, "serve.py", "release")


def test_of_errors_alone_it_is_shown_what_they_said(cli, directory):
    put(directory, [line(1, op="error", outcome="failed", tier="redis", error="CacheError: no answer")])
    done = cli("log", "tail", "--op", "error", "--directory", str(directory))
    assert done.out.rstrip("\n").split("\t")[-1] == "CacheError: no answer"


@pytest.mark.parametrize("more", [(), ("--op", "error")])
def test_what_an_error_has_no_word_for_is_a_dash(more, cli, directory):
    put(directory, [Line(NOW, "error", "", "", outcome="failed", tier="redis", error="CacheError: no answer")])
    done = cli("log", "tail", *more, "--directory", str(directory))
    assert "" not in done.out.rstrip("\n").split("\t")
    (row,) = json.loads(cli("log", "tail", "--json", "--directory", str(directory)).out)["operations"]
    assert (row["key"], row["namespace"]) == ("", "")


def test_a_hostile_key_stays_one_cell_of_one_line(cli, directory):
    put(directory, [line(number, key) for number, key in enumerate(HOSTILE)])
    plain = cli("log", "tail", "--directory", str(directory))
    assert len(plain.out.splitlines()) == len(HOSTILE)
    assert all(row.count("\t") == 9 for row in plain.out.splitlines())
    listed = cli("log", "tail", "--format", "csv", "--directory", str(directory)).out
    rows = list(csv.DictReader(listed.splitlines(keepends=True)))
    assert rows[2]["key"] == "'" + HOSTILE[2]
    listed = json.loads(cli("log", "tail", "--json", "--directory", str(directory)).out)["operations"]
    assert [row["key"] for row in listed] == HOSTILE


def test_what_is_no_record_is_named_by_file_and_line_and_the_rest_is_shown(cli, directory):
    path = put(directory, [line(1)], more=b'nonsense\n{"time":1')
    (directory / "oplog" / "web.jsonl").write_bytes(b"GET / 200\n")
    (directory / "oplog" / "torn.parquet").write_bytes(b"PAR1 and no more")
    done = cli("log", "tail", "--directory", str(directory))
    assert done.code == 3
    assert len(done.out.splitlines()) == 1
    assert f"{path}, line 3: no record of the log" in done.err
    assert f"{path}, line 4: torn" in done.err
    assert "web.jsonl: not a log of scoutcache" in done.err
    assert "torn.parquet: not a whole Parquet file" in done.err


def test_tail_of_an_empty_log_and_of_none(cli, directory, workplace):
    for place in (directory, workplace / "nowhere"):
        done = cli("log", "tail", "--directory", str(place))
        assert (done.code, done.out) == (0, "")
        assert "no such operation" in done.err


def test_follow_goes_on_with_what_is_written(directory):
    path = put(directory, [line(1, "k:1")])
    command = [sys.executable, "-m", "scoutcache", "log", "tail", "--follow", "--format", "jsonl", "--directory"]
    with subprocess.Popen([*command, str(directory)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert json.loads(process.stdout.readline())["key"] == "k:1"
            with path.open("ab") as file:
                file.write(msgspec.json.encode(line(2, "k:2")) + b"\n")
            assert json.loads(process.stdout.readline())["key"] == "k:2"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
        finally:
            process.kill()  # or one that doesn't end would be waited for without end


def test_following_forever_is_no_json_object(cli, directory):
    done = cli("log", "tail", "--follow", "--json", "--directory", str(directory))
    assert done.code == 2
    assert "--format jsonl" in done.err


# -- convert


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_converted_log_is_a_log_again(cli, directory, form):
    hits = line(3, "llm:2", "get", "hit", tier="memory", more_ns=[1000, 2000])
    put(directory, [line(1), hits, Line(NOW, "left_out", reason="rate", count=5)])
    done = cli("log", "convert", str(directory), "-o", f"out.{form}", "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert (told["rows"], told["left_out"]) == (4, {"rate": 5})
    back = cli("log", "convert", f"out.{form}", "-o", "again.parquet", "--json")
    assert json.loads(back.out)["left_out"] == {"rate": 5}
    rows = duckdb.sql("select op, key, outcome, process, \"user\", pid from 'again.parquet' order by time").fetchall()
    assert rows == [("get", "llm:1", "miss", "me", "ann", 7), *[("get", "llm:2", "hit", "me", "ann", 7)] * 3]
    assert len(pd.read_parquet("again.parquet")) == 4


@pytest.mark.parametrize(
    ("option", "word", "said"), [("--op", "invalidat", "did you mean invalidate?"), ("--op", "hit", "is none of get,"),
                                 ("--outcome", "his", "did you mean hit?"), ("--op", "get,sett", "did you mean set?")]
)  # fmt: skip
def test_a_word_that_no_record_has_is_a_wrong_use(cli, directory, option, word, said):
    ran = cli("log", "tail", option, word)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_csv_can_be_opened_in_a_spreadsheet(cli, directory):
    put(directory, [line(number, key) for number, key in enumerate(HOSTILE)])
    assert cli("log", "convert", str(directory / "oplog" / "a.jsonl"), "-o", "log.csv").code == 0
    with Path("log.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["time"] == "2023-11-14T22:13:20.000000+00:00"
    assert [row["key"] for row in rows] == [
        "\\x1b]0;owned\\x07\\x1b[31mred", "\\u202egnp.exe", "'" + HOSTILE[2], HOSTILE[3], "a\\x09b\\x0ac",
    ]  # fmt: skip


def test_conversion_leaves_out_and_names_what_it_can_not_read(cli, directory):
    put(directory, [line(1)], more=b"nonsense\n")
    done = cli("log", "convert", str(directory), "-o", "out.jsonl", "--json")
    assert done.code == 3
    assert (json.loads(done.out)["rows"], json.loads(done.out)["skipped_lines"]) == (1, 1)
    assert "line 3: no record" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.jsonl", "-o", "x.csv"), 2, "nowhere.jsonl' is not there"),
        ((".", "-o", "x.csv"), 2, ". holds no files of a log"),
        (("cache/oplog/a.jsonl", "-o", "x.xlsx"), 2, "end it in one of .parquet, .jsonl, .csv"),
        (("cache/oplog/a.jsonl", "-o", "cache/oplog/a.jsonl"), 1, "one of the files to be read"),
        (("notes.txt", "-o", "x.csv"), 2, "no file of the log by its name"),
        (("cache", "-o", "no/such/folder/x.csv"), 1, "can't write no/such/folder/x.csv"),
    ],
)
def test_what_can_not_be_converted_is_refused_in_words(cli, directory, arguments, code, said):
    path = put(directory, [line(1)])
    Path("notes.txt").write_text("x")
    before = path.read_bytes()
    done = cli("log", "convert", *arguments)
    assert done.code == code
    assert said in done.err
    assert path.read_bytes() == before
    assert not list(Path().glob(".*"))


# -- rotate


def test_rotate_seals_what_nobody_writes_and_says_why_the_rest_stays(cli, directory):
    big(directory)
    put(directory, [line(1)], "small.jsonl")
    done = cli("log", "rotate", "--json", "--directory", str(directory))
    assert done.code == 0
    rows = {row["file"]: row for row in json.loads(done.out)["files"]}
    assert rows["a.jsonl"]["action"] == "sealed"
    assert 0 < rows["a.jsonl"]["bytes_after"] < rows["a.jsonl"]["bytes_before"] / 5
    assert (rows["small.jsonl"]["action"], rows["small.jsonl"]["why"]) == ("kept", "small")
    assert sorted(path.name for path in (directory / "oplog").iterdir()) == ["a.parquet", "small.jsonl"]
    assert json.loads(cli("log", "tail", "-n", "9999", "--json", "--directory", str(directory)).out)["operations"][-1]


def test_files_that_stay_for_one_reason_are_one_line_for_people(cli, directory):
    big(directory)
    for number in range(30):
        put(directory, [line(1)], f"small{number}.jsonl")
    asked = ("log", "rotate", "--dry-run", "--directory", str(directory))
    told, all_of_them = cli(*asked), cli(*asked, "--json")
    rows = [re.split(r"  +|\t", one)[:2] for one in told.out.splitlines()]
    assert ["a.jsonl", "sealed"] in rows
    assert ["30 files", "kept"] in rows
    assert len(rows) < 6
    assert len(json.loads(all_of_them.out)["files"]) == 31


def test_a_dry_run_of_rotate_changes_nothing(cli, directory):
    big(directory)
    old = big(directory, "old.jsonl")
    os.utime(old, (1, 1))
    done = cli("log", "rotate", "--dry-run", "--json", "--directory", str(directory))
    told = json.loads(done.out)
    assert told["dry_run"] is True
    assert {(row["file"], row["action"]) for row in told["files"]} == {
        ("a.jsonl", "sealed"), ("old.jsonl", "sealed"), ("old.jsonl", "removed"),
    }  # fmt: skip
    assert sorted(path.name for path in (directory / "oplog").iterdir()) == ["a.jsonl", "old.jsonl"]


def test_rotate_keeps_sealed_files_within_the_limits_too(cli, directory, workplace):
    (workplace / "scoutcache.toml").write_text('[oplog]\nmax_age = "1h"\n')
    for name in ("old.jsonl", "new.jsonl"):
        big(directory, name)
    os.utime(directory / "oplog" / "old.jsonl", (1, 1))
    cli("log", "rotate", "--directory", str(directory))
    assert [path.name for path in (directory / "oplog").iterdir()] == ["new.parquet"]


def test_without_pyarrow_rotate_packs_and_says_what_would_be_better(cli, directory, monkeypatch):
    from scoutcache.oplog import columns

    big(directory)
    for module in (columns, sealing):
        monkeypatch.setattr(module, "can_parquet", lambda: False)
    done = cli("log", "rotate", "--directory", str(directory))
    assert done.code == 0
    assert "packed" in done.out
    assert "pip install 'scoutcache[parquet]'" in done.err
    assert [path.name for path in (directory / "oplog").iterdir()] == ["a.jsonl.zst"]


def test_a_file_that_can_not_be_sealed_is_named_and_the_others_are(cli, directory, monkeypatch):
    big(directory, "bad.jsonl")
    big(directory, "good.jsonl")
    seal = sealing.seal

    def failing(path: Path, *given: object, **more: object) -> object:
        if path.name == "bad.jsonl":
            raise OSError(28, "No space left on device")
        return seal(path, *given, **more)

    monkeypatch.setattr(sealing, "seal", failing)
    done = cli("log", "rotate", "--json", "--directory", str(directory))
    assert done.code == 3
    rows = {row["file"]: (row["action"], row["why"]) for row in json.loads(done.out)["files"]}
    assert rows["bad.jsonl"] == ("failed", "No space left on device")
    assert rows["good.jsonl"][0] == "sealed"


def test_rotating_nothing_is_no_error(cli, directory):
    done = cli("log", "rotate", "--directory", str(directory))
    assert done.code == 0
    assert "nothing to seal" in done.err


def test_following_ends_when_nobody_reads_any_more(directory):
    """Though nothing is written: `log tail --follow | head` would never come to its end."""
    put(directory, [line(1)])
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "scoutcache", "log", "tail", "--follow", "--directory", str(directory)]
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        assert os.read(reading, 5)
        os.close(reading)
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0
