"""What a cache has to do with its server, where no server is needed to see it."""

from __future__ import annotations

import pytest

from scoutcache import Cache, CacheConfig
from scoutcache.assembly.remote import Remote, _OfStream
from scoutcache.channels.listener import BLOCK, RETRY
from scoutcache.core.core import Clocks
from scoutcache.errors import TierUnavailable
from scoutcache.server.breaker import PATIENCE
from scoutcache.server.faults import fault_of


@pytest.mark.parametrize("asked", [0, 2])
def test_no_caller_waits_again_while_the_listener_looks(tmp_path, fake_clock, asked):
    """It looks at its own pace, which a server that answers nobody slows down; a caller would wait out a timeout."""
    place = {"sentinel": [f"127.0.0.1:{n}" for n in range(1, 1 + asked)]} if asked else {"url": "redis://127.0.0.1:1"}
    config = CacheConfig(directory=tmp_path, redis={**place, "connect_timeout": 2, "timeout": 0.25})
    breaker = Remote(config, tmp_path, fake_clock.monotonic).breaker
    breaker.failed(fault_of(TimeoutError()))
    fake_clock.advance(2 * (1 + asked) + BLOCK + 0.25 + RETRY)
    with pytest.raises(TierUnavailable):
        breaker.check()
    fake_clock.advance(PATIENCE + 0.001)
    breaker.check()


def test_without_the_server_nothing_is_served_that_is_too_old_for_that(tmp_path, fake_clock):
    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    redis = {"url": "redis://127.0.0.1:1", "max_offline": 60}
    with Cache(directory=tmp_path, tiers=["memory", "redis", "disk"], redis=redis, clocks=clocks) as cache:
        turn, disk = cache._core.background._listener._listener._turn, cache._core.world.doubts[-1]
        cache.set("k", 1, ttl="never")
        turn(False)
        fake_clock.advance(60)
        turn(False)
        assert cache.get("k") == 1
        assert not disk.shut
        fake_clock.advance(1)
        turn(False)
        assert cache.get("k") is None
        assert disk.shut
        turn(True)
        assert not disk.shut


@pytest.mark.parametrize("missed", [False, True])
def test_the_disk_is_dropped_where_the_stream_was_missed_and_not_where_only_neighbours_were(missed):
    """They did themselves to it what they said."""

    class Disk:
        dropped = False

        def apply(self, message):
            pytest.fail("nothing is said")

        def drop(self):
            self.dropped = True

    disk = Disk()
    _OfStream(disk, lambda: missed).drop()
    assert disk.dropped is missed
