"""What a machine's processes know is handed on in one file."""

from __future__ import annotations

import os
import stat

import pytest

from scoutcache.channels.handed_on import HandedOn, Knowledge
from scoutcache.coherence.messages import Message
from scoutcache.errors import LockTimeout


def knowledge(**changes):
    known = {"server": "server", "stream": b"s", "heard": b"1-0", "position": 5, "answered": 9.5,
             "versions": {"ns": {"T": 7}}, "token": b"t", "renewed": [("ns", "U")],
             "told": [(b"1-0", b"0-0", Message("key", "ns", ("k",), 1, "far"))]}  # fmt: skip
    return Knowledge(**known | changes)


@pytest.fixture
def handed_on(tmp_path):
    return HandedOn(tmp_path, "server")


def test_it_is_read_as_it_was_written_by_its_owner_alone(handed_on, tmp_path):
    assert (handed_on.read(), handed_on.state) == (None, None)
    handed_on.write(knowledge())
    assert handed_on.read() == knowledge()
    assert stat.S_IMODE((tmp_path / "versions").stat().st_mode) == 0o600
    before = handed_on.state
    handed_on.write(knowledge(position=6))
    assert handed_on.read().position == 6
    assert handed_on.state != before
    handed_on.remove()
    handed_on.remove()
    assert handed_on.read() is None


@pytest.mark.parametrize("content", [b"", b"\x93junk", b"\xff" * 20])
def test_what_is_damaged_is_nothing(handed_on, tmp_path, content):
    (tmp_path / "versions").write_bytes(content)
    assert handed_on.read() is None


@pytest.mark.parametrize("damage", [{"heard": b""}, {"told": [(b"1-x", b"", Message("namespace", "", (), 1, ""))]}])
def test_nor_is_what_is_damaged_in_an_id(handed_on, damage):
    handed_on.write(knowledge(**damage))
    assert handed_on.read() is None


def test_nor_is_what_another_version_left(handed_on):
    handed_on.write(knowledge(format=1))
    assert handed_on.read() is None


def test_its_age_is_counted_from_when_it_was_written(handed_on, tmp_path):
    assert handed_on.age(100.0) == 0.0
    handed_on.write(knowledge())
    os.utime(tmp_path / "versions", (40, 40))
    assert handed_on.age(100.0) == 60.0


def test_one_writes_at_a_time(handed_on, tmp_path):
    with handed_on.locked(), pytest.raises(LockTimeout), HandedOn(tmp_path, "server").locked():
        pytest.fail("somebody else writes")
