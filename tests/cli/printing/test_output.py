from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.cli.printing.output import Output, jsonable

ROWS = [
    {"key": "user[red]:1", "size_bytes": 1500, "ttl_s": 59.5, "tags": ["a", "b"]},
    {"key": "a[/bold]", "size_bytes": None, "ttl_s": math.inf, "tags": []},
]
COLUMNS = ("key", "size_bytes", "ttl_s", "tags")
EVIL = "\x1b[2Jkey\u202e"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Screen()


def listed(form: str, rows=ROWS, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    Output(form, stream=stream).listing("keys", rows, COLUMNS)
    return stream.getvalue()


def test_json_is_one_object_with_the_list_under_its_noun_and_null_for_the_unknown():
    assert json.loads(listed("json")) == {
        "schema_version": 1,
        "keys": [
            {"key": "user[red]:1", "size_bytes": 1500, "ttl_s": 59.5, "tags": ["a", "b"]},
            {"key": "a[/bold]", "size_bytes": None, "ttl_s": None, "tags": []},
        ],
    }


def test_an_empty_listing_is_still_an_object():
    assert json.loads(listed("json", [])) == {"schema_version": 1, "keys": []}


def test_jsonl_rows_are_bare():
    assert [json.loads(line)["key"] for line in listed("jsonl").splitlines()] == ["user[red]:1", "a[/bold]"]


def test_a_piped_listing_has_a_line_with_tabs_for_each_row_and_nothing_else():
    assert listed("table") == "user[red]:1\t1500\t59.5\ta,b\na[/bold]\t-\tnever\t-\n"


@pytest.mark.parametrize("columns", ["5", "80", "400"])
@pytest.mark.parametrize("term", ["dumb", "xterm-256color", ""])
def test_nothing_piped_is_ever_cut(columns: str, term: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    row = {"key": "k" * 3000, "size_bytes": 1, "ttl_s": 2, "tags": ["t" * 500]}
    assert listed("table", [row]) == f"{'k' * 3000}\t1\t2\t{'t' * 500}\n"


def test_csv_cells_that_begin_like_formulas_are_made_harmless():
    rows = [{"key": text, "size_bytes": -5, "ttl_s": None, "tags": ["=x", "y"]} for text in ("=1+1", "+x", "-x", "@x")]
    read = list(csv.DictReader(io.StringIO(listed("csv", rows))))
    assert [row["key"] for row in read] == ["'=1+1", "'+x", "'-x", "'@x"]
    assert read[0] == {"key": "'=1+1", "size_bytes": "-5", "ttl_s": "", "tags": "'=x,y"}


KEYS = st.text(st.sampled_from("=+-@' \"x,[é＝1:"), min_size=1, max_size=6)


@given(keys=st.lists(KEYS, min_size=1, max_size=5))
def test_what_is_written_as_csv_is_read_back_by_taking_one_apostrophe_off(keys):
    rows = [{"key": key, "size_bytes": 1, "ttl_s": None, "tags": keys} for key in keys]
    read = [
        {name: cell.removeprefix("'") for name, cell in row.items()}
        for row in csv.DictReader(io.StringIO(listed("csv", rows)))
    ]
    assert [row["key"] for row in read] == keys
    tags = read[0]["tags"]
    assert (json.loads(tags) if tags.startswith("[") else tags.split(",")) == keys


@given(key=KEYS)
def test_no_cell_begins_a_formula(key):
    cell = next(csv.DictReader(io.StringIO(listed("csv", [{"key": key}]))))["key"]
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "＝"))


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_a_listing_prints_each_row_when_it_comes(form: str):
    stream = io.StringIO()

    def rows() -> Iterator[dict[str, object]]:
        yield ROWS[0]
        assert "user[red]:1" in stream.getvalue()
        yield ROWS[1]

    assert Output(form, stream=stream).listing("keys", rows(), COLUMNS) == 2


def test_on_a_terminal_keys_are_data_and_not_markup(screen: Screen):
    shown = listed("table", stream=screen)
    assert "user[red]:1" in shown
    assert "a[/bold]" in shown
    assert "1.5 kB" in shown
    assert "\x1b[" in shown


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_on_a_terminal_nothing_from_outside_acts(form: str, screen: Screen):
    row = {"key": EVIL, "size_bytes": 1, "ttl_s": 1, "tags": [EVIL]}
    shown = listed(form, [row], stream=screen)
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown


def test_piped_keys_keep_their_bytes():
    assert listed("table", [{"key": EVIL}]).startswith(f"{EVIL}\t")


def test_on_a_terminal_long_keys_fold_and_lose_nothing(screen: Screen):
    shown = listed("table", [{"key": "k" * 300, "size_bytes": 1, "ttl_s": 1, "tags": []}], stream=screen)
    assert shown.count("k") >= 300
    assert "…" not in shown


@pytest.mark.parametrize("way", ["NO_COLOR", "--no-color", "TERM=dumb"])
def test_no_colour_where_none_is_wanted(way: str, screen: Screen, monkeypatch: pytest.MonkeyPatch):
    if way == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    if way == "TERM=dumb":
        monkeypatch.setenv("TERM", "dumb")
    Output("table", color=way != "--no-color", stream=screen).listing("keys", ROWS, COLUMNS)
    assert "\x1b" not in screen.getvalue()


def test_a_table_of_many_columns_without_room_stands_downwards(screen: Screen):
    rows = [{f"column_{number}": f"{'x' * 9}{number}{letter}" for number in range(9)} for letter in "ab"]
    Output("table", color=False, stream=screen).rows("rows", rows)
    lines = screen.getvalue().splitlines()
    assert lines[0].split() == ["column", "0", "xxxxxxxxx0a"]
    assert (len(lines), lines[9]) == (19, "")


def test_figures_that_take_all_the_room_leave_no_column_out(screen: Screen, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    row = {"policy": "adaptive", "capacity": 10, "unit": "entries", "hit_ratio": 0.5, "byte_hit_ratio": 0.25}
    Output("table", color=False, stream=screen).rows("results", [row])
    told = [line.split() for line in screen.getvalue().splitlines()]
    assert told == [["policy", "adaptive"], ["capacity", "10"], ["unit", "entries"], ["hit", "ratio", "50.0", "%"],
                    ["byte", "hit", "ratio", "25.0", "%"]]  # fmt: skip


def test_pages_of_a_long_listing_have_one_header(screen: Screen):
    rows = ({"key": f"k{number}", "size_bytes": 1, "ttl_s": 1, "tags": []} for number in range(1200))
    assert Output("table", color=False, stream=screen).listing("keys", rows, COLUMNS) == 1200
    assert screen.getvalue().count("size") == 1


def test_a_record_is_printed_as_fields_and_then_its_lists():
    stream = io.StringIO()
    Output("table", stream=stream).record(
        {"requests": 10, "hit_rate": 0.5, "unknown": None, "tiers": [{"name": "memory", "hits": 5}]}
    )
    assert stream.getvalue() == ("requests  10\nhit_rate  0.5\nunknown   -\n\ntiers\nname    hits\nmemory  5\n")


def test_a_record_on_a_terminal_has_units(screen: Screen):
    Output("table", color=False, stream=screen).record({"hit_rate": 0.5, "size_bytes": 2_000_000, "tiers": [{"a": 1}]})
    assert "50.0 %" in screen.getvalue()
    assert "2.0 MB" in screen.getvalue()


def test_a_record_in_json_holds_the_version_of_its_shape():
    stream = io.StringIO()
    Output("json", stream=stream).record({"hits": 1, "cost_saved_usd": None})
    assert json.loads(stream.getvalue()) == {"schema_version": 1, "hits": 1, "cost_saved_usd": None}


def test_rows_in_csv_are_the_rows_of_their_noun():
    stream = io.StringIO()
    Output("csv", stream=stream).rows("results", [{"tier": "memory", "p50_us": 0.5}], runs=3)
    assert stream.getvalue() == "tier,p50_us\nmemory,0.5\n"


def test_values_of_other_types_become_json_that_machines_read():
    value = {"at": datetime(2026, 1, 2, tzinfo=UTC), "n": Decimal("1.10"), "b": b"\x00", "s": {1}, "f": math.nan}
    assert jsonable(value) == {"at": "2026-01-02T00:00:00+00:00", "n": "1.10", "b": "AA==", "s": [1], "f": None}


def test_a_lone_surrogate_does_not_stop_the_printing():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    Output("json", stream=stream).record({"key": "a\ud800b"})
    stream.flush()
    assert json.loads(stream.buffer.getvalue())["key"] == "a\ud800b"


def test_one_long_value_does_not_pad_all_the_others():
    stream = io.StringIO()
    rows = [{"a": "x" * 600, "b": 1}, {"a": "y", "b": 2}]
    Output(stream=stream).rows("rows", rows, ("a", "b"))
    lines = stream.getvalue().splitlines()
    assert [len(line) < 70 for line in lines] == [True, False, True]
    assert "x" * 600 in lines[1]


def test_piped_columns_and_lines_hold_nothing_that_a_terminal_would_obey():
    stream = io.StringIO()
    out = Output("table", stream=stream)
    out.rows("keys", [{"key": "\x1b[31mred\u202e\x9b", "size": 1}, {"key": "b", "size": 2}])
    out.line("\x1b[31mred")
    assert not set(stream.getvalue()) & {"\x1b", "\u202e", "\x9b"}
    assert "\\x1b[31mred\\u202e\\x9b" in stream.getvalue()


def test_two_formats_exclude_each_other_and_the_nearer_place_wins(cli, directory):
    ran = cli("stats", "--json", "--format", "csv")
    assert (ran.code, ran.err) == (2, "error: --json and --format csv can't be used together\n")
    assert cli("stats", "--json", "--format", "json").code == 0
    assert cli("--format", "csv", "stats", "--json").out.startswith("{")
