"""Connections of threads: bounded, closed when they failed, renewed when their server was, nobody else's replies."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redis.exceptions import ResponseError

from scoutcache.errors import TierUnavailable
from scoutcache.server import direct as module
from scoutcache.server.breaker import QUIET
from scoutcache.server.commands import Batch, Script
from scoutcache.server.faults import Kind

ECHO = Script("return ARGV[1] -- of test_direct")


def get(conduit, key):
    return conduit.execute(Batch([("GET", key)]))[0]


def put(conduit, key, value):
    return conduit.execute(Batch([("SET", key, value)]))[0]


def connected(server):
    """How many clients of the cache the server has."""
    return server.cli("CLIENT", "LIST").count(b"name=scoutcache")


def test_a_batch_is_answered_in_its_order_errors_among_the_answers(direct, redis_url):
    conduit = direct(redis_url)
    answers = conduit.execute(Batch([("SET", "k", "v"), ("INCR", "k"), ("GET", "k"), ("GET", "none")]))
    assert isinstance(answers.pop(1), ResponseError)
    assert answers == [b"OK", b"v", None]
    assert conduit.nodes() == [None]


def test_a_quiet_cache_keeps_one_connection(direct, redis_url, redis_server):
    conduit = direct(redis_url)
    before = connected(redis_server)
    for _ in range(20):
        get(conduit, "k")
    assert connected(redis_server) - before == 1


def test_closing_lets_go_of_what_is_idle_and_of_what_is_in_use_when_its_call_ends(
    direct, redis_url, redis_server, until
):
    conduit = direct(redis_url)
    before = connected(redis_server)
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(conduit.execute, Batch([("BLPOP", "list", 20)]))
        until(lambda: connected(redis_server) - before == 1, "it waits")
        get(conduit, "k")
        conduit.close()
        conduit.close()
        redis_server.cli("RPUSH", "list", "x")
        assert waiting.result(20) == [[b"list", b"x"]]
    until(lambda: connected(redis_server) == before, "both are closed")


# -- the limit


def test_who_finds_no_connection_waits_for_one(direct, redis_url, redis_server, until):
    conduit = direct(redis_url, max_connections=2)
    with ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(conduit.execute, Batch([("BLPOP", "list", 20)])) for _ in range(6)]
        until(lambda: redis_server.fields("INFO", "clients")["blocked_clients"] == "2", "two of them ask")
        for number in range(6):
            redis_server.cli("RPUSH", "list", number)
        assert sorted(call.result(20)[0][1] for call in calls) == [b"%d" % number for number in range(6)]


def test_who_waits_too_long_for_a_connection_is_told_so_and_the_breaker_stays_closed(
    direct, redis_url, redis_server, breaker, said, until
):
    conduit = direct(redis_url, max_connections=1, timeout=0.2)
    wait = Batch([("BLPOP", "list", 20)])
    conduit._make = patient(conduit._make)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(conduit.execute, wait)
        until(lambda: redis_server.fields("INFO", "clients")["blocked_clients"] == "1", "it asks")
        with pytest.raises(TierUnavailable, match="all 1 connections are in use"):
            get(conduit, "k")
        redis_server.cli("RPUSH", "list", "x")
        call.result(20)
    assert (breaker.fault, said) == (None, [])
    assert get(conduit, "k") is None


def test_a_server_that_takes_no_more_connections_is_not_away_for_who_has_some(direct, start_redis, breaker, said):
    """Who wants one more waits for one of those."""
    server = start_redis("--maxclients", "2")
    conduit = direct(server.url)
    put(conduit, "k", "v")
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: get(conduit, "k"), range(400)))
    assert found == [b"v"] * 400
    assert (breaker.fault, said) == (None, [])


def test_who_waits_too_long_for_one_of_those_gives_no_room_back_that_he_has_not(
    direct, start_redis, breaker, until
):
    server = start_redis("--maxclients", "2")  # the test asks it by the other
    conduit = direct(server.url, timeout=0.2)
    conduit._make = patient(conduit._make)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(conduit.execute, Batch([("BLPOP", "list", 20)]))
        until(lambda: server.fields("INFO", "clients")["blocked_clients"] == "1", "it asks")
        with redis.Redis.from_url(server.url) as other:
            other.ping()
            with pytest.raises(TierUnavailable, match="in use, and the server accepts no more"):
                get(conduit, "k")
            other.rpush("list", "x")
        call.result(20)
    assert conduit._room.free() == 1
    assert breaker.fault is None


def test_it_is_away_for_who_has_none(direct, start_redis, breaker):
    server = start_redis("--maxclients", "1")
    first, second = direct(server.url), direct(server.url)
    get(first, "k")
    with pytest.raises(TierUnavailable, match="maxclients"):
        get(second, "k")
    assert breaker.fault.kind is Kind.CROWDED
    assert second._room.free() == second._most


def patient(make):
    """Connections that wait for long."""

    def made():
        connection = make()
        connection.socket_timeout = 20
        return connection

    return made


def test_every_way_out_gives_the_room_back(direct, redis_url, breaker):
    conduit = direct(redis_url, max_connections=2)
    for _ in range(5):
        with pytest.raises(TypeError):
            conduit.execute(Batch(None))
    assert get(conduit, "k") is None
    assert conduit._room.free() == 2


# -- what failed


def test_a_connection_whose_reply_did_not_come_in_time_is_closed(direct, proxy, redis_server, breaker):
    """Or the next call would read the reply that comes late."""
    conduit = direct(proxy.url, timeout=0.2)
    redis_server.cli("SET", "a", "of a")
    redis_server.cli("SET", "b", "of b")
    assert get(conduit, "a") == b"of a"
    proxy.freeze()
    with pytest.raises(TierUnavailable, match="no answer in time"):
        get(conduit, "a")
    assert breaker.fault.kind is Kind.TIMEOUT
    proxy.heal()
    breaker.answered()
    assert [get(conduit, "b") for _ in range(3)] == [b"of b"] * 3


def test_while_the_breaker_is_open_nobody_waits(direct, proxy, breaker, fake_clock):
    conduit = direct(proxy.url, timeout=0.2)
    proxy.freeze()
    with pytest.raises(TierUnavailable):
        get(conduit, "k")
    began = time.perf_counter()
    for _ in range(100):
        with pytest.raises(TierUnavailable):
            get(conduit, "k")
    assert time.perf_counter() - began < 5, "waiting would take twenty seconds"
    proxy.heal()
    fake_clock.advance(1.0)
    assert get(conduit, "k") is None
    assert breaker.fault is None


def test_garbage_reaches_nobody_as_a_value(direct, proxy, redis_server, breaker):
    conduit = direct(proxy.url, timeout=0.5)
    redis_server.cli("SET", "k", "v")
    assert get(conduit, "k") == b"v"
    proxy.garbage()
    for _ in range(5):
        with pytest.raises(TierUnavailable):
            get(conduit, "k")
    proxy.heal()
    breaker.answered()
    assert get(conduit, "k") == b"v"


def test_nothing_is_sent_twice(direct, proxy, redis_server):
    """An answer that is lost is not a command that was not carried out."""
    conduit = direct(proxy.url, timeout=0.2)
    get(conduit, "k")
    proxy.drop_replies()
    with pytest.raises(TierUnavailable):
        conduit.execute(Batch([("INCR", "n")]))
    assert redis_server.cli("GET", "n") == b"1"


def test_what_opens_the_breaker_closes_idle_connections(direct, redis_url, redis_server, breaker, until):
    conduit = direct(redis_url)
    before = connected(redis_server)
    get(conduit, "k")
    assert connected(redis_server) - before == 1
    breaker.failed(module.Fault(Kind.TIMEOUT, "elsewhere", None, away=True))
    until(lambda: connected(redis_server) == before, "it is closed")


def test_a_server_that_was_restarted_answers_the_next_call(direct, start_redis, breaker, said, monkeypatch):
    server = start_redis()
    conduit = direct(server.url)
    put(conduit, "k", "v")
    server.kill()
    server.restart()
    monkeypatch.setattr(module, "_IDLE", 0.0)  # as after a moment in which nobody asked
    assert get(conduit, "k") is None
    assert said == []


def test_a_server_that_is_gone_is_told_at_once_and_its_return_found(direct, start_redis, breaker, said, fake_clock):
    server = start_redis()
    conduit = direct(server.url)
    get(conduit, "k")
    server.kill()
    with pytest.raises(TierUnavailable, match="unreachable"):
        get(conduit, "k")
    server.restart()
    fake_clock.advance(1)
    assert get(conduit, "k") is None
    assert len(said) == 2


# -- the caller


def test_an_interrupt_between_sending_and_reading_leaves_no_reply_behind(direct, redis_url, redis_server, until):
    conduit = direct(redis_url)
    put(conduit, "k", "v")
    before = connected(redis_server)
    main = threading.main_thread().ident

    def interrupt():
        until(lambda: redis_server.fields("INFO", "clients")["blocked_clients"] == "1", "it waits for the reply")
        signal.pthread_kill(main, signal.SIGINT)

    assert before >= 1
    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        conduit.execute(Batch([("BLPOP", "list", 20)]))
    helper.join()
    assert [get(conduit, "k") for _ in range(3)] == [b"v"] * 3
    assert conduit._room.free() == conduit._most


def test_a_forked_child_has_connections_of_its_own(direct, redis_url, redis_server):
    conduit = direct(redis_url)
    put(conduit, "k", "v")
    conduit._room.enter()  # as a thread of the parent's might hold it
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(20)
            fine = not conduit._idle and conduit._room.free() == conduit._most and get(conduit, "k") == b"v"
            status = 0 if fine else 2
        finally:
            os._exit(status)
    answers = [get(conduit, "k") for _ in range(100)]
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert answers == [b"v"] * 100
    conduit._room.leave()


def test_who_gets_room_from_one_that_found_nobody_there_does_not_find_out_again(
    direct, redis_url, breaker, in_threads, until
):
    conduit = direct(redis_url, max_connections=1)
    conduit._room.enter()

    def give_up():
        until(lambda: conduit._room._waiting, "somebody waits for room")
        breaker.failed(module.Fault(Kind.TIMEOUT, "no answer in time", None, away=True))
        conduit._room.leave()

    error, _ = in_threads(lambda: get(conduit, "k"), give_up)
    assert isinstance(error, TierUnavailable)
    assert not error.uncertain
    assert not conduit._idle
    assert conduit._room.free() == 1


def test_threads_get_their_own_answers(direct, redis_url):
    conduit = direct(redis_url, max_connections=3)

    def work(number):
        for turn in range(60):
            text = f"{number}.{turn}".encode()
            answers = conduit.execute(Batch([("SET", f"k{number}", text), ("GET", f"k{number}")]))
            if answers != [b"OK", text]:
                return answers
        return None

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [None] * 8


# -- scripts


def test_a_server_that_does_not_know_a_script_is_sent_its_text(direct, redis_url, redis_server):
    conduit = direct(redis_url)
    for _ in range(2):
        redis_server.cli("SCRIPT", "FLUSH")
        batch = Batch([("SET", "a", "1"), ECHO.call([], "one"), ("GET", "a"), ECHO.call([], "two")])
        assert conduit.execute(batch) == [b"OK", b"one", b"1", b"two"]
    assert redis_server.cli("SCRIPT", "EXISTS", ECHO.digest) == [1]
    assert conduit.execute(Batch([ECHO.call([], "three")])) == [b"three"]


# -- what a server refuses


def test_a_full_server_is_told_once_answers_reads_and_is_told_when_it_takes_writes(
    direct, start_redis, said, breaker, fake_clock
):
    server = start_redis("--maxmemory-policy", "noeviction")
    conduit = direct(server.url)
    put(conduit, "k", "v")
    server.cli("CONFIG", "SET", "maxmemory", "1")
    for _ in range(3):
        assert isinstance(put(conduit, "k", "w"), ResponseError)
        assert get(conduit, "k") == b"v"
    server.cli("CONFIG", "SET", "maxmemory", "0")
    fake_clock.advance(QUIET)
    put(conduit, "k", "w")
    told = [line.partition(" (")[0] for line in said]
    assert told == ["the server refuses writes", "the server accepts writes again"]


WRITES = Script("""
if ARGV[1] == 'leave' then return 0 end
if ARGV[1] == 'leave, and say why' then return {-1, 'it is older'} end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[2] == '' then return 1 end
return {redis.call('XADD', KEYS[2], '*', 'm', ARGV[2])}
""")
REMOVES = Script("return redis.call('DEL', KEYS[1]) -- of test_direct")


def writing(value, message=""):
    return WRITES.call(["k", "stream"], value, message)


def test_that_a_full_server_does_what_it_never_refused_is_no_news(direct, start_redis, said, breaker, fake_clock):
    """A script that removes, or leaves what it was to write, is carried out there too: no word of it each time."""
    server = start_redis("--maxmemory-policy", "noeviction")
    conduit = direct(server.url)
    server.cli("CONFIG", "SET", "maxmemory", "1")
    left = writing("leave"), writing("leave, and say why")
    for _ in range(3):
        for call in (writing("v"), REMOVES.call(["k"]), *left, ("UNLINK", "k")):
            conduit.execute(Batch([call]))
            fake_clock.advance(QUIET)
    assert len(said) == 1
    server.cli("CONFIG", "SET", "maxmemory", "0")
    assert conduit.execute(Batch([writing("v", "with a message")]))
    assert len(said) == 2


def test_a_script_that_needs_fewer_rights_ends_no_refusal_for_want_of_one(
    direct, start_redis, said, breaker, fake_clock
):
    """The same script appends a message, or has none to append: who may not append is refused the one alone."""
    server = start_redis()
    conduit = direct(server.url)
    server.cli("ACL", "SETUSER", "default", "-xadd")
    for _ in range(3):
        for call in (writing("v", "message"), writing("v")):
            (answer,) = conduit.execute(Batch([call]))
            fake_clock.advance(QUIET)
        assert answer == 1
    assert [line.partition(" (")[0] for line in said] == ["the server refuses some commands"]
    server.cli("ACL", "SETUSER", "default", "+xadd")
    conduit.execute(Batch([writing("other", "another message")]))
    assert said[1:] == ["the server accepts these commands again"]


@pytest.mark.parametrize(("interval", "anew"), [(30, False), (5, True), (0, False)])
def test_a_connection_that_rested_too_long_is_made_anew(interval, anew, source, redis_url, breaker):
    conduit = module.Direct(source(redis_url, health_check_interval=interval), breaker)
    try:
        get(conduit, "k")
        connection, used = conduit._idle.pop()
        socket = connection._sock
        conduit._idle.append((connection, used - 10))
        assert get(conduit, "k") is None
        assert (conduit._idle[-1][0]._sock is not socket) == anew
    finally:
        conduit.close()
