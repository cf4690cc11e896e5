"""What the function raises is asked for again, as often and as late as told; a key that stands there twice is one."""

from __future__ import annotations

import pytest

from scoutcache.warming.budget import Budget
from scoutcache.warming.fill import warm_from


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
