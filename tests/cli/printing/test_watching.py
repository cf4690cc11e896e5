"""Views that go on: a line or record for each interval off a terminal, redrawn on one, ended by signal or reader."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from scoutcache import Cache
from scoutcache.cli.printing import watching
from scoutcache.cli.printing.watching import Pace, interval_of, ticks
from scoutcache.errors import CacheError


class TestTicks:
    def test_they_come_at_fixed_times_however_long_each_takes(self, fake_clock):
        times = []
        for number in ticks(2.0, Pace(fake_clock.monotonic, fake_clock.sleep)):
            times.append(fake_clock.monotonic() - 1000)
            if number == 4:
                break
            fake_clock.advance([0.5, 1.5, 5.0, 0][number])
        assert times == [0, 2.5, 4.5, 10.5, 12.5]

    @pytest.mark.parametrize("given", ["0", "0.05", "2d", "soon", "-1"])
    def test_an_interval_that_is_none_is_refused(self, given):
        with pytest.raises(CacheError):
            interval_of(given)


@pytest.fixture
def two_views(monkeypatch, fake_clock):
    """Time passes by itself, and the reader goes away after the second view."""

    def sleep(seconds):
        fake_clock.sleep(seconds)
        if len(fake_clock.slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "REAL", Pace(fake_clock.monotonic, sleep))
    return fake_clock


@pytest.fixture
def asked(directory, monkeypatch):
    """Two hits and a miss of a cache."""
    monkeypatch.setenv("SCOUTCACHE_ALERTS__OPERATION", "1h")  # a busy machine is no alert
    with Cache(directory=directory) as cache:
        cache.get("llm:a")
        cache.get("llm:a")
        cache.get("nope:1")
    return directory


@pytest.fixture
def asked_often(asked):
    """And so often that a share of it says something."""
    with Cache(directory=asked) as cache:
        for key in ["llm:a", "llm:a", "nope:1"] * 39:
            cache.get(key)
    return asked


class TestStatsWatch:
    def test_off_a_terminal_each_view_is_a_line(self, asked, cli, two_views):
        ran = cli("stats", "--watch", "--interval", "5")
        assert ran.code == 130
        assert two_views.slept == [5, 5]
        lines = ran.out.splitlines()
        assert len(lines) == 2
        figures = dict(part.split("=", 1) for part in lines[1].split("  "))
        assert (figures["requests"], figures["hits"], figures["misses"]) == ("3", "2", "1")
        assert (figures["hit_rate"], figures["memory_entries"], figures["disk_entries"]) == ("0.666667", "-", "5")
        assert ran.err == ""

    def test_json_is_an_object_a_line(self, asked, cli, two_views):
        found = [json.loads(line) for line in cli("stats", "--watch", "--json").out.splitlines()]
        assert [(one["schema_version"], one["requests"]) for one in found] == [(1, 3), (1, 3)]
        assert found[0]["tiers"][0]["name"] == "memory"

    def test_csv_has_one_header(self, asked, cli, two_views):
        lines = cli("stats", "--watch", "--by", "prefix", "--format", "csv").out.splitlines()
        assert lines[0].startswith("at,prefix,requests,")
        assert [line.split(",")[1] for line in lines[1:]] == ["llm", "nope", "job"] * 2

    def test_a_line_holds_each_group_and_its_name_breaks_no_line(self, asked, cli, two_views):
        with Cache(directory=asked) as cache:
            cache.get("a b\u2028=\u202e:1")
        line = cli("stats", "--watch", "--by", "prefix").out.splitlines()[0]
        assert "llm.hits=2  llm.hit_rate=1" in line
        assert "\u202e" not in line
        assert "\u2028" not in line

    def test_every_name_and_value_of_a_line_can_be_told_apart(self, asked, cli, two_views):
        names = ["a b", 'q"u', "c=d", "back\\slash", "\u202e", "line\u2028sep", "it's"]
        with Cache(directory=asked) as cache:
            for name in names:
                cache.get(f"{name}:1")
        line = cli("stats", "--watch", "--by", "prefix").out.splitlines()[0]
        word = r'("(?:[^"\\]|\\.)*"|[^\s="]+)'
        words = [one for pair in re.findall(f"{word}={word}", line) for one in pair]
        read = [json.loads(one) if one[0] == '"' else one for one in words]
        assert re.fullmatch(f"{word}={word}(  {word}={word})*", line)
        assert {f"{name}.hits" for name in names} <= set(read[::2])

    def test_what_cannot_be_read_is_named_once(self, asked, cli, two_views):
        (asked / "oplog" / "other.jsonl").write_text('{"foo":1}\n')
        ran = cli("stats", "--watch", "--by", "tag")
        assert len(ran.out.splitlines()) == 2
        assert ran.err.count("other.jsonl: not a log of scoutcache") == 1

    def test_a_cache_that_is_made_meanwhile_is_seen(self, workplace, cli, monkeypatch, fake_clock):
        place = workplace / "later"

        def sleep(seconds):
            fake_clock.sleep(seconds)
            if len(fake_clock.slept) == 2:
                raise KeyboardInterrupt
            with Cache(directory=place) as cache:
                cache.get("no")

        monkeypatch.setattr(watching, "REAL", Pace(fake_clock.monotonic, sleep))
        ran = cli("stats", "--watch", "--directory", str(place), "--format", "jsonl")
        assert [json.loads(line)["misses"] for line in ran.out.splitlines()] == [0, 1]

    def test_check_ends_the_watching(self, asked_often, cli, two_views, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_ALERTS__HIT_RATE", "0.9")
        ran = cli("stats", "--watch", "--check")
        assert ran.code == 99
        assert len(ran.out.splitlines()) == 1
        assert ran.out.endswith("  alerts=hit_rate\n")
        assert ran.err.startswith("warning: hit_rate: the hit rate is 0.667, under 0.9; ")

    def test_a_reader_that_has_gone_ends_it_quietly(self, asked, workplace):
        reading, writing = os.pipe()
        process = subprocess.Popen([sys.executable, "-m", "scoutcache", "stats", "--watch", "--interval", "0.1"],
                                   stdout=writing, stderr=subprocess.PIPE)  # fmt: skip
        os.close(writing)
        os.read(reading, 10)
        os.close(reading)
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0

    def test_on_a_terminal_it_is_redrawn_on_a_screen_of_its_own_until_ctrl_c(self, asked, workplace):
        ran = on_terminal("stats", "--watch", "--interval", "0.1", until=b"hit rate")
        assert ran.code == 130
        enter, leave = ran.said.index("\x1b[?1049h"), ran.said.rindex("\x1b[?1049l")
        assert enter < ran.said.index("hit rate") < leave < ran.said.rindex("hit rate")
        assert "66.7 %" in ran.said
        assert "Traceback" not in ran.said


def on_terminal(*arguments, until):
    """Run it on a terminal, send it a Ctrl-C once it has shown *until*, and give all it said."""
    leader, follower = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "60"}
    # A test run in the background of a shell ignores interrupts, and so would its children.
    code = ("import signal, runpy; signal.signal(2, signal.default_int_handler); "
            "runpy.run_module('scoutcache', run_name='__main__')")  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdin=follower, stdout=follower, stderr=follower,
                          env=env, start_new_session=True) as process:  # fmt: skip
        os.close(follower)
        said, sent = b"", False
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            said += piece
            if until in said and not sent:
                process.send_signal(signal.SIGINT)
                sent = True
        code = process.wait(timeout=60)
    os.close(leader)
    return SimpleNamespace(code=code, said=said.decode())


class TestStatsCheck:
    @pytest.mark.parametrize(
        ("setting", "value", "name", "level"),
        [("HIT_RATE", "0.9", "hit_rate", "warning"), ("OPERATION", "0.000001", "operation", "warning"),
         ("KEY_GENERATION", "0.000001", "key_generation", "warning"),
         ("INVALIDATIONS_PER_HOUR__CRITICAL", "2", "invalidations_per_hour", "critical"),
         ("INVALIDATIONS_PER_HOUR__WARN", "2", "invalidations_per_hour", "warning")],
    )  # fmt: skip
    def test_each_level_that_is_passed_is_named(self, setting, value, name, level, asked_often, cli, monkeypatch):
        from scoutcache import CacheKey
        from scoutcache.core.alarms import LEAST

        with Cache(directory=asked_often) as cache:
            cache.get(CacheKey("llm", "a"), 1)
            for number in range(LEAST):
                cache.set("k", number)
            cache.invalidate("x:*")
            cache.invalidate("y:*")
        monkeypatch.setenv(f"SCOUTCACHE_ALERTS__{setting}", value)
        ran = cli("stats", "--check", "--json")
        assert ran.code == 99
        assert f"{level}: {name}: " in ran.err
        (found,) = [one for one in json.loads(ran.out)["alerts"] if one["name"] == name]
        assert found["level"] == level.upper()
        assert found["threshold"] == pytest.approx(float(value))

    def test_the_table_lists_them(self, asked_often, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_ALERTS__HIT_RATE", "0.9")
        out = cli("stats", "--check").out
        assert out.partition("\nalerts\n")[2].splitlines()[1].split()[:2] == ["WARNING", "hit_rate"]

    def test_invalidations_of_long_ago_pass_no_level_of_an_hour(self, workplace, cli, fake_clock, monkeypatch):
        from scoutcache.core.core import Clocks

        monkeypatch.setenv("SCOUTCACHE_ALERTS__OPERATION", "1h")
        place = workplace / "old"
        clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
        fake_clock.step_wall(-400_000_000)  # long before today
        with Cache(directory=place, clocks=clocks) as cache:
            for _ in range(60):
                cache.invalidate("x:*")
        ran = cli("stats", "--check", "--json", "--directory", str(place))
        assert (ran.code, json.loads(ran.out)["invalidations"], json.loads(ran.out)["alerts"]) == (0, 60, [])

    def test_what_is_only_worth_knowing_is_no_failure(self, asked, cli, monkeypatch):
        from scoutcache.oplog.recorder import Recorder

        with Cache(directory=asked) as cache:
            Recorder._count_left_out(cache._core.recorder, {"overflow": 3})
        ran = cli("stats", "--check", "--json")
        assert (ran.code, ran.err) == (0, "")
        assert [one["level"] for one in json.loads(ran.out)["alerts"]] == ["INFO"]

    def test_a_server_that_is_away_is_an_alert(self, asked, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_REDIS__URL", "redis://127.0.0.1:1")
        monkeypatch.setenv("SCOUTCACHE_TIERS", "memory,redis,disk")
        ran = cli("stats", "--check")
        assert ran.code == 99
        assert "error: redis_away: redis can't be used: " in ran.err

    def test_doctor_warns_of_them(self, asked, cli):
        with Cache(directory=asked) as cache:
            for _ in range(50):
                cache.invalidate("x:*")
        (line,) = [line for line in cli("doctor").out.splitlines() if " alerts " in line]
        assert line.startswith("warn  alerts")
        assert "50 invalidations within an hour, 50 or more" in line

    @pytest.mark.parametrize(
        ("name", "shows"),
        [("errors_per_hour", "scoutcache log tail --op error"), ("operation", "scoutcache report")],
    )
    def test_doctor_names_what_shows_a_cause_that_is_over(self, name, shows, asked, cli, monkeypatch):
        """Then its other checks find nothing, and ``stats --check`` had sent the reader here."""
        from scoutcache.core.alarms import LEAST

        monkeypatch.setenv(f"SCOUTCACHE_ALERTS__{name.upper()}", "0.000001" if name == "operation" else "1")
        away = {"tiers": ["memory", "redis", "disk"], "redis_url": "redis://127.0.0.1:1"}
        with Cache(directory=asked, **(away if name == "errors_per_hour" else {})) as cache:
            for number in range(LEAST):
                cache.set("k", number)
        (found,) = [one for one in json.loads(cli("doctor", "--json").out)["checks"] if one["name"] == "alerts"]
        assert found["fix"] == f"the other checks show what is wrong now, {shows} what was before"


def test_a_process_that_nobody_asks_of_alerts_tells_none(directory):
    with Cache(directory=directory) as cache:
        assert cache._core.alarms.standing == {}


class TestForPrometheus:
    def test_a_file_for_the_node_exporter(self, asked, cli, workplace):
        ran = cli("stats", "--prom-textfile", "cache.prom")
        assert (ran.code, ran.out, ran.err) == (0, "", "")
        text = (workplace / "cache.prom").read_text()
        assert 'cache_gets_total{namespace="default",prefix="llm",tier="disk",result="hit"} 2\n' in text
        assert 'cache_entries{tier="disk"} 5\n' in text
        assert 'cache_entries{tier="memory"}' not in text
        assert [path.name for path in workplace.glob("*.prom*")] == ["cache.prom"]

    def test_where_it_can_not_be_written_that_is_said(self, asked, cli):
        ran = cli("stats", "--prom-textfile", "/nonexistent/cache.prom")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("error: can't write /nonexistent/cache.prom: ")
        assert cli("stats", "--watch", "--prom-textfile", "x").code == 2

    def test_it_goes_with_check(self, asked_often, cli, workplace, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_ALERTS__HIT_RATE", "0.9")
        ran = cli("stats", "--prom-textfile", "cache.prom", "--check")
        assert (ran.code, ran.out) == (99, "")
        assert "hit_rate: " in ran.err
        assert (workplace / "cache.prom").exists()

    def test_the_dashboard_is_json_wherever_it_goes(self, cli, workplace):
        printed = json.loads(cli("dashboard", "export").out)
        line = cli("dashboard", "export", "--format", "jsonl").out
        assert (line.count("\n"), json.loads(line)) == (1, printed)
        ran = cli("dashboard", "export", "--format", "csv")
        assert (ran.code, ran.out, "no rows" in ran.err) == (2, "", True)
        assert printed["title"] == "scoutcache"
        ran = cli("dashboard", "export", "-o", "d.json", "--quiet")
        assert (ran.code, ran.out, ran.err) == (0, "", "")
        assert json.loads((workplace / "d.json").read_text()) == printed
        assert json.loads(cli("dashboard", "export", "--json").out) == {"schema_version": 1, **printed}
