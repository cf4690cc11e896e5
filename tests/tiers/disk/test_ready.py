"""When a read may be done where nothing may wait: never while it would take the directory's lock."""

from __future__ import annotations

import shutil
import threading

import pytest

from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable

HOLD = """
import time
from pathlib import Path
from scoutcache.tiers.disk.lock import opening
with opening(Path(sys.argv[1]), 5.0):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold_lock(run_python, folder):
    """Another process takes the lock under which a directory is opened, and keeps it."""

    def hold():
        assert run_python(HOLD, folder).stdout.readline() == "held\n"

    return hold


def in_a_thread(work):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()
    thread.join()
    return answers[0]


def test_a_thread_is_ready_once_it_has_read(disk, get):
    assert not disk.ready()
    get(disk, "key")
    assert disk.ready()
    assert in_a_thread(lambda: (disk.ready(), get(disk, "key"), disk.ready())) == (False, "absent", True)


def test_a_thread_that_is_ready_waits_for_nobody(disk, put, get, hold_lock):
    put(disk, "key", "value")
    hold_lock()
    assert disk.ready()
    assert get(disk, "key") == "value"


def test_a_thread_that_is_not_ready_waits_for_who_opens_the_directory(disk, get, hold_lock):
    hold_lock()
    assert not disk.ready()
    with pytest.raises(TierUnavailable, match="another process is opening"):
        get(disk, "key")


def test_nobody_is_ready_when_the_tier_is_closed_or_away(disk, get, folder, hold_lock):
    get(disk, "key")
    shutil.rmtree(folder)
    folder.write_text("something else")
    with pytest.raises(TierUnavailable):
        disk.maintain(0.0)
    assert not disk.ready()
    disk.close()
    assert not disk.ready()


def test_nobody_is_ready_after_the_database_was_replaced(disk, get, folder):
    get(disk, "key")
    shutil.rmtree(folder)
    disk.maintain(0.0)
    assert in_a_thread(disk.ready) is False
    get(disk, "key")
    assert disk.ready()


def test_a_read_that_finds_damage_leaves_setting_it_aside_to_who_may_wait(
    open_tier, fill_and_damage, get, hold_lock, warned
):  # fmt: skip
    """The read itself takes no lock, though another process holds it."""
    fill_and_damage()
    tier = open_tier()
    get(tier, "none")
    hold_lock()
    with pytest.raises(TierUnavailable, match="the database is damaged"):
        [tier.read(Ref("default", f"key:{number}"), 0.0) for number in range(300)]
    assert not tier.ready()
    assert not warned


def test_only_the_file_that_was_found_damaged_is_set_aside(open_tier, fill_and_damage, put, get, warned):
    """Another process may have put a new one there meanwhile."""
    fill_and_damage()
    tier, other = open_tier(), open_tier()
    for one in (tier, other):
        with pytest.raises(TierUnavailable, match="the database is damaged"):
            [one.read(Ref("default", f"key:{number}"), 0.0) for number in range(300)]
    assert put(other, "key", "new") == 1
    assert get(tier, "key") == "new"
    assert len(warned) == 1
