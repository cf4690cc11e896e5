"""How many connections there are at a time."""

from __future__ import annotations

import threading
import time

import pytest

from scoutcache.errors import TierUnavailable
from scoutcache.server.room import Room


@pytest.fixture
def room(fake_clock):
    return Room(3, 0.001, fake_clock.monotonic)


def entered(room, times):
    for _ in range(times):
        room.enter()


def test_there_is_room_for_so_many_and_then_a_wait(room):
    entered(room, 3)
    with pytest.raises(TierUnavailable, match=r"all 3 connections are in use$"):
        room.enter()
    room.leave()
    room.enter()


def test_a_server_that_takes_no_more_leaves_room_for_those_there_are(room):
    entered(room, 3)
    assert room.narrow(idle=0)
    with pytest.raises(TierUnavailable, match="all 2 connections are in use, and the server accepts no more"):
        room.enter()
    room.leave()
    room.enter()
    assert room.free() == 0


def test_one_that_rests_is_one_of_them(room):
    """Its user had just let go of it."""
    entered(room, 1)
    assert room.narrow(idle=1)
    assert room.free() == 1


def test_who_has_none_at_all_has_no_room_to_wait_for(room):
    entered(room, 1)
    assert not room.narrow(idle=0)
    room.leave()
    assert room.free() == 3


def test_one_more_is_tried_each_second(room, fake_clock):
    entered(room, 2)
    room.narrow(idle=0)
    with pytest.raises(TierUnavailable):
        room.enter()
    fake_clock.advance(1.0)
    room.enter()
    with pytest.raises(TierUnavailable, match="all 2"):
        room.enter()
    fake_clock.advance(1.0)
    room.enter()
    fake_clock.advance(1.0)
    with pytest.raises(TierUnavailable, match=r"all 3 connections are in use$"):
        room.enter()


def test_nobody_waits_for_longer_than_an_answer():
    """However many take what is given back."""
    room, took, failed, over = Room(2, 0.05, time.monotonic), [], [], threading.Event()

    def work():
        while not over.is_set():
            began = time.monotonic()
            try:
                room.enter()
            except TierUnavailable:
                failed.append(1)
            else:
                time.sleep(0.0001)
                room.leave()
            took.append(time.monotonic() - began)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    over.set()
    for thread in threads:
        thread.join()
    assert max(took) < 1.0
    assert len(failed) < len(took) / 100, "those that were there before take turns"
    assert room.free() == 2


@pytest.mark.parametrize("given", [False, True])
def test_who_is_interrupted_while_he_waits_keeps_no_room(room, monkeypatch, given):
    """Even if it was just given to him."""

    class Turn:
        def acquire(self, timeout=None):
            if timeout is not None:
                if given:
                    room.leave()
                raise KeyboardInterrupt

        def release(self):
            pass

    entered(room, 3)
    monkeypatch.setattr(threading, "Lock", Turn)
    with pytest.raises(KeyboardInterrupt):
        room.enter()
    monkeypatch.undo()
    for _ in range(2 if given else 3):
        room.leave()
    assert room.free() == 3
