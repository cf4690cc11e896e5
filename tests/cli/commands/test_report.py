"""``report`` as people and programs read it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from dataclasses import replace

import pytest

from scoutcache import Cache
from scoutcache.cli.printing import report as report_view
from scoutcache.cli.printing.output import Output
from scoutcache.insight.report.sections import Report, Section
from scoutcache.warming.fill import warm_from

EVIL = "\x1b[2J\u202e=cmd|' /C calc'!A0[bold]<script>alert(1)</script>\n"
START = {"time": 1.0, "op": "start", "process": "me", "user": EVIL, "command": EVIL}

SMALL = Report(
    1.8e9, 1.8e9 + 7200, 1234, skipped_lines=1,
    sections=(
        Section("summary", "Summary", ("requests", "hit_rate", "cost_saved_usd", "seconds_saved", "hit_p50_us"),
                [{"requests": 4000, "hit_rate": 0.625, "cost_saved_usd": 12.5, "seconds_saved": 5400.0,
                  "hit_p50_us": 2.25}], about="What the cache did."),
        Section("recommendations", "Recommendations",
                ("advice", "about", "figure", "value", "unit", "calls", "worth_usd"),
                [{"advice": "Give this prefix a ttl of 2h 00m.", "about": "llm", "figure": "share of misses",
                  "value": 0.5, "unit": "share", "calls": 1200, "worth_usd": 3.0}]),
        Section("over_time", "Hit rate over time", ("at", "requests", "hit_rate"),
                [{"at": "2027-01-15T08:00:00+00:00", "requests": 1000, "hit_rate": 0.25},
                 {"at": "2027-01-15T08:01:00+00:00", "requests": 3000, "hit_rate": 0.75}], note="A row a minute."),
        Section("by_prefix", "By prefix", ("prefix", "requests", "hit_rate", "hit_rate_over_time", "cost_saved_usd"),
                [{"prefix": "llm", "requests": 3000, "hit_rate": 0.75, "hit_rate_over_time": [0.5, None, 1.0],
                  "cost_saved_usd": 12.5},
                 {"prefix": EVIL, "requests": 1000, "hit_rate": 0.25, "hit_rate_over_time": [0.25, 0.25, 0.25],
                  "cost_saved_usd": None}]),
        Section("storms", "Invalidation storms", ("at",), []),
    ),
)  # fmt: skip

PLAIN = r"""scoutcache report, 2027-01-15 08:00:00Z to 2027-01-15 10:00:00Z; 1,234 log records; skipped 1 unreadable line

Summary
requests  hit_rate  cost_saved_usd  seconds_saved  hit_p50_us
4000      0.625     12.5            5400.0         2.25
  (from the exact counters.)

Recommendations
advice                             about  figure           value  unit   calls  worth_usd
Give this prefix a ttl of 2h 00m.  llm    share of misses  0.5    share  1200   3
  (from the exact counters.)

Hit rate over time
at                         requests  hit_rate
2027-01-15T08:00:00+00:00  1000      0.25
2027-01-15T08:01:00+00:00  3000      0.75
  (from the exact counters. A row a minute.)

By prefix
"""  # noqa: E501

FANCY = r"""scoutcache report, 2027-01-15 08:00:00Z to 2027-01-15 10:00:00Z; 1,234 log
records; skipped 1 unreadable line

Summary
What the cache did.
requests     4,000  seconds saved  1h 30m
hit rate    62.5 %  hit p50        2.2 us
cost saved  $12.50

Recommendations
 1. Give this prefix a ttl of 2h 00m.
    llm: share of misses is 50.0 %; 1,200 calls, worth $3.00

Hit rate over time
  hit rate  ▃▇  25.0 % to 75.0 %, last 75.0 %
  requests  ▃█  at most 3,000
  2027-01-15 08:00:00Z to 2027-01-15 08:01:00Z. A row a minute.

By prefix
"""


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Screen()


def lines(shown: str) -> list[str]:
    return [line.rstrip() for line in shown.splitlines()]


class TestTables:
    def test_off_a_terminal_it_is_plain_text_with_raw_figures(self):
        stream = io.StringIO()
        report_view.show(Output(stream=stream), SMALL)
        shown = stream.getvalue()
        assert shown.startswith(PLAIN)
        assert "llm" in shown
        assert "▅_█" in shown
        assert shown.endswith("\nNothing to report: Invalidation storms\n")
        assert not re.search(r"[─│┃━]|\x1b\[1", shown)

    def test_where_blocks_cannot_be_written_digits_are(self):
        class Latin(io.StringIO):
            encoding = "latin-1"

        stream = Latin()
        report_view.show(Output(stream=stream), SMALL)
        assert "4_7" in stream.getvalue()
        assert not re.search("[▁-█]", stream.getvalue())

    def test_on_a_terminal_it_has_units_and_sparklines(self, screen):
        report_view.show(Output(stream=screen, color=False), SMALL)
        shown = lines(screen.getvalue())
        expected = lines(FANCY)
        assert shown[: len(expected)] == expected
        assert any(re.search(r"llm +3,000 +75\.0 % +▅ █ +\$12\.50", line) for line in shown)
        assert shown[-1] == "Nothing to report: Invalidation storms"

    def test_no_text_acts_on_a_terminal_or_is_markup(self, screen):
        report_view.show(Output(stream=screen, color=False), SMALL)
        shown = screen.getvalue()
        assert "\x1b[2J" not in shown
        assert "\u202e" not in shown
        assert "[bold]" in "".join(shown.split())

    @pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
    def test_it_fits_whatever_the_width(self, screen, monkeypatch, width):
        monkeypatch.setenv("COLUMNS", str(width))
        quiet = [Section(f"s{at}", "Something quiet", (), []) for at in range(9)]
        silent = replace(SMALL, sections=[*SMALL.sections, *quiet])
        report_view.show(Output(stream=screen, color=False), silent)
        assert max(len(line) for line in lines(screen.getvalue())) <= width
        assert "62.5 %" in screen.getvalue()


@pytest.fixture
def hostile(workplace):
    """A log from elsewhere that means harm."""
    found = [START]
    for number in range(30):
        found.append({"time": 1.8e9 + number, "op": "compute", "key": f"{EVIL}:{number}", "namespace": EVIL,
                      "outcome": "miss", "reason": EVIL, "latency_us": 2e6, "factory_s": 1.0, "cost": 0.5,
                      "size": 10, "tags": [EVIL]})  # fmt: skip
        found.append({"time": 1.8e9 + number + 0.5, "op": "invalidate", "key": EVIL, "namespace": EVIL,
                      "reason": EVIL, "outcome": "invalidated"})  # fmt: skip
    folder = workplace / "elsewhere"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in found))
    return folder


async def aload(key: str) -> str:
    return key


@pytest.mark.parametrize("how", ["warm", "source", "async source"])
@pytest.mark.parametrize("said", [None, 0.5])
def test_what_was_computed_ahead_of_need_was_spent_as_well(cli, workplace, how, said):
    keys, options = [f"page:{number}" for number in range(4)], {} if said is None else {"cost": said}
    with Cache(directory=workplace / "cache", costs={"default_call_usd": 0.25}) as cache:
        if how == "warm":
            cache.warm(keys, str, **options)
        else:
            lines = [json.dumps({"key": key, **options}) for key in keys]
            assert warm_from(cache, lines, call=aload if how == "async source" else str).warmed == 4
        cache.get_or_compute("page:new", lambda: 1, **options)
    (workplace / "scoutcache.toml").write_text(f'directory = "{workplace}/cache"\n[costs]\ndefault_call_usd = 0.25\n')
    (summary,) = json.loads(cli("report", "--json").out)["summary"]
    assert summary["cost_spent_usd"] == 5 * (said or 0.25)


class TestLogFromElsewhere:
    def test_it_is_reported_on_without_a_cache(self, cli, hostile):
        found = json.loads(cli("report", str(hostile), "--json").out)
        assert found["summary"][0]["requests"] == found["summary"][0]["misses"] == 30
        assert found["summary"][0]["cost_spent_usd"] == 15.0
        assert found["storms"][0]["invalidations"] == 30
        one = json.loads(cli("report", str(hostile / "a.jsonl"), "--json").out)
        assert {**one, "period_end": None} == {**found, "period_end": None}

    def test_a_file_that_is_not_there_or_no_log(self, cli, workplace):
        ran = cli("report", "nowhere")
        assert (ran.code, "'nowhere' is not there" in ran.err) == (2, True)
        (workplace / "x.txt").write_text("x")
        assert "is no file of the log" in cli("report", "x.txt").err

    def test_a_folder_that_is_none_of_a_log_is_told_and_a_cache_without_one_reported(self, cli, workplace):
        (workplace / "empty").mkdir()
        ran = cli("report", "empty")
        assert (ran.code, "empty holds no files of a log" in ran.err, ran.out) == (2, True, "")
        assert cli("set", "k", "v", "--directory", "cache").code == 0
        for file in (workplace / "cache" / "oplog").iterdir():
            file.unlink()
        assert cli("report", "cache").code == cli("log", "convert", "cache", "-o", "x.jsonl").code == 0

    def test_no_format_lets_its_texts_act(self, cli, hostile, workplace):
        as_json = cli("report", str(hostile), "--json").out
        assert json.loads(as_json)["most_costly"][0]["namespace"] == EVIL
        rows = list(csv.reader(io.StringIO(cli("report", str(hostile), "--format", "csv").out)))
        assert not any(cell.lstrip(" ").startswith(("=", "+", "@", "\t")) for row in rows for cell in row)
        assert cli("report", str(hostile), "--html", "r.html", "--csv", "figures").code == 0
        page = (workplace / "r.html").read_text()
        assert "<script" not in page
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", page)
        for file in (workplace / "figures").iterdir():
            for row in csv.reader(io.StringIO(file.read_text())):
                assert not any(cell.lstrip(" ").startswith(("=", "+", "@", "\t", "\x1b")) for cell in row)

    def test_on_a_terminal(self, terminal, hostile):
        ran = terminal("report", str(hostile))
        assert ran.code == 0
        assert "\x1b[2J" not in ran.out
        assert "\u202e" not in ran.out
        assert "Recommendations" in ran.out


class TestOptions:
    def test_comparing_with_the_time_before_needs_a_time(self, directory, cli):
        ran = cli("report", "--compare-to", "previous")
        assert (ran.code, "--since" in ran.err) == (2, True)
        assert cli("report", "--compare-to", "previous", "--since", "1h").code == 0
        assert cli("report", "--compare-to", "halves", "--since", "1h").code == 0
        assert "did you mean halves" in cli("report", "--compare-to", "halve").err

    @pytest.mark.parametrize("by", ["namespace", "prefix", "tier", "tag"])
    def test_what_was_asked_for_stands_first(self, directory, cli, by):
        found = list(json.loads(cli("report", "--by", by, "--json").out))
        groups = [name for name in found if name.startswith("by_")]
        assert groups[0] == f"by_{by}"
        assert len(groups) == 4

    def test_prices_of_models_are_heeded(self, cli, workplace):
        from scoutcache import Cache

        (workplace / "scoutcache.toml").write_text('directory = "c"\n[costs.models]\nbig = { input = 1, output = 8 }\n')
        with Cache(directory=workplace / "c") as cache:
            cache.set("llm:1", "x" * 2000, tags=["model:big"])
            cache.get("llm:1")
        found = json.loads(cli("report", "--json").out)
        (row,) = found["savings"]
        assert row["estimated"] is True
        assert 500 * 8 / 1e6 <= row["cost_saved_usd"] < 600 * 8 / 1e6


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_folder_of_figures_that_takes_nothing_is_named(cli, directory, workplace):
    (workplace / "figures").mkdir()
    (workplace / "figures" / "summary.csv").symlink_to("/dev/full")
    ran = cli("report", "--csv", "figures")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith("error: can't write figures: No space left on device\n")


@pytest.mark.parametrize(
    ("lines", "files", "told"),
    [(0, 0, ""), (1, 0, "1 unreadable line"), (0, 2, "2 unreadable files"),
     (3, 1, "3 unreadable lines and 1 unreadable file")],
)  # fmt: skip
def test_what_was_skipped_is_counted_as_far_as_there_was_any(lines, files, told):
    assert Report(0.0, 1.0, 0, skipped_lines=lines, skipped_files=files).skipped == told


def test_where_a_server_is_named_it_says_that_it_is_of_one_machine(cli, start_redis, workplace, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
    assert cli("set", "k", "x").code == 0
    alone = [cli("report"), cli("report", "--json"), cli("report", "--html", "-")]
    monkeypatch.setenv("SCOUTCACHE_REDIS__URL", start_redis().url)
    shared = [cli("report"), cli("report", "--json"), cli("report", "--html", "-")]
    of_files = cli("report", str(workplace / "cache" / "oplog"), "--json")
    assert ["of this machine only" in ran.out for ran in (*alone, *shared)] == [False] * 3 + [True, False, True]
    told = [json.loads(ran.out)["this_machine_only"] for ran in (alone[1], shared[1], of_files)]
    assert told == [False, True, False]
