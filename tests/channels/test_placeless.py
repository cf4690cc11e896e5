"""A change that is interrupted: a channel without a place on disk has a gap then, as a journal has."""

from __future__ import annotations

import pytest

from scoutcache.channels.private import PrivateJournal
from scoutcache.channels.stream import StreamChannel
from scoutcache.errors import TierUnavailable
from scoutcache.server.layout import Layout


@pytest.fixture(params=["private", "stream"])
def channel(request):
    if request.param == "private":
        return PrivateJournal()
    return StreamChannel(Layout("test:", sharded=False), None, most=1000, now=lambda: 0.0)


def leave(channel, error):
    with pytest.raises(type(error)), channel.changing():
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), RuntimeError("a tier of one's own")], ids=repr)
def test_whoever_held_anything_before_it_has_missed_something(channel, error):
    before = channel.end()
    leave(channel, error)
    assert channel.since(before)[0] is None
    assert channel.end() > before
    assert channel.invalidated() == channel.end()
    assert channel.since(channel.end()) == ([], channel.end())


def test_a_tier_that_is_away_is_no_interruption(channel):
    before = channel.end()
    leave(channel, TierUnavailable("disk", "full"))
    with channel.changing():
        pass
    assert channel.since(before) == ([], before)
