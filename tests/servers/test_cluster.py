"""A cluster that is real: keys are spread, slots move under clients, a master that is killed is replaced."""

from __future__ import annotations

import pytest
import redis


@pytest.fixture
def client(redis_cluster):
    redis_cluster.flush()
    with redis.RedisCluster.from_url(redis_cluster.url) as client:
        yield client


def total_keys(servers):
    return sum(server.cli("DBSIZE") for server in servers)


def test_keys_are_spread_over_three_masters_and_copied_to_three_replicas(redis_cluster, client, until):
    assert len(redis_cluster.nodes) == 6
    for number in range(60):
        client.set(f"k{number}", number)
    assert len(redis_cluster.masters()) == len(redis_cluster.replicas()) == 3
    assert all(server.cli("DBSIZE") > 0 for server in redis_cluster.masters())
    assert total_keys(redis_cluster.masters()) == 60
    until(lambda: total_keys(redis_cluster.replicas()) == 60, "the replicas have all")
    redis_cluster.flush()
    assert total_keys(redis_cluster.members) == 0


def test_moved_slots_take_their_keys_along_and_the_old_owner_says_moved(redis_cluster, client):
    for number in range(30):
        client.set(f"{{tag}}{number}", number)
    old = redis_cluster.master_of("tag")
    slots = redis_cluster.move_slots(20, key="tag")
    new = redis_cluster.master_of("tag")
    assert len(set(slots)) == 20
    assert new is not old
    assert new.cli("DBSIZE") == 30
    with pytest.raises(redis.exceptions.MovedError, match=str(new.port)):
        old.cli("GET", "{tag}0")
    assert [client.get(f"{{tag}}{number}") for number in range(30)] == [b"%d" % number for number in range(30)]


def test_without_a_key_the_slots_that_hold_some_move_first(redis_cluster, client):
    keys = [f"k{number}" for number in range(60)]
    for key in keys:
        client.set(key, key)
    before = {key: redis_cluster.master_of(key) for key in keys}
    slots = redis_cluster.move_slots(3)
    moved = [key for key in keys if redis_cluster.master_of(key) is not before[key]]
    assert {client.keyslot(key) for key in moved} == set(slots)
    assert len(slots) == 3
    assert [client.get(key) for key in keys] == [key.encode() for key in keys]


def test_a_slot_half_way_answers_what_it_has_and_asks_for_the_rest(redis_cluster, client):
    client.set("{half}a", 1)
    old = redis_cluster.master_of("half")
    with redis_cluster.migrating("half") as move:
        assert old.cli("GET", "{half}a") == b"1"
        with pytest.raises(redis.exceptions.AskError):
            old.cli("GET", "{half}b")
        client.set("{half}b", 2)
        assert move() == 1
        with pytest.raises(redis.exceptions.AskError):
            old.cli("GET", "{half}a")
        assert client.get("{half}a") == b"1"
    with pytest.raises(redis.exceptions.MovedError):
        old.cli("GET", "{half}a")
    assert client.mget_nonatomic("{half}a", "{half}b") == [b"1", b"2"]


def test_a_killed_master_is_replaced_and_comes_back_as_a_replica(start_cluster):
    cluster = start_cluster()
    killed = cluster.kill_master_of("k")
    cluster.settle()
    heir = cluster.master_of("k")
    assert heir is not killed
    assert killed not in cluster.masters()
    assert heir.cli("SET", "k", "v") == b"OK"
    cluster.repair()
    assert killed in cluster.replicas()
    assert len(cluster.masters()) == len(cluster.replicas()) == 3
