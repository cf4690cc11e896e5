"""Servers as processes: paused, killed, restarted, asked, and with users."""

from __future__ import annotations

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


@pytest.fixture
def own(start_redis):
    """A server that only this test uses."""
    server = start_redis()
    yield server
    server.kill()


def test_its_options_hold_and_replies_come_raw(start_redis):
    server = start_redis("--maxmemory", "5mb")
    assert server.cli("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"5242880"]
    assert server.cli("SET", "k", b"\x00\xff") == b"OK"
    assert server.cli("GET", "k") == b"\x00\xff"
    with pytest.raises(redis.ResponseError, match="not an integer"):
        server.cli("INCR", "k")


def test_a_wrong_option_is_reported_in_the_servers_own_words(start_redis):
    with pytest.raises(RuntimeError, match="no-such-option"):
        start_redis("--no-such-option", "1")


def test_a_paused_server_answers_once_it_is_resumed(own):
    with redis.Redis(port=own.port, socket_timeout=0.1, retry=None) as client:
        client.ping()
        own.pause()
        own.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        own.resume()
        assert own.cli("PING") == b"PONG"


def test_a_paused_server_can_be_killed(own):
    own.pause()
    own.kill()
    assert not own.alive
    with pytest.raises(redis.ConnectionError):
        own.cli("PING")


def test_a_restarted_server_has_its_port_and_options_and_no_keys(start_redis):
    server = start_redis("--maxmemory", "5mb")
    server.cli("SET", "k", "v")
    before = server.url, server.process.pid
    server.kill()
    server.restart()
    assert server.url == before[0]
    assert server.process.pid != before[1]
    assert server.cli("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"5242880"]
    with redis.Redis.from_url(server.url) as client:
        assert client.get("k") is None


def test_a_server_that_runs_is_not_restarted(redis_server):
    with pytest.raises(AssertionError, match="killed"):
        redis_server.restart()


def test_a_user_may_do_what_its_rules_say_and_nobody_else_comes_in(start_redis_with_acl):
    server = start_redis_with_acl("alice", "p@ss/wörd %", "~app:*", "+get", "+set", "+ping")
    for url in (server.url, server.unix_url):
        with redis.Redis.from_url(url) as alice:
            alice.set("app:1", "v")
            assert alice.get("app:1") == b"v"
            with pytest.raises(redis.exceptions.NoPermissionError):
                alice.get("other:1")
            with pytest.raises(redis.exceptions.NoPermissionError):
                alice.delete("app:1")
    wrong = server.bare_url.replace("://", "://alice:wrong@")
    for url in (server.bare_url, wrong):
        # A refused login is a ConnectionError to redis-py, and by default it tries ten times.
        client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        with client as nobody, pytest.raises(redis.AuthenticationError):
            nobody.get("app:1")
    assert server.cli("GET", "app:1") == b"v"


def test_what_never_comes_is_an_error_that_says_what_and_why(until):
    def refused():
        raise OSError("refused")

    with pytest.raises(AssertionError, match=r"not within 0.05 s: the moon") as caught:
        until(refused, "the moon", seconds=0.05, ignoring=(OSError,))
    assert str(caught.value.__cause__) == "refused"
    answers = iter([0, None, 7])
    assert until(lambda: next(answers)) == 7
