"""Locks of a process on one file: nothing that is closed meanwhile gives them up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scoutcache.channels import exclusion
from scoutcache.channels.exclusion import exclusion_of

TAKING = """
import sys
from pathlib import Path
from scoutcache.channels.exclusion import exclusion_of
print(exclusion_of(Path(sys.argv[1])).take_slot(3))
"""


def can_be_taken_elsewhere(path: Path) -> bool:
    return subprocess.run([sys.executable, "-c", TAKING, path], check=True, capture_output=True).stdout == b"True\n"


def test_one_that_ends_gives_up_its_locks_and_its_descriptor(tmp_path: Path) -> None:
    mine = exclusion_of(tmp_path / "lock")
    (fd,) = mine.fds
    assert mine.take_slot(3)
    assert exclusion_of(tmp_path / "lock") is mine
    assert not can_be_taken_elsewhere(tmp_path / "lock")
    del mine
    assert can_be_taken_elsewhere(tmp_path / "lock")
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)


def test_one_that_ends_while_another_begins_leaves_that_its_locks(tmp_path: Path) -> None:
    """It is forgotten before its descriptor is closed, and another thread may ask in between."""
    old = exclusion_of(tmp_path / "lock")
    status = (tmp_path / "lock").stat()
    del exclusion._known[status.st_dev, status.st_ino]
    new = exclusion_of(tmp_path / "lock")
    assert new is not old
    assert new.take_slot(3)
    del old
    assert not can_be_taken_elsewhere(tmp_path / "lock")
    fds = new.fds
    del new
    assert can_be_taken_elsewhere(tmp_path / "lock")
    for fd in fds:
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(fd)
