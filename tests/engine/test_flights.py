"""Flights: who leads, who waits for whom, and what a blocked event loop waits for."""

from __future__ import annotations

import contextvars
import itertools

import pytest

from scoutcache.coherence.messages import Message
from scoutcache.engine.flights import LEADING, FlightTable, Waiting, blocking, reachable
from scoutcache.entry import Live, Ref
from scoutcache.errors import FlightCycle


@pytest.fixture
def table():
    return FlightTable()


def board(table, key, loop=None):
    ref = Ref("ns", key)
    mine, others = table.board([ref], loop)
    return others.get(ref, mine), not others


def test_the_first_leads_and_everybody_else_joins(table):
    flight, leads = board(table, "a")
    assert leads
    assert board(table, "a") == (flight, False)
    assert board(table, "b")[1]
    assert len(table) == 2


def test_the_same_key_in_another_namespace_is_another_flight(table):
    board(table, "a")
    assert not table.board([Ref("other", "a")], None)[1]


def test_a_cancelled_follower_cant_cancel_the_flight(table):
    flight, _ = board(table, "a")
    assert not flight.future.cancel()
    table.land(flight, {flight.keys[0]: Live(1, None, 0)})
    assert flight.future.result()[flight.keys[0]].value() == 1


def test_a_call_inside_a_factory_is_what_that_factory_waits_for(table):
    outer, _ = board(table, "outer")
    token = LEADING.set((outer,))
    inner, _ = board(table, "inner")
    assert set(reachable(outer)) == {outer, inner}
    table.land(inner, {})
    assert set(reachable(outer)) == {outer}
    LEADING.reset(token)


def test_a_join_that_is_given_up_is_no_longer_waited_for(table):
    outer, other = board(table, "outer")[0], board(table, "other")[0]

    def inside():
        LEADING.set((outer,))
        with Waiting(other):
            assert set(reachable(outer)) == {outer, other}
        assert set(reachable(outer)) == {outer}

    contextvars.copy_context().run(inside)


def test_a_circle_names_who_waits_for_whom(table):
    """The outer computation waits for the inner one, which asks for the outer one's key."""
    outer, inner = board(table, "outer")[0], board(table, "inner")[0]

    def inside():
        LEADING.set((outer, inner))
        with pytest.raises(FlightCycle, match=r"^computing 'inner' asks for 'outer', which is waiting for 'inner'"):
            Waiting(outer).__enter__()

    contextvars.copy_context().run(inside)


def test_a_blocking_join_on_the_loop_that_leads_is_refused(table):
    loop = object()
    flight, _ = board(table, "a", loop)
    with pytest.raises(FlightCycle, match="'a'"), blocking(loop, flight):
        pass
    with blocking(object(), flight):
        pass


def test_so_is_one_on_a_flight_that_waits_for_one_on_that_loop(table):
    loop = object()
    on_loop, by_thread = board(table, "loop", loop)[0], board(table, "thread")[0]
    by_thread.waits_for.append(on_loop)
    with pytest.raises(FlightCycle, match=r"'thread'.*'loop'"), blocking(loop, by_thread):
        pass


def test_while_a_loop_is_blocked_nobody_may_wait_for_its_flights_from_what_it_waits_for(table):
    """The other order: the loop's thread is already waiting when the thread's factory asks for the loop's flight."""
    loop = object()
    on_loop, by_thread = board(table, "loop", loop)[0], board(table, "thread")[0]

    def in_the_threads_factory():
        LEADING.set((by_thread,))
        with pytest.raises(FlightCycle, match="'thread'"), Waiting(on_loop):
            pass

    with blocking(loop, by_thread):
        contextvars.copy_context().run(in_the_threads_factory)

    def afterwards():
        LEADING.set((by_thread,))
        with Waiting(on_loop):
            pass

    contextvars.copy_context().run(afterwards)


def test_a_long_chain_and_a_diamond_end(table):
    flights = [board(table, str(n))[0] for n in range(200)]
    for upper, lower in itertools.pairwise(flights):
        upper.waits_for += [lower, lower]
    assert len(list(reachable(flights[0]))) == 200


def test_dropping_forgets_all(table):
    board(table, "a")
    table.drop()
    assert not len(table)
    assert board(table, "a")[1]


def test_a_flight_of_several_keys_leads_those_that_nobody_computes(table):
    one, _ = board(table, "b")
    refs = [Ref("ns", key) for key in "abc"]
    mine, others = table.board(refs, None)
    assert mine.keys == [refs[0], refs[2]]
    assert others == {refs[1]: one}
    assert table.get(refs[2]) is mine
    table.land(mine, {})
    assert len(table) == 1
    table.land(one, {})
    assert not len(table)


def test_what_nobody_around_the_caller_waits_for_is_no_edge(table):
    outer, _ = board(table, "outer")

    def inside():
        LEADING.set((outer,))
        table.board([Ref("ns", "beside")], None, awaited=False)
        assert set(reachable(outer)) == {outer}

    contextvars.copy_context().run(inside)


def test_an_announcement_takes_only_the_key_it_names_off_the_table(table):
    refs = [Ref("ns", key) for key in "ab"]
    mine, _ = table.board(refs, None)
    table.apply(Message("key", "ns", ("a",), 1, "you"))
    assert table.get(refs[0]) is None
    assert table.get(refs[1]) is mine


class Leased:
    """A lease that says whether it was given up."""

    def __init__(self, ref):
        self.ref, self.released = ref, False

    def release(self):
        self.released = True


A, B = Ref("ns", "a"), Ref("ns", "b")


def test_a_lease_that_comes_after_its_key_was_named_is_given_up_at_once(table):
    """Rule 5: who asks after the invalidation must not wait for one that began before it."""
    flight, _ = table.board([A, B], None)
    table.apply(Message("key", "ns", ("a",), 1, "you"))
    leases = [Leased(A), Leased(B)]
    for lease in leases:
        flight.hold(lease)
    assert [lease.released for lease in leases] == [True, False]


def test_a_flight_that_goes_on_with_the_rest_stays_named_and_takes_nobodys_place(table):
    flight, _ = table.board([A, B], None)
    table.apply(Message("key", "ns", ("a",), 1, "you"))
    newer, _ = table.board([A], None)
    rest = table.relay(flight, [A, B], {})
    assert (table.get(A), table.get(B)) == (newer, rest)
    lease = Leased(A)
    rest.hold(lease)
    assert lease.released


def test_what_a_flight_announces_itself_before_it_computes_does_not_end_it(table):
    flight, _ = table.board([A, B], None)
    flight.dropping.add(A)
    table.apply(Message("pattern", "ns", ("*",), 1, "me"))
    assert (table.get(A), table.get(B)) == (flight, None)


def test_that_it_was_written_does_not_end_the_flight_whose_value_that_is(table):
    """Its lease stays until all tiers have the value."""
    flight, _ = table.board([A], None)
    flight.began = 7
    flight.hold(lease := Leased(A))
    table.apply(Message("written", "ns", ("a",), 7, "me"))
    assert table.get(A) is flight
    assert not lease.released
    table.apply(Message("written", "ns", ("a",), 8, "you"))
    assert table.get(A) is None
    assert lease.released


def test_that_it_was_written_does_not_end_who_waits_for_another_process(table):
    """He looks again; what an invalidation names ends as ever."""
    flight, _ = table.board([A, B], None)
    flight.awaited.add(A)
    table.apply(Message("written", "ns", ("a", "b"), 7, "you"))
    assert (table.get(A), table.get(B)) == (flight, None)
    table.apply(Message("key", "ns", ("a",), 8, "you"))
    assert table.get(A) is None
