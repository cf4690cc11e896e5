"""A server that is stopped while its system accepts connections is waited for as for an answer, and once."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.errors import TierUnavailable
from scoutcache.server.breaker import Breaker
from scoutcache.server.cluster import AsyncCluster
from scoutcache.server.coalescing import Coalescing
from scoutcache.server.commands import Batch
from scoutcache.server.direct import Direct
from scoutcache.server.nodes import Breakers
from scoutcache.server.patience import Patience

TIMEOUT = 0.4
ENOUGH = 3 * TIMEOUT
"""Seconds in which one wait is over on a busy machine, and connecting, which may take ten, is not."""

GET = Batch([("GET", "k")])


@pytest.fixture
def stopped():
    """Stop servers until the test ends."""
    servers = []

    def stop(server):
        servers.append(server)
        server.pause()

    yield stop
    for server in servers:
        server.resume()


@pytest.fixture(params=["port", "database", "socket", "tls", "master", "sentinel"])
def way(request, start_redis):
    """A way to a server of the test's own: settings, and who is to be stopped."""
    if request.param == "tls":
        tls = request.getfixturevalue("redis_tls")
        server = tls.start()
        return {"url": server.url, "tls_ca_file": tls.ca_file}, server
    if request.param in {"master", "sentinel"}:
        behind = request.getfixturevalue("redis_sentinel")
        settings = {"url": None, "sentinel": ["{}:{}".format(*behind.sentinel)], "sentinel_service": behind.service}
        return settings, behind.master() if request.param == "master" else behind.process
    server = start_redis()
    urls = {"port": server.url, "database": f"{server.url[:-1]}1", "socket": server.unix_url}
    return {"url": urls[request.param]}, server


@pytest.mark.parametrize("face", ["threads", "loop"])
def test_a_new_connection_to_a_stopped_server_takes_no_longer_than_an_answer(way, stopped, source, breaker, face):
    settings, server = way
    kept = source(**{"timeout": TIMEOUT, "connect_timeout": 10.0, **settings})
    stopped(server)

    async def on_loop():
        conduit = Coalescing(kept, breaker)
        try:
            await conduit.execute(GET)
        finally:
            await conduit.close()

    began = time.monotonic()
    with pytest.raises(TierUnavailable, match=r"no answer in time|No master found"):
        Direct(kept, breaker).execute(GET) if face == "threads" else asyncio.run(on_loop())
    assert time.monotonic() - began < ENOUGH


def test_who_waits_for_the_same_connection_hears_of_it_with_it(start_redis, stopped, coalescing):
    server = start_redis()
    stopped(server)

    async def work():
        conduit = coalescing(server.url, timeout=TIMEOUT, connect_timeout=10.0)
        began = time.monotonic()
        answers = await asyncio.gather(*[conduit.execute(GET) for _ in range(40)], return_exceptions=True)
        assert time.monotonic() - began < ENOUGH
        assert {str(answer) for answer in answers} == {"the redis tier can't answer: no answer in time"}
        await conduit.close()

    asyncio.run(work())


def test_a_server_that_greets_bit_by_bit_is_waited_for(coalescing):
    """Each reply begins the time anew, as replies to commands do."""

    async def greet(reader, writer):
        try:
            while line := await reader.readline():
                for _ in range(int(line[1:])):
                    await reader.readexactly(int((await reader.readline())[1:]) + 2)
                for byte in b"+OK\r\n":
                    await asyncio.sleep(TIMEOUT / 8)
                    writer.write(bytes([byte]))
        finally:
            writer.transport.abort()

    async def work():
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            conduit = coalescing(f"redis://127.0.0.1:{port}/0", timeout=TIMEOUT, connect_timeout=20.0)
            assert await conduit.execute(GET) == [b"OK"]
            await conduit.close()

    asyncio.run(work())


@pytest.mark.parametrize("face", ["threads", "loop"])
def test_a_cluster_that_is_stopped_altogether_is_waited_for_once_by_each_of_many(
    start_cluster, make_remote, stopped, in_threads, face
):
    """Nobody asks after another for the map of slots, which no node gives; a thread asks three nodes in turn."""
    cluster = start_cluster()
    remote = make_remote(cluster, timeout=TIMEOUT, connect_timeout=10.0)
    batch = Batch([("GET", f"k{n}") for n in range(50)])

    async def on_loop():
        conduit = remote.on_loop()
        await conduit.execute(batch)
        began = stop()
        answers = await asyncio.gather(*[conduit.execute(batch) for _ in range(10)], return_exceptions=True)
        took = time.monotonic() - began
        await conduit.close()
        return answers, took

    def in_many():
        remote.conduit.execute(batch)
        began = stop()
        return in_threads(*[lambda: remote.conduit.execute(batch)] * 10), time.monotonic() - began

    def stop():
        for server in (*cluster.masters(), *cluster.replicas()):
            stopped(server)
        return time.monotonic()

    answers, took = in_many() if face == "threads" else asyncio.run(on_loop())
    assert {type(answer) for answer in answers} == {TierUnavailable}
    assert took < (3 * ENOUGH if face == "threads" else ENOUGH)


def test_who_waits_for_room_behind_one_that_finds_a_node_away_does_not_find_out_again(source, breaker):
    breakers = Breakers(breaker, lambda name: Breaker(name, breaker.now, lambda said: None))
    node = SimpleNamespace(name="a node that nobody can ask")

    async def work():
        conduit = AsyncCluster(source(None, nodes=["localhost:1"], max_connections=1), breakers)
        async with conduit._room(node):
            asking = asyncio.create_task(conduit._at(None, node, [("GET", "k")]))
            async with asyncio.timeout(20):
                while not conduit._rooms[node.name]._waiters:
                    await asyncio.sleep(0)
            breakers.failed(node, TimeoutError())
        with pytest.raises(TierUnavailable, match="no answer in time"):
            await asking

    asyncio.run(work())


# -- whole calls


CALLS = {
    "get": lambda cache, key: cache.get(key),
    "set": lambda cache, key: cache.set(key, 1),
    "get_many": lambda cache, key: cache.get_many([key, f"{key}, too"]),
    "get_or_compute": lambda cache, key: cache.get_or_compute(key, lambda: 1),
    "invalidate": lambda cache, key: cache.invalidate(tags=[key]),
}


def opened(kind, server, directory):
    settings = {"url": server.url, "timeout": TIMEOUT, "connect_timeout": 10.0}
    return kind(tiers=["memory", "redis", "disk"], directory=directory, redis=settings)


def is_away(cache):
    return cache._core.ports.leases._conduit.breaker.fault is not None


@pytest.mark.parametrize("name", CALLS)
def test_no_call_on_a_loop_waits_longer_the_second_time(start_redis, tmp_path, name):
    """The connection was cut off the first time, and is made when the server is stopped again."""
    server, call = start_redis(), CALLS[name]

    async def work():
        async with opened(AsyncCache, server, tmp_path) as cache:
            await call(cache, "before")
            for turn in range(2):
                server.pause()
                began = time.monotonic()
                await asyncio.gather(*[call(cache, f"{turn}, {n}") for n in range(10)])
                took = time.monotonic() - began
                assert is_away(cache)
                server.resume()
                assert took < ENOUGH
                async with asyncio.timeout(20):
                    while is_away(cache):
                        await asyncio.sleep(0)

    asyncio.run(work())


@pytest.mark.parametrize("name", CALLS)
def test_nor_does_one_of_threads(start_redis, tmp_path, until, name):
    server, call = start_redis(), CALLS[name]
    with opened(Cache, server, tmp_path) as cache:
        call(cache, "before")
        for turn in range(2):
            server.pause()
            began = time.monotonic()
            call(cache, str(turn))
            took = time.monotonic() - began
            server.resume()
            assert took < ENOUGH
            until(lambda: not is_away(cache), "it is back")


# -- a loop that is busy


@pytest.mark.parametrize(("busy", "more"), [(0.0, 0.0), (0.1, 0.1), (5.0, 1.0)])
def test_a_loop_that_was_late_is_late_by_as_much_again_and_no_more(busy, more):
    now, timers = 0.0, []

    class Loop(asyncio.SelectorEventLoop):
        def time(self):
            return now if self.is_running() else super().time()

        def call_at(self, when, callback, *args, **options):
            timers.append((when, callback))
            return super().call_at(when, callback, *args, **options)

    async def work():
        nonlocal now
        async with Patience(1.0):
            now = 1.0 + busy
            timers.pop()[1]()
            if more:
                assert timers.pop()[0] == now + more
                now += more
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=Loop) as runner:
        if more:
            runner.run(work())
        else:
            with pytest.raises(TimeoutError):
                runner.run(work())
