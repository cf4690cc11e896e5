"""get_or_compute_many: what is missing is computed by one call, what others compute is waited for, nobody hangs."""

from __future__ import annotations

import asyncio
import faulthandler
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache import AsyncCache, Cache, CacheError, CacheKey
from scoutcache.errors import FactoryTimeout, FlightCycle, InvalidKey

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def no_hang():
    """A hang ends the run with every stack."""
    faulthandler.dump_traceback_later(90.0, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


class Upper:
    """A factory of many that remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, keys):
        self.calls.append(keys)
        return {key: key.upper() for key in keys}


@pytest.fixture
def upper():
    return Upper()


def in_threads(*works):
    """Run each in a thread of its own; their results, or what they raised."""
    results = [None] * len(works)

    def run(n, work):
        try:
            results[n] = work()
        except BaseException as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n, work), daemon=True) for n, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it hangs"
    return results


# -- what it gives


def test_only_what_is_missing_is_computed_by_one_call(cache, upper):
    cache.set("b", "there")
    assert cache.get_or_compute_many(["a", "b", "c", "a"], upper) == {"a": "A", "b": "there", "c": "C"}
    assert upper.calls == [["a", "c"]]
    assert cache.get_or_compute_many(["a", "b", "c"], pytest.fail) == {"a": "A", "b": "there", "c": "C"}
    assert cache.get_many(["a", "c"]) == {"a": "A", "c": "C"}
    assert not cache.left()


def test_no_keys_need_no_factory(cache):
    assert cache.get_or_compute_many([], pytest.fail) == {}
    assert cache.get_or_compute_many((key for key in ()), pytest.fail) == {}


def test_keys_are_texts_or_cache_keys(cache, upper):
    key = CacheKey(prefix="llm", identifier="x")
    assert cache.get_or_compute_many([key, "a"], upper) == {str(key): str(key).upper(), "a": "A"}
    assert cache.get(key) == str(key).upper()


def test_the_factory_may_answer_by_the_keys_that_were_asked_for(cache):
    key, other = CacheKey("llm", "x", {"a": 1}), CacheKey("llm", "y")
    assert cache.get_or_compute_many([key, "a"], lambda _: {key: 1, "a": 2, other: 3}) == {str(key): 1, "a": 2}
    assert (cache.get(key), cache.get(other)) == (1, None)


def test_keys_that_the_factory_leaves_out_are_left_out_and_asked_for_again(cache, upper):
    assert cache.get_or_compute_many(["a", "b"], lambda keys: {"a": 1, "unasked": 2}) == {"a": 1}
    assert cache.get("unasked") is None
    assert cache.get_or_compute_many(["a", "b"], upper) == {"a": 1, "b": "B"}


@pytest.mark.parametrize("hard_timeout", [None, PATIENCE])
def test_a_factory_is_asked_once_for_what_it_leaves_out(cache, hard_timeout):
    calls = []
    options = {"hard_timeout": hard_timeout}
    assert cache.get_or_compute_many(["a", "b"], lambda keys: calls.append(keys) or {"a": 1}, **options) == {"a": 1}
    assert calls == [["a", "b"]]
    assert not cache.left()


def test_nothing_is_a_value(cache):
    assert cache.get_or_compute_many(["a"], dict.fromkeys) == {"a": None}
    assert cache.get_or_compute_many(["a"], pytest.fail) == {"a": None}


def test_an_error_is_the_callers_and_nothing_is_kept(cache, upper):
    def fails(keys):
        raise LookupError("upstream")

    cache.set("a", "there")
    with pytest.raises(LookupError, match="upstream"):
        cache.get_or_compute_many(["a", "b", "c"], fails)
    assert cache.keys() == ["a"]
    assert not cache.left()
    assert cache.get_or_compute_many(["a", "b"], upper) == {"a": "there", "b": "B"}


@pytest.mark.parametrize("answer", [[1, 2], None, "ab", 7])
def test_a_factory_that_gives_no_mapping_is_told_so(cache, answer):
    with pytest.raises(CacheError, match="mapping"):
        cache.get_or_compute_many(["a", "b"], lambda keys: answer)
    assert not cache.left()


def test_a_list_of_keys_is_wanted(cache):
    with pytest.raises(InvalidKey, match="keys"):
        cache.get_or_compute_many("abc", pytest.fail)


@pytest.mark.parametrize("option", ["refesh_ahead", "key", "factories"])
def test_an_option_that_there_isnt_is_refused_by_name(cache, option):
    with pytest.raises(TypeError, match=rf"get_or_compute_many\(\).*'{option}'"):
        cache.get_or_compute_many(["a"], pytest.fail, **{option: 1})


def test_a_misspelt_option_gets_a_suggestion(cache):
    with pytest.raises(TypeError, match="did you mean 'refresh_ahead'"):
        cache.get_or_compute_many(["a"], pytest.fail, refesh_ahead=0.8)


# -- options


def test_the_options_are_those_of_one_key(cache, fake_clock, upper):
    options = {"ttl": 10, "stale_ttl": 100, "tags": ["red"], "depends_on": ["db"], "cost": 0.5, "namespace": "tenant"}
    cache.get_or_compute_many(["a", "b"], upper, **options)
    entry = cache.get_entry("a", namespace="tenant")
    assert (entry.tags, entry.depends_on, entry.cost) == (("red",), ("db",), 0.5)
    fake_clock.advance(20)
    lower = {"a": "new a", "b": "new b", "c": "new c"}
    seen = []
    found = cache.get_or_compute_many(["a", "b", "c"], lambda keys: seen.append(keys) or lower, **options)
    assert found == {"a": "A", "b": "B", "c": "new c"}
    cache.settle()
    assert sorted(seen) == [["a", "b"], ["c"]]
    assert cache.get_or_compute_many(["a", "b"], pytest.fail, **options) == {"a": "new a", "b": "new b"}
    cache.invalidate(tags=["red"], namespace="tenant")
    assert cache.get_or_compute_many(["a"], upper, **options) == {"a": "A"}
    assert not cache.left()


def test_each_value_is_judged_and_kept_by_itself(cache, fake_clock):
    values = {"none": None, "bad": "bad", "good": "good"}
    cache.set("bad", "bad")
    found = cache.get_or_compute_many(
        ["none", "bad", "good"], lambda keys: values, ttl=100, negative_ttl=5, validate=lambda value: value != "bad",
        store_if=lambda value: value != "bad",
    )  # fmt: skip
    assert found == values
    assert not cache.exists("bad")
    fake_clock.advance(6)
    assert cache.keys() == ["good"]


def test_past_the_soft_timeout_what_is_stale_is_served_beside_what_was_computed(cache, fake_clock):
    if cache.is_async:
        pytest.skip("a plain function that waits would hold the loop")
    go = threading.Event()
    cache.set("s", "stale", ttl=1, stale_ttl=100)
    fake_clock.advance(2)

    def factory(keys):
        assert keys == ["m"] or go.wait(PATIENCE)
        return dict.fromkeys(keys, "new")

    try:
        assert cache.get_or_compute_many(["s", "m"], factory, soft_timeout=0.02) == {"s": "stale", "m": "new"}
    finally:
        go.set()
    assert not cache.left()


def test_past_the_hard_timeout_it_is_raised_and_all_is_kept_late(cache):
    if cache.is_async:
        pytest.skip("a plain function that waits would hold the loop")
    go = threading.Event()
    cache.set("b", "there")

    def factory(keys):
        assert go.wait(PATIENCE)
        return dict.fromkeys(keys, "late")

    with pytest.raises(FactoryTimeout):
        cache.get_or_compute_many(["a", "b", "c"], factory, hard_timeout=0.02)
    go.set()
    cache.settle()
    assert cache.get_many(["a", "b", "c"]) == {"a": "late", "b": "there", "c": "late"}
    assert not cache.left()


def test_a_false_condition_goes_past_everything(cache, upper):
    cache.set("a", "there")
    assert cache.get_or_compute_many(["a", "b"], upper, condition=lambda: False) == {"a": "A", "b": "B"}
    assert cache.keys() == ["a"]


def test_a_kept_error_is_raised_for_a_batch_that_holds_its_key(cache, upper):
    def fails(keys):
        raise LookupError("upstream")

    with pytest.raises(LookupError):
        cache.get_or_compute_many(["a", "b"], fails, error_ttl=60)
    with pytest.raises(LookupError):
        cache.get_or_compute_many(["b", "c"], upper, error_ttl=60)
    assert cache.get_or_compute_many(["c"], upper, error_ttl=60) == {"c": "C"}
    assert not cache.left()


# -- together


@pytest.fixture
def sync(tmp_path, clocks):
    with Cache({"directory": tmp_path / "c", "tiers": ["disk"]}, clocks=clocks) as cache:
        yield cache


def test_who_asks_for_what_is_there_doesnt_wait_for_the_rest_of_anothers_batch(sync, fake_clock):
    sync.set("fresh", 1, ttl=100)
    sync.set("stale", 2, ttl=1, stale_ttl=100)
    fake_clock.advance(2)
    started, go = threading.Event(), threading.Event()

    def slow(keys):
        started.set()
        assert go.wait(PATIENCE)
        return dict.fromkeys(keys, "new")

    def batch():
        return sync.get_or_compute_many(["fresh", "stale", "missing"], slow, ttl=100, stale_ttl=100)

    def neighbours():
        assert started.wait(PATIENCE)
        try:
            return sync.get_or_compute("fresh", pytest.fail), sync.get_or_compute("stale", pytest.fail)
        finally:
            go.set()

    whole, (fresh, stale) = in_threads(batch, neighbours)
    assert (fresh, stale) == (1, 2)
    assert whole == {"fresh": 1, "stale": 2, "missing": "new"}


def test_who_asks_for_a_stale_value_waits_only_as_long_as_it_says_itself(sync, fake_clock):
    sync.set("k", "old", ttl=1, stale_ttl=100)
    fake_clock.advance(2)
    started, go = threading.Event(), threading.Event()

    def slow():
        started.set()
        assert go.wait(PATIENCE)
        return "new"

    def patient():
        return sync.get_or_compute("k", slow, soft_timeout="never")

    def impatient():
        assert started.wait(PATIENCE)
        try:
            return sync.get_or_compute("k", pytest.fail), sync.get_or_compute("k", pytest.fail, soft_timeout=0.01)
        finally:
            go.set()

    assert in_threads(patient, impatient) == ["new", ("old", "old")]


def test_keys_that_somebody_computes_are_waited_for_and_the_rest_is_computed_meanwhile(sync):
    started, go, calls = threading.Event(), threading.Event(), []

    def slow():
        started.set()
        assert go.wait(PATIENCE)
        return "theirs"

    def factory(keys):
        calls.append(keys)
        go.set()  # what this caller computes itself comes before it waits
        return dict.fromkeys(keys, "mine")

    def batch():
        assert started.wait(PATIENCE)
        return sync.get_or_compute_many(["a", "b", "c"], factory)

    results = in_threads(lambda: sync.get_or_compute("b", slow), batch)
    assert results == ["theirs", {"a": "mine", "b": "theirs", "c": "mine"}]
    assert calls == [["a", "c"]]


def test_a_factory_may_ask_for_many_others_and_is_told_when_that_is_a_circle(cache):
    if cache.is_async:

        async def outer(keys):
            inner = await cache.cache.get_or_compute_many(["x", "y"], lambda missing: dict.fromkeys(missing, 1))
            return dict.fromkeys(keys, sum(inner.values()))

        async def own(keys):
            return await cache.cache.get_or_compute_many(["other", "c"], own)
    else:

        def outer(keys):
            inner = cache.cache.get_or_compute_many(["x", "y"], lambda missing: dict.fromkeys(missing, 1))
            return dict.fromkeys(keys, sum(inner.values()))

        def own(keys):
            return cache.cache.get_or_compute_many(["other", "c"], own)

    assert cache.get_or_compute_many(["a", "b"], outer) == {"a": 2, "b": 2}
    with pytest.raises(FlightCycle):
        cache.get_or_compute_many(["c", "d"], own)
    assert not cache.left()


ASKS = st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from("abc"), max_size=2))
BATCHES = st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4), min_size=2, max_size=6)


def _counting():
    calls, lock = [], threading.Lock()

    def factory(keys):
        with lock:
            calls.extend(keys)
        return {key: key.upper() for key in keys}

    return calls, factory


@settings(max_examples=15)
@given(batches=BATCHES)
def test_overlapping_batches_of_threads_compute_each_key_once(tmp_path_factory, batches):
    with Cache({"directory": tmp_path_factory.mktemp("c")}) as cache:
        calls, factory = _counting()
        barrier = threading.Barrier(len(batches))

        def ask(batch):
            barrier.wait(PATIENCE)
            return cache.get_or_compute_many(batch, factory)

        results = in_threads(*[lambda batch=batch: ask(batch) for batch in batches])
        assert results == [{key: key.upper() for key in batch} for batch in batches]
        assert sorted(calls) == sorted({key for batch in batches for key in batch})
        assert not len(cache._core.world.flights)
        assert not list((cache._core.directory / "leases").iterdir())


@settings(max_examples=25)
@given(batches=BATCHES, pauses=st.lists(st.integers(0, 3), min_size=6, max_size=6), doomed=st.sets(st.integers(0, 5)))
def test_overlapping_batches_of_tasks_end_whoever_is_cancelled(tmp_path_factory, batches, pauses, doomed):
    async def main():
        async with AsyncCache({"directory": tmp_path_factory.mktemp("c")}) as cache:
            calls = []

            async def factory(keys):
                for _ in range(pauses[len(calls) % 6]):
                    await asyncio.sleep(0)
                calls.extend(keys)
                return {key: key.upper() for key in keys}

            tasks = [asyncio.create_task(cache.get_or_compute_many(batch, factory)) for batch in batches]
            for n in sorted(doomed & set(range(len(tasks)))):
                for _ in range(pauses[n]):
                    await asyncio.sleep(0)
                tasks[n].cancel()
            results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
            for batch, result in zip(batches, results, strict=True):
                cancelled = isinstance(result, asyncio.CancelledError)
                assert cancelled or result == {key: key.upper() for key in batch}
            if not doomed:
                assert sorted(calls) == sorted({key for batch in batches for key in batch})
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait([task], timeout=PATIENCE)
            assert not len(cache._core.world.flights)
            assert not len(cache._core.ports.leases)

    asyncio.run(main())


@settings(max_examples=15)
@given(asks=st.lists(ASKS, min_size=2, max_size=4))
def test_factories_that_ask_for_others_at_random_end_with_a_value_or_a_circle(tmp_path_factory, asks):
    """Whoever asks for whatever from within, stale or missing: a value or `FlightCycle`, and never a hang."""
    with Cache({"directory": tmp_path_factory.mktemp("c")}) as cache:
        cache.set("a", "stale", ttl=0.001, stale_ttl=100)

        def ask(key, inner, depth=0):
            def factory():
                for other in inner:
                    ask(other, inner if depth < 2 else [], depth + 1)
                return key

            soft = "never" if depth % 2 else None
            return cache.get_or_compute(key, factory, soft_timeout=soft, hard_timeout=PATIENCE if depth == 1 else None)

        results = in_threads(*[lambda one=one: ask(*one) for one in asks])
        for (key, _), result in zip(asks, results, strict=True):
            assert isinstance(result, FlightCycle) or result == key or (key, result) == ("a", "stale"), results
        for beside in list(cache._core.ports.beside):
            beside.result(PATIENCE)
        assert not len(cache._core.world.flights)
        assert not len(cache._core.world.refreshes)
        assert not len(cache._core.ports.leases)


def test_a_cancelled_batch_that_waits_for_the_key_of_another_goes_no_further(make_async, turns):
    """Its own part is kept; what it waited for it would compute for nobody, should the other fail."""
    calls = []

    async def main():
        async with make_async() as cache:
            started, go = asyncio.Event(), asyncio.Event()

            async def other():
                started.set()
                await go.wait()
                raise ValueError("it fails")

            async def batch(keys):
                calls.append(keys)
                return {key: key.upper() for key in keys}

            leader = asyncio.create_task(cache.get_or_compute("b", other))
            await started.wait()
            both = asyncio.create_task(cache.get_or_compute_many(["a", "b"], batch))
            while await cache.get("a") is None:
                await asyncio.sleep(0)
            await turns()
            both.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(both, PATIENCE)
            go.set()
            with pytest.raises(ValueError, match="it fails"):
                await asyncio.wait_for(leader, PATIENCE)
            await turns()
            assert len(cache._core.world.flights) == 0

    asyncio.run(main())
    assert calls == [["a"]]
