"""What a cache has to do with its server, where no server is needed to see it."""

from __future__ import annotations

import pytest

from scoutcache import CacheConfig
from scoutcache.channels.listener import BLOCK, RETRY
from scoutcache.errors import TierUnavailable
from scoutcache.remote import Remote
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
