"""Reading sealed files: the same records, the same table, the same figures, and clear words for what is none."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoutcache.insight.log import frame, operations
from scoutcache.insight.log.logtable import Log
from scoutcache.insight.log.operations import Operations
from scoutcache.insight.reasons import Story
from scoutcache.insight.report.report import build_report
from scoutcache.oplog.columns import COLUMNS, SIGNATURE, names_in, table_of, writer
from scoutcache.oplog.recorder import Recorder
from scoutcache.oplog.records import FORMAT, Line
from scoutcache.oplog.sealing import seal

NOW = 1_800_000_000.0
START = Line(NOW, "start", process="me", user="ann", pid=7, command="serve.py", format=FORMAT)


def put(directory: Path, lines: list[Line], name: str = "a.jsonl") -> Path:
    path = directory / "oplog" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.Encoder().encode_lines([START, *lines]))
    return path


def sealed(directory: Path, lines: list[Line], name: str = "a.jsonl") -> Path:
    path = seal(put(directory, lines, name), NOW, smallest=0).path
    assert path is not None
    return path


def made_up(seed: int, count: int = 400) -> list[Line]:
    """Operations of several namespaces, prefixes, tiers and outcomes, with gaps in every column."""
    dice = random.Random(seed)
    found = []
    for number in range(count):
        key = f"{dice.choice(['llm', 'job', ''])}{dice.choice([':', ''])}{dice.randrange(40)}"
        space, at = dice.choice(["default", "t2"]), NOW + number
        kind = dice.randrange(5)
        if kind < 2:
            hit = Line(at, "get", key, space, "memory", "hit", size=dice.randrange(9000))
            hit.more_ns = [1000] * dice.randrange(3)
            found.append(hit)
        elif kind == 2:
            cost = dice.choice([0.01, None])
            line = Line(at, "compute", key, space, None, "miss", "cold", 12.5, 700, dice.random(), cost)
            line.keygen_us, line.wait_us = dice.choice([None, 3.5]), dice.choice([None, 80.0])
            found.append(line)
        elif kind == 3:
            outcome = dice.choice(["stored", "refused"])
            found.append(Line(at, "set", key, space, None, outcome, None, 9.0, 700, tags=("m:1",), stored=300,
                              codec="lz4", codec_us=1.25, ttl=60.0))  # fmt: skip
        else:
            found.append(Line(at, "get", key, space, dice.choice(["disk", None]), dice.choice(["hit", "miss"])))
    return found


@pytest.fixture(params=["lines", "sealed", "both"])
def logged(request: pytest.FixtureRequest, directory: Path) -> Path:
    """The same log as files of lines, sealed, and some of each."""
    for number in range(3):
        path = put(directory, made_up(number), f"f{number}.jsonl")
        if request.param == "sealed" or (request.param == "both" and number == 1):
            seal(path, NOW, smallest=0)
    return directory


def test_the_table_has_the_promised_columns_and_the_log_is_in_it(logged: Path) -> None:
    table = frame.as_frame(Operations(logged))
    assert tuple(table.columns) == frame.COLUMNS
    lines = list(Operations(logged))
    assert len(table) == len(lines)
    for name in frame.COLUMNS:
        if name in Line.__struct_fields__ and name != "tags":
            assert [None if cell != cell else cell for cell in table[name]] == [getattr(line, name) for line in lines]
    assert [names_in(cell) if isinstance(cell, str) else () for cell in table["tags"]] == [line.tags for line in lines]
    assert set(table["prefix"]) == {"llm", "job", ""}


def test_only_the_columns_asked_for_are_given(logged: Path) -> None:
    table = frame.as_frame(Operations(logged), "t2", ["prefix", "hit", "size"])
    assert list(table.columns) == ["size", "prefix", "hit"]
    whole = frame.as_frame(Operations(logged))
    assert table["hit"].sum() == whole[whole["namespace"] == "t2"]["hit"].sum()


BY_KEY = """
with log as (select *, op in ('get', 'compute') and (outcome = 'hit' or tier is null) as request,
    op = 'set' and outcome <> 'refused' and tier is null as written from '{}')
select namespace, key, sum(request::int)::int, sum((request and outcome = 'hit')::int)::int,
       sum(written::int)::int, sum((request and factory_s is not null)::int)::int,
       max(size) filter (written or (request and outcome = 'hit')),
       coalesce(sum(factory_s) filter (request and factory_s is not null), 0),
       sum(cost) filter (request and factory_s is not null)
from log group by namespace, key
"""


def test_figures_by_key_are_those_that_another_engine_finds(logged: Path, tmp_path: Path) -> None:
    into = tmp_path / "all.parquet"
    with writer(into) as out:
        out.write_table(table_of(list(Operations(logged))))
    theirs = {row[:2]: row[2:] for row in duckdb.sql(BY_KEY.format(into)).fetchall()}
    ours = Log(frame.as_frame(Operations(logged))).keys
    columns = ["requests", "hits", "writes", "computations", "size_bytes", "factory_s", "cost_usd"]
    assert len(ours) == len(theirs)
    for row in ours.itertuples():
        found = [None if (cell := getattr(row, name)) != cell else cell for name in columns]
        expected = [None if one is None else pytest.approx(one) for one in theirs[row.namespace, row.key]]
        computed = theirs[row.namespace, row.key][3] > 0  # else a write that states a cost counts as one
        assert found[:3] == expected[:3], row
        assert found[4] == expected[4], row
        assert not computed or found == expected, row


def test_the_report_says_the_same_of_a_log_once_it_is_sealed(
    recorder: Recorder, say: Callable[..., None], directory: Path, fake_clock: Any
) -> None:
    for number in range(40):
        say("compute", "miss", f"llm:{number % 9}", reason="cold", factory_s=1.5, cost=0.25, size=number)
        say("get", "hit", f"llm:{number % 7}", tier="disk", size=number, stored=number // 2, codec="lz4")
    recorder.close({})
    before = build_report(directory, now=fake_clock.wall()).as_dict()
    for path in (directory / "oplog").glob("*.jsonl"):
        assert seal(path, NOW, smallest=0).why == "sealed"
    assert build_report(directory, now=fake_clock.wall()).as_dict() == before


def test_explain_finds_in_sealed_files_what_it_finds_in_lines(
    recorder: Recorder, say: Callable[..., None], directory: Path, hostile: tuple[str, ...]
) -> None:
    keys = [key for key in hostile if key != "\ud800"]
    for key in keys:
        say("set", "stored", key, tags=("a",))
        say("invalidate", "invalidated", "tag:a", reason="because")
        say("get", "miss", key, reason="cold")
    recorder.close({})
    before = {key: Story.of(directory, "default", key).last(20) for key in keys}
    assert before[keys[0]][0]["by"]["reason"] == "because"
    for path in (directory / "oplog").glob("*.jsonl"):
        seal(path, NOW, smallest=0)
    assert {key: Story.of(directory, "default", key).last(20) for key in keys} == before


def test_of_two_forms_of_one_file_one_counts(directory: Path) -> None:
    path = put(directory, made_up(1))
    shutil.copy(path, directory / "kept")
    seal(path, NOW, smallest=0)
    once = len(list(Operations(directory)))
    shutil.copy(directory / "kept", path)
    assert len(list(Operations(directory))) == once
    assert len(frame.as_frame(Operations(directory))) == once


def test_a_file_sealed_between_listing_and_reading_is_read_all_the_same(directory: Path) -> None:
    path = put(directory, made_up(1))
    once = len(list(Operations(directory)))
    reading = Operations(directory)
    files = reading.begin()
    seal(path, NOW, smallest=0)
    assert sum(1 for file in files for _ in reading.of_file(file)) == once


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -9])
def test_a_torn_sealed_file_is_named_and_the_rest_is_read(directory: Path, cut: int) -> None:
    torn = sealed(directory, made_up(1), "torn.jsonl")
    torn.write_bytes(torn.read_bytes()[:cut])
    sealed(directory, made_up(2), "whole.jsonl")
    reading = Operations(directory)
    assert len(list(reading)) == len(frame.as_frame(Operations(directory))) > 300
    assert reading.skipped_files == 1
    [problem] = reading.problems.named
    assert (problem.path, problem.line) == (torn, None)
    assert "not a whole Parquet file" in problem.what


def test_a_damaged_part_of_a_sealed_file_costs_that_part(directory: Path) -> None:
    path = sealed(directory, made_up(1))
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    reading = Operations(directory)
    assert list(reading) == []
    assert "damaged in part 1 of 1" in reading.problems.named[0].what


def test_another_programs_parquet_and_a_later_format_are_named_and_skipped(directory: Path) -> None:
    folder = directory / "oplog"
    folder.mkdir(parents=True)
    for name, metadata in (("other", {}), ("later", {SIGNATURE: b'{"format":99}'}), ("odd", {SIGNATURE: b"{"})):
        with writer(folder / f"{name}.parquet") as out:
            out.write_table(table_of(made_up(1)))
            out.add_key_value_metadata(metadata)
    put(directory, [], "x.jsonl").write_bytes(msgspec.json.encode(msgspec.structs.replace(START, format=99)) + b"\n")
    reading = Operations(directory)
    assert list(reading) == []
    said = {problem.path.stem: problem.what for problem in reading.problems.named}
    assert "signature" in said["other"]
    assert "signature" in said["odd"]
    assert "format 99" in said["later"]
    assert "format 99" in said["x"]


def test_without_pyarrow_sealed_files_are_named_with_the_remedy(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(directory, made_up(1))
    put(directory, made_up(2), "b.jsonl")
    monkeypatch.setattr(operations, "can_parquet", lambda: False)
    reading = Operations(directory)
    assert len(list(reading)) > 300
    assert "pip install 'scoutcache[parquet]'" in reading.problems.named[0].what
    assert len(frame.as_frame(Operations(directory))) > 300


def test_since_leaves_out_what_was_before(directory: Path) -> None:
    path = sealed(directory, made_up(1))
    os.utime(path, (NOW, NOW + 400))
    lines = [line.time for line in Operations(directory, NOW + 100)]
    assert min(lines) >= NOW + 100
    assert len(lines) == len(frame.as_frame(Operations(directory, NOW + 100)))
    assert list(Operations(directory, NOW * 100)) == []


def test_rows_that_lie_are_skipped_and_counted(directory: Path) -> None:
    folder = directory / "oplog"
    folder.mkdir(parents=True)
    bad = Line(NOW, "get", "k", "default", None, "miss", latency_us=-1.0)
    with writer(folder / "a.parquet") as out:
        out.write_table(table_of([bad, *made_up(1, 10)]))
        out.add_key_value_metadata({SIGNATURE: b"{}"})
    reading, table = Operations(directory), Operations(directory)
    assert len(list(reading)) == len(frame.as_frame(table))
    assert reading.skipped_lines == table.skipped_lines == 1


def written(directory: Path, table: pa.Table, metadata: dict[bytes, bytes] | None = None) -> Path:
    path = directory / "oplog" / "w.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


SIGNED = {SIGNATURE: b"{}"}


def test_another_programs_parquet_with_other_columns_is_a_foreign_file(directory: Path) -> None:
    path = written(directory, pa.table({"trip": [1, 2], "op": ["a", "b"], "tags": [["x"], ["y", "z"]]}))
    reading = Operations(directory)
    assert (list(reading), len(frame.as_frame(Operations(directory)))) == ([], 0)
    [problem] = reading.problems.named
    assert problem.path == path
    assert problem.what == "not a log of scoutcache: its metadata lacks the signature"


@pytest.mark.parametrize(
    ("name", "cells", "said"),
    [
        ("time", pa.array(["today", "now"]), "its column time is of strings"),
        ("op", pa.array([1, 2]), "its column op is of int64s"),
        ("tags", pa.array([["x"], ["y"]]), "its column tags is of list"),
        ("size", pa.array(["1", "2"]), "its column size is of strings"),
    ],
)
def test_a_signed_file_with_columns_of_another_kind_is_none_of_ours(
    directory: Path, name: str, cells: pa.Array, said: str
) -> None:
    table = table_of([Line(NOW, "get", "k", "default"), Line(NOW, "get", "l", "default")])
    written(directory, table.set_column(table.column_names.index(name), name, cells), SIGNED)
    reading = Operations(directory)
    assert (list(reading), len(frame.as_frame(Operations(directory)))) == ([], 0)
    assert said in reading.problems.named[0].what


@pytest.mark.parametrize("lacking", [["command", "tags"], ["namespace", "tier", "size"], ["key"]])
def test_columns_that_a_signed_file_lacks_are_empty(directory: Path, lacking: list[str]) -> None:
    lines = [Line(NOW + at, "get", "k", "", "disk", "hit", size=5, tags=("t",), command="c") for at in range(9)]
    written(directory, table_of(lines).drop_columns(lacking), SIGNED)
    reading = Operations(directory)
    found = list(reading)
    assert (len(found), reading.problems.count) == (9, 0)
    empty = Line(NOW, "get", "", "")
    for name in lacking:
        assert {getattr(line, name) for line in found} == {getattr(empty, name)}
    table = frame.as_frame(Operations(directory))
    assert len(table) == 9
    assert not (table.get("size", table["time"]).notna().any() and "size" in lacking)
    assert lacking != ["key"] or list(table["key"]) == [""] * 9
    asked = list(Operations(directory, keys=frozenset({"k"})))
    assert len(asked) == (0 if "key" in lacking else 9)


@pytest.mark.parametrize("size", [10**15, (1 << 53) + 1, (1 << 63) - 1])
def test_integers_that_are_no_floats_are_compared_as_they_are(directory: Path, size: int) -> None:
    lines = [Line(NOW, "get", "k", "default", "disk", "hit", size=one) for one in (5, size)]
    written(directory, table_of(lines), SIGNED)
    reading, table = Operations(directory), Operations(directory)
    kept = 2 if size == 10**15 else 1
    assert len(list(reading)) == len(frame.as_frame(table)) == kept
    assert reading.skipped_lines == table.skipped_lines == 2 - kept


def test_rows_without_a_time_are_skipped_and_counted(directory: Path) -> None:
    table = table_of([Line(NOW, "get", "k", "default"), Line(NOW, "get", "l", "default")])
    times = pa.array([None, round(NOW * 1e6)], pa.timestamp("us", tz="UTC"))
    written(directory, table.set_column(0, "time", times), SIGNED)
    reading, loaded = Operations(directory), Operations(directory)
    assert len(list(reading)) == len(frame.as_frame(loaded)) == 1
    assert reading.skipped_lines == loaded.skipped_lines == 1


def test_no_flipped_bit_of_a_page_passes_for_data(directory: Path) -> None:
    path = sealed(directory, made_up(1))
    content, dice = path.read_bytes(), random.Random(7)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    places = [dice.randrange(4, footer) for _ in range(60)]
    whole, rows = list(Operations(directory)), frame.as_frame(Operations(directory))
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        reading, table = Operations(directory), Operations(directory)
        found = list(reading)
        assert reading.problems.count or found == whole  # a page's header has bits that nobody reads
        loaded = frame.as_frame(table)
        assert table.problems.count or loaded.equals(rows)


def test_whatever_is_damaged_in_a_sealed_file_is_told_and_never_raised(directory: Path) -> None:
    path = sealed(directory, made_up(1))
    content, dice = path.read_bytes(), random.Random(8)
    for _ in range(60):
        damaged = bytearray(content)
        at = dice.randrange(len(content) - 4000, len(content))
        damaged[at : at + 3] = dice.randbytes(3)
        path.write_bytes(damaged)
        list(Operations(directory))
        list(Operations(directory, keys=frozenset({"llm:1"})))
        frame.as_frame(Operations(directory))


def test_the_columns_of_a_file_are_those_of_a_line() -> None:
    assert set(COLUMNS) <= set(Line.__struct_fields__)
