"""What applications tell and do that know nothing of this library, with a real server and real connections."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from scoutcache import AsyncCache, Cache
from scoutcache.channels import foreign as channel_of_others
from scoutcache.channels.tracking import Sent, Tracked
from scoutcache.coherence.foreign import CHANNEL
from scoutcache.coherence.messages import Message
from scoutcache.engine.reading import Reading
from scoutcache.entry import Ref
from scoutcache.errors import ConfigError
from scoutcache.keys import physical_key
from scoutcache.server.layout import Layout, start_text

PREFIX = "app:"


@pytest.fixture
def opened(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Cache]]:
    """Open caches as machines of their own: `opened(tracking=True)`; closed with the test."""
    made: list[Cache] = []

    def make(*, url: str = redis_url, tiers: tuple[str, ...] = ("memory", "redis"), kind: Any = Cache,
             directory: Path | None = None, oplog: Any = None, **settings: Any) -> Any:  # fmt: skip
        server = {"url": url, "key_prefix": PREFIX, "timeout": 5.0, "max_stale": 60.0, **settings}
        cache = kind({"redis": server, "tiers": list(tiers), "placement": {"promote_on_hits": 1},
                      **({} if oplog is None else {"oplog": oplog})},
                     directory=directory or tmp_path / f"machine{len(made)}")  # fmt: skip
        made.append(cache)
        assert others(cache).listening.wait(30)
        return cache

    yield make
    for cache in made:
        cache._core.close()


@pytest.fixture
def plain(redis_url: str) -> Iterator[redis.Redis]:
    """A client that knows nothing of this library."""
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


def others(cache: Any) -> channel_of_others.Foreign:
    """The thread of a cache that hears others."""
    return cache._core.background._listener._foreign


def name_of(key: str, namespace: str = "default") -> str:
    return f"{PREFIX}e:{physical_key(Ref(namespace, key))}"


def held(cache: Cache, key: str, namespace: str = "default") -> bool:
    return cache._core.memory.entry(Ref(namespace, key)) is not None


def barrier(cache: Cache, plain: redis.Redis, until: Callable[..., object]) -> None:
    """Wait until *cache* has carried out everything that was said and done before: it hears in order."""
    before = others(cache).ignored
    plain.publish(CHANNEL, b"?")
    until(lambda: others(cache).ignored > before and not others(cache)._pushes, "the cache has heard everything")


# -- what is done


@pytest.mark.parametrize("change", [lambda it, name: it.set(name, b"foreign"), lambda it, name: it.delete(name)])
def test_a_change_by_anybody_is_noticed_in_memory(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object],
    change: Callable[[redis.Redis, str], object],
) -> None:  # fmt: skip
    """A copy in memory is gone a moment after somebody changed the entry on the server."""
    cache = opened(tracking=True)
    took = []
    for number in range(5):
        key = f"k{number}"
        cache.set(key, "ours", ttl=600)
        assert cache.get(key) == "ours"
        assert held(cache, key)
        began = time.perf_counter()
        change(plain, name_of(key))
        until(lambda key=key: not held(cache, key), "memory has noticed", seconds=5)
        took.append(time.perf_counter() - began)
        assert cache.get(key) is None
    assert min(took) < 0.05


def test_a_change_by_others_stays_unseen_where_nobody_asks_for_it(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object]
) -> None:
    """Without tracking memory answers until the time to live is over."""
    cache = opened(tracking=False)
    cache.set("k", "ours", ttl=600)
    plain.delete(name_of("k"))
    barrier(cache, plain, until)
    assert cache.get("k") == "ours"


def test_own_writes_leave_their_copies_in_memory(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object]
) -> None:
    """Of a thousand writes, alone and together, each comes back as a push and none as a removal."""
    cache = opened(tracking=True)
    long = "long:" + "x" * 600
    for number in range(1000):
        cache.set(f"k{number}", number, ttl=600)
    cache.set_many({f"m{number}": number for number in range(200)}, ttl=600)
    cache.set(long, "long", ttl=600)
    assert cache.touch("k0", 900)
    barrier(cache, plain, until)
    kept = [f"k{number}" for number in range(1000)] + [f"m{number}" for number in range(200)] + [long]
    assert [key for key in kept if not held(cache, key)] == []


def test_own_writes_on_an_event_loop_leave_their_copies(
    opened: Callable[..., Any], plain: redis.Redis, until: Callable[..., object]
) -> None:
    """It is the same for an event loop, whose writes share pipelines."""
    cache = opened(tracking=True, kind=AsyncCache)

    async def write() -> None:
        await asyncio.gather(*(cache.set(f"k{number}", number, ttl=600) for number in range(300)))
        await asyncio.to_thread(barrier, cache, plain, until)
        kept.extend(number for number in range(300) if held(cache, f"k{number}"))
        await cache.close()

    kept: list[int] = []
    asyncio.run(write())
    assert kept == list(range(300))


def test_a_long_key_is_noticed_too(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object]
) -> None:
    """A key that stands on the server as a digest is known where memory has it; its neighbours stay."""
    cache = opened(tracking=True)
    one, other = "x" * 600, "x" * 601
    cache.set(one, 1, ttl=600)
    cache.set(other, 2, ttl=600)
    plain.delete(name_of(one))
    until(lambda: not held(cache, one), "memory has noticed")
    assert held(cache, other)


def test_a_reader_who_has_read_the_old_value_does_not_bring_it_back(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promotion that began before the change is refused after it, though memory held nothing to drop."""
    writer, cache = opened(tracking=True), opened(tracking=True)
    for number, key in enumerate(("short", "x" * 600)):
        writer.set(key, "old", ttl=600)
        barrier(cache, plain, until)
        read, changed, answers = threading.Event(), threading.Event(), []
        promote = Reading._promote

        def slowly(self: Reading, level: int, found: Any, sealed: Any, end: int, *, promote: Any = promote,
                   read: threading.Event = read, changed: threading.Event = changed) -> Any:  # fmt: skip
            read.set()
            assert changed.wait(30)
            return promote(self, level, found, sealed, end)

        monkeypatch.setattr(Reading, "_promote", slowly)
        reader = threading.Thread(target=lambda key=key, answers=answers: answers.append(cache.get(key)))
        reader.start()
        assert read.wait(30)
        plain.delete(name_of(key))
        barrier(cache, plain, until)
        changed.set()
        reader.join(30)
        monkeypatch.setattr(Reading, "_promote", promote)
        assert answers == ["old"], number
        assert not held(cache, key)
        assert cache.get(key) is None


def test_a_flushed_server_empties_memory(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object]
) -> None:
    """The server tells of a flush with no name at all."""
    cache = opened(tracking=True)
    cache.set("k", "v", ttl=600)
    plain.flushall()
    until(lambda: not held(cache, "k"), "memory has noticed")


def test_what_was_missed_while_cut_off_is_not_served(
    opened: Callable[..., Cache], start_proxy: Callable[..., Any], plain: redis.Redis, redis_server: Any,
    until: Callable[..., object],
) -> None:  # fmt: skip
    """Changes made while the connection was lost are not known, so all copies go when it is back."""
    proxy = start_proxy(redis_server.port)
    cache = opened(url=proxy.url, tracking=True)
    cache.set("k", "v", ttl=600)
    assert held(cache, "k")
    proxy.cut()
    until(lambda: not others(cache).listening.is_set(), "the loss is seen")
    plain.delete(name_of("k"))
    proxy.heal()
    until(lambda: not held(cache, "k"), "memory has been dropped")
    assert others(cache).listening.wait(30)
    until(lambda: cache.set("again", 1, ttl=600) and plain.exists(name_of("again")), "all is well again")
    plain.delete(name_of("again"))
    until(lambda: not held(cache, "again"), "changes are heard again")


def test_a_half_open_connection_is_noticed(
    opened: Callable[..., Cache], start_proxy: Callable[..., Any], redis_server: Any, until: Callable[..., object]
) -> None:
    """A network that swallows everything looks like silence until a sign of life is asked for."""
    proxy = start_proxy(redis_server.port)
    cache = opened(url=proxy.url, tracking=True, timeout=0.25)
    cache.set("k", "v", ttl=600)
    proxy.freeze()
    until(lambda: not others(cache).listening.is_set(), "the loss is seen", seconds=10)
    proxy.heal()
    assert others(cache).listening.wait(30)
    until(lambda: not held(cache, "k"), "memory has been dropped")


def test_a_cluster_can_not_be_tracked() -> None:
    """Each of its servers tells of its own keys only, so that is refused before anything is opened."""
    with pytest.raises(ConfigError, match=r"redis\.tracking"):
        Cache({"redis": {"nodes": ["127.0.0.1:1"], "tracking": True}, "tiers": ["memory", "redis"]})


def test_names_that_are_no_entries_are_nobodys() -> None:
    """Whatever stands below the prefix, what can't be an entry's name changes nothing."""
    noted: list[Message] = []
    tracked = Tracked(Layout(PREFIX), None, Sent(), noted.append)
    names = [b"", b"app:e:", b"app:e:7", b"app:e:99:x", b"app:e:1:a", b"app:e:1:ab", b"app:e:\xff:a:b", b"o:e:1:a:b"]
    assert not tracked.changed(names, lambda _: [])
    assert tracked.changed([b"app:e:1:a:b", b"app:e:1:a:c"], lambda _: [])
    assert [(one.kind, one.namespace, one.names) for one in noted] == [("written", "a", ("b", "c"))]


def test_what_was_sent_is_known_for_a_while() -> None:
    """As many as are under way, and no more for ever."""
    sent = Sent(capacity=10)
    for number in range(100):
        sent.note([_row(f"k{number}", number)])
    assert sent.start(physical_key(Ref("default", "k99"))) == 99
    assert sent.start(physical_key(Ref("default", "k1"))) is None
    tracked = Tracked(Layout(PREFIX), None, sent, lambda _: None)
    assert not tracked.changed([name_of("k99").encode()], lambda _: [start_text(99)])
    assert tracked.changed([name_of("k99").encode()], lambda _: [start_text(98)])


def _row(key: str, start: int) -> Any:
    from scoutcache.entry import Header, Live, Row, Sealed

    return Row(Header(Ref("default", key), start, 0.0, 1.0, 1.0), Live(1, None, 1), lambda: Sealed(b""))


# -- what is told


@pytest.mark.parametrize("said", [
    {"type": "key", "key": "llm:a"}, {"type": "key", "keys": ["llm:a", "nothing"]}, {"type": "key", "value": "llm:a"},
    {"type": "pattern", "key": "llm:*"}, {"type": "tag", "key": "t"}, {"type": "tag", "keys": ["t"]},
    {"type": "keys", "keys": "app:llm:a"}, {"type": "pattern", "pattern": "llm:*"}, {"type": "tag", "tags": ["t"]},
    {"type": "pattern", "patterns": ["app:llm:*"], "prefix": PREFIX, "reason": "deployed"}, {"type": "tag", "tag": "t"},
])  # fmt: skip
def test_what_is_published_is_gone_everywhere(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object], said: dict[str, Any]
) -> None:
    """One message of each kind removes from all tiers of all processes, and leaves the rest."""
    here, there = (opened(tiers=("memory", "redis", "disk")) for _ in range(2))
    here.set("llm:a", 1, ttl=600, tags=["t"])
    here.set("other", 2, ttl=600)
    assert (there.get("llm:a"), there.get("other")) == (1, 2)
    told: list[Any] = []
    here.on("invalidated", told.append)
    plain.publish(CHANNEL, json.dumps(said))
    until(lambda: here.get("llm:a") is None and there.get("llm:a") is None, "it is gone")
    assert (here.get("other"), there.get("other")) == (2, 2)
    until(lambda: told, "it is told")
    assert {one.reason for one in told} == {"pubsub: deployed" if "reason" in said else "pubsub"}


def test_a_namespace_can_be_named(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object]
) -> None:
    """What is said of one namespace leaves the others, and the log says why it was done."""
    cache = opened()
    for space in ("default", "tenant"):
        cache.set("k", space, ttl=600, namespace=space)
    plain.publish(CHANNEL, json.dumps({"type": "pattern", "pattern": "*", "namespace": "tenant", "reason": "\x1b[2J"}))
    until(lambda: cache.get("k", namespace="tenant") is None, "it is gone")
    assert cache.get("k") == "default"
    assert cache._core.config.namespace == "default"


@pytest.mark.parametrize("garbage", [
    b"", b"?", b"[]", b"null", b"\xff\xfe", b"{}", b'{"type": 1}', b'{"type": "all"}', b'{"type": "key"}',
    b'{"type": "key", "key": 1}', b'{"type": "key", "keys": [[]]}', b'{"type": "key", "key": "\\u0007"}',
    b'{"type": "pattern", "pattern": "[a"}', b'{"type": "pattern", "pattern": ""}', b'{"type": "tag", "tag": ""}',
    b'{"type": "key", "key": "k", "namespace": 7}', b'{"type": "key", "key": "k", "namespace": ""}', b"[" * 100_000,
    b'{"type": "key", "key": "\\ud800"}', pytest.param(b'{"type": "key", "key": "' + b"k" * 10_000_000, id="10 MB"),
])  # fmt: skip
def test_garbage_is_counted_and_ignored(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object], garbage: bytes
) -> None:
    """Whatever is published, the next message is heard, and nothing else happened."""
    cache = opened()
    troubles: list[Any] = []
    cache.on("trouble", troubles.append)
    cache.set("k", 1, ttl=600)
    cache.set("l", 1, ttl=600)
    plain.publish(CHANNEL, garbage)
    plain.publish(CHANNEL, b'{"type": "key", "key": "l"}')
    until(lambda: cache.get("l") is None, "the next one is heard")
    assert others(cache).ignored == 1
    assert cache.get("k") == 1
    assert troubles == []


def test_the_log_is_not_filled_by_whoever_publishes(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    """Of many messages that can't be read, one line a minute."""
    cache = opened()
    for _ in range(50):
        plain.publish(CHANNEL, b"\x1b[2J")
    until(lambda: others(cache).ignored == 50, "all are counted")
    assert len([one for one in caplog.records if CHANNEL in one.getMessage()]) == 1
    assert "\x1b" not in caplog.text


def test_caches_with_different_prefixes_do_not_touch_each_other(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object]
) -> None:
    """Neither by what one of them publishes, nor by what is published for one of them, nor by their writes."""
    one = opened(publish=True, tracking=True)
    two = opened(publish=True, tracking=True, key_prefix="app:e:two:")
    for cache in (one, two):
        cache.set("k", 1, ttl=600, tags=["t"])
        cache.set("l", 1, ttl=600)
    one.invalidate("k*")
    one.invalidate(tags=["t"])
    plain.publish(CHANNEL, json.dumps({"type": "pattern", "pattern": "*", "prefix": PREFIX}))
    until(lambda: one.get("l") is None, "it is gone there")
    barrier(two, plain, until)
    assert (two.get("k"), two.get("l")) == (1, 1)
    assert held(two, "k")
    two.clear()
    one.set("m", 1, ttl=600)
    barrier(one, plain, until)
    assert held(one, "m")


def test_invalidations_are_published_for_others(
    opened: Callable[..., Any], plain: redis.Redis, until: Callable[..., object]
) -> None:
    """A plain subscriber is told once of each, with the cache's prefix, when the entry is gone."""
    cache = opened(publish=True)
    listener = plain.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(CHANNEL)
    listener.get_message(timeout=5, ignore_subscribe_messages=False)
    cache.set("a", 1, ttl=600, tags=["t"])
    cache.set("a", 2, ttl=600, tags=["t"])
    cache.invalidate(keys=["a"], reason="why")
    cache.invalidate("llm:*")
    cache.invalidate(tags=["t"])
    cache.delete("a")
    cache.clear("tenant")
    cache.invalidate("stale:*", action="mark_stale")
    plain.publish(CHANNEL, b'{"type": "key", "key": "from outside"}')
    barrier(cache, plain, until)
    cache.invalidate(keys=["x", "y"])
    told = []
    while len(told) < 8 and (found := listener.get_message(timeout=5)):
        with_prefix = json.loads(found["data"]) if found["data"] != b"?" else {}
        if with_prefix.get("from") == "scoutcache":
            assert with_prefix.pop("prefix") == PREFIX
            told.append(with_prefix)
            if with_prefix.get("keys") == ["x", "y"]:
                break
    ours = {"from": "scoutcache", "namespace": "default"}
    assert told == [
        {"type": "key", "key": "a", "reason": "why", **ours},
        {"type": "pattern", "pattern": "llm:*", **ours},
        {"type": "tag", "tag": "t", **ours},
        {"type": "key", "key": "a", **ours},
        {"type": "pattern", "pattern": "*", **ours, "namespace": "tenant"},
        {"type": "pattern", "pattern": "stale:*", **ours},
        {"type": "key", "keys": ["x", "y"], **ours},
    ]
    listener.close()


def test_event_loops_publish_too(opened: Callable[..., Any], plain: redis.Redis) -> None:
    """It is part of the announcement, however that travels."""
    cache = opened(publish=True, kind=AsyncCache)
    listener = plain.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(CHANNEL)
    listener.get_message(timeout=5, ignore_subscribe_messages=False)

    async def work() -> None:
        await cache.invalidate("a*")
        await cache.close()

    asyncio.run(work())
    found = listener.get_message(timeout=5)
    assert found is not None
    assert json.loads(found["data"])["pattern"] == "a*"
    listener.close()


def test_who_may_not_publish_invalidates_all_the_same(start_redis_with_acl: Callable[..., Any], tmp_path: Path) -> None:
    """Neither a refused publication nor a refused subscription is a caller's affair; the latter is told once."""
    server = start_redis_with_acl("alice", "secret", "~*", "resetchannels", "+@all")
    with Cache({"redis": {"url": server.url, "publish": True, "timeout": 5.0}, "tiers": ["memory", "redis"]},
               directory=tmp_path) as cache:  # fmt: skip
        cache.set("a", 1, ttl=600)
        result = cache.invalidate("a")
        assert (result.invalidated, dict(result.failed)) == (1, {})
        assert cache.get("a") is None


def test_a_forked_child_hears_by_itself(
    opened: Callable[..., Cache], plain: redis.Redis, until: Callable[..., object],
    in_child: Callable[[Callable[[], object]], int],
) -> None:  # fmt: skip
    """It has a connection of its own, and nothing in memory that it may have missed changes of."""
    cache = opened(tracking=True)
    cache.set("k", 1, ttl=600)

    def work() -> None:
        assert not held(cache, "k")
        assert cache.get("k") == 1
        assert held(cache, "k")
        own = redis.Redis.from_url(str(plain.connection_pool.connection_kwargs and url))
        own.delete(name_of("k"))
        until(lambda: not held(cache, "k"), "the child has noticed", seconds=10)

    url = f"redis://127.0.0.1:{plain.connection_pool.connection_kwargs['port']}/0"
    assert in_child(work) == 0
    until(lambda: not held(cache, "k"), "the parent has noticed")


def test_closing_does_not_wait_for_the_next_message(opened: Callable[..., Cache]) -> None:
    """Threads and sockets are gone when a cache is closed."""
    cache = opened(tracking=True)
    sock = others(cache)._connection._sock
    cache.close()
    assert "scoutcache-foreign" not in {one.name for one in threading.enumerate()}
    assert isinstance(sock, socket.socket)
    assert sock.fileno() == -1


def test_on_a_cluster_messages_are_heard_from_any_node(
    redis_cluster: Any, tmp_path: Path, until: Callable[..., object]
) -> None:
    """What is published on one node is heard from another, and what we publish on any is heard by all."""
    redis_cluster.flush()
    nodes = [f"{host}:{port}" for host, port in redis_cluster.nodes]
    with Cache({"redis": {"nodes": nodes, "timeout": 5.0, "publish": True}, "tiers": ["memory", "redis"]},
               directory=tmp_path) as cache:  # fmt: skip
        assert others(cache).listening.wait(30)
        for server in redis_cluster.masters():
            cache.set("k", 1, ttl=600)
            server.cli("PUBLISH", CHANNEL, b'{"type": "key", "key": "k"}')
            until(lambda: cache.get("k") is None, "it is gone")
        assert not cache.invalidate("k*").failed


class TestFrozen:
    """A server that takes connections and never says a word."""

    @pytest.fixture
    def mute(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"

    @pytest.mark.parametrize("tracking", [False, True])
    def test_neither_opening_nor_closing_waits_for_it_once_more(
        self, tracking: bool, mute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(channel_of_others, "QUIET", 20.0)  # what another wait would take
        began = time.monotonic()
        with Cache({"redis": {"url": mute, "timeout": 0.25, "tracking": tracking}}, directory=tmp_path) as cache:
            cache.set("a", 1)
        assert time.monotonic() - began < 10.0
