"""Connections are made as the settings say, not as a library or a URL would; who isn't trusted is refused by name."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected

from scoutcache.config.sections import RedisSection
from scoutcache.errors import ConfigError, TierUnavailable
from scoutcache.server.commands import Batch
from scoutcache.server.connecting import Source, server_name
from scoutcache.server.faults import Kind

PING = Batch([("PING",)])


def made(url, **settings):
    """Connections of both kinds, not yet connected."""
    source = Source(RedisSection(url=url, **settings))
    for asynchronous in (False, True):
        kind, options = source.connection_kind(asynchronous=asynchronous, timeout=0.25)
        yield kind(**options)


# -- every option


def test_every_option_is_set():
    for connection in made("redis://localhost:7000/3", connect_timeout=0.7):
        assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.25, 0.7)
        assert connection.retry._retries == 0
        assert isinstance(connection.retry._backoff, NoBackoff)
        assert not connection.retry_on_error
        assert (connection.host, connection.port, connection.db) == ("localhost", 7000, 3)
        assert (connection.client_name, connection.health_check_interval) == ("scoutcache", 0)
        assert not connection.encoder.decode_responses
        assert connection.socket_keepalive


def test_a_connection_that_is_refused_is_tried_once(start_redis, direct, breaker):
    server = start_redis()
    server.kill()
    with pytest.raises(TierUnavailable):
        direct(server.url).execute(PING)
    assert breaker.fault.kind is Kind.UNREACHABLE


HOSTILE = [
    "ssl_cert_reqs=none", "ssl_check_hostname=False", "retry_on_timeout=True", "decode_responses=True", "timeout=99",
    "max_connections=1", "client_name=x", "protocol=3", "socket_timeout=99", "socket_connect_timeout=99",
    "health_check_interval=5", "socket_keepalive=False",
]  # fmt: skip


@pytest.mark.parametrize("query", HOSTILE)
def test_a_urls_query_decides_none_of_it(query):
    for plain, told in zip(made("rediss://h:1/0"), made(f"rediss://h:1/0?{query}"), strict=True):
        for name in ("socket_timeout", "socket_connect_timeout", "health_check_interval", "client_name", "protocol",
                     "socket_keepalive", "cert_reqs", "check_hostname", "retry_on_error"):  # fmt: skip
            assert getattr(told, name, None) == getattr(plain, name, None), name
        assert not told.encoder.decode_responses
        assert told.retry._retries == 0


@pytest.mark.parametrize("url", ["rediss://h:1/0?ssl_cert_reqs=none", "rediss://h:1/0?ssl_check_hostname=false"])
def test_only_the_settings_turn_verification_off(url):
    sync, _ = made(url)
    assert (sync.cert_reqs, sync.check_hostname) == (ssl.CERT_REQUIRED, True)
    sync, _ = made(url, tls_verify=False)
    assert (sync.cert_reqs, sync.check_hostname) == (ssl.CERT_NONE, False)


def test_tls_is_used_where_either_the_scheme_or_the_setting_says_so():
    assert [type(one).__name__ for one in made("redis://h:1")] == ["Connection"] * 2
    assert [type(one).__name__ for one in made("rediss://h:1")] == ["SSLConnection"] * 2
    assert [type(one).__name__ for one in made("redis://h:1", tls=True)] == ["SSLConnection"] * 2


def test_settings_go_before_the_urls_credentials():
    (one, other) = made("redis://bob:old@h:1", username="alice", password="new")
    assert (one.username, one.password) == (other.username, other.password) == ("alice", "new")
    (one, _) = made("redis://bob:old@h:1")
    assert (one.username, one.password) == ("bob", "old")


def test_a_password_is_read_from_its_file_without_the_end_of_line(tmp_path):
    file = tmp_path / "secret"
    file.write_text("s3cret \n")
    (one, other) = made("redis://h:1", password_file=file)
    assert one.password == other.password == "s3cret "
    missing = Source(RedisSection(url="redis://h:1", password_file=tmp_path / "none"))
    with pytest.raises(ConfigError, match="password_file"):
        missing.connection_kind(asynchronous=False, timeout=1)


@pytest.mark.parametrize("name", ["tls_ca_file", "tls_cert_file", "tls_key_file"])
def test_a_file_that_is_not_there_is_named_by_its_setting(tmp_path, name):
    with pytest.raises(ConfigError, match=f"redis.{name}.*no such file"):
        list(made("rediss://h:1", **{name: tmp_path / "none.pem"}))


def test_no_name_of_a_server_holds_a_secret():
    assert server_name(RedisSection(url="redis://bob:secret@h:1/0?password=secret")).count("secret") == 0
    assert server_name(RedisSection(nodes=["h:1", "h:2"], password="secret")) == "the cluster at h:1"
    named = server_name(RedisSection(sentinel=["h:1"], sentinel_service="main"))
    assert named == "main behind the sentinel at h:1"


def test_what_went_wrong_shows_no_secret(start_redis_with_acl, direct, said):
    server = start_redis_with_acl("alice", "right", "~*", "+@all")
    with pytest.raises(TierUnavailable) as raised:
        direct(server.bare_url, username="alice", password="hunter2").execute(PING)
    error = raised.value
    assert "hunter2" not in f"{error!r} {error} {error.__cause__!r} {error.__context__!r} {said}"
    assert error.__suppress_context__


# -- who is let in


@pytest.fixture(params=["thread", "loop"])
def ask(request, direct, coalescing):
    """What a server answers to PING, asked by a conduit of either kind."""

    def thread(url, **settings):
        return direct(url, connect_timeout=5.0, **settings).execute(PING)

    def loop(url, **settings):
        async def work():
            conduit = coalescing(url, connect_timeout=5.0, **settings)
            try:
                return await conduit.execute(PING)
            finally:
                await conduit.close()

        return asyncio.run(work())

    return thread if request.param == "thread" else loop


def refused(ask, breaker, url, **settings):
    """Why it is, by the kind's name."""
    with pytest.raises(TierUnavailable) as raised:
        ask(url, **settings)
    assert breaker.fault is not None
    return breaker.fault.kind.value, raised.value.reason


def test_the_user_of_the_settings_is_let_in_and_a_wrong_password_named(ask, start_redis_with_acl, breaker, tmp_path):
    server = start_redis_with_acl("alice", "right", "~*", "+@all")
    file = tmp_path / "secret"
    file.write_text("right\n")
    assert ask(server.url) == [b"PONG"]
    assert ask(server.bare_url, username="alice", password_file=file) == [b"PONG"]
    assert refused(ask, breaker, server.bare_url, username="alice", password="wrong")[0] == "noauth"


def test_who_says_no_name_where_one_is_asked_for_is_refused_by_name(ask, start_redis_with_acl, breaker):
    server = start_redis_with_acl("alice", "right", "~*", "+@all")
    assert refused(ask, breaker, server.bare_url)[0] == "noauth"


def test_a_unix_socket_works(ask, redis_server, redis_url):
    assert ask(redis_server.unix_url) == [b"PONG"]


def test_the_right_authority_is_trusted(ask, redis_tls):
    assert ask(redis_tls.url, tls_ca_file=redis_tls.ca_file) == [b"PONG"]
    plain = redis_tls.url.replace("rediss", "redis")
    assert ask(plain, tls=True, tls_ca_file=redis_tls.ca_file) == [b"PONG"]


@pytest.mark.parametrize("case", ["wrong_host", "expired", "rogue_authority", "no_authority"])
def test_who_can_not_be_trusted_is_refused_by_name(ask, redis_tls, breaker, case):
    url, ca = redis_tls.url, {"tls_ca_file": redis_tls.ca_file}
    match case:
        case "wrong_host":
            url = redis_tls.start_for_wrong_host().url
        case "expired":
            url = redis_tls.start_expired().url
        case "rogue_authority":
            ca = {"tls_ca_file": redis_tls.rogue_ca_file}
        case "no_authority":
            ca = {}
    kind, reason = refused(ask, breaker, url, **ca)
    assert kind == "tls", reason


def test_a_client_without_a_certificate_is_refused_by_name(ask, redis_tls, breaker):
    server = redis_tls.start("--tls-auth-clients", "yes")
    ca = {"tls_ca_file": redis_tls.ca_file}
    own = {"tls_cert_file": redis_tls.cert_file, "tls_key_file": redis_tls.key_file}
    assert ask(server.url, **ca, **own) == [b"PONG"]
    kind, reason = refused(ask, breaker, server.url, **ca)
    assert kind == "tls", reason


def test_tls_that_is_not_verified_accepts_what_comes(ask, redis_tls):
    assert ask(redis_tls.start_expired().url, tls_verify=False) == [b"PONG"]


# -- sentinels


def test_after_a_failover_the_new_primary_is_found(redis_sentinel, breaker, fake_clock, until):
    from scoutcache.server.direct import Direct

    address = ":".join(map(str, redis_sentinel.sentinel))
    section = RedisSection(sentinel=[address], sentinel_service=redis_sentinel.service, timeout=0.5)
    conduit = Direct(Source(section), breaker)
    assert conduit.execute(Batch([("SET", "k", "v")])) == [b"OK"]
    follower = next(server for server in redis_sentinel.servers if server is not redis_sentinel.master())
    until(lambda: follower.cli("GET", "k") == b"v", "the replica has it")
    redis_sentinel.kill_master()
    with pytest.raises(TierUnavailable):
        conduit.execute(PING)
    redis_sentinel.settle()

    def writes():
        fake_clock.advance(1)
        return conduit.execute(Batch([("SET", "k", "w"), ("GET", "k")])) == [b"OK", b"w"]

    until(writes, "it is found", ignoring=(TierUnavailable, NotConnected))
    conduit.close()
    assert follower.cli("GET", "k") == b"w"


class TestReplicasBehindSentinels:
    """With ``read_from = "replica"`` entries are read from a replica, and everything else from the primary."""

    @pytest.fixture
    def settings(self, redis_sentinel):
        host, port = redis_sentinel.sentinel
        return {"sentinel": [f"{host}:{port}"], "sentinel_service": redis_sentinel.service, "read_from": "replica"}

    @staticmethod
    def gets_of(server):
        told = server.fields("INFO", "commandstats").get("cmdstat_get", "calls=0")
        return int(told.partition("calls=")[2].split(",")[0])

    def test_threads_and_loops_read_from_it(self, settings, redis_sentinel, tmp_path, until):
        import asyncio

        from scoutcache import AsyncCache, Cache

        _, replica = redis_sentinel.servers
        with Cache(tiers=["redis"], directory=tmp_path, redis=settings) as cache:
            assert cache.set("k", "value")
            until(lambda: cache.get("k") == "value", "the replica has it")
            before = self.gets_of(replica)
            for _ in range(50):
                assert cache.get("k") == "value"
            assert self.gets_of(replica) >= before + 50

            async def work():
                async with AsyncCache(tiers=["redis"], directory=tmp_path, redis=settings) as other:
                    return [await other.get("k") for _ in range(50)]

            assert asyncio.run(work()) == ["value"] * 50
            assert self.gets_of(replica) >= before + 100

    def test_without_a_replica_the_primary_answers(self, settings, redis_sentinel, tmp_path, until):
        from scoutcache import Cache

        _, replica = redis_sentinel.servers
        with Cache(tiers=["redis"], directory=tmp_path, redis=settings) as cache:
            cache.set("k", "value")
            replica.kill()
            until(lambda: cache.get("k") == "value", "the primary answers")
