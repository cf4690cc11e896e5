"""Values of a class that only the application has: a command can do with them whatever needs no value."""

from __future__ import annotations

import json
import sys
from dataclasses import make_dataclass
from types import ModuleType

import pytest

from scoutcache import Cache


class Application:
    """A process that has the class; its cache is shared with the commands."""

    def __init__(self, directory, monkeypatch):
        self.directory, self.monkeypatch = directory, monkeypatch
        module = ModuleType("an_application")
        self.Point = module.Point = make_dataclass("Point", ["x", "y"], namespace={"__module__": "an_application"})
        self.module = module

    def __enter__(self):
        self.monkeypatch.setitem(sys.modules, "an_application", self.module)
        self.cache = Cache(directory=str(self.directory))
        return self.cache

    def __exit__(self, *_):
        self.cache.close()
        self.monkeypatch.delitem(sys.modules, "an_application")


@pytest.fixture
def application(tmp_path, monkeypatch):
    made = Application(tmp_path / "cache", monkeypatch)
    with made as cache:
        cache.set("p:1", made.Point(1, 2), tags=["points"], ttl=3600, stale_ttl=3600)
    return made


@pytest.fixture
def run(cli, application):
    return lambda *arguments: cli(*arguments, "--directory", str(application.directory))


def test_get_says_that_it_is_there_and_counts_nothing(run):
    got = run("get", "p:1")
    assert (got.code, got.out) == (1, "")
    assert "p:1 is stored, but can't be read here: an_application.Point isn't known in this process" in got.err
    assert "hint: read it in Python" in got.err
    assert "each call computes it" not in got.err
    figures = json.loads(run("stats", "--json").out)
    assert (figures["requests"], figures["misses"], figures["errors"]) == (0, 0, 0)


def test_inspect_shows_all_but_the_value(run):
    shown = json.loads(run("inspect", "p:1", "--json").out)
    disk = next(tier for tier in shown["tiers"] if tier["name"] == "disk")
    assert (shown["tags"], shown["serializer"], shown["valid"]) == (["points"], "msgpack", True)
    assert shown["created_at"] is not None
    assert 3500 < disk["ttl_s"] <= 3600
    assert disk["problem"] == "an_application.Point isn't known in this process"


def test_invalidating_it_is_no_trouble(run):
    ended = run("invalidate", "p:1")
    assert (ended.code, ended.err) == (0, "")
    assert run("stats", "--check").code == 0
    assert json.loads(run("stats", "--json").out)["errors"] == 0
    assert "a tier failed" not in run("report").out


def test_a_miss_of_the_library_is_no_error(run, application):
    with Cache(directory=str(application.directory)) as stranger:
        assert stranger.get("p:1") is None
    figures = json.loads(run("stats", "--json").out)
    assert (figures["misses_by_reason"], figures["errors"]) == ({"unknown_type": 1}, 0)


def test_marking_it_stale_ends_its_freshness(run, application):
    assert json.loads(run("invalidate", "p:1", "--action", "mark-stale", "--json").out)["invalidated"] == 1
    with application as cache:
        assert cache.get("p:1") is None
        assert cache.get_entry("p:1").value == application.Point(1, 2)  # stale, and not lost


def test_what_depends_on_it_falls_with_its_tag(run, application):
    with application as cache:
        cache.set("q:1", "made of it", depends_on=["p:1"])
    assert run("invalidate", "--tag", "points").code == 0
    assert run("get", "q:1").code == 4


def test_what_is_made_to_depend_on_it_depends_on_what_it_depends_on(run, application):
    with application as cache:
        cache.set("p:2", application.Point(3, 4), depends_on=["source"])
    run("set", "q:2", "made of it", "--depends-on", "p:2")
    assert run("delete", "source").code in {0, 4}
    assert run("get", "q:2").code == 4
