"""Who lives with a cache, and up to where each has heard what was announced."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scoutcache.oplog.presence import FOLDER, Presence, members
from scoutcache.oplog.who import this_process

LIVING = """
import sys
from pathlib import Path
from scoutcache.oplog.presence import Presence
presence = Presence(Path(sys.argv[1]), lambda: sys.argv[2])
presence.begin(7)
print("here", flush=True)
for line in sys.stdin:
    presence.say(int(line))
    print("said", flush=True)
"""


@pytest.fixture
def tokens() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"token-{next(numbers)}"


@pytest.fixture
def other(directory: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start another process that is present under a name, and says the positions it reads."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", LIVING, str(directory), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_who_is_present_is_seen_with_the_position_it_said_last(directory, tokens):
    presence = Presence(directory, tokens)
    presence.begin(5)
    (member,) = members(directory)
    assert (member.name, member.position, member.who) == ("token-0", 5, this_process())
    presence.say(1 << 62)
    assert member.again().position == 1 << 62
    presence.end()
    assert member.again() is None
    assert list(members(directory)) == []
    assert list((directory / FOLDER).iterdir()) == []


def test_before_it_begins_and_after_it_ended_saying_does_nothing(directory, tokens):
    presence = Presence(directory, tokens)
    presence.say(3)
    presence.begin(5)
    presence.end()
    presence.end()
    presence.say(9)
    assert list(members(directory)) == []


def test_another_process_is_seen_at_the_position_it_says(directory, other):
    process = other("other")
    (member,) = members(directory)
    assert (member.position, member.who.pid) == (7, process.pid)
    process.stdin.write("12\n")
    process.stdin.flush()
    assert process.stdout.readline() == "said\n"
    assert member.again().position == 12


def test_a_stopped_process_lives_and_a_killed_one_does_not(directory, other):
    process = other("other")
    process.send_signal(signal.SIGSTOP)
    (member,) = members(directory)
    assert member.again() is not None
    process.kill()
    process.wait()
    assert member.again() is None


def test_what_a_killed_process_left_is_removed_by_the_next_to_come(directory, other, tokens):
    process = other("left")
    process.kill()
    process.wait()
    assert [path.name for path in (directory / FOLDER).iterdir()] == ["left"]
    presence = Presence(directory, tokens)
    presence.begin(0)
    assert [path.name for path in (directory / FOLDER).iterdir()] == ["token-0"]
    presence.end()


def test_a_forked_child_does_not_keep_its_parent_alive(directory, tokens):
    """The child lets go of the parent's file: when the parent ends, its presence ends."""
    ready, go = os.pipe(), os.pipe()
    parent = os.fork()
    if not parent:
        presence = Presence(directory, lambda: "parent")
        presence.begin(1)
        if os.fork():
            os.read(ready[0], 1)
            os._exit(0)
        presence.forget()
        presence.say(99)  # nowhere: the page is the parent's
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.waitpid(parent, 0)
    assert list(members(directory)) == []
    os.write(go[1], b"x")
    for end in (*ready, *go):
        os.close(end)


def test_one_that_cannot_be_read_counts_as_having_applied_nothing(directory, tokens):
    presence = Presence(directory, tokens)
    presence.begin(5)
    (path,) = (directory / FOLDER).iterdir()
    path.write_bytes(b"nonsense")
    (member,) = members(directory)
    assert (member.position, member.who) == (0, None)
    presence._words = memoryview(bytearray(64)).cast("Q")  # its page ends before the word now
    presence.end()


def test_a_folder_that_was_removed_is_made_again(directory, tokens):
    presence = Presence(directory, tokens)
    presence.begin(1)
    (path,) = (directory / FOLDER).iterdir()
    path.unlink()
    assert list(members(directory)) == []
    presence.begin(2)
    assert [member.position for member in members(directory)] == [2]
    presence.end()


def test_files_are_the_owner_s_alone(directory, tokens):
    presence = Presence(directory, tokens)
    presence.begin(1)
    (path,) = (directory / FOLDER).iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    presence.end()


def test_arguments_are_not_part_of_what_is_told_of_a_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/bin/serve", "--password=hunter2"])
    assert str(this_process()) == f"process {os.getpid()} (serve)"
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert "python" in str(this_process())
