"""What the function raises is asked for again, as often and as late as told; a key that stands there twice is one."""

from __future__ import annotations

import asyncio
import functools
import sys

import pytest

from scoutcache.errors import ConfigError, WarmingError
from scoutcache.warming.budget import Budget
from scoutcache.warming.fill import state_folder, warm_from


@pytest.fixture
def flaky():
    """Functions, plain and async, that fail so many times for each key."""

    def make(times, is_async=False):
        asked = []

        def load(key):
            asked.append(key)
            if asked.count(key) <= times:
                raise OSError("away")
            return key.upper()

        async def aload(key):
            return load(key)

        return (aload if is_async else load), asked

    return make


@pytest.mark.parametrize("is_async", [False, True])
def test_it_is_asked_again_each_time_twice_as_late(cache, flaky, fake_clock, is_async):
    load, asked = flaky(3, is_async)
    result = warm_from(
        cache, ["a"], call=load, retries=3, backoff=2.0, wait=fake_clock.sleep, clock=fake_clock.monotonic
    )
    assert (result.warmed, result.failed, asked, result.calls) == (1, 0, ["a"] * 4, 4)
    assert fake_clock.slept == [2.0, 4.0, 8.0]


@pytest.mark.parametrize("is_async", [False, True])
def test_then_the_key_has_failed(cache, flaky, fake_clock, is_async):
    load, asked = flaky(9, is_async)
    result = warm_from(cache, ["a"], call=load, retries=2, wait=fake_clock.sleep)
    assert (result.warmed, result.failed, len(asked)) == (0, 1, 3)
    assert result.errors[0].error == "OSError: away"


def test_an_attempt_is_a_call_of_the_budget(cache, flaky, fake_clock):
    load, asked = flaky(2)
    result = warm_from(cache, ["a"], call=load, retries=5, budget=Budget(calls=2), wait=fake_clock.sleep)
    assert (result.failed, len(asked)) == (1, 2)


def test_an_invalidation_between_the_attempts_does_not_end_the_last(cache, fake_clock):
    asked = []

    def load(key):
        asked.append(key)
        if len(asked) == 1:
            raise OSError("away")
        return "new"

    def wait(seconds):
        cache.invalidate("a")

    assert warm_from(cache, ["a"], call=load, retries=1, wait=wait).warmed == 1
    assert cache.get("a") == "new"


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_key_that_stands_there_twice_is_done_once(cache, concurrency):
    asked = []
    result = warm_from(
        cache, ["a", "b", "a", "", "a"], call=lambda key: asked.append(key) or key, concurrency=concurrency
    )
    assert (result.requested, result.warmed, result.skipped, result.duplicates) == (4, 2, 2, 2)
    assert sorted(asked) == ["a", "b"]
    assert result.first_duplicate.key == "a"
    assert result.first_duplicate.line in {3, 5, 1}


def test_the_first_of_two_lines_counts(cache):
    warm_from(cache, ['{"key": "a", "value": 1}', '{"key": "a", "value": 2}'], concurrency=1)
    assert cache.get("a") == 1


def test_the_same_key_in_two_namespaces_is_two(cache):
    lines = ['{"key": "a", "value": 1, "namespace": "x"}', '{"key": "a", "value": 2, "namespace": "y"}']
    assert warm_from(cache, lines).warmed == 2


def test_it_ends_after_the_key_under_way_when_told(cache):
    seen = []
    result = warm_from(cache, list("abcd"), call=lambda key: seen.append(key) or key, concurrency=1,
                       going=lambda: len(seen) < 2)  # fmt: skip
    assert (result.warmed, seen) == (2, ["a", "b"])


def test_a_function_that_is_a_generator_has_no_value_to_give(cache):
    def many(key):
        yield key

    result = warm_from(cache, ["a"], call=many)
    assert "is a generator" in result.errors[0].error


@pytest.mark.parametrize("is_async", [False, True])
def test_what_depends_on_a_key_is_stored_after_it_though_others_work_at_the_same_time(cache, is_async):
    lines = [
        f'{{"key": "base:{n}"}}\n{{"key": "view:{n}", "value": {n}, "depends_on": ["base:{n}"]}}' for n in range(30)
    ]

    async def aload(key):
        return key

    text = "\n".join(lines).splitlines()
    result = warm_from(cache, text, call=aload if is_async else str.upper, concurrency=8)
    assert (result.warmed, result.failed) == (60, 0)
    assert len(list(cache.keys("view:*"))) == 30


def test_a_source_that_cannot_go_on_leaves_nobody_waiting(cache):
    def lines():
        yield '{"key": "a"}'
        yield '{"key": "b", "depends_on": ["a"]}'
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        warm_from(cache, lines(), call=str.upper, concurrency=4)


def _cancelled():
    raise asyncio.CancelledError("mine")


def _ended():
    sys.exit(0)


@pytest.fixture(params=["plain", "async", "partial"])
def ending(request):
    """A function, of each kind, that does *what* for the key b."""

    def make(what):
        def load(key):
            if key == "b":
                what()
            return key

        async def aload(key, more=None):
            return load(key)

        return {"plain": load, "async": aload, "partial": functools.partial(aload, more=1)}[request.param]

    return make


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize(("what", "named"), [(_cancelled, "CancelledError: mine"), (_ended, "SystemExit: 0")])
def test_a_function_that_ends_more_than_itself_fails_that_key_only(cache, ending, what, named, concurrency):
    result = warm_from(cache, list("abcd"), call=ending(what), concurrency=concurrency, resume=False)
    assert (result.requested, result.warmed, result.failed) == (4, 3, 1)
    assert [(error.line, error.key, error.error) for error in result.errors] == [(2, "b", named)]
    assert len(list((state_folder(cache.config) / "resume").iterdir())) == 1


def test_such_an_end_is_tried_again_too(cache, fake_clock):
    asked = []

    async def load(key):
        asked.append(key)
        if len(asked) == 1:
            raise asyncio.CancelledError
        return key

    assert warm_from(cache, ["a"], call=load, retries=1, wait=fake_clock.sleep).warmed == 1


def test_a_function_that_cancels_the_task_it_runs_in_does_not_pass_for_all_being_well(cache):
    async def load(key):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    with pytest.raises(WarmingError, match="cancelled the task"):
        warm_from(cache, ["a", "b"], call=load, resume=False)
    assert len(list((state_folder(cache.config) / "resume").iterdir())) == 1


def test_an_interrupt_passes_and_so_does_an_exit_that_answers_it(cache, ending):
    def interrupted():
        raise KeyboardInterrupt

    def answered():
        try:
            interrupted()
        except KeyboardInterrupt:
            sys.exit(5)

    for what, kind in ((interrupted, KeyboardInterrupt), (answered, SystemExit)):
        with pytest.raises(kind):
            warm_from(cache, list("abcd"), call=ending(what), concurrency=1)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_cancelled_loop_is_no_failure_of_a_key(cache, is_async):
    """In the main thread all tasks of the loop are cancelled when the process is told to end."""

    async def load(key):
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        warm_from(cache, ["a", "b"], call=load if is_async else lambda key: asyncio.run(load(key)), concurrency=1)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_ends_all_is_raised_as_itself_from_tasks_too(cache, concurrency):
    async def load(key):
        return key

    with pytest.raises(ConfigError, match="needs a price for"):
        warm_from(cache, list("abc"), call=load, budget=Budget(usd=5.0), concurrency=concurrency)


@pytest.mark.parametrize("problem", [WarmingError("gone"), OSError("torn")])
def test_so_is_what_the_source_raises(cache, problem):
    async def load(key):
        return key

    def lines():
        yield "a"
        raise problem

    with pytest.raises(type(problem), match=str(problem)):
        warm_from(cache, lines(), call=load)
