"""The fixtures that start a real server."""

from __future__ import annotations

import redis


def test_the_server_answers_over_tcp_and_over_its_socket(redis_server):
    with redis.Redis.from_url(redis_server.url) as tcp, redis.Redis.from_url(redis_server.unix_url) as unix:
        tcp.set("from-tcp", "1")
        assert unix.get("from-tcp") == b"1"


def test_each_test_that_asks_for_the_url_finds_an_empty_server(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_the_clock_moves_only_when_told(fake_clock):
    before = fake_clock.wall(), fake_clock.monotonic()
    fake_clock.sleep(1.5)
    fake_clock.step_wall(-10)
    assert (fake_clock.wall() - before[0], fake_clock.monotonic() - before[1]) == (-8.5, 1.5)
