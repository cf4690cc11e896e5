"""What `health` says of a server that answers and refuses."""

from __future__ import annotations

import pytest

from scoutcache.server.breaker import QUIET


@pytest.fixture
def full_server(start_redis):
    server = start_redis("--maxmemory-policy", "noeviction")
    server.cli("CONFIG", "SET", "maxmemory", "1")
    return server


def test_a_server_that_refuses_is_named_until_it_does_again(open_cache, full_server, fake_clock):
    cache = open_cache(["memory", "redis"], redis={"url": full_server.url})
    cache.set("k", 1)
    health = cache.health()
    assert not health["healthy"]
    assert health["tiers"]["redis"]["error"].startswith("oom: ")
    full_server.cli("CONFIG", "SET", "maxmemory", "0")
    cache.set("k", 2)
    cache.turn()
    fake_clock.advance(QUIET)
    assert cache.health()["tiers"]["redis"]["ok"]
