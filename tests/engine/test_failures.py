"""What is remembered of factories that failed: for how long, how much, and without what they held."""

from __future__ import annotations

import sys
import threading

import pytest

from scoutcache.coherence.messages import Message
from scoutcache.engine.failures import Failures
from scoutcache.entry import Ref

K, J = Ref("ns", "k"), Ref("ns", "j")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def failures(clock):
    return Failures(clock, capacity=3)


class Awkward(Exception):
    """One that can't be made anew from its arguments."""

    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


class Worded(Exception):
    """One that makes its message of what it is given."""

    def __init__(self, what):
        super().__init__(f"no {what}")


def test_a_copy_says_what_the_error_said(failures):
    failures.note(K, Worded("bread"), keep=5)
    assert failures.kept(K).args == ("no bread",)


def raised(error):
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_a_pause_and_a_kept_error_have_each_their_time(failures, clock):
    failures.note(K, KeyError("x"), pause=30)
    failures.note(K, KeyError("x"), keep=5)
    assert failures.is_paused(K)
    assert failures.has_failed(K)
    assert isinstance(failures.kept(K), KeyError)
    clock.now += 5
    assert failures.kept(K) is None
    assert failures.is_paused(K)
    clock.now += 25
    assert not failures.is_paused(K)
    assert not len(failures)


def test_what_another_process_does_is_no_failure(failures, clock):
    failures.pause(K, 1)
    assert failures.is_paused(K)
    assert not failures.has_failed(K)
    assert failures.kept(K) is None
    clock.now += 1
    assert not failures.is_paused(K)


def test_an_error_is_given_out_as_a_copy_without_frames(failures):
    error = raised(LookupError("upstream", 7))
    failures.note(K, error, keep=5)
    one, two = failures.kept(K), failures.kept(K)
    assert one is not two
    assert one is not error
    assert (type(one), one.args, one.__traceback__) == (LookupError, ("upstream", 7), None)
    assert error.__traceback__ is not None


def test_one_that_cant_be_copied_is_given_out_itself(failures):
    error = raised(Awkward("a", "b"))
    failures.note(K, error, keep=5)
    assert failures.kept(K) is error
    assert failures.kept(K).__traceback__ is None


def test_the_oldest_go_when_there_are_too_many(failures):
    for n in range(10):
        failures.note(Ref("ns", str(n)), KeyError(n), pause=30)
    assert len(failures) == 3
    assert failures.is_paused(Ref("ns", "9"))
    assert not failures.is_paused(Ref("ns", "0"))


@pytest.mark.parametrize(
    ("kind", "names", "gone"),
    [("key", ("k",), True), ("written", ("k",), True), ("pattern", ("k*",), True), ("namespace", (), True),
     ("key", ("other",), False), ("pattern", ("x*",), False), ("mark", ("red",), False)],
)  # fmt: skip
def test_an_announcement_that_names_it_ends_it(failures, kind, names, gone):
    failures.note(K, KeyError("x"), pause=30)
    failures.apply(Message(kind, "ns", names, 1, "you"))
    assert failures.is_paused(K) is not gone
    failures.note(J, KeyError("x"), pause=30)
    failures.drop()
    assert not len(failures)


def test_many_threads_may_fail_at_once(failures):
    """Each makes room for its own where there is none left."""
    wrong: list[RuntimeError] = []

    def fail(thread):
        try:
            for number in range(8000):
                failures.note(Ref("ns", f"{thread}:{number}"), ValueError(), pause=1)
        except RuntimeError as error:
            wrong.append(error)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=fail, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert wrong == []
