"""``invalidate --wait`` over a server: every process on every machine, and whoever is stopped is named."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scoutcache.cli.waiting import _OnServer

LIVING = """
import sys
from scoutcache import Cache
with Cache(directory=sys.argv[1]) as cache:
    cache.get("llm:a"), cache.get("llm:a"), cache.get("llm:a")
    print("here", flush=True)
    for line in sys.stdin:
        print(cache.get(line.strip()), flush=True)
"""


@pytest.fixture
def server(start_redis, workplace: Path, monkeypatch: pytest.MonkeyPatch):
    """A server of the test's own, which the environment names, with one entry."""
    from scoutcache import Cache

    found = start_redis()
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "here"))
    monkeypatch.setenv("SCOUTCACHE_REDIS__URL", found.url)
    with Cache() as cache:
        cache.set("llm:a", "hello")
    return found


@pytest.fixture
def living(server, workplace: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a process that lives with the cache and holds ``llm:a`` in memory, on a machine of its own or *here*."""
    started: list[subprocess.Popen[str]] = []

    def start(*, here: bool = False) -> subprocess.Popen[str]:
        directory = workplace / ("here" if here else f"machine-{len(started)}")
        process = subprocess.Popen([sys.executable, "-c", LIVING, str(directory)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "here\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def asked(process):
    process.stdin.write("llm:a\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_when_it_returns_every_machine_has_applied_it(living, cli):
    processes = [living(), living()]
    ran = cli("invalidate", "llm:*", "--wait", "30", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["processes"], found["behind"]) == (0, 2, [])
    assert found["waited_s"] < 10
    assert [asked(process) for process in processes] == ["None\n", "None\n"]


def test_one_that_is_stopped_is_named_and_it_ends_with_3(living, cli):
    stopped, _ = living(), living()
    stopped.send_signal(signal.SIGSTOP)
    ran = cli("invalidate", "llm:*", "--wait", "1", "--json")
    assert ran.code == 3
    found = json.loads(ran.out)
    assert found["processes"] == 2
    (behind,) = found["behind"]
    assert behind["pid"] == stopped.pid
    assert behind["host"]
    assert behind["user"]
    assert behind["command"].startswith("python")
    assert f"warning: process {stopped.pid} ({behind['command']}) on {behind['host']} has not applied it" in ran.err
    stopped.send_signal(signal.SIGCONT)
    again = cli("invalidate", "llm:*", "--wait", "30", "--json")
    assert (again.code, json.loads(again.out)["behind"]) == (0, [])
    assert asked(stopped) == "None\n"


def forgotten(server):
    """Let the server forget who lives, as it does with whoever is silent for half a minute."""
    server.cli("DEL", "scoutcache:{events}:members")


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_one_of_this_machine_that_is_silent_for_long_is_waited_for(when, server, living, cli, monkeypatch):
    stopped, other = living(here=True), living(here=True)
    stopped.send_signal(signal.SIGSTOP)
    if when == "before":
        forgotten(server)
    else:
        again = _OnServer.again
        monkeypatch.setattr(_OnServer, "again", lambda *given: (forgotten(server), again(*given))[1])
    ran = cli("invalidate", "llm:*", "--wait", "3", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["processes"]) == (3, 2)
    (behind,) = found["behind"]
    assert (behind["pid"], bool(behind["host"])) == (stopped.pid, True)
    assert f"warning: process {stopped.pid} ({behind['command']}) on {behind['host']} has not applied it" in ran.err
    stopped.send_signal(signal.SIGCONT)
    again = cli("invalidate", "llm:*", "--wait", "30", "--json")
    assert (again.code, json.loads(again.out)["processes"], json.loads(again.out)["behind"]) == (0, 2, [])
    assert [asked(process) for process in (stopped, other)] == ["None\n", "None\n"]


def test_a_broken_off_wait_names_who_has_not_applied_it(living, cli, monkeypatch):
    stopped = living()
    stopped.send_signal(signal.SIGSTOP)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_OnServer, "again", interrupted)
    ran = cli("invalidate", "llm:*", "--wait", "60", "--json")
    assert (ran.code, [one["pid"] for one in json.loads(ran.out)["behind"]]) == (130, [stopped.pid])
    assert "it was invalidated; the wait was interrupted" in ran.err


def test_one_that_ended_is_not_waited_for(living, cli):
    process = living()
    process.communicate()
    found = json.loads(cli("invalidate", "llm:*", "--wait", "0", "--json").out)
    assert (found["processes"], found["behind"]) == (0, [])


def test_one_of_this_machine_that_was_killed_is_not_waited_for(living, cli):
    process, other = living(), living()
    process.kill()  # and nobody has asked how it ended, so its number is still its own
    ran = cli("invalidate", "llm:*", "--wait", "10", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["processes"], found["behind"]) == (0, 1, [])
    assert asked(other) == "None\n"


def test_without_the_server_it_says_what_it_did_and_that_the_others_can_not_be_waited_for(server, cli):
    server.kill()
    ran = cli("invalidate", "llm:*", "--wait", "5", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["invalidated"], found["by_tier"]["disk"]) == (3, 1, 1)
    assert (list(found["failed"]), found["processes"], found["behind"]) == (["redis"], None, None)
    assert "unreachable" in found["not_waited_for"]
    assert "warning: can't wait for the other processes: the redis tier" in ran.err
