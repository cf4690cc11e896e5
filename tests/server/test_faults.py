"""What each error means: classes of redis-py, words of servers, also where a script's error quotes them."""

from __future__ import annotations

import ssl
from contextlib import ExitStack, closing

import pytest
from redis import exceptions as told
from redis._parsers.base import BaseParser

from scoutcache import Cache
from scoutcache.errors import TierUnavailable
from scoutcache.server.faults import Kind, fault_of, unavailable


@pytest.fixture
def cache_of(tmp_path):
    """Make a cache of what `[redis]` names, that raises."""
    with ExitStack() as stack:
        yield lambda **redis: stack.enter_context(closing(Cache(directory=tmp_path, redis=redis, raise_errors=True)))


CLASSES = [
    (told.ConnectionError("Error 111 connecting to h:1. Connection refused."), Kind.UNREACHABLE, True),
    (ConnectionRefusedError(111, "Connection refused"), Kind.UNREACHABLE, True),
    (BrokenPipeError(), Kind.UNREACHABLE, True),
    (told.TimeoutError("Timeout reading from socket"), Kind.TIMEOUT, True),
    (TimeoutError(), Kind.TIMEOUT, True),
    (told.BusyLoadingError("Redis is loading the dataset in memory"), Kind.LOADING, True),
    (told.AuthenticationError("invalid password"), Kind.NOAUTH, True),
    (told.AuthorizationError("no"), Kind.NOAUTH, True),
    (told.AuthenticationWrongNumberOfArgsError("no"), Kind.NOAUTH, True),
    (told.MaxConnectionsError("Too many connections"), Kind.POOL, False),
    (told.NoPermissionError("this user has no permissions"), Kind.NOPERM, False),
    (told.OutOfMemoryError("command not allowed"), Kind.OOM, False),
    (told.ReadOnlyError("You can't write"), Kind.READONLY, False),
    (told.MasterDownError("Link with MASTER is down"), Kind.MASTERDOWN, True),
    (told.ClusterDownError("CLUSTERDOWN The cluster is down"), Kind.CLUSTERDOWN, True),
    (told.SlotNotCoveredError("Slot 1 is not covered"), Kind.CLUSTERDOWN, True),
    (told.RedisClusterException("Redis Cluster cannot be connected"), Kind.CLUSTERDOWN, True),
    (told.ResponseError("WRONGTYPE Operation against a key"), Kind.WRONGTYPE, False),
    (told.MovedError("10330 127.0.0.1:19373"), Kind.CLUSTER, False),
    (told.AskError("10330 127.0.0.1:19373"), Kind.CLUSTER, False),
    (told.ClusterCrossSlotError("Keys in request don't hash to the same slot"), Kind.CLUSTER, False),
    (told.NoScriptError("No matching script."), Kind.OTHER, False),
    (told.DataError("Invalid input"), Kind.OTHER, False),
    (ssl.SSLCertVerificationError(1, "certificate verify failed"), Kind.TLS, True),
    (told.ConnectionError("Error 1 connecting to h:1. [SSL: WRONG_VERSION_NUMBER] wrong"), Kind.TLS, True),
]


@pytest.mark.parametrize(("error", "kind", "away"), CLASSES, ids=lambda value: type(value).__name__)
def test_each_class_has_its_kind(error, kind, away):
    fault = fault_of(error)
    assert (fault.kind, fault.away) == (kind, away)
    assert fault.reason
    assert (fault.hint is None) == (kind is Kind.OTHER)


OOM = "OOM command not allowed when used memory > 'maxmemory'."
READONLY = "READONLY You can't write against a read only replica."
MISCONF = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."
BUSY = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
IN_SCRIPT = {
    "6.2": "ERR Error running script (call to f_8a1f): @user_script:7: @user_script: 7: -{} ",
    "7.0": "{} script: 8a1f, on @user_script:7.",
    "7.2": "{} script: 8a1f, on @user_script:7.",
    "valkey": "{} script: 8a1f, on @user_script:7.",
    "pcall": "ERR user_script:7: {} script: 8a1f, on @user_script:7.",
}
WORDS = [
    (OOM, Kind.OOM), (READONLY, Kind.READONLY), (MISCONF, Kind.MISCONF), (BUSY, Kind.BUSY),
    ("BUSY Valkey is busy running a script.", Kind.BUSY), ("DB index is out of range", Kind.DATABASE),
    ("SELECT is not allowed in cluster mode", Kind.DATABASE),
    ("NOREPLICAS Not enough good replicas to write.", Kind.READONLY),
    ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Kind.MASTERDOWN),
    ("CLUSTERDOWN Hash slot not served", Kind.CLUSTERDOWN),
    ("LOADING Redis is loading the dataset in memory", Kind.LOADING),
    ("NOAUTH Authentication required.", Kind.NOAUTH),
    ("WRONGPASS invalid username-password pair or user is disabled.", Kind.NOAUTH),
    ("NOPERM this user has no permissions to run the 'get' command", Kind.NOPERM),
    ("ERR wrong number of arguments for 'get' command", Kind.OTHER),
    ("ERR no such thing as -OOM", Kind.OTHER),
]  # fmt: skip
"""As they stand on the wire."""


def parsed(text):
    """What redis-py makes of an error on the wire."""
    return BaseParser.parse_error(text)


@pytest.mark.parametrize(("text", "kind"), WORDS, ids=lambda value: str(value)[:12])
def test_each_word_of_a_server_has_its_kind(text, kind):
    assert fault_of(parsed(text)).kind is kind


@pytest.mark.parametrize("server", IN_SCRIPT)
@pytest.mark.parametrize(("text", "kind"), WORDS[:6], ids=lambda value: str(value)[:12])
def test_a_script_that_met_it_says_the_same(server, text, kind):
    fault = fault_of(parsed(IN_SCRIPT[server].format(text)))
    assert fault.kind is kind
    assert "8a1f, on" not in fault.reason


BY_6 = "ERR Error running script (call to f_8a1f): @user_script:7: @user_script: 7: "
DENIED = [
    BY_6 + "The user executing the script can't run this command or subcommand",
    BY_6 + "The user executing the script can't access at least one of the keys mentioned in the command arguments",
    "ERR The user executing the script can't run this command or subcommand script: 8a1f, on @user_script:7.",
    "ERR ACL failure in script: User alice has no permissions to run the 'xadd' command script: 8a1f, on f:7.",
    "NOPERM ACL failure in script: User alice has no permissions to run the 'xadd' command script: 8a1f, on f:1.",
]


def test_a_reason_ends_without_a_stop_for_it_stands_within_sentences():
    error = told.ConnectionError("Error 111 connecting to h:1. Connection refused.")
    assert fault_of(error).reason == "unreachable: Error 111 connecting to h:1. Connection refused"


@pytest.mark.parametrize("text", DENIED)
def test_a_script_that_may_not_do_its_work_is_a_right_that_is_missing(text):
    assert fault_of(parsed(text)).kind is Kind.NOPERM


def test_what_a_real_server_says_is_understood(start_redis_with_acl, start_redis):
    """Rights that a script lacks, and memory that is full."""
    import redis

    server = start_redis_with_acl("alice", "secret", "~*", "+evalsha", "+eval", "+get")
    with redis.Redis.from_url(server.url) as client, pytest.raises(redis.ResponseError) as denied:
        client.eval("return redis.call('SET', KEYS[1], 1)", 1, "k")
    assert fault_of(denied.value).kind is Kind.NOPERM
    with redis.Redis.from_url(server.url) as client, pytest.raises(redis.ResponseError) as denied:
        client.xadd("k", {"a": 1})
    assert fault_of(denied.value).kind is Kind.NOPERM
    full = start_redis("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    with redis.Redis.from_url(full.url) as client:
        for call in (lambda: client.set("k", 1), lambda: client.eval("return redis.call('SET', KEYS[1], 1)", 1, "k")):
            with pytest.raises(redis.ResponseError) as refused:
                call()
            assert fault_of(refused.value).kind is Kind.OOM


def test_what_speaks_another_protocol_is_no_server_that_is_down():
    fault = fault_of(told.InvalidResponse('Protocol error, got "H" as reply type byte'))
    assert fault.kind is Kind.UNREACHABLE
    assert "is not a Redis server" in (fault.hint or "")


def test_a_server_that_takes_no_more_connections_runs_and_is_where_it_was_said(start_redis):
    import redis

    server = start_redis("--maxclients", "1")
    with redis.Redis.from_url(server.url) as first, redis.Redis.from_url(server.url) as one_more:
        first.ping()
        with pytest.raises(redis.ConnectionError) as refused:
            one_more.ping()
    fault = fault_of(refused.value)
    assert (fault.kind, fault.away) == (Kind.CROWDED, True)
    assert "maxclients" in (fault.hint or "")


@pytest.mark.parametrize(("given", "server", "remedy"), [
    ("nodes", (), "in [redis] url"), ("nodes", ("--requirepass", "x"), "password"),
    ("sentinel", (), "not a sentinel: name a plain server in [redis] url"),
    ("sentinel", ("--requirepass", "x"), "wants a password"),
])  # fmt: skip
def test_a_plain_server_in_the_place_of_another_is_told_by_what_it_is(given, server, remedy, start_redis, cache_of):
    with pytest.raises(TierUnavailable) as refused:
        cache_of(**{given: [start_redis(*server).url.removeprefix("redis://").partition("/")[0]]}).get("k")
    assert remedy in refused.value.hint


def test_a_service_that_sentinels_do_not_know_is_a_wrong_name(redis_sentinel, cache_of):
    address = ":".join(map(str, redis_sentinel.sentinel))
    with pytest.raises(TierUnavailable) as refused:
        cache_of(sentinel=[address], sentinel_service="nobody").get("k")
    assert "sentinel_service" in refused.value.hint


def test_of_a_sentinel_that_does_not_answer_the_client_is_not_shown():
    """redis-py writes the whole client into its message."""
    client = "<redis.client.Redis(<redis.connection.ConnectionPool(<redis.connection.Connection(db=0,host=h)>)>)>"
    error = told.ConnectionError(f"No master found for 'm' : {client} - network:ConnectionError")
    assert fault_of(error).reason == "unreachable: No master found for 'm' - network:ConnectionError"


@pytest.mark.parametrize("error", [one for one, _, _ in CLASSES], ids=lambda value: type(value).__name__)
def test_what_is_raised_for_it_names_the_tier_and_what_to_do(error):
    fault = fault_of(error)
    raised = unavailable(fault)
    assert isinstance(raised, TierUnavailable)
    assert (raised.tier, raised.reason, raised.hint) == ("redis", fault.reason, fault.hint)
