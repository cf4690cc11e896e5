from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from scoutcache.channels.locking import held
from scoutcache.errors import CacheError, LockTimeout
from scoutcache.oplog.files import is_claimed

HOLDER = """
import sys
from pathlib import Path
from scoutcache.channels.locking import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock until it is killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, env=environment)  # fmt: skip
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_is_free_again_after_its_block(tmp_path):
    for _ in range(2):
        with held(tmp_path / "new" / "lock"):
            assert is_claimed(tmp_path / "new" / "lock")
        assert not is_claimed(tmp_path / "new" / "lock")
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / "lock").stat().st_mode & 0o077 == 0


def test_a_second_holder_is_refused_and_the_first_is_named(tmp_path, fake_clock):
    second = held(tmp_path / "lock", 2.0, clock=fake_clock.monotonic, wait=fake_clock.sleep)
    with held(tmp_path / "lock"), pytest.raises(LockTimeout, match=f"process {os.getpid()}") as caught, second:
        pass
    assert sum(fake_clock.slept) == pytest.approx(2.0)
    assert "--lock-timeout" in caught.value.hint


def test_who_has_the_lock_is_said_plainly(tmp_path):
    path = tmp_path / "lock"
    for timeout, still in ((0, ""), (0.06, " still, after 0.06 s")):
        with held(path), pytest.raises(LockTimeout) as caught, held(path, timeout):
            pass
        assert str(caught.value) == f"another run is at work{still}: process {os.getpid()} has the lock {path}"



def test_whoever_waits_gets_it_when_it_becomes_free(tmp_path, fake_clock):
    with ExitStack() as first:
        first.enter_context(held(tmp_path / "lock"))

        def wait(seconds):
            fake_clock.sleep(seconds)
            if len(fake_clock.slept) == 3:
                first.close()

        with held(tmp_path / "lock", 10.0, clock=fake_clock.monotonic, wait=wait):
            assert len(fake_clock.slept) == 3


def test_a_killed_holder_holds_nothing_up(tmp_path, holder):
    with pytest.raises(LockTimeout, match=f"process {holder.pid}"), held(tmp_path / "lock"):
        pass
    holder.kill()
    holder.wait()
    with held(tmp_path / "lock"):
        pass


def test_the_lock_is_let_go_when_the_block_raises(tmp_path):
    with pytest.raises(ZeroDivisionError), held(tmp_path / "lock"):
        raise ZeroDivisionError
    assert not is_claimed(tmp_path / "lock")


def test_a_symbolic_link_or_a_folder_in_its_place_is_refused(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(CacheError, match="lock"), held(tmp_path / "lock"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"
    with pytest.raises(CacheError), held(tmp_path):
        pass
