"""Long listings and removals: paced, broken off by Ctrl-C, taken up again by the command line that was printed."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys

import pytest

from scoutcache import Cache
from scoutcache.calls.walking import Place, Walk
from scoutcache.errors import CacheError
from tests.servers.waiting import until as wait_until

NUMBER = 4000
SLOW = ("--interval", "0.4")


@pytest.fixture(params=["redis", "memory,redis,disk", "memory,disk"])
def filled(request, redis_url, workplace, monkeypatch):
    """Some thousand keys in these tiers, which the environment names."""
    monkeypatch.setenv("SCOUTCACHE_TIERS", request.param)
    monkeypatch.setenv("SCOUTCACHE_REDIS__URL", redis_url)
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
    with Cache() as cache:
        cache.set_many({f"n:{number}": number for number in range(NUMBER)})
        cache.set("other", 1)
    return request.param


def interrupted(*command, begun=lambda: True):
    """Run it and send it a Ctrl-C once it prints or has *begun*; its exit code, its output, and how to go on."""
    # A test run in the background of a shell ignores interrupts, and so would its children.
    code = ("import signal, runpy; signal.signal(2, signal.default_int_handler); "
            "runpy.run_module('scoutcache', run_name='__main__')")  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    first = process.stdout.readline() if command[0] == "keys" else ""
    wait_until(begun, "it is at work")
    process.send_signal(signal.SIGINT)
    with process:
        out, err = first + process.stdout.read(), process.stderr.read()
    line = err.partition("to continue: ")[2].strip()
    return process.returncode, out, shlex.split(line)[1:]


def keys_in(out):
    return [line.partition("\t")[0] for line in out.splitlines()]


def test_keys_are_listed_in_two_parts_without_a_gap(filled, child):
    code, out, again = interrupted("keys", "n:*", *SLOW)
    assert code == 130
    first = keys_in(out)
    assert 0 < len(first) < NUMBER
    again[again.index("--interval") + 1] = "0"
    ran = child(*again)
    assert ran.code == 0, ran.err
    second = keys_in(ran.out)
    assert sorted({*first, *second}) == sorted(f"n:{number}" for number in range(NUMBER))
    assert not set(first) & set(second)


@pytest.mark.parametrize("filled", ["redis", "memory,redis,disk"], indirect=True)
def test_an_invalidation_goes_on_where_it_was(filled, child, redis_server):
    before = redis_server.cli("DBSIZE")
    gone = lambda: redis_server.cli("DBSIZE") < before - 100  # noqa: E731  # members and leases come and go
    code, _, again = interrupted("invalidate", "n:*", "--reason", "a b", *SLOW, begun=gone)
    assert code == 130
    left = len(keys_in(child("keys", "n:*", "--tier", "redis").out))
    assert 0 < left < NUMBER
    again[again.index("--interval") + 1] = "0"
    assert again[again.index("--reason") + 1] == "a b"
    ran = child(*again)
    assert ran.code == 0, ran.err
    assert keys_in(child("keys").out) == ["other"]


def test_a_cursor_of_something_else_is_refused(filled, cli):
    text = Place("redis", "7:default:x*", "", "5").text()
    for command in (("keys", "n:*"), ("invalidate", "n:*")):
        ran = cli(*command, "--cursor", text)
        assert ran.code == 2
        assert "another pattern or namespace" in ran.err
    assert cli("keys", "--cursor", "nonsense").code == 2
    assert cli("keys", "--sort", "key", "--cursor", text).code == 2
    assert cli("invalidate", "n:*", "--count", "--cursor", text).code == 2


@pytest.mark.parametrize("filled", ["redis"], indirect=True)
def test_a_server_that_was_restarted_has_other_cursors(filled, cli):
    ran = cli("keys", "n:*", "--cursor", Place("redis", "7:default:n:*", "another run", "5").text())
    assert ran.code == 1
    assert "restarted" in ran.err


class TestWalk:
    def test_it_waits_between_steps_and_ends_between_steps(self):
        waited = []
        walk = Walk(interval=2.0, sleep=waited.append)
        assert walk.from_("redis", "all", ["a", "b"]) == (0, "")
        assert walk.goes_on("redis", "all", "a", "7")
        walk.stop()
        assert not walk.goes_on("redis", "all", "a", "9")
        assert waited == [2.0]
        assert walk.place == Place("redis", "all", "a", "9")
        assert walk.from_("redis", "all", ["a", "b"]) is None
        assert not walk.enters("disk", ["redis", "disk"])

    def test_it_goes_on_at_its_place(self):
        place = Place("disk", "7:default:\N{SNOWMAN}*", "", "00ff")
        assert Place.read(place.text()) == place
        walk = Walk(place)
        assert not walk.enters("redis", ["redis", "disk"])
        assert walk.enters("disk", ["redis", "disk"])
        assert walk.from_("disk", place.what, [""]) == (0, "00ff")
        assert walk.from_("disk", place.what, [""]) == (0, "")

    @pytest.mark.parametrize("text", ["", "x", "W10", "\N{SNOWMAN}", "WyJhIl0"])
    def test_what_is_no_cursor_is_refused(self, text):
        with pytest.raises(CacheError, match="is not a cursor"):
            Place.read(text)


def test_a_benchmark_that_is_interrupted_leaves_nothing(redis_url, redis_server, workplace):
    found = lambda: redis_server.cli("KEYS", "scoutcache:bench:*:e:*")  # noqa: E731
    code, _, _ = interrupted("bench", "--tier", "redis", "--redis-url", redis_url, "--duration", "30", begun=found)
    assert code == 130
    assert redis_server.cli("KEYS", "*") == []
