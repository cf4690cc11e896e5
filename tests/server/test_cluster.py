"""A cluster under load: slots that move, masters that die, replicas that read."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.server.coalescing import hung_up
from scoutcache.server.commands import Batch
from scoutcache.wire.codec import Codec, CodecSettings

CODEC = Codec(CodecSettings())
NODE_TIMEOUT = 1.0


class Load:
    """Readers and writers of `tier` in threads, or of an event loop; what went wrong is noted."""

    def __init__(self, remote, names, *, on_loop=False):
        self.remote, self.conduit, self.on_loop = remote, remote.conduit, on_loop
        self.names = names
        self.wrong, self.errors, self.misses = [], [], 0
        self.operations = 0
        self.longest = 0.0
        self._last = time.monotonic()
        self._stop = threading.Event()
        works = [self._loop] if on_loop else [self._read, self._read]
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "it hangs"

    def _told(self, names, answers):
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now
        for name, answer in zip(names, answers, strict=True):
            self.operations += 1
            if answer is None:
                self.misses += 1
            elif isinstance(answer, Exception):
                self.errors.append(answer)
            elif answer != name.encode():
                self.wrong.append((name, answer))

    def _batches(self):
        at = 0
        while not self._stop.is_set():
            some = [self.names[(at + n) % len(self.names)] for n in range(5)]
            at += 5
            yield some, Batch([("GET", name) for name in some])

    def _read(self):
        for some, batch in self._batches():
            try:
                self._told(some, self.conduit.execute(batch))
            except TierUnavailable as error:
                self.errors.append(error)

    def _loop(self):
        async def work():
            conduit = self.remote.on_loop()

            async def read():
                for some, batch in self._batches():
                    try:
                        self._told(some, await conduit.execute(batch))
                    except TierUnavailable as error:
                        self.errors.append(error)
                        await asyncio.sleep(0)

            await asyncio.gather(*[read() for _ in range(4)])
            await conduit.close()

        asyncio.run(work())


def filled(remote, number):
    """So many names of entries that hold their own name."""
    names = [remote.layout.entry(Ref("default", f"k{n}")) for n in range(number)]
    for at in range(0, number, 100):
        answers = remote.conduit.execute(Batch([("SET", name, name) for name in names[at : at + 100]]))
        assert answers == [b"OK"] * len(answers)
    return names


def test_a_batch_is_spread_over_the_nodes_and_answered_in_its_order(redis_cluster, make_remote):
    remote = make_remote(redis_cluster)
    names = filled(remote, 100)
    assert remote.conduit.execute(Batch([("GET", name) for name in names])) == [name.encode() for name in names]
    assert len(remote.conduit.nodes()) == 3

    async def on_loop():
        conduit = remote.on_loop()
        try:
            assert len(await conduit.nodes()) == 3
            return await conduit.execute(Batch([("GET", name) for name in names]))
        finally:
            await conduit.close()

    assert asyncio.run(on_loop()) == [name.encode() for name in names]


@pytest.mark.parametrize("on_loop", [False, True], ids=["threads", "loop"])
def test_a_slot_half_way_is_asked_on_both_sides(redis_cluster, make_remote, on_loop):
    """What has left answers with ASK, what has not is answered where it is."""
    remote = make_remote(redis_cluster)
    names = filled(remote, 40)
    with redis_cluster.migrating(names[0]) as move:
        for _ in range(2):
            with Load(remote, names, on_loop=on_loop) as load:
                while load.operations < 200 and not load.errors:
                    time.sleep(0)
            assert (load.wrong, load.errors, load.misses) == ([], [], 0)
            move()
    assert remote.conduit.execute(Batch([("GET", name) for name in names])) == [name.encode() for name in names]


@pytest.mark.parametrize("on_loop", [False, True], ids=["threads", "loop"])
def test_slots_that_move_under_load_cost_no_error_and_no_miss(redis_cluster, make_remote, on_loop):
    """The campaign moves 1,000 of them: TEST_SLOTS=1000."""
    import os

    remote = make_remote(redis_cluster)
    names = filled(remote, 300)
    with Load(remote, names, on_loop=on_loop) as load:
        redis_cluster.move_slots(int(os.environ.get("TEST_SLOTS", "60")), key=names[0])
        seen = load.operations
        while load.operations < seen + 500 and not load.errors:
            time.sleep(0)
    print(f"resharding: {load.operations} operations, {len(load.errors)} errors, {load.misses} misses")
    assert (load.wrong, load.errors, load.misses) == ([], [], 0)


def test_a_master_that_is_killed_under_load_costs_no_wrong_value_and_a_bounded_stall(start_cluster, make_remote, until):
    """Other nodes answer on; what lay on the dead one comes back with its replica, within three node timeouts."""
    cluster = start_cluster()
    remote = make_remote(cluster, timeout=0.25)
    names = filled(remote, 200)
    until(lambda: sum(one.cli("DBSIZE") for one in cluster.replicas()) >= 200, "the replicas have all")
    lost = [name for name in names if cluster.master_of(name) is cluster.master_of(names[0])]
    assert 0 < len(lost) < len(names)
    with Load(remote, names) as load, Load(remote, names, on_loop=True) as other:
        until(lambda: load.operations > 100 and other.operations > 100, "the load runs")
        began = time.monotonic()
        cluster.kill_master_of(names[0])
        elected = until(lambda: len(cluster.masters()) == 3 and time.monotonic(), "a replica is elected")
        until(lambda: answers(remote, lost), "the replica answers")
        stall = time.monotonic() - began
        seen = load.operations, other.operations
        until(lambda: load.operations > seen[0] + 100 and other.operations > seen[1] + 100, "the load goes on")
    failed, misses = len(load.errors) + len(other.errors), load.misses + other.misses
    print(f"failover: {stall:.2f} s, {elected - began:.2f} s of it the election, {failed} errors, {misses} misses")
    assert load.wrong == other.wrong == []
    assert stall <= 3 * NODE_TIMEOUT or stall - (elected - began) <= NODE_TIMEOUT, "a busy machine elects late"
    assert load.misses + other.misses == 0


def answers(remote, names):
    try:
        found = remote.conduit.execute(Batch([("GET", name) for name in names]))
    except TierUnavailable:
        return False
    return found == [name.encode() for name in names]


def test_one_node_that_is_away_leaves_the_others_answering(start_cluster, make_remote):
    cluster = start_cluster()
    remote = make_remote(cluster, timeout=0.25)
    names = filled(remote, 100)
    dead = cluster.master_of(names[0])
    living = [name for name in names if cluster.master_of(name) is not dead]
    dead.pause()
    try:
        with pytest.raises(TierUnavailable):
            remote.conduit.execute(Batch([("GET", names[0])]))
        assert answers(remote, living)
        assert remote.breaker.fault is None
    finally:
        dead.resume()


def test_replicas_read_where_the_settings_say_so(redis_cluster, make_remote, until):
    remote = make_remote(redis_cluster, read_from="any")
    names = filled(remote, 60)
    until(lambda: sum(one.cli("DBSIZE") for one in redis_cluster.replicas()) >= 60, "the replicas have all")
    for server in redis_cluster.replicas():
        server.cli("CONFIG", "RESETSTAT")
    for _ in range(5):
        assert answers(remote, names)

    async def on_loop():
        conduit = remote.on_loop()
        try:
            return [await conduit.execute(Batch([("GET", name) for name in names])) for _ in range(5)]
        finally:
            await conduit.close()

    reads = [commands(server) for server in redis_cluster.replicas()]
    assert sum(reads) > 0
    assert asyncio.run(on_loop()) == [[name.encode() for name in names]] * 5
    assert sum(commands(server) for server in redis_cluster.replicas()) > sum(reads)


def commands(server):
    """How many GETs it answered."""
    return int(server.fields("INFO", "commandstats").get("cmdstat_get", "calls=0").split(",")[0].partition("=")[2])


def test_writes_never_go_to_a_replica(redis_cluster, make_remote):
    remote = make_remote(redis_cluster, read_from="replica")
    names = [remote.layout.entry(Ref("default", f"w{n}")) for n in range(60)]
    assert remote.conduit.execute(Batch([("SET", name, "1") for name in names])) == [b"OK"] * 60


def test_more_tasks_than_connections_wait_for_one_and_leave_the_map_of_slots_alone(redis_cluster, make_remote, asked):
    remote = make_remote(redis_cluster, max_connections=3)
    names = filled(remote, 200)

    async def work():
        conduit = remote.on_loop()
        try:
            await conduit.nodes()
            asked.clear()
            return await asyncio.gather(*[conduit.execute(Batch([("GET", name)])) for name in names])
        finally:
            await conduit.close()

    assert asyncio.run(work()) == [[name.encode()] for name in names]
    assert asked == []


def test_connections_that_were_closed_at_rest_are_made_anew(redis_cluster, make_remote):
    remote = make_remote(redis_cluster)
    names = filled(remote, 20)

    async def work():
        conduit = remote.on_loop()
        try:
            for _ in range(2):
                gets = [conduit.execute(Batch([("GET", name)])) for name in names]
                assert await asyncio.gather(*gets) == [[name.encode()] for name in names]
                nodes = await conduit.nodes()
                for node in redis_cluster.masters():
                    node.cli("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
                async with asyncio.timeout(20):
                    while not all(hung_up(one) for node in nodes for one in node._connections if one.is_connected):
                        await asyncio.sleep(0)
        finally:
            await conduit.close()

    asyncio.run(work())


def test_who_waits_for_a_connection_in_vain_is_told_so_in_time(redis_cluster, make_remote, asked):
    remote = make_remote(redis_cluster, max_connections=1, timeout=0.5)

    async def work():
        conduit = remote.on_loop()
        try:
            (node, *_) = await conduit.nodes()
            asked.clear()
            async with conduit._room(node):
                with pytest.raises(TierUnavailable, match="all 1 connections"):
                    await conduit._at(conduit._client, node, [("PING",)])
            assert await conduit._at(conduit._client, node, [("PING",)]) == [b"PONG"]
        finally:
            await conduit.close()

    asyncio.run(work())
    assert (asked, remote.said) == ([], [])


@pytest.fixture
def asked(monkeypatch):
    """How often the map of slots was asked for on an event loop."""
    from redis.asyncio.cluster import NodesManager

    calls, initialize = [], NodesManager.initialize

    def counting(*arguments, **more):
        calls.append(arguments)
        return initialize(*arguments, **more)

    monkeypatch.setattr(NodesManager, "initialize", counting)
    return calls
