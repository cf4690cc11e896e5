"""Who hears a server's stream: refused, lost at once, on a cluster's one node, in a forked child."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
import redis

from scoutcache import Cache
from scoutcache.channels.listener import RETRY, Listener
from scoutcache.entry import Ref
from scoutcache.server.faults import Fault, Kind


@pytest.fixture
def opened(tmp_path):
    """Open a cache; all are closed with the test."""
    with contextlib.ExitStack() as stack:
        numbers = iter(range(99))

        def open_one(*tiers, **server):
            folder = tmp_path / str(next(numbers))
            return stack.enter_context(Cache(directory=folder, tiers=list(tiers), redis={"timeout": 5.0, **server}))

        yield open_one


def remote_of(cache):
    return cache._core.sure.__self__


def addresses(cluster):
    return [f"{host}:{port}" for host, port in cluster.nodes]


def turns(cache, until, seconds=1.0):
    """Wait until it has heard of the server for so long."""
    channel = cache._core.journal
    began = channel.heard_at
    until(lambda: channel.heard_at > began + seconds, "it hears")


def test_a_server_that_takes_no_writes_is_heard_over_one_connection(opened, start_redis, until):
    server = start_redis()
    cache = opened("memory", "redis", url=server.url)
    turns(cache, until, 0.1)
    connections = lambda: int(server.fields("INFO", "stats")["total_connections_received"])  # noqa: E731
    server.cli("CONFIG", "SET", "maxmemory", "1mb")
    before = connections()
    turns(cache, until)
    assert connections() - before < 8
    server.cli("DEL", cache._core.journal.layout.members)
    server.cli("CONFIG", "SET", "maxmemory", "0")
    until(lambda: server.cli("HLEN", cache._core.journal.layout.members) == 1, "it says so again")


def test_a_connection_that_is_lost_as_soon_as_it_is_made_is_made_anew_after_a_pause(opened, redis_url, until):
    cache = opened("memory", "redis", url=redis_url)
    turns(cache, until, 0.1)
    listener, tries = remote_of(cache)._listener, []

    def lost(*_):
        tries.append(time.monotonic())
        raise redis.ConnectionError("lost")

    listener._listen = lost
    listener._connection._sock.shutdown(2)
    until(lambda: len(tries) >= 3, "it tries again")
    assert tries[2] - tries[0] >= 2 * RETRY * 0.9


def test_nothing_follows_the_end_of_a_cache_that_is_closed_while_it_connects(opened, redis_url, monkeypatch, until):
    connecting, closing, never = threading.Event(), threading.Event(), threading.Event()
    connect = Listener._connect

    def when_closing(listener):
        connecting.set()
        assert closing.wait(30.0)
        never.wait(0.05)  # it takes its time, as on a network
        return connect(listener)

    monkeypatch.setattr(Listener, "_connect", when_closing)
    cache = opened("memory", "redis", url=redis_url)
    listener = remote_of(cache)._listener
    until(connecting.is_set, "it connects")
    thread, stop = listener._thread, listener._stop.set
    listener._stop.set = lambda: (stop(), closing.set())
    cache.close()
    assert not thread.is_alive()


@pytest.mark.parametrize("held", ["disk", "breaker", "stream", "follower"])
def test_a_child_forked_while_the_listener_is_at_work_listens_and_closes(opened, redis_url, until, in_child, held):
    cache = opened("memory", "redis", "disk", url=redis_url)
    remote = remote_of(cache)
    lock = {"disk": remote.disk._working, "breaker": remote.breaker._lock, "stream": remote.channel._lock,
            "follower": cache._core.follower._lock}[held]  # fmt: skip

    def child():
        turns(cache, until)
        assert remote._listener.member.rest() <= 1.0, "it says so"
        cache.close()

    with lock:
        assert in_child(child) == 0


@pytest.fixture
def without_stream(start_cluster, opened, until):
    """A cluster whose stream's node is dead for good, a cache there, and keys with the node they lie on."""
    cluster = start_cluster()
    for server in cluster.members:
        server.cli("CONFIG", "SET", "cluster-require-full-coverage", "no")
        server.cli("CONFIG", "SET", "cluster-replica-no-failover", "yes")
    cache = opened("memory", "redis", nodes=addresses(cluster), timeout=1.0, max_stale=0.5)
    layout = cache._core.journal.layout
    keys = [f"k{number}" for number in range(60)]
    for key in keys:
        assert cache.set(key, key)
    dead = cluster.master_of(layout.events)
    living = [key for key in keys if cluster.master_of(layout.entry(Ref(cache._core.config.namespace, key))) != dead]
    dead.kill()
    remote, name = remote_of(cache), "{}:{}".format(*dead.address)
    noticed = [remote.breaker, remote._breakers.of(remote.conduit.client.get_node(node_name=name))]
    until(lambda: any(one.fault for one in noticed), "its loss is noticed")
    return cache, living, dead


def test_a_dead_node_of_the_stream_leaves_the_other_nodes_answering(without_stream, until):
    cache, living, dead = without_stream
    remote = remote_of(cache)
    assert remote.breaker.fault is None
    cache._core.memory.clear(None)
    assert [cache.get(key) for key in living] == living
    tried = []
    turn, remote._listener._turn = remote._listener._turn, lambda answers: (tried.append(answers), turn(answers))
    until(lambda: len(tried) >= 2, "it tries again")
    assert tried[:2] == [False, False]
    assert remote.breaker.fault is None
    assert remote.sure(), "it is known why nothing is heard"
    dead.restart()
    until(lambda: remote._listener.fault is None and cache._core.journal.heard_at > time.monotonic() - 1, "it is back")


def test_memory_is_not_believed_where_nothing_is_heard_and_no_node_is_known_to_be_away(redis_cluster, opened, until):
    cache = opened("memory", "redis", nodes=addresses(redis_cluster), max_stale=0.5)
    remote = remote_of(cache)
    until(remote.sure, "it hears")
    remote._listener._sign_of_life = lambda: None
    until(lambda: not remote.sure(), "it isn't believed")
    node = remote.conduit.node_of(remote.layout.events)
    others = [one for one in remote.conduit.nodes() if one.name != node.name]
    away = Fault(Kind.TIMEOUT, "no answer", None, away=True)
    remote._breakers.of(others[0]).failed(away)
    assert not remote.sure(), "another node's loss says nothing"
    remote._breakers.of(node).failed(away)
    assert remote.sure()
