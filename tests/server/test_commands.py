"""Plans are carried out alike by threads and by event loops."""

from __future__ import annotations

from hashlib import sha1

import pytest
from redis.exceptions import ResponseError

from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import Batch, Script, aperform, checked, perform, replies, text_of
from scoutcache.server.faults import Fault, Kind, unavailable

AWAY = unavailable(Fault(Kind.TIMEOUT, "no answer", None, away=True))


class Answering:
    """A conduit that has its answers ready, errors to raise among them."""

    def __init__(self, *answers):
        self.answers, self.batches = list(answers), []

    def execute(self, batch):
        self.batches.append(batch)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class OnLoop(Answering):
    async def execute(self, batch):
        return Answering.execute(self, batch)


@pytest.fixture(params=["thread", "loop"])
def carry(request, runner):
    """Carries out a plan; gives its result and the batches that were sent."""

    def out(plan, *answers):
        conduit = (Answering if request.param == "thread" else OnLoop)(*answers)
        if request.param == "thread":
            return perform(plan, conduit), conduit.batches
        return runner.run(aperform(plan, conduit)), conduit.batches

    return out


def test_a_plan_is_sent_the_replies_and_its_value_is_returned(carry):
    def plan():
        first = yield Batch([("A",)])
        second = yield Batch([("B", first[0])])
        return second[0] + 1

    assert carry(plan(), [1], [2]) == (3, [Batch([("A",)]), Batch([("B", 1)])])


def test_a_plan_that_asks_for_nothing_sends_nothing(carry):
    def plan():
        return "at once"
        yield

    assert carry(plan()) == ("at once", [])


def test_what_the_conduit_raises_is_raised_in_the_plan_which_may_go_on(carry):
    def plan():
        try:
            yield Batch([("A",)])
        except TierUnavailable:
            return (yield Batch([("B",)]))[0]

    assert carry(plan(), AWAY, ["again"])[0] == "again"


def test_what_the_plan_does_not_catch_reaches_the_caller(carry):
    with pytest.raises(TierUnavailable, match="no answer"):
        carry(replies(("A",)), AWAY)


@pytest.mark.parametrize("error", [AWAY, KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_plan_is_closed_whatever_happens(carry, error):
    closed = []

    def plan():
        try:
            yield Batch([("A",)])
        finally:
            closed.append(True)

    with pytest.raises(type(error)):
        carry(plan(), error)
    assert closed == [True]


def test_an_interrupt_is_not_the_plans_to_decide_about(carry):
    def plan():
        try:
            yield Batch([("A",)])
        except Exception:
            return "swallowed"

    with pytest.raises(KeyboardInterrupt):
        carry(plan(), KeyboardInterrupt())


def test_replies_raise_for_the_first_error_among_them(carry):
    with pytest.raises(TierUnavailable, match="one"):
        carry(replies(("A",), ("B",)), [ResponseError("one"), ResponseError("two")])
    assert carry(replies(("A",), ("B",), node="n"), [1, 2]) == ([1, 2], [Batch((("A",), ("B",)), "n")])
    assert checked([]) == []


def test_a_script_is_called_by_its_digest_or_with_its_text():
    script = Script("return 1 -- for the test")
    digest = sha1(b"return 1 -- for the test").hexdigest()
    assert script.call(["k"], 1, b"2") == ("EVALSHA", digest, 1, "k", 1, b"2")
    assert text_of(script.call(["k"], 1)) == ("EVAL", "return 1 -- for the test", 1, "k", 1)
