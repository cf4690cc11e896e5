"""Calls of a script that leave together are one call, and each caller has the answer it would have had alone."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from scoutcache.server.commands import Batch, Script
from scoutcache.server.joining import MOST, Calls, Joinable

LISTED = Joinable("""
local count, answers = tonumber(ARGV[1]), {}
local function one(at)
  local own = ARGV[2 * at + 1]
  if own == 'wrong' then redis.call('INCR', KEYS[at]) end
  return {KEYS[at], KEYS[count + 1], ARGV[2], own, ARGV[2 * at + 2]}
end
if count == 1 then return one(1) end
for at = 1, count do
  local done, answer = pcall(one, at)
  answers[at] = done and answer or {err = 'NOSCRIPT of test_joining'}
end
return answers
""", keys=1, arguments=1, own=2)
OTHER = Script("return 1 -- of test_joining")


def call(key, own, *, with_key="shared", argument="for all"):
    return LISTED.call([key, with_key], 1, argument, own, "second")


def answer(command):
    """What a server would answer: each of a joined call's as it would be alone."""
    if command[:2] != ("EVALSHA", LISTED.digest):
        return command
    number, arguments = command[2], command[3 + command[2] :]
    count = arguments[0]
    keys, shared = command[3 : 3 + count], command[3 + count : 3 + number]
    each = [[key, *shared, arguments[1], *arguments[2 + 2 * at : 4 + 2 * at]] for at, key in enumerate(keys)]
    return each[0] if count == 1 else each


joinable = st.builds(call, st.sampled_from("abc"), st.text(max_size=3), with_key=st.sampled_from(["s", "t"]),
                     argument=st.sampled_from([1, 2]))  # fmt: skip
others = st.sampled_from([("GET", "k"), OTHER.call(["k"], 1), LISTED.call(["k", "s", "more"], 1, "x", "y", "z")])


@given(st.lists(joinable | others, max_size=3 * MOST))
def test_whatever_leaves_together_each_has_its_own_answer(commands):
    calls = Calls(commands)
    assert calls.spread([answer(one) for one in calls.sent]) == [answer(one) for one in commands]
    assert len(calls.sent) <= len(commands)


@given(st.lists(joinable, max_size=20))
def test_what_is_joined_keeps_its_order(commands):
    kinds = {(one[4], one[6]) for one in commands}
    calls = Calls(commands)
    assert len(calls.sent) == len(kinds)
    for kind in kinds:
        (joined,) = [one for one in calls.sent if (one[1 + one[2] + 1], one[1 + one[2] + 3]) == kind]
        assert list(joined[3 : 2 + joined[2]]) == [one[3] for one in commands if (one[4], one[6]) == kind]


def test_so_many_are_joined_at_most():
    calls = Calls([call(f"k{number}", number) for number in range(2 * MOST + 1)])
    assert [one[2] - 1 for one in calls.sent] == [MOST, MOST, 1]


def test_calls_that_share_other_keys_or_arguments_are_not_joined():
    commands = [call("a", 1), call("b", 2, with_key="other"), call("c", 3, argument="another")]
    assert list(Calls(commands).sent) == commands


def test_an_error_stands_for_all_that_was_joined():
    error = ResponseError("nothing can be run")
    assert Calls([call("a", 1), call("b", 2)]).spread([error]) == [error, error]


def test_who_fails_in_company_is_told_alone_what_is_wrong(direct, redis_url):
    conduit = direct(redis_url)
    conduit.execute(Batch([("SET", "j:b", "no number")]))
    fine, wrong, after = conduit.execute(Batch([call("j:a", "x"), call("j:b", "wrong"), call("j:c", "y")]))
    assert (fine[0], after[3]) == (b"j:a", b"y")
    assert isinstance(wrong, ResponseError)
    assert "not an integer" in str(wrong)


def test_callers_of_a_loop_share_a_call_and_not_its_errors(coalescing, redis_url):
    async def run():
        conduit = coalescing(redis_url)
        sent, exchange = [], conduit._exchange

        async def exchanging(commands, size):
            sent.append(len(Calls(commands).sent))
            return await exchange(commands, size)

        conduit._exchange = exchanging
        try:
            await conduit.execute(Batch([("SET", "j:3", "no number"), call("j:0", "known from now on")]))
            told = [conduit.execute(Batch([call(f"j:{n}", "wrong" if n == 3 else f"{n}")])) for n in range(10)]
            return await asyncio.gather(*told), sent
        finally:
            await conduit.close()

    answers, sent = asyncio.run(run())
    assert isinstance(answers[3][0], ResponseError)
    assert [one[0][3] for n, one in enumerate(answers) if n != 3] == [b"%d" % n for n in range(10) if n != 3]
    assert 1 in sent[2:]  # nine calls left as one
