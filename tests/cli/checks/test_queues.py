"""``doctor`` on write-behind: what waits, what died, and whether anybody delivers."""

from __future__ import annotations

import json

import pytest

from scoutcache import Cache


@pytest.fixture
def directory(workplace, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
    return workplace / "cache"


@pytest.fixture
def said(cli):
    def checks():
        found = json.loads(cli("doctor", "--json").out)["checks"]
        return [one for one in found if one["name"].startswith("write-behind")]

    return checks


def refuse(_):
    raise ValueError("no such table")


def test_nothing_is_said_where_there_is_no_queue(directory, said):
    Cache(directory=directory).close()
    assert said() == []


def test_it_is_well_where_all_has_arrived(directory, said):
    with Cache(directory=directory) as cache:
        cache.behind(writer=list).set("a", 1)
    (one,) = said()
    assert (one["name"], one["status"], one["detail"]) == ("write-behind default.default", "ok", "nothing is waiting")


def test_dead_letters_are_named_with_the_error_and_what_to_do(directory, said):
    with Cache(directory=directory) as cache:
        clicks = cache.behind(writer=refuse, attempts=1, interval=0.01)
        clicks.set("a", 1)
        clicks.close()
        (one,) = said()
    assert (one["status"], one["detail"]) == (
        "warn", "1 dead letter, the last: ValueError: no such table; nothing is waiting"
    )  # fmt: skip
    assert ".retry_dead()" in one["fix"]


def test_what_waits_and_nobody_delivers(directory, said):
    with Cache(directory=directory) as cache:
        cache.behind(writer=refuse, interval=60, drain_timeout=0).set("a", 1)
    (one,) = said()
    assert one["status"] == "warn"
    assert one["detail"].startswith("1 write waiting, the oldest for ")
    assert one["detail"].endswith(", but no process delivers")
    assert "cache.behind()" in one["fix"]


def test_what_waits_and_failed_while_a_process_delivers(directory, said, until):
    with Cache(directory=directory) as cache:
        clicks = cache.behind(writer=refuse, interval=0.01, backoff=60, drain_timeout=0)
        clicks.set("a", 1)
        until(lambda: said()[0]["detail"].endswith("; 1 of them failed before"), "it was tried")
        (one,) = said()
    assert (one["status"], one["fix"]) == ("warn", "repair what it writes to: writes are retried automatically")


def test_what_can_not_be_read_is_named(directory, said, cli):
    Cache(directory=directory).close()
    (directory / "queues").mkdir(exist_ok=True)
    (directory / "queues" / "x.db").write_bytes(b"not a database" * 100)
    (one,) = said()
    assert one["status"] == "fail"
    assert "x.db can't be read" in one["detail"]
    assert cli("doctor").code == 1
