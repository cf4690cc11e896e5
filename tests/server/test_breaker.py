"""The circuit breaker, rule by rule, under a clock that stands still."""

from __future__ import annotations

import threading

import pytest

from scoutcache.errors import TierUnavailable
from scoutcache.server.breaker import PATIENCE, QUIET
from scoutcache.server.faults import Fault, Kind

GONE = Fault(Kind.TIMEOUT, "no answer in time", "look", away=True)
FULL = Fault(Kind.POOL, "all are in use", None, away=False)


def refusal(kind):
    return Fault(kind, kind.value, None, away=False)


def may_try(breaker):
    try:
        breaker.check()
    except TierUnavailable:
        return False
    return True


def test_it_is_closed_at_first_and_says_nothing(breaker, said):
    assert (may_try(breaker), breaker.fault) == (True, None)
    breaker.answered()
    assert said == []


def test_the_first_error_that_says_nobody_answers_opens_it(breaker):
    breaker.failed(GONE)
    assert breaker.fault is GONE
    with pytest.raises(TierUnavailable, match="no answer in time") as raised:
        breaker.check()
    assert raised.value.hint == "look"


def test_one_caller_at_a_time_is_let_through_as_a_probe(breaker, fake_clock):
    breaker.failed(GONE)
    for _ in range(3):
        fake_clock.advance(PATIENCE - 0.001)
        assert not may_try(breaker)
        fake_clock.advance(0.001)
        assert [may_try(breaker) for _ in range(5)] == [True, False, False, False, False]


def test_a_probe_that_failed_begins_the_wait_anew(breaker, fake_clock, said):
    breaker.failed(GONE)
    fake_clock.advance(PATIENCE)
    assert may_try(breaker)
    fake_clock.advance(0.9)
    breaker.failed(GONE)
    fake_clock.advance(0.9)
    assert not may_try(breaker)
    assert len(said) == 1
    breaker.answered()
    assert said[1:] == ["the server is back after 2.8 s"]


def test_of_many_threads_one_is_the_probe(breaker, fake_clock):
    breaker.failed(GONE)
    fake_clock.advance(PATIENCE)
    start, let_through = threading.Barrier(8), []

    def ask():
        start.wait()
        if may_try(breaker):
            let_through.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_through) == 1


def test_only_an_answer_closes_it(breaker, fake_clock):
    breaker.failed(GONE)
    fake_clock.advance(100)
    assert may_try(breaker)
    assert not may_try(breaker)
    breaker.answered()
    assert all(may_try(breaker) for _ in range(5))
    assert breaker.fault is None


def test_waiting_for_a_connection_says_nothing_about_the_server(breaker, said):
    breaker.failed(FULL)
    assert may_try(breaker)
    assert said == []


def test_each_change_is_told_once_however_many_met_it(breaker, fake_clock, said):
    for _ in range(10):
        breaker.failed(GONE)
    fake_clock.advance(2)
    for _ in range(10):
        breaker.answered()
    assert said == [
        "the server can't be used (no answer in time): continuing without it", "the server is back after 2.0 s",
    ]  # fmt: skip


def test_who_listens_is_told_of_both_changes_once(breaker):
    told = []
    breaker.on_open.append(lambda: told.append("open"))
    breaker.on_close.append(lambda: told.append("close"))
    for _ in range(2):
        breaker.failed(GONE), breaker.failed(GONE), breaker.answered(), breaker.answered()
    assert told == ["open", "close"] * 2


@pytest.mark.parametrize("kind", [Kind.OOM, Kind.READONLY, Kind.MISCONF, Kind.NOPERM, Kind.CLUSTER])
def test_a_server_that_takes_no_writes_is_told_once_and_stays_in_use(breaker, said, fake_clock, kind):
    for _ in range(5):
        breaker.failed(refusal(kind), "SET")
    assert may_try(breaker)
    assert breaker.refusing is kind
    fake_clock.advance(QUIET)
    for _ in range(2):
        does(breaker, kind, "SET")
    assert breaker.refusing is None
    assert len(said) == 2
    reads_too = kind in {Kind.NOPERM, Kind.CLUSTER}
    refused = "refuses some commands" if reads_too else "refuses writes"
    accepted = "accepts these commands" if reads_too else "accepts writes"
    assert refused in said[0], "what may not be done may be to read"
    assert accepted in said[1]


def does(breaker, kind, *what):
    breaker.did(what, kind)
    breaker.answered()


def test_that_something_else_is_done_ends_no_refusal(breaker, said, fake_clock):
    breaker.failed(refusal(Kind.NOPERM), "XADD")
    breaker.failed(refusal(Kind.OOM), "SET")
    fake_clock.advance(100 * QUIET)
    does(breaker, Kind.NOPERM, "GET", "SET")
    does(breaker, Kind.OOM, "UNLINK")
    assert (breaker.refusing, len(said)) == (Kind.NOPERM, 2)
    does(breaker, Kind.NOPERM, "GET", "XADD")
    assert (breaker.refusing, len(said)) == (Kind.OOM, 3)


def test_a_server_that_takes_every_other_write_is_told_once(breaker, said, fake_clock):
    """So does one that is full to the brim, where what expires makes room for a few."""
    for _ in range(100):
        breaker.failed(refusal(Kind.OOM), "SET")
        fake_clock.advance(QUIET / 2)
        does(breaker, Kind.OOM, "SET")
    assert (breaker.refusing, len(said)) == (Kind.OOM, 1)


def test_a_refusal_is_over_though_nothing_is_written_any_more(breaker, said, fake_clock):
    """The listener hears from the server twice a second."""
    breaker.failed(refusal(Kind.OOM), "SET")
    does(breaker, Kind.OOM, "SET")
    assert (breaker.refusing, len(said)) == (Kind.OOM, 1)
    fake_clock.advance(QUIET)
    assert breaker.refusing is None
    breaker.answered()
    assert said[1:] == ["the server accepts writes again"]


def test_what_is_refused_for_two_reasons_by_turns_is_told_once_for_each(breaker, said):
    """One that is full and can't save refuses to write for the one, and to remove for the other."""
    for _ in range(10):
        breaker.failed(refusal(Kind.OOM), "SET")
        breaker.failed(refusal(Kind.MISCONF), "UNLINK")
    assert (breaker.refusing, len(said)) == (Kind.OOM, 2)


def test_other_errors_are_the_callers_alone(breaker, said):
    breaker.failed(refusal(Kind.OTHER))
    assert (may_try(breaker), breaker.refusing, said) == (True, None, [])


def test_a_forked_child_can_use_it_though_a_thread_held_its_lock(breaker):
    breaker.failed(GONE)
    breaker._lock.acquire()
    breaker.restart()
    breaker.answered()
    assert breaker.fault is None
