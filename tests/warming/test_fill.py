from __future__ import annotations

import asyncio
import functools
import threading

import pytest

from scoutcache.cache import Cache
from scoutcache.channels.locking import held
from scoutcache.errors import ConfigError, LockTimeout, WarmingError
from scoutcache.warming.fill import state_folder, warm_from


def counts(result):
    return result.requested, result.warmed, result.skipped, result.failed


def test_values_are_stored_with_their_ttl_and_tags(cache):
    lines = ['{"key": "a", "value": {"n": 1}, "ttl": "2h", "tags": ["t"]}', '{"key": "b", "value": null}']
    assert counts(warm_from(cache, lines)) == (2, 2, 0, 0)
    assert cache.get("a") == {"n": 1}
    assert 7190 < cache.ttl("a") <= 7200
    assert list(cache.keys(tag="t")) == ["a"]
    assert cache.exists("b")


def test_a_file_is_a_source(cache, tmp_path):
    (tmp_path / "s.jsonl").write_text('{"key": "a", "value": 1}\n')
    assert warm_from(cache, tmp_path / "s.jsonl").warmed == 1
    assert warm_from(cache, str(tmp_path / "s.jsonl")).warmed == 1


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_a_source_that_can_t_be_read_is_a_warming_error(cache, tmp_path, name):
    with pytest.raises(WarmingError, match="can't be read"):
        warm_from(cache, tmp_path / name)


def test_bad_lines_are_reported_with_their_numbers_and_the_rest_is_done(cache):
    lines = ['{"key": "a", "value": 1}', "{bad", '{"key": "b", "value": 2, "ttl": "soon"}', '{"key": "c", "value": 3}']
    result = warm_from(cache, lines, concurrency=1)
    assert counts(result) == (4, 2, 0, 2)
    assert [(error.line, error.key) for error in result.errors] == [(2, None), (3, "b")]
    assert sorted(cache.keys()) == ["a", "c"]


def test_a_key_without_value_needs_a_function(cache):
    result = warm_from(cache, ["plain", '{"key": "k"}'])
    assert result.failed == 2
    assert "--call" in result.errors[0].error


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_function_gives_the_values_of_keys(cache, concurrency):
    result = warm_from(cache, [f"k{n}" for n in range(20)], call=str.upper, concurrency=concurrency)
    assert counts(result) == (20, 20, 0, 0)
    assert cache.get("k7") == "K7"


def test_a_value_in_the_line_is_not_asked_for(cache):
    asked = []
    warm_from(cache, ['{"key": "a", "value": 1}', "b"], call=lambda key: asked.append(key) or 2)
    assert (asked, cache.get("a"), cache.get("b")) == (["b"], 1, 2)


def test_async_functions_run_side_by_side_on_one_loop(cache):
    """Each waits for the others: one after the other would never end."""
    together = []

    async def value(key):
        together.append(key)
        while len(together) < 3:
            await asyncio.sleep(0)
        return key * 2

    assert counts(warm_from(cache, ["a", "b", "c"], call=value, concurrency=3)) == (3, 3, 0, 0)
    assert cache.get("b") == "bb"


def test_a_plain_function_may_hand_back_a_coroutine(cache):
    async def value(key, times):
        return key * times

    class Caller:
        def __call__(self, key):
            return value(key, 3)

    assert warm_from(cache, ["a"], call=Caller()).warmed == 1
    assert warm_from(cache, ["b"], call=functools.partial(value, times=2)).warmed == 1
    assert (cache.get("a"), cache.get("b")) == ("aaa", "bb")


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_function_that_raises_fails_that_key_only(cache, concurrency):
    def value(key):
        if key == "b":
            raise ZeroDivisionError("no")
        return key

    result = warm_from(cache, ["a", "b", "c"], call=value, concurrency=concurrency)
    assert counts(result) == (3, 2, 0, 1)
    assert (result.errors[0].line, result.errors[0].key) == (2, "b")
    assert result.errors[0].error == "ZeroDivisionError: no"


def test_an_async_function_that_raises_fails_that_key_only(cache):
    async def value(key):
        raise ZeroDivisionError

    assert counts(warm_from(cache, ["a", '{"key": "b", "value": 1}'], call=value)) == (2, 1, 0, 1)


def test_a_value_that_can_t_be_stored_is_named_with_the_place_in_it(cache):
    result = warm_from(cache, ["a"], call=lambda key: {"x": object()})
    assert result.failed == 1
    assert "x" in result.errors[0].error


def test_only_missing_leaves_alone_what_is_there(cache):
    cache.set("a", "old")
    result = warm_from(cache, ["a", "b"], call=lambda key: "new", only_missing=True)
    assert counts(result) == (2, 1, 1, 0)
    assert (cache.get("a"), cache.get("b")) == ("old", "new")


def test_an_invalidation_during_the_computation_wins(cache):
    def value(key):
        cache.invalidate("*")
        return "computed from before"

    result = warm_from(cache, ["a"], call=value)
    assert counts(result) == (1, 0, 0, 1)
    assert not cache.exists("a")


def test_only_keys_that_match_the_pattern_are_taken(cache):
    assert warm_from(cache, ["llm:a", "job:a", "{bad"], call=str.upper, pattern="llm:*").requested == 2
    assert list(cache.keys()) == ["llm:a"]


@pytest.mark.parametrize("broken", ["not{json", '"key": "llm:b", "value": 2}', "[1]"])
def test_a_broken_line_of_json_is_no_key_for_the_pattern_to_drop(cache, tmp_path, broken):
    (tmp_path / "values.jsonl").write_text(f'{broken}\n{{"key": "llm:a", "value": 1}}\n{{"key": "job:a", "value": 1}}')
    lines = ['{"key": "job:a", "value": 1}', broken, '{"key": "llm:a", "value": 1}']
    for source, number in ((tmp_path / "values.jsonl", 1), (str(tmp_path / "values.jsonl"), 1), (lines, 2)):
        result = warm_from(cache, source, pattern="llm:*")
        assert counts(result) == (2, 1, 0, 1)
        assert [(error.line, error.key) for error in result.errors] == [(number, None)]
        assert "not a JSON object" in result.errors[0].error


def test_a_bare_line_beside_objects_is_a_key_where_a_function_gives_values(cache, tmp_path):
    (tmp_path / "keys.jsonl").write_text('llm:a\n{"key": "llm:b"}\njob:a\nllm:c\n')
    assert counts(warm_from(cache, tmp_path / "keys.jsonl", call=str.upper, pattern="llm:*")) == (3, 3, 0, 0)


def test_a_namespace_in_the_line_is_where_it_goes(cache):
    warm_from(cache, ['{"key": "a", "value": 1, "namespace": "tenant"}'])
    assert (cache.get("a"), cache.namespace("tenant").get("a")) == (None, 1)


def test_the_rate_spaces_out_the_keys(cache, fake_clock):
    result = warm_from(cache, ["a", "b", "c"], call=str.upper, rate=2.0, concurrency=1, clock=fake_clock.monotonic,
                       wait=fake_clock.sleep)  # fmt: skip
    assert fake_clock.slept == pytest.approx([0.5, 0.5])
    assert result.seconds == pytest.approx(1.0)


def test_the_rate_holds_for_async_functions_too(cache, fake_clock):
    async def value(key):
        return key

    warm_from(cache, ["a", "b"], call=value, rate=2.0, concurrency=1, clock=fake_clock.monotonic, wait=fake_clock.sleep)
    assert fake_clock.slept == pytest.approx([0.5])


def test_no_more_is_read_than_is_worked_on(cache):
    read, done = [], []

    def lines():
        for number in range(50):
            read.append(number)
            yield f"k{number}"

    def value(key):
        assert len(read) - len(done) <= 3
        done.append(key)
        return key

    assert counts(warm_from(cache, lines(), call=value, concurrency=2)) == (50, 50, 0, 0)


def test_an_interrupt_ends_the_filling_after_the_keys_at_work(cache):
    """Ctrl-C comes to the main thread while others work through a source without end."""
    class Stop(BaseException):
        pass

    asked = threading.Event()

    def lines():
        number = 0
        while True:
            number += 1
            if number == 10:
                asked.set()
                raise Stop
            yield f"k{number}"

    with pytest.raises(Stop):
        warm_from(cache, lines(), call=str.upper, concurrency=2)
    assert asked.is_set()


def test_one_filling_runs_at_a_time(cache):
    lock = state_folder(cache.config) / "lock"
    with held(lock), pytest.raises(LockTimeout):
        warm_from(cache, ["a"], call=str.upper)
    with held(lock):
        assert warm_from(cache, ["a"], call=str.upper, lock=False).warmed == 1


def test_a_function_by_name_that_is_not_there_ends_it_before_it_begins(cache):
    with pytest.raises(WarmingError, match="no_such_module"):
        warm_from(cache, ["a"], call="no_such_module:f")


def test_progress_is_told_while_it_goes_on(cache, fake_clock):
    seen = []

    def value(key):
        fake_clock.advance(0.06)
        return key

    warm_from(cache, [f"k{n}" for n in range(6)], call=value, concurrency=1, clock=fake_clock.monotonic,
              progress=lambda result: seen.append(result.warmed))  # fmt: skip
    assert seen == [1, 3, 5]


def test_many_errors_are_counted_though_not_all_are_kept(cache, monkeypatch):
    monkeypatch.setattr("scoutcache.warming.records._MOST_ERRORS", 1000)
    result = warm_from(cache, ["{"] * 1500)
    assert (result.failed, len(result.errors), result.errors_left_out) == (1500, 1000, 500)


def test_impossible_options_are_refused(cache):
    with pytest.raises(ConfigError, match="concurrency"):
        warm_from(cache, [], concurrency=0)
    with pytest.raises(ConfigError, match="rate"):
        warm_from(cache, [], rate=0)


def test_a_cache_that_is_switched_off_says_so(tmp_path):
    with Cache(directory=tmp_path, enabled=False) as cache, pytest.raises(WarmingError, match="switched off"):
        warm_from(cache, ["a"], call=str.upper)
