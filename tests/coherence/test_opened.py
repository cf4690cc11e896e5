"""Invalidations that are under way: what is computed meanwhile counts as computed before them."""

from __future__ import annotations

import threading

import pytest

from scoutcache import Cache
from scoutcache.coherence.messages import Message
from scoutcache.coherence.opened import Opened


@pytest.fixture
def opened(fake_clock):
    return Opened(fake_clock.monotonic, patience=60)


def message(stamp=1, source="a", kind="key"):
    return Message(kind, "default", ("k",), stamp, source)


def test_between_its_two_announcements_a_position_is_the_one_before_it(opened):
    opened.apply(message().opening, 10)
    assert opened.floor(50) == 10
    assert opened.messages() == [message().opening]
    opened.apply(message(), 50)
    assert opened.floor(60) == 60
    assert not opened


def test_only_the_same_one_closes_it(opened):
    opened.apply(message(1).opening, 10)
    opened.apply(message(2), 11)
    opened.apply(message(1, source="b"), 12)
    assert opened.floor(20) == 10


def test_of_several_the_earliest_counts(opened):
    opened.apply(message(1).opening, 10)
    opened.apply(message(2).opening, 20)
    assert opened.floor(30) == 10
    opened.apply(message(1), 30)
    assert opened.floor(40) == 20


def test_one_whose_maker_died_is_forgotten_in_time(opened, fake_clock):
    opened.apply(message().opening, 10)
    fake_clock.advance(59)
    assert opened.floor(20) == 10
    fake_clock.advance(2)
    assert opened.floor(20) == 20


def test_what_only_marks_stale_or_tells_of_a_write_opens_nothing():
    assert not Message("key", "n", ("k",), 1, "a", None, "mark_stale").opening.opens
    assert not message(kind="written").opening.opens


@pytest.mark.parametrize("tiers", [["memory"], ["memory", "disk"], ["disk"]], ids="+".join)
@pytest.mark.parametrize("how", ["tag", "pattern"])
def test_what_is_computed_from_a_value_that_is_being_invalidated_is_not_kept(how, tiers, tmp_path, monkeypatch):
    """It reads the value after the announcement and before the removal, and is stored before the call returns."""
    cache = Cache(tiers=tiers, directory=tmp_path)
    cache.set("a:parent", "old", tags=["t"])
    read, go_on = threading.Event(), threading.Event()

    def compute():
        parent = cache.get("a:parent")
        read.set()
        assert go_on.wait(20)
        return f"from {parent}"

    computing = threading.Thread(target=lambda: cache.get_or_compute("a:child", compute, tags=["t"]))

    def meanwhile(remove):
        def removing(*arguments, **options):
            if not read.is_set():
                computing.start()
                assert read.wait(20)
                done = remove(*arguments, **options)
                go_on.set()
                computing.join(20)
                return done
            return remove(*arguments, **options)

        return removing

    core = cache._core
    if how == "tag":
        monkeypatch.setattr(core.ports.versions, "renew", meanwhile(core.ports.versions.renew))
        cache.invalidate(tags=["t"])
    elif tiers == ["memory"]:
        pytest.skip("memory is swept before the announcement, so there is nothing left to read")
    else:
        lowest = core.tiers[-1]
        monkeypatch.setattr(lowest, "remove_matching", meanwhile(lowest.remove_matching))
        cache.invalidate("a:*")
    assert not computing.is_alive()
    assert read.is_set()
    assert cache.get("a:child") is None
    cache.close()
