"""A sentinel that names the master, and another one once that is dead."""

from __future__ import annotations

from redis.sentinel import Sentinel


def test_a_client_finds_the_new_master_by_the_services_name(redis_sentinel):
    finder = Sentinel([redis_sentinel.sentinel])
    old = redis_sentinel.master()
    assert finder.discover_master(redis_sentinel.service) == old.address
    (replica,) = [server for server in redis_sentinel.servers if server is not old]
    assert finder.discover_slaves(redis_sentinel.service) == [replica.address]
    assert redis_sentinel.kill_master() is old
    assert redis_sentinel.settle() is replica
    assert finder.discover_master(redis_sentinel.service) == replica.address
    assert replica.cli("SET", "k", "v") == b"OK"
    finder.sentinels[0].close()
