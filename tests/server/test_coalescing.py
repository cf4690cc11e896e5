"""One batch in flight on an event loop: what buffers leaves together, and each caller has its own answer."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from contextlib import suppress

import pytest
from redis.exceptions import ResponseError

from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.server.coalescing import Coalescing, cut_off, hung_up
from scoutcache.server.commands import Batch, Script
from scoutcache.server.faults import Kind

ECHO = Script("return ARGV[1] -- of test_coalescing")


def watched(conduit):
    """The batches that leave from now on."""
    sent, exchange = [], conduit._exchange

    async def exchanging(commands, size):
        sent.append(list(commands))
        return await exchange(commands, size)

    conduit._exchange = exchanging
    return sent


async def settled(condition):
    """The loop's own `until`."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def asked(conduit, *commands):
    return await conduit.execute(Batch(commands))


async def got(conduit, key):
    return await conduit.get(key)


def on_loop(work, conduit):
    """Run *work* and close the conduit on its loop."""

    async def run():
        try:
            return await work
        finally:
            await conduit.close()

    return asyncio.run(run())


def test_a_lone_caller_goes_at_once(coalescing, redis_url):
    conduit = coalescing(redis_url)

    async def work():
        await asked(conduit, ("SET", "k", "v"))
        sent = watched(conduit)
        assert await asked(conduit, ("GET", "k"), ("INCR", "n"), ("GET", "none")) == [b"v", 1, None]
        assert await got(conduit, "k") == b"v"
        assert [len(batch) for batch in sent] == [3, 1]
        assert await conduit.nodes() == [None]

    on_loop(work(), conduit)


def test_what_is_asked_while_a_batch_is_in_flight_leaves_as_the_next_one(coalescing, redis_url):
    conduit = coalescing(redis_url)

    async def work():
        await asked(conduit, ("MSET", *[part for n in range(50) for part in (f"k{n}", n)]))
        sent = watched(conduit)
        answers = await asyncio.gather(*[got(conduit, f"k{n}") for n in range(50)])
        assert answers == [b"%d" % n for n in range(50)]
        assert [len(batch) for batch in sent] == [1, 1]
        assert [batch[0][0] for batch in sent] == ["GET", "MGET"]
        assert len(sent[1][0]) == 50

    on_loop(work(), conduit)


def test_gets_among_other_commands_find_their_callers(coalescing, redis_url):
    conduit = coalescing(redis_url)

    async def work():
        await asked(conduit, ("SET", "a", "A"), ("SET", "b", "B"))
        sent = watched(conduit)
        answers = await asyncio.gather(
            asked(conduit, ("PING",)), got(conduit, "a"), asked(conduit, ("INCR", "n"), ("GET", "b")),
            got(conduit, "b"),
            asked(conduit, ("GET", "a")), got(conduit, "none"), asked(conduit, ("MGET", "b", "a")), got(conduit, "a"),
        )  # fmt: skip
        assert answers == [[b"PONG"], b"A", [1, b"B"], b"B", [b"A"], None, [[b"B", b"A"]], b"A"]
        assert len(sent) == 2

    on_loop(work(), conduit)


def test_a_batch_is_bounded_in_count_and_bytes_and_in_order(coalescing, redis_url):
    conduit = coalescing(redis_url, most=10, most_bytes=1000)

    async def work():
        await asked(conduit, ("PING",))
        sent = watched(conduit)
        answers = await asyncio.gather(*[asked(conduit, ("RPUSH", "list", n)) for n in range(25)])
        assert answers == [[n + 1] for n in range(25)]
        assert [len(batch) for batch in sent] == [1, 10, 10, 4]
        assert await asked(conduit, ("LRANGE", "list", 0, -1)) == [[b"%d" % n for n in range(25)]]
        del sent[:]
        await asyncio.gather(*[asked(conduit, ("SET", f"k{n}", b"x" * 400)) for n in range(5)])
        assert [len(batch) for batch in sent] == [1, 2, 2]
        del sent[:]
        await asyncio.gather(asked(conduit, ("PING",)), *[asked(conduit, ("SET", "large", b"x" * 5000))] * 1)
        assert [len(batch) for batch in sent] == [1, 1]
        del sent[:]
        await asyncio.gather(*[got(conduit, f"k{n}") for n in range(25)])
        assert [len(batch[0]) - 1 for batch in sent] == [1, 10, 10, 4]

    on_loop(work(), conduit)


def test_nobody_is_overtaken_for_ever(coalescing, redis_url):
    """A caller among others that always ask again is answered with the next batch but one at the latest."""
    conduit = coalescing(redis_url, most=4)

    async def work():
        await asked(conduit, ("PING",))
        sent, stop = watched(conduit), asyncio.Event()

        async def greedy(n):
            while not stop.is_set():
                await asked(conduit, ("INCR", f"n{n}"))

        crowd = [asyncio.create_task(greedy(n)) for n in range(8)]
        await settled(lambda: len(sent) > 5)
        before = len(sent)
        await asked(conduit, ("PING",))
        took = len(sent) - before
        stop.set()
        await asyncio.gather(*crowd)
        assert took <= 4

    on_loop(work(), conduit)


def test_an_error_reply_reaches_only_its_caller(coalescing, redis_url, breaker):
    conduit = coalescing(redis_url)

    async def work():
        await asked(conduit, ("SET", "text", "x"), ("RPUSH", "list", "y"))
        answers = await asyncio.gather(
            asked(conduit, ("PING",)), asked(conduit, ("INCR", "text")), got(conduit, "text"), got(conduit, "list"),
            asked(conduit, ("NO-SUCH-COMMAND",), ("GET", "text")), asked(conduit, ("INCR", "n")),
        )  # fmt: skip
        assert isinstance(answers[1][0], ResponseError)
        assert isinstance(answers[4][0], ResponseError)
        assert (answers[0], answers[2], answers[3], answers[4][1], answers[5]) == ([b"PONG"], b"x", None, b"x", [1])
        assert breaker.fault is None

    on_loop(work(), conduit)


def test_where_the_way_breaks_all_of_the_batch_hear_it_and_the_next_goes_on(coalescing, proxy, breaker, fake_clock):
    conduit = coalescing(proxy.url, timeout=0.3)

    async def work():
        await asked(conduit, ("SET", "k", "v"))
        proxy.freeze()
        answers = await asyncio.gather(*[got(conduit, "k") for _ in range(20)], return_exceptions=True)
        assert {type(answer) for answer in answers} == {TierUnavailable}
        assert breaker.fault.kind is Kind.TIMEOUT
        proxy.heal()
        fake_clock.advance(1)
        assert await got(conduit, "k") == b"v"

    on_loop(work(), conduit)


def test_a_late_reply_reaches_nobody(coalescing, proxy, breaker):
    conduit = coalescing(proxy.url, timeout=0.3)

    async def work():
        await asked(conduit, ("SET", "a", "of a"), ("SET", "b", "of b"))
        proxy.freeze()
        with pytest.raises(TierUnavailable):
            await got(conduit, "a")
        proxy.heal()
        breaker.answered()
        assert await asyncio.gather(*[got(conduit, "b") for _ in range(5)]) == [b"of b"] * 5

    on_loop(work(), conduit)


def test_garbage_reaches_nobody_as_a_value(coalescing, proxy, breaker):
    conduit = coalescing(proxy.url, timeout=0.5)

    async def work():
        await asked(conduit, ("SET", "k", "v"))
        proxy.garbage()
        for _ in range(3):
            answers = await asyncio.gather(*[got(conduit, "k") for _ in range(5)], return_exceptions=True)
            assert {type(answer) for answer in answers} == {TierUnavailable}
        proxy.heal()
        breaker.answered()
        assert await got(conduit, "k") == b"v"

    on_loop(work(), conduit)


def test_a_server_that_does_not_know_a_script_is_sent_its_text(coalescing, redis_url, redis_server):
    conduit = coalescing(redis_url)

    async def work():
        for _ in range(2):
            redis_server.cli("SCRIPT", "FLUSH")
            answers = await asyncio.gather(*[asked(conduit, ("PING",), ECHO.call([], str(n))) for n in range(10)])
            assert answers == [[b"PONG", str(n).encode()] for n in range(10)]

    on_loop(work(), conduit)


def test_what_was_closed_at_rest_is_connected_anew_and_no_failure(coalescing, redis_url, redis_server, breaker):
    conduit = coalescing(redis_url)

    async def work():
        assert await asked(conduit, ("SET", "k", "v")) == [b"OK"]
        (number,) = await asked(conduit, ("CLIENT", "ID"))
        redis_server.cli("CLIENT", "KILL", "ID", number)
        await settled(lambda: hung_up(conduit._connection))
        return await asked(conduit, ("GET", "k"), ("CLIENT", "ID")), number

    (value, anew), before = on_loop(work(), conduit)
    assert value == b"v"
    assert anew != before
    assert breaker.fault is None


def test_a_closed_conduit_says_so(coalescing, redis_url):
    conduit = coalescing(redis_url)

    async def work():
        await asked(conduit, ("PING",))
        await conduit.close()
        await conduit.close()
        with pytest.raises(CacheError, match="closed"):
            await asked(conduit, ("PING",))

    on_loop(work(), conduit)


# -- cancelled callers


@pytest.mark.parametrize("how", ["get", "pipeline", "many", "alone"])
def test_of_2000_operations_half_are_cancelled_and_nobody_gets_anothers_answer(
    coalescing, proxy, redis_server, how, breaker
):
    """*alone*: each in turn, so that it is always the caller in flight who is cancelled."""
    conduit = coalescing(proxy.url)
    keys = [f"k{n}" for n in range(100)]
    dice = random.Random(how)
    wrong, errors, answered = [], [], []

    async def ask(n):
        key, other = keys[n % 100], keys[(n * 7 + 1) % 100]
        match how:
            case "get" | "alone":
                return [await got(conduit, key)], [key]
            case "pipeline":
                return await asked(conduit, ("GET", key), ("GET", other)), [key, other]
            case _:
                return (await asked(conduit, ("MGET", key, other)))[0], [key, other]

    async def operation(n):
        try:
            answers, wanted = await ask(n)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            errors.append(error)
            return
        answered.append(n)
        if answers != [f"of {key}".encode() for key in wanted]:
            wrong.append((n, answers))

    async def work():
        await asked(conduit, *[("SET", key, f"of {key}") for key in keys])
        proxy.delay(0.0005)
        together = 1 if how == "alone" else 50
        for at in range(0, 500, together):
            tasks = [asyncio.create_task(operation(n)) for n in range(at, at + together)]
            doomed = [task for n, task in enumerate(tasks) if (at + n) % 2]
            for task in doomed:
                for _ in range(dice.randrange(8)):
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        proxy.delay(0)
        assert await asyncio.gather(*[got(conduit, key) for key in keys]) == [f"of {key}".encode() for key in keys]
        assert conduit._connection.is_connected
        assert not conduit._waiting

    on_loop(work(), conduit)
    assert (wrong, errors, breaker.fault) == ([], [], None)
    assert len(answered) >= 250


def test_a_cancelled_leader_leaves_those_who_wait_to_the_next_batch(coalescing, proxy, redis_server, breaker):
    conduit = coalescing(proxy.url)

    async def work():
        await asked(conduit, ("SET", "k", "v"))
        proxy.freeze()
        leader = asyncio.create_task(asked(conduit, ("GET", "k")))
        others = [asyncio.create_task(got(conduit, "k")) for _ in range(5)]
        await settled(lambda: len(conduit._waiting) == 5)
        leader.cancel()
        others[0].cancel()
        proxy.heal()
        answers = await asyncio.gather(leader, *others, return_exceptions=True)
        assert [type(answer) for answer in answers[:2]] == [asyncio.CancelledError] * 2
        assert answers[2:] == [b"v"] * 4
        assert breaker.fault is None

    on_loop(work(), conduit)


# -- loops


def test_a_loop_that_ends_while_others_wait_leaves_no_task_behind(coalescing, proxy, redis_server, breaker):
    conduit = coalescing(proxy.url)
    ended = []

    async def asking():
        try:
            await got(conduit, "k")
        finally:
            ended.append(1)

    async def work():
        await asked(conduit, ("PING",))
        proxy.freeze()
        tasks = [asyncio.create_task(asking()) for _ in range(10)]
        await settled(lambda: len(conduit._waiting) == 9)
        return tasks

    tasks = asyncio.run(work())
    assert all(task.cancelled() for task in tasks)
    assert len(ended) == 10
    proxy.heal()
    gc.collect()


def test_two_loops_in_two_threads_share_a_breaker_and_nothing_else(coalescing, redis_url, in_threads):
    def loop(name):
        conduit = coalescing(redis_url)

        async def work():
            for n in range(30):
                text = f"{name}{n}".encode()
                await asked(conduit, ("SET", name, text))
                if await asyncio.gather(*[got(conduit, name) for _ in range(5)]) != [text] * 5:
                    return n
            return "right"

        return on_loop(work(), conduit)

    assert in_threads(lambda: loop("a"), lambda: loop("b")) == ["right", "right"]


def test_when_the_breaker_opens_the_connection_is_made_anew(coalescing, redis_url, redis_server, breaker):
    conduit = coalescing(redis_url)

    async def work():
        (before,) = await asked(conduit, ("CLIENT", "ID"))
        breaker.failed(breaker_fault())
        breaker.answered()
        (after,) = await asked(conduit, ("CLIENT", "ID"))
        assert before != after

    on_loop(work(), conduit)


def breaker_fault():
    from scoutcache.server.faults import Fault

    return Fault(Kind.TIMEOUT, "elsewhere", None, away=True)


def test_a_server_that_accepts_and_greets_nobody_is_waited_for_no_longer_than_connecting_may_take(coalescing, proxy):
    conduit = coalescing(proxy.url, connect_timeout=0.2)
    proxy.freeze()

    async def work():
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*[got(conduit, "k") for _ in range(5)], return_exceptions=True)
        assert {type(answer) for answer in answers} == {TierUnavailable}

    on_loop(work(), conduit)


# -- replies that take long


@pytest.fixture
def loop_clock():
    """Sets the running loop's clock, which stands still meanwhile: `await clock(seconds)` lets them pass in steps."""

    class Clock:
        def begin(self):
            loop = asyncio.get_running_loop()
            self.now = loop.time()
            loop.time = lambda: self.now
            return self

        async def __call__(self, seconds):
            end = self.now + seconds
            while self.now < end:
                self.now += 0.01
                for _ in range(5):
                    await asyncio.sleep(0)

    return Clock()


@pytest.mark.parametrize("large", [True, False], ids=["one", "many"])
def test_what_keeps_arriving_is_waited_for(coalescing, proxy, breaker, loop_clock, large):
    """However long it takes altogether: one large reply, or many."""
    conduit = coalescing(proxy.url, timeout=0.3)
    pieces = [b"$20\r\n", *[b"x"] * 20, b"\r\n"] if large else [b"$1\r\nx\r\n"] * 20

    async def work():
        await asked(conduit, ("PING",))
        proxy.freeze()
        clock = loop_clock.begin()
        asking = asyncio.create_task(asked(conduit, *[("GET", "k")] * (1 if large else 20)))
        for piece in pieces:
            await clock(0.25)
            assert not asking.done()
            conduit._connection._reader.feed_data(piece)
        assert await asking == ([b"x" * 20] if large else [b"x"] * 20)
        assert breaker.fault is None

    on_loop(work(), conduit)


def test_who_falls_silent_in_the_middle_of_a_reply_is_noticed_in_time(coalescing, proxy, breaker, loop_clock):
    conduit = coalescing(proxy.url, timeout=0.3)

    async def work():
        await asked(conduit, ("PING",))
        proxy.freeze()
        clock = loop_clock.begin()
        asking = asyncio.create_task(asked(conduit, ("GET", "k")))
        for piece in (b"$20\r\n", b"xxxxx", b"xxxxx"):
            await clock(0.2)
            conduit._connection._reader.feed_data(piece)
        await clock(0.28)
        assert not asking.done()
        await clock(0.05)
        assert asking.done()
        with pytest.raises(TierUnavailable):
            await asking
        assert breaker.fault.kind is Kind.TIMEOUT

    on_loop(work(), conduit)


def test_large_values_are_asked_for_by_a_few(coalescing, redis_url):
    """A server puts a whole reply together before it sends any of it."""
    conduit, value = coalescing(redis_url), b"x" * 2_000_000

    async def work():
        for n in range(30):
            await asked(conduit, ("SET", f"k{n}", value))
        sent = watched(conduit)
        assert await asyncio.gather(*[got(conduit, f"k{n}") for n in range(30)]) == [value] * 30
        assert [len(batch[0]) - 1 for batch in sent] == [1, 8, 8, 8, 5]
        await asyncio.gather(*[got(conduit, f"none{n}") for n in range(300)])
        assert len(sent) < 20

    on_loop(work(), conduit)


# -- the end


def test_who_waits_as_it_is_closed_is_told_so_and_nobody_else(coalescing, proxy, breaker):
    conduit = coalescing(proxy.url)

    async def work():
        await asked(conduit, ("PING",))
        proxy.freeze()
        connections = proxy.connections
        tasks = [asyncio.create_task(got(conduit, "k")) for _ in range(10)]
        await settled(lambda: len(conduit._waiting) == 9)
        await conduit.close()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert {(type(answer), str(answer)) for answer in answers} == {(CacheError, "the cache is closed")}
        assert breaker.fault is None
        assert not conduit._connection.is_connected
        assert proxy.connections == connections

    on_loop(work(), conduit)


def test_who_connects_as_it_is_closed_leaves_no_connection(coalescing, proxy, breaker):
    conduit = coalescing(proxy.url)
    proxy.freeze()

    async def work():
        asking = asyncio.create_task(got(conduit, "k"))
        await settled(lambda: conduit._connection.is_connected)
        await conduit.close()
        proxy.heal()
        with pytest.raises(CacheError, match="closed"):
            await asking
        assert breaker.fault is None
        assert not conduit._connection.is_connected

    on_loop(work(), conduit)


def test_what_could_not_be_sent_in_time_never_arrives(coalescing):
    """A server that takes nothing for a while, and then reads on: it must not get what its caller gave up."""
    value = b"x" * 30_000_000

    async def work():
        read, reads_on = asyncio.Queue(), asyncio.Event()

        async def greet(reader, writer):
            size = 0
            with suppress(ConnectionError):
                while data := await reader.read(1 << 16):
                    size += len(data)
                    if len(data) < 1000:
                        writer.write(b"+OK\r\n" * data.count(b"*"))
                    else:
                        await reads_on.wait()
            read.put_nowait(size)
            writer.transport.abort()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            conduit = coalescing(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", timeout=0.1)
            conduit._timeout = -1.0  # of a second and a half that so many bytes may take
            with pytest.raises(TierUnavailable):
                await asked(conduit, ("SET", "k", value))
            reads_on.set()
            async with asyncio.timeout(20):
                assert await read.get() < len(value)
            await conduit.close()

    asyncio.run(work())


def test_the_breaker_holds_no_conduit(coalescing, redis_url, breaker):
    conduit = coalescing(redis_url)
    left = weakref.ref(conduit)
    assert len(breaker.on_open) == 1
    del conduit
    gc.collect()
    assert left() is None
    assert breaker.on_open == []


@pytest.mark.parametrize(("interval", "anew"), [(30, False), (5, True), (0, False)])
def test_a_connection_that_rested_too_long_is_made_anew(interval, anew, source, redis_url, breaker):
    async def work():
        conduit = Coalescing(source(redis_url, health_check_interval=interval), breaker)
        try:
            await got(conduit, "k")
            reader = conduit._connection._reader
            reader.heard -= 10
            assert await got(conduit, "k") is None
            return conduit._connection._reader is not reader
        finally:
            await conduit.close()

    assert asyncio.run(work()) == anew


def test_a_connection_over_tls_that_was_lost_already_can_be_cut_off():
    """Its transport knows of no protocol any more, and Python 3.11.2 doesn't look."""

    class Lost:
        closed = False

        @property
        def transport(self):
            return self

        def abort(self):
            self.protocol._abort()

        protocol = None

        async def disconnect(self, *, nowait):
            self.closed = nowait

    lost = Lost()
    asyncio.run(cut_off(lost, lost))
    assert lost.closed
