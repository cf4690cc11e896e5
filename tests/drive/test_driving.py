"""The drivers: what they perform, where, and that a flow is always closed."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for

import pytest

from scoutcache.coherence.messages import Message
from scoutcache.drive.blocking import run
from scoutcache.drive.loops import _Rest, arun
from scoutcache.drive.ports import Ports
from scoutcache.engine.effects import (
    Announce,
    Call,
    Clear,
    Current,
    Join,
    Names,
    Read,
    ReadOne,
    Renew,
    Work,
    Write,
    perform,
)
from scoutcache.engine.flights import LEADING, Flight
from scoutcache.entry import Live, Ref, Sealed
from scoutcache.errors import CacheError, FlightCycle, TierUnavailable

REF = Ref("ns", "k")
MESSAGE = Message("key", "ns", ("k",), 1, "me")


class Recording:
    """A tier and an authority that say in which thread they were asked."""

    name = "recording"

    def __init__(self, *, blocking):
        self.blocking, self.threads = blocking, {}

    def _asked(self, what):
        self.threads[what] = threading.get_ident()

    def read(self, ref, now):
        self._asked("read")
        return Sealed(b"x") if now == 7.0 else None

    def read_many(self, refs, now):
        self._asked("read_many")
        return {ref: Sealed(b"x") for ref in refs}

    def write(self, rows, now, allow):
        self._asked("write")
        return len(rows)

    def clear(self, namespace):
        self._asked("clear")
        raise TierUnavailable("recording", "gone")

    def current(self, namespace, names, *, create=False):
        self._asked("create" if create else "current")
        return dict.fromkeys(names, 1)

    def remembered(self, namespace, names):
        return None

    def renew(self, namespace, names, *, soft=False):
        self._asked("renew")


@pytest.fixture
def make_ports():
    with ThreadPoolExecutor(2) as threads:

        def make(*, blocking=True, announce=lambda message, wait=True: None, tier=None):
            tier = tier or Recording(blocking=blocking)
            return Ports([tier], tier, announce, lambda: 7.0, threads)  # type: ignore[arg-type]

        yield make


@pytest.fixture(params=["run", "arun"])
def drive(request, make_ports):
    """Both drivers: ``drive(flow, ports=None)``."""

    def driven(flow, ports=None):
        ports = ports or make_ports()
        return run(flow, ports) if request.param == "run" else asyncio.run(arun(flow, ports))

    driven.is_async = request.param == "arun"
    return driven


def test_an_effect_is_answered_and_the_flows_value_returned(drive):
    def flow():
        one = yield ReadOne(0, REF)
        many = yield Read(0, [REF])
        versions = yield Current("ns", ["a"], create=False)
        worked = yield Work(lambda: "work")
        return one, many, versions, worked

    assert drive(flow()) == (Sealed(b"x"), {REF: Sealed(b"x")}, {"a": 1}, "work")


def test_what_performing_raises_is_thrown_into_the_flow_which_may_go_on(drive):
    def flow():
        try:
            yield Clear(0, "ns")
        except TierUnavailable as error:
            return error.reason

    assert drive(flow()) == "gone"


def test_what_the_flow_doesnt_catch_is_raised(drive):
    def flow():
        yield Clear(0, "ns")

    with pytest.raises(TierUnavailable):
        drive(flow())


@pytest.mark.parametrize("error", [KeyError("x"), StopIteration(), StopAsyncIteration(), TimeoutError()])
def test_a_factorys_error_is_never_taken_for_the_flows_end(drive, error):
    def fail():
        raise error

    def flow():
        yield from perform(Call(fail, Flight([REF], None)))

    with pytest.raises((type(error), RuntimeError)) as caught:
        drive(flow())
    assert error in {caught.value, caught.value.__cause__}


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_flow_is_closed_whatever_happens(make_ports, interrupt):
    closed = []

    def fail():
        raise interrupt

    def flow():
        try:
            yield Call(fail, Flight([REF], None))
        finally:
            closed.append(True)

    with pytest.raises(interrupt):
        run(flow(), make_ports())
    assert closed == [True]


def test_a_cancelled_task_closes_its_flow(make_ports):
    closed = []

    async def main():
        started = asyncio.Event()

        async def forever():
            started.set()
            await asyncio.Event().wait()

        def flow():
            try:
                yield Call(forever, Flight([REF], None))
            finally:
                closed.append(True)

        task = asyncio.create_task(arun(flow(), make_ports()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert closed == [True]


def test_what_a_closed_loop_left_behind_is_closed_and_raises_nothing_else(make_ports):
    """It ends when it is collected, in the context of whoever does that."""
    raised = []

    def flow():
        try:
            yield Call(asyncio.Event().wait, Flight([REF], None))
        except BaseException as error:
            raised.append(type(error))
            raise

    async def begin(effect_of):
        driven = arun(effect_of, make_ports(), _Rest(effect_of, make_ports(), next(effect_of)))
        contextvars.Context().run(driven.send, None)
        return driven

    driven = asyncio.run(begin(flow()))
    driven.close()
    assert raised == [GeneratorExit]


def test_around_a_factory_the_context_says_what_is_led(drive):
    flight = Flight([REF], None)

    def flow():
        inside = yield Call(LEADING.get, flight)
        outside = yield Work(LEADING.get)
        return inside, outside

    assert drive(flow())[0] == (flight,)
    assert LEADING.get() == ()


def test_a_blocking_driver_refuses_a_coroutine_and_closes_it(make_ports):
    async def factory():
        raise AssertionError

    def flow():
        yield Call(factory, Flight([REF], None))

    with pytest.raises(CacheError, match="coroutine") as caught:
        run(flow(), make_ports())
    assert caught.value.hint == "use AsyncCache"


def test_a_join_gives_the_outcome(drive):
    flight = Flight([REF], None)
    flight.future.set_result(Live(1, None, 0))

    def flow():
        return (yield Join(flight))

    assert drive(flow()).value() == 1


class Uncopied(Exception):
    """One that can't be made anew from its arguments."""

    def __init__(self, one, two):
        super().__init__(one)


@pytest.mark.parametrize(("make", "own"), [(lambda: ValueError("x", 1), True), (lambda: Uncopied(1, 2), False)])
def test_whoever_joins_is_given_an_error_of_its_own(drive, make, own):
    """Raised to each of them, one error would grow a traceback through all of their frames."""
    flight = Flight([REF], None)
    try:
        raise make() from KeyError("why")
    except Exception as error:
        flight.future.set_exception(error)
        landed, places = error, len(traceback.extract_tb(error.__traceback__))

    def flow():
        return (yield Join(flight))

    for _ in range(2):
        with pytest.raises(type(landed)) as caught:
            drive(flow())
        assert (caught.value is not landed) == own
        assert (caught.value.args, caught.value.__cause__) == (landed.args, landed.__cause__)
        assert len(traceback.extract_tb(caught.value.__traceback__)) > places, "where it came from is to be seen"
    if own:
        assert len(traceback.extract_tb(landed.__traceback__)) == places


def test_a_blocking_join_on_the_loop_that_leads_is_refused(make_ports):
    async def main():
        def flow():
            return (yield Join(Flight([REF], asyncio.get_running_loop())))

        with pytest.raises(FlightCycle):
            run(flow(), make_ports())

    asyncio.run(main())


def test_on_a_loop_what_may_wait_goes_to_a_thread_and_reads_dont(make_ports):
    ports = make_ports()

    def flow():
        yield ReadOne(0, REF)
        yield Read(0, [REF])
        yield Write(0, [], None)
        yield Current("ns", ["a"], create=False)
        yield Current("ns", ["a"], create=True)
        yield Renew("ns", ["a"])

    asyncio.run(arun(flow(), ports))
    here = threading.get_ident()
    in_place = {what for what, thread in ports.tiers[0].threads.items() if thread == here}
    assert in_place == {"read", "read_many", "current"}


def test_a_tier_that_never_waits_is_written_in_place(make_ports):
    ports = make_ports(blocking=False)

    def flow():
        yield Write(0, [], None)

    asyncio.run(arun(flow(), ports))
    assert ports.tiers[0].threads == {"write": threading.get_ident()}


@pytest.mark.parametrize("held", [False, True])
def test_on_a_loop_an_announcement_waits_for_no_lock(make_ports, held):
    announced = []

    def announce(message, *, wait=True):
        if held and not wait:
            raise BlockingIOError
        announced.append((message, wait, threading.get_ident() == here))

    here = threading.get_ident()

    def flow():
        yield Announce(MESSAGE)

    asyncio.run(arun(flow(), make_ports(announce=announce)))
    assert announced == [(MESSAGE, held, not held)]


class Cold(Recording):
    """A tier of which a thread must be made ready before it may read."""

    def __init__(self):
        super().__init__(blocking=True)
        self.warm = set()

    def ready(self):
        return threading.current_thread() in self.warm

    def make_ready(self, thread):
        self._asked("make_ready")
        self.warm.add(thread)

    def names(self, namespace, prefix):
        self._asked("names")
        return []


@pytest.mark.parametrize("first", [Read(0, [REF]), ReadOne(0, REF), Current("ns", ["a"], False), Names("ns", "")])
def test_a_loop_that_isnt_ready_reads_in_another_thread_once(make_ports, first):
    ports, here = make_ports(tier=Cold()), threading.get_ident()

    def flow():
        yield first
        before = dict(ports.tiers[0].threads)
        ports.tiers[0].threads.clear()
        yield first
        return before, ports.tiers[0].threads

    before, after = asyncio.run(arun(flow(), ports))
    assert len(before) == 2
    assert here not in before.values()
    assert set(after.values()) == {here}


def test_a_loop_that_cant_be_made_ready_is_told_by_the_read_itself(make_ports):
    ports, tried = make_ports(tier=Cold()), []

    def fail(thread):
        tried.append(thread)
        raise TierUnavailable("recording", "locked")

    ports.tiers[0].make_ready = fail

    def flow():
        return (yield ReadOne(0, REF))

    assert asyncio.run(arun(flow(), ports)) == Sealed(b"x")
    assert tried == [threading.current_thread()]


def test_threads_and_loops_can_drive_at_once(make_ports):
    ports = make_ports()

    def flow(n):
        yield Write(0, [], None)
        return (yield Work(lambda: n))

    async def many():
        return await asyncio.gather(*(arun(flow(n), ports) for n in range(50)))

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(run, flow(n), ports) for n in range(50)]
        assert asyncio.run(many()) == list(range(50))
        wait_for(jobs)
    assert [job.result() for job in jobs] == list(range(50))
