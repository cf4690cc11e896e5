"""``top``: lines with right rates off a terminal, redrawn on one, on a cache that is empty, away, or made meanwhile."""

from __future__ import annotations

import csv
import io
import json
import os

import pytest

from scoutcache import Cache
from scoutcache.cli.printing import watching
from scoutcache.cli.printing.watching import Pace

from ..printing.test_watching import on_terminal  # noqa: TID252 - tests are no package


@pytest.fixture
def acting(monkeypatch, fake_clock):
    """Between two looks a cache is used as told; after the last of *acts* comes a Ctrl-C."""
    monkeypatch.setenv("SCOUTCACHE_ALERTS__OPERATION", "1h")  # a busy machine is no alert
    acts = []

    def sleep(seconds):
        fake_clock.sleep(seconds)
        if not acts:
            raise KeyboardInterrupt
        acts.pop(0)()

    monkeypatch.setattr(watching, "REAL", Pace(fake_clock.monotonic, sleep))
    return acts


def use(place, hits=4, misses=2):
    def act():
        with Cache(directory=place) as cache:
            for _ in range(hits):
                cache.get("llm:a")
            for number in range(misses):
                cache.get(f"no:{number}")

    return act


def figures(line):
    return dict(part.split("=", 1) for part in line.split("  "))


def fits(requests, rate, seconds):
    """Whether it is that many, where both are rounded to three digits: much of a short while."""
    return requests / (seconds + 0.0005) - 0.0005 <= rate <= requests / max(seconds - 0.0005, 1e-6) + 0.0005


def test_off_a_terminal_each_interval_is_a_line_and_the_first_is_a_measurement(directory, cli, acting):
    acting += [use(directory), lambda: None, use(directory, 0, 3)]
    ran = cli("top", "--interval", "2")
    assert (ran.code, ran.err) == (130, "")
    first, second, third = map(figures, ran.out.splitlines())
    assert fits(6, float(first["requests_per_s"]), float(first["seconds"]))
    assert (first["hit_rate"], first["prefix"]) == ("0.6667", "llm")
    assert (second["requests_per_s"], second["hit_rate"], second["prefix"]) == ("0", "-", "-")
    assert (third["hit_rate"], third["prefix"], third["processes"]) == ("0", "no", "0")
    assert first["disk_fill_ratio"] != "-"
    assert first["memory_fill_ratio"] == "-"
    assert first["key"] == "llm:a"


def test_once_is_one_measurement_in_every_format(directory, cli, acting):
    acting += [use(directory)]
    found = json.loads(cli("top", "--once", "--json").out)
    assert found["schema_version"] == 1
    assert {row["prefix"]: row["hit_rate"] for row in found["prefixes"]} == {"llm": 1.0, "no": 0.0}
    assert [row["name"] for row in found["tiers"]] == ["memory", "disk"]
    assert found["keys"][0] == {"key": "llm:a", "namespace": "default", "requests": 4, "hit_rate": 1.0}
    acting += [use(directory)]
    out = cli("top", "--once").out
    parts = {part.partition("\n")[0]: part.splitlines()[1:] for part in out.split("\n\n")}
    assert list(parts)[1:] == ["tiers", "processes", "prefixes", "keys of the last minute"]
    assert parts["processes"] == ["  nothing"]
    acting += [use(directory)]
    (row,) = csv.DictReader(io.StringIO(cli("top", "--once", "--format", "csv").out))
    assert row["hit_rate"] == "0.6667"
    acting += [use(directory)]
    assert json.loads(cli("top", "--once", "--format", "jsonl").out)["hit_rate"] == 0.6667


def test_a_process_has_its_row(directory, cli, acting):
    with Cache(directory=directory) as cache:
        cache.set("k", 1)
        cache.flush()
        acting += [lambda: (cache.get("no"), cache.flush())]
        found = json.loads(cli("top", "--once", "--json").out)
    (row,) = found["process_list"]
    assert (row["pid"], row["hit_rate"], row["memory_entries"]) == (os.getpid(), 0.0, 1)
    assert row["requests_per_s"] == found["requests_per_s"] > 0


def test_an_alert_is_named(directory, cli, acting, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_ALERTS__INVALIDATIONS_PER_HOUR__WARN", "1")
    with Cache(directory=directory) as cache:
        cache.invalidate("x:*")
    acting += [lambda: None]
    found = json.loads(cli("top", "--once", "--json").out)
    assert [(one["name"], one["level"]) for one in found["alerts"]] == [("invalidations_per_hour", "WARNING")]


def test_of_no_cache_there_is_nothing_and_one_that_is_made_meanwhile_is_seen(workplace, cli, acting):
    place = workplace / "later"
    acting += [lambda: None, use(place), lambda: None]
    ran = cli("top", "--directory", str(place), "--format", "jsonl")
    rates = [json.loads(line)["requests_per_s"] for line in ran.out.splitlines()]
    assert rates[0] == 0
    assert sum(rates) > 0


def test_with_the_server_away_the_rest_is_shown(directory, cli, acting, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_REDIS__URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("SCOUTCACHE_TIERS", "memory,redis,disk")
    acting += [lambda: None]
    ran = cli("top", "--once", "--json")
    found = json.loads(ran.out)
    assert ran.code == 3
    assert [(row["name"], row["entries"]) for row in found["tiers"]] == [("memory", None), ("redis", None), ("disk", 5)]
    assert [one["name"] for one in found["alerts"]] == ["redis_away"]
    assert "the redis tier can't answer" in ran.err


def test_keys_that_mean_harm_break_no_line(directory, cli, acting):
    def act():
        with Cache(directory=directory) as cache:
            for _ in range(5):
                cache.get('a "b"=\u202e\u2028:x')

    acting += [act]
    (line,) = cli("top").out.splitlines()
    assert "\u202e" not in line
    assert figures(line)["hit_rate"] == "0"
    assert 'prefix="a \\"b\\"=\\u202e\\u2028"' in line


@pytest.mark.parametrize("interval", ["0", "soon", "9d"])
def test_a_bad_interval_is_refused(interval, directory, cli):
    assert cli("top", "--interval", interval).code == 2


def test_on_a_terminal_it_is_redrawn_until_ctrl_c(directory):
    ran = on_terminal("top", "--interval", "0.2", until=b"prefixes")
    assert ran.code == 130
    assert "\x1b[?1049h" in ran.said
    assert "\x1b[?1049l" in ran.said
    assert "requests/s" in ran.said
    assert "Traceback" not in ran.said


def test_what_other_machines_count_is_added(workplace, cli, acting, redis_url):
    def on(machine, *keys):
        with Cache(directory=workplace / machine, redis_url=redis_url) as cache:
            for key in keys:
                cache.get(key)

    on("other", "no:1")  # a machine that is met for the first time counts from then on
    acting += [lambda: (on("other", "no:1", "no:2", "no:3"), on("own", "no:4"))]
    ran = cli("top", "--once", "--json", "--directory", str(workplace / "own"), "--redis-url", redis_url)
    found = json.loads(ran.out)
    assert found["machines"] == 2
    assert fits(4, found["requests_per_s"], found["seconds"])
