"""A command that doesn't know the application's server says so, and doesn't vouch for what that didn't hear."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LIVING = """
import sys
from scoutcache import Cache
with Cache(directory=sys.argv[1], redis_url=sys.argv[2]) as cache:
    cache.set("k", "old", tags=["T"])
    print("here", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def directory(workplace, start_redis):
    place = workplace / "cache"
    command = [sys.executable, "-c", LIVING, str(place), start_redis().url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as application:
        assert application.stdout.readline() == "here\n"
        yield place
        application.stdin.close()


@pytest.mark.parametrize("command", [
    ["invalidate", "--tag", "T"], ["invalidate", "k*"], ["clear", "--yes"], ["set", "k", "new"],
])  # fmt: skip
def test_what_is_changed_is_a_part(cli, directory, command):
    result = cli("--directory", str(directory), *command)
    assert result.code == 3
    assert "they don't hear each other's changes" in result.err


def test_who_does_not_hear_is_behind(cli, directory):
    result = cli("--directory", str(directory), "invalidate", "--tag", "T", "--wait", "0.2", "--json")
    assert result.code == 3
    told = json.loads(result.out)
    assert told["processes"] == 1
    assert len(told["behind"]) == 1


def test_who_only_looks_is_told_too(cli, directory):
    result = cli("--directory", str(directory), "keys")
    assert result.code == 0
    assert "they don't hear each other's changes" in result.err


def test_doctor_names_the_process_and_what_to_do(cli, directory):
    result = cli("--directory", str(directory), "doctor", "--json")
    assert result.code == 1
    (found,) = [check for check in json.loads(result.out)["checks"] if check["name"] == "processes"]
    assert found["status"] == "fail"
    assert found["detail"].startswith("process ")
    assert "--redis-url" in found["fix"]
