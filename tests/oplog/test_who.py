"""Which process is meant, and whether it has ended."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

from scoutcache.oplog.who import begun, has_gone, numbered_by

pytestmark = pytest.mark.skipif(numbered_by() is None, reason="the system tells nothing of when a process began")


@pytest.fixture
def other():
    """A process that waits until its input is closed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as one:
        yield one


@contextmanager
def no_descriptor_left():
    """As where an application has opened too many files or connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.open(os.devnull, os.O_RDONLY)
    os.close(last)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last, hard))
    held = []
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_ended_has_gone_though_nobody_has_waited_for_it(other, until):
    since = begun(other.pid)
    assert not has_gone(other.pid, since)
    other.kill()
    until(lambda: begun(other.pid) is None, "it ends")
    assert has_gone(other.pid, since)
    other.wait()
    assert has_gone(other.pid, since)


def test_who_cant_look_takes_nobody_for_dead(other):
    since = begun(other.pid)
    with no_descriptor_left():
        assert not has_gone(other.pid, since)


CLOCK = "import sys; sys.path[:0] = sys.argv[1:]; from scoutcache.oplog.who import numbered_by; print(numbered_by())"


def test_processes_of_different_clocks_are_not_compared():
    """A container may count from another time: what it is told of when a process began is not what others are told."""
    ask = [sys.executable, "-c", CLOCK, *sys.path]
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip() == numbered_by()
    with suppress(FileNotFoundError):
        moved = subprocess.run(["unshare", "--time", "--boottime", "100000", *ask], capture_output=True, text=True,
                               check=False)  # fmt: skip
        if not moved.returncode:
            assert moved.stdout.strip() != numbered_by()
            return
    pytest.skip("this user may not set another clock")
