"""A proxy that does to a connection what each of its faults says, and lets it through again."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

PING, PONG = b"PING\r\n", b"+PONG\r\n"


@pytest.fixture
def wire(proxy):
    """A bare connection through the proxy that has been used once."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as wire:
        wire.sendall(PING)
        assert wire.recv(100) == PONG
        yield wire


def test_without_a_fault_bytes_pass_and_are_counted(proxy, redis_server):
    value = bytes(range(256)) * 20_000
    with redis.Redis.from_url(proxy.url) as client:
        client.set("large", value)
        assert client.get("large") == value
    assert redis_server.cli("STRLEN", "large") == len(value)
    assert proxy.connections == 1
    assert len(value) < proxy.commands_forwarded_bytes < len(value) + 1000


def test_a_delayed_reply_comes_that_much_later_and_its_command_at_once(proxy, wire, redis_server, until):
    proxy.delay(0.3)
    began = time.monotonic()
    wire.sendall(b"INCR n\r\n")
    until(lambda: redis_server.cli("GET", "n") == b"1", "the command arrives")
    assert wire.recv(100) == b":1\r\n"
    assert time.monotonic() - began >= 0.3


def test_healing_lets_go_what_is_delayed(proxy, wire):
    proxy.delay(1000)
    wire.sendall(PING)
    proxy.heal()
    assert wire.recv(100) == PONG


def test_cut_ends_what_stands_and_refuses_what_comes_until_it_is_healed(proxy, wire):
    proxy.cut()
    assert ended(wire)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
    proxy.heal()
    with redis.Redis.from_url(proxy.url) as client:
        assert client.ping()


def test_a_frozen_proxy_accepts_and_forwards_nothing_and_goes_on_in_order(proxy, wire, redis_server):
    proxy.freeze()
    before = proxy.commands_forwarded_bytes
    wire.sendall(b"SET k v\r\nGET k\r\n")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as late:
        late.sendall(PING)
        with pytest.raises(TimeoutError):
            late.recv(100)
    assert proxy.commands_forwarded_bytes == before
    assert redis_server.cli("EXISTS", "k") == 0
    proxy.heal()
    assert received(wire, 12) == b"+OK\r\n$1\r\nv\r\n"


def test_a_frozen_proxy_hides_the_servers_end(start_redis, start_proxy):
    server = start_redis()
    proxy = start_proxy(server.port)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as wire:
        wire.sendall(PING)
        assert wire.recv(100) == PONG
        proxy.freeze()
        server.kill()
        wire.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.recv(100)
        wire.settimeout(30)
        proxy.heal()
        assert ended(wire)


def test_garbage_is_as_long_as_the_reply_and_the_same_for_the_same_seed(start_proxy, redis_server):
    answers = []
    for seed in (1, 1, 2):
        proxy = start_proxy(redis_server.port, seed=seed)
        proxy.garbage()
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as wire:
            wire.sendall(PING)
            answers.append(received(wire, len(PONG)))
    assert answers[0] == answers[1] != answers[2]
    assert PONG not in answers


def test_a_dropped_reply_does_not_undo_the_command(proxy, wire, redis_server, until):
    proxy.drop_replies()
    wire.sendall(b"INCR n\r\n")
    until(lambda: redis_server.cli("GET", "n") == b"1", "the command arrives")
    wire.settimeout(0.2)
    with pytest.raises(TimeoutError):
        wire.recv(100)
    wire.settimeout(30)
    proxy.heal()
    wire.sendall(b"INCR n\r\n")
    assert wire.recv(100) == b":2\r\n"


def test_a_server_that_is_not_there_is_an_end_to_the_client(start_redis, start_proxy):
    server = start_redis()
    proxy = start_proxy(server.port)
    server.kill()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as wire:
        assert ended(wire)
    server.restart()
    with redis.Redis.from_url(proxy.url) as client:
        assert client.ping()


def test_many_connections_at_once_each_get_their_own_replies(proxy):
    def work(number):
        with redis.Redis.from_url(proxy.url) as client:
            for round_ in range(20):
                client.set(f"k{number}", f"{number}-{round_}")
                assert client.get(f"k{number}") == b"%d-%d" % (number, round_)
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))
    assert proxy.connections == 8


def received(wire, count):
    data = b""
    while len(data) < count:
        piece = wire.recv(count - len(data))
        assert piece, f"ended after {data!r}"
        data += piece
    return data


def ended(wire):
    try:
        return wire.recv(100) == b""
    except ConnectionResetError:
        return True


def test_who_is_accepted_as_it_is_cut_is_ended_too(proxy):
    """A server that is closed in the turn of an accept leaves a transport that nobody ends: a ResourceWarning."""
    with socket.socket() as wire:
        wire.settimeout(30)

        async def connect_and_cut() -> None:
            wire.connect(("127.0.0.1", proxy.port))
            for _ in range(2):  # accepted in the first turn; its transport is made in the second
                await asyncio.sleep(0)
            await proxy._cut()

        asyncio.run_coroutine_threadsafe(connect_and_cut(), proxy._loop).result(30)
        assert ended(wire)
    gc.collect()
