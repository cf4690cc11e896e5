"""Freshness on both faces and every set of tiers: stale values are served, missing ones waited for, as options say."""

from __future__ import annotations

import asyncio
import math
import threading

import pytest

from scoutcache import MISSING, Cache, CacheError
from scoutcache.errors import FactoryTimeout, InvalidKey, InvalidTTL

PATIENCE = 20.0
"""Seconds after which a hang is called one; nothing here waits so long."""

STALE = {"ttl": 10, "stale_ttl": 100}


def fails():
    raise LookupError("upstream")


class Gate:
    """Makes factories that wait until it is opened."""

    def __init__(self, is_async):
        self.is_async = is_async
        self._event = asyncio.Event() if is_async else threading.Event()
        self.calls = 0

    def open(self):
        self._event.set()

    def factory(self, value="new"):
        def blocking():
            self.calls += 1
            assert self._event.wait(PATIENCE)
            return value

        async def waiting():
            self.calls += 1
            await asyncio.wait_for(self._event.wait(), PATIENCE)
            return value

        return waiting if self.is_async else blocking


@pytest.fixture
def gate(cache):
    made = Gate(cache.is_async)
    yield made
    made.open()
    cache.settle()


@pytest.fixture
def stale(cache, fake_clock):
    """A cache in which ``k`` has a stale value."""
    cache.set("k", "old", **STALE)
    fake_clock.advance(20)
    return cache


@pytest.fixture
def told(cache):
    """The events so far, as (name, reason)."""
    events = []
    cache.on("*", lambda record: events.append((record.name, getattr(record, "reason", None))))
    return events


@pytest.fixture
def logged(cache, monkeypatch):
    """What was recorded, as (kind, outcome, reason)."""
    records, record = [], cache.core.recorder.record

    def note(kind, *args, **more):
        records.append((kind, more["outcome"], more.get("reason")))
        return record(kind, *args, **more)

    monkeypatch.setattr(cache.core.recorder, "record", note)
    return records


# -- stale values


def test_a_stale_value_is_served_while_one_refresh_runs(stale, gate, told, logged):
    for _ in range(3):
        assert stale.get_or_compute("k", gate.factory(), **STALE) == "old"
    gate.open()
    stale.settle()
    assert gate.calls == 1
    assert stale.get_or_compute("k", pytest.fail) == stale.get("k") == "new"
    assert told.count(("stale", "refreshing")) == 3
    assert [name for name, _ in told].count("refreshed") == 1
    assert logged.count(("compute", "stale", "refreshing")) == 3
    assert logged.count(("refresh", "stored", None)) == 1
    assert not stale.left()


def test_only_who_has_a_factory_sees_a_stale_value(stale):
    assert stale.get("k", "absent") == "absent"
    assert stale.get_many(["k"]) == {}
    assert not stale.exists("k")
    assert stale.ttl("k") is None
    assert stale.keys() == []
    entry = stale.get_entry("k")
    assert entry.value == "old"
    assert entry.fresh_until < entry.expires_at


def test_past_its_stale_time_a_value_is_gone(stale, fake_clock, logged):
    fake_clock.advance(90)
    assert stale.get_or_compute("k", lambda: "new") == "new"
    assert ("compute", "miss", "expired") in logged


def test_an_invalidated_value_is_never_served_stale(stale):
    stale.invalidate("k")
    assert stale.get_or_compute("k", lambda: "new") == "new"


def test_an_unlimited_value_is_never_stale(cache, fake_clock):
    cache.get_or_compute("k", lambda: 1, ttl="never", stale_ttl=10, refresh_ahead=0.5)
    fake_clock.advance(10**8)
    assert cache.get_or_compute("k", pytest.fail, refresh_ahead=0.5) == 1
    assert not cache.left()


def test_a_failing_refresh_leaves_the_stale_value_and_the_source_alone_for_a_while(stale, fake_clock, told, logged):
    calls = []

    def failing():
        calls.append(1)
        fails()

    assert stale.get_or_compute("k", failing, **STALE) == "old"
    stale.settle()
    for _ in range(5):
        assert stale.get_or_compute("k", failing, **STALE) == "old"
    stale.settle()
    assert calls == [1]
    assert ("factory_failed", None) in told
    assert told.count(("stale", "failed")) == logged.count(("compute", "stale", "failed")) >= 5
    fake_clock.advance(stale.config.freshness.throttle)
    assert stale.get_or_compute("k", lambda: "new", **STALE) == "old"
    stale.settle()
    assert stale.get("k") == "new"
    assert not stale.left()


def test_after_its_stale_time_a_source_that_failed_is_asked_at_once(stale, fake_clock):
    stale.get_or_compute("k", fails, **STALE)
    stale.settle()
    fake_clock.advance(85)  # stale no more, and the pause is over as well
    stale.set("j", "old", ttl=1, stale_ttl=2)
    fake_clock.advance(1.5)
    assert stale.get_or_compute("j", fails, ttl=1, stale_ttl=2) == "old"
    stale.settle()
    fake_clock.advance(2)
    assert stale.get_or_compute("j", lambda: "new", error_ttl=60) == "new", "a pause is no kept error"


def test_within_the_soft_timeout_the_fresh_value_comes(stale, logged):
    assert stale.get_or_compute("k", lambda: "new", soft_timeout="never", **STALE) == "new"
    assert stale.get("k") == "new"
    assert ("compute", "hit", "joined") in logged
    assert not stale.left()


def test_past_the_soft_timeout_the_stale_value_comes_and_the_late_result_is_kept(stale, gate, told, logged):
    assert stale.get_or_compute("k", gate.factory(), soft_timeout=0.02, **STALE) == "old"
    assert ("stale", "slow") in told
    assert ("compute", "stale", "slow") in logged
    gate.open()
    stale.settle()
    assert stale.get("k") == "new"


def test_a_failure_within_the_soft_timeout_gives_the_stale_value(stale, told):
    assert stale.get_or_compute("k", fails, soft_timeout="never", **STALE) == "old"
    assert ("stale", "failed") in told
    assert not stale.left()


def test_without_a_stale_value_the_soft_timeout_says_nothing(cache):
    assert cache.get_or_compute("k", lambda: "new", soft_timeout=0.001) == "new"


def test_marking_stale_keeps_the_value_for_who_has_a_factory(cache):
    cache.set("k", "old", ttl=1000, stale_ttl=100)
    cache.invalidate("k", action="mark_stale")
    assert cache.get("k") is None
    assert cache.get_or_compute("k", lambda: "new", **STALE) == "old"
    cache.settle()
    assert cache.get("k") == "new"


# -- refreshing ahead


def test_an_ageing_value_is_refreshed_once_before_it_ends(cache, fake_clock, gate, told):
    ahead = {**STALE, "refresh_ahead": 0.8}
    cache.get_or_compute("k", lambda: "old", **ahead)
    fake_clock.advance(7.9)
    assert cache.get_or_compute("k", pytest.fail, **ahead) == "old"
    assert not cache.core.ports.beside
    fake_clock.advance(0.2)
    for _ in range(3):
        assert cache.get_or_compute("k", gate.factory(), **ahead) == "old"
    gate.open()
    cache.settle()
    assert gate.calls == 1
    assert cache.get("k") == "new"
    assert cache.ttl("k") == pytest.approx(10, abs=0.01)
    assert "stale" not in [name for name, _ in told]
    assert not cache.left()


def test_what_its_factory_gave_a_short_life_is_not_refreshed_at_each_read(cache, fake_clock):
    """Its age is measured by its own life, not by the ttl that the reader would give it."""

    def factory(ctx):
        ctx.ttl = 10
        return "short"

    options = {"ttl": 3600, "refresh_ahead": 0.8, "negative_ttl": 10}
    for key, compute in {"k": factory, "none": lambda: None}.items():
        cache.get_or_compute(key, compute, **options)
        fake_clock.advance(1)
        cache.get_or_compute(key, pytest.fail, **options)
        assert not cache.left()
    fake_clock.advance(7.5)
    cache.get_or_compute("k", lambda: "new", **options)
    cache.settle()
    assert cache.get("k") == "new"


# -- hard timeouts


def test_past_the_hard_timeout_it_is_raised_and_the_late_result_is_kept(cache, gate, logged):
    with pytest.raises(FactoryTimeout, match=r"'k'.*0\.02"):
        cache.get_or_compute("k", gate.factory(), hard_timeout=0.02)
    with pytest.raises(FactoryTimeout):
        cache.get_or_compute("k", gate.factory(), hard_timeout=0.02)
    gate.open()
    cache.settle()
    assert gate.calls == 1, "the second waited for the first one's"
    assert cache.get_or_compute("k", pytest.fail) == "new"
    assert logged.count(("refresh", "stored", None)) == 1
    assert not cache.left()


def test_within_the_hard_timeout_a_miss_is_a_miss(cache, logged, told):
    assert cache.get_or_compute("k", lambda: "new", hard_timeout=PATIENCE, tags=["t"]) == "new"
    assert logged == [("compute", "miss", "cold"), ("set", "stored", None)]
    assert "refreshed" not in [name for name, _ in told]
    assert cache.get("k") == "new"
    assert not cache.left()


def test_within_the_hard_timeout_an_error_is_the_callers(cache):
    with pytest.raises(LookupError, match="upstream"):
        cache.get_or_compute("k", fails, hard_timeout=PATIENCE)
    assert cache.get_or_compute("k", lambda: 1, hard_timeout="never") == 1
    assert not cache.left()


@pytest.mark.parametrize("soft", [0.01, "never", 1000])
def test_a_stale_value_comes_at_the_hard_timeout_at_the_latest(stale, gate, told, soft):
    assert stale.get_or_compute("k", gate.factory(), soft_timeout=soft, hard_timeout=0.02, **STALE) == "old"
    assert ("stale", "slow") in told
    gate.open()
    stale.settle()
    assert stale.get("k") == "new"


# -- how long


def test_nothing_is_kept_for_its_own_time(cache, fake_clock):
    cache.get_or_compute("k", lambda: None, ttl=100, negative_ttl=5)
    fake_clock.advance(4)
    assert cache.get_or_compute("k", pytest.fail, negative_ttl=5) is None
    fake_clock.advance(2)
    assert cache.get_or_compute("k", lambda: "there now", negative_ttl=5) == "there now"


def test_nothing_need_not_be_kept_at_all(cache, logged):
    assert cache.get_or_compute("k", lambda: None, negative_ttl=0) is None
    assert not cache.exists("k")
    assert ("set", "stored", None) not in logged


@pytest.mark.parametrize(("throw", "left"), [(0.0, 100), (0.5, 90), (1.0, 80)])
def test_jitter_takes_at_most_its_part_off_the_ttl(cache, throw, left):
    cache.core.world.dice = lambda: throw
    cache.get_or_compute("k", lambda: 1, ttl=100, jitter=0.2)
    assert cache.ttl("k") == pytest.approx(left, abs=0.01)


def test_jitter_makes_lives_differ(cache):
    for n in range(20):
        cache.get_or_compute(f"k:{n}", lambda: 1, ttl=100, jitter=0.5)
    lives = {round(cache.ttl(f"k:{n}"), 3) for n in range(20)}
    assert len(lives) > 10
    assert all(49.9 <= left <= 100 for left in lives)


def test_a_ttl_of_zero_stores_nothing(cache, logged):
    assert cache.get_or_compute("k", lambda: 1, ttl=0, stale_ttl=10) == 1
    assert cache.get_or_compute("k", lambda: 2, ttl=0) == 2
    assert not cache.exists("k")
    assert cache.get_entry("k") is None
    assert ("set", "stored", None) not in logged


# -- which


def test_a_cached_value_that_doesnt_hold_is_replaced(cache, logged):
    cache.set("k", "bad")
    assert cache.get_or_compute("k", lambda: "good", validate=lambda value: value == "good") == "good"
    assert ("compute", "miss", "refused") in logged
    assert cache.get_or_compute("k", pytest.fail, validate=lambda value: value == "good") == "good"


def test_a_stale_value_that_doesnt_hold_isnt_served(stale):
    with pytest.raises(LookupError):
        stale.get_or_compute("k", fails, validate=lambda value: value != "old", **STALE)
    assert stale.get_entry("k") is None


def test_a_false_condition_goes_past_everything(stale, logged):
    options = {"condition": lambda: False, "error_ttl": 60, **STALE}
    assert stale.get_or_compute("k", lambda: "mine", **options) == "mine"
    with pytest.raises(LookupError):
        stale.get_or_compute("k", fails, **options)
    assert stale.get_entry("k").value == "old"
    assert ("compute", "miss", "bypassed") in logged
    stale.delete("k")
    assert stale.get_or_compute("k", lambda: "new", error_ttl=60) == "new", "its error was not kept either"


def test_store_if_sees_refreshed_values_too(stale):
    assert stale.get_or_compute("k", lambda: "bad", store_if=lambda value: value != "bad", **STALE) == "old"
    stale.settle()
    assert stale.get_entry("k").value == "old"


# -- errors


def test_an_error_is_kept_for_its_own_time_and_only_where_asked_for(cache, fake_clock):
    with pytest.raises(LookupError):
        cache.get_or_compute("k", fails, error_ttl=5)
    fake_clock.advance(4)
    with pytest.raises(LookupError, match="upstream"):
        cache.get_or_compute("k", pytest.fail, error_ttl=5)
    assert cache.get_or_compute("other", lambda: 1, error_ttl=5) == 1
    fake_clock.advance(2)
    assert cache.get_or_compute("k", lambda: "fine", error_ttl=5) == "fine"
    with pytest.raises(LookupError):
        cache.get_or_compute("j", fails, error_ttl=5)
    assert cache.get_or_compute("j", lambda: "fine") == "fine", "this caller asked for no kept errors"


def test_an_invalidation_ends_a_kept_error(cache):
    with pytest.raises(LookupError):
        cache.get_or_compute("k", fails, error_ttl=5)
    cache.invalidate("k*")
    assert cache.get_or_compute("k", lambda: "fine", error_ttl=5) == "fine"


def test_a_kept_error_holds_no_frames_and_doesnt_grow_with_those_it_is_raised_to(cache):
    with pytest.raises(LookupError) as first:
        cache.get_or_compute("k", fails, error_ttl=60)
    depths, raised = set(), {id(first.value)}
    for _ in range(3):
        with pytest.raises(LookupError) as caught:
            cache.get_or_compute("k", pytest.fail, error_ttl=60)
        depths.add(len(caught.traceback))
        raised.add(id(caught.value))
        assert not any(entry.name == "fails" for entry in caught.traceback)
    assert len(depths) == 1
    assert len(raised) > 1
    assert any(entry.name == "fails" for entry in first.traceback), "the first caller's is whole"


# -- what a factory says


def test_a_factory_may_choose_from_its_result(cache, logged):
    def factory(ctx):
        assert (ctx.key, ctx.namespace, ctx.stale) == ("k", "default", MISSING)
        ctx.ttl, ctx.stale_ttl, ctx.tags, ctx.depends_on, ctx.cost = "2m", 30, ["red"], ["db"], 0.5
        return "new"

    assert cache.get_or_compute("k", factory, tags=["blue"]) == "new"
    entry = cache.get_entry("k")
    assert (entry.tags, entry.depends_on, entry.cost) == (("red",), ("db",), 0.5)
    assert cache.ttl("k") == pytest.approx(120, abs=0.01)
    assert (entry.expires_at - entry.fresh_until).total_seconds() == pytest.approx(30, abs=0.01)
    cache.invalidate(tags=["red"])
    assert cache.get("k") is None


def test_a_factory_may_say_that_its_result_is_not_to_be_kept(cache, logged):
    def factory(ctx):
        ctx.store = False
        return "secret"

    assert cache.get_or_compute("k", factory) == "secret"
    assert not cache.exists("k")
    assert ("set", "stored", None) not in logged


def test_an_unmodified_value_lives_on_with_all_it_had(cache, fake_clock):
    def first(ctx):
        ctx.tags, ctx.depends_on, ctx.cost = ["chosen"], ["db"], 2.0
        return {"body": 1}

    def second(ctx):
        assert ctx.stale == {"body": 1}
        return ctx.not_modified()

    cache.get_or_compute("k", first, tags=["given"], **STALE)
    fake_clock.advance(20)
    assert cache.get_or_compute("k", second, tags=["given"], soft_timeout="never", **STALE) == {"body": 1}
    entry = cache.get_entry("k")
    assert (cache.get("k"), set(entry.tags), entry.depends_on) == ({"body": 1}, {"chosen", "given"}, ("db",))
    assert entry.cost == 2.0
    cache.invalidate(tags=["chosen"])
    assert cache.get("k") is None


def test_without_a_stale_value_nothing_is_unmodified(cache):
    with pytest.raises(CacheError, match="'k'"):
        cache.get_or_compute("k", lambda ctx: ctx.not_modified())


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("tags", "red", InvalidKey), ("tags", ["a\0b"], InvalidKey), ("depends_on", "db", InvalidKey),
     ("depends_on", [7], InvalidKey), ("cost", -1, CacheError), ("ttl", "soon", InvalidTTL)],
)  # fmt: skip
def test_what_a_factory_says_is_checked(cache, name, value, error):
    def factory(ctx):
        setattr(ctx, name, value)
        return "new"

    with pytest.raises(error):
        cache.get_or_compute("k", factory)
    assert not cache.exists("k")
    assert not cache.left()


def test_a_parameter_called_ctx_that_is_given_already_is_no_context(cache):
    @cache.cached()
    def describe(n, ctx="mine"):
        return [n, ctx]

    assert describe(1) == [1, "mine"]
    assert describe(1, ctx="yours") == [1, "yours"]


# -- together


def test_all_options_at_once(cache, fake_clock, told):
    calls = []

    def factory(ctx):
        calls.append(ctx.stale)
        ctx.tags = ["chosen"]
        if len(calls) == 2:
            fails()
        return f"value {len(calls)}"

    options = {
        **STALE, "tags": ["given"], "depends_on": ["db"], "cost": 0.1, "condition": lambda: True,
        "store_if": lambda value: value is not None, "validate": lambda value: str(value).startswith("value"),
        "refresh_ahead": 0.5, "soft_timeout": "never", "hard_timeout": PATIENCE, "negative_ttl": 1, "jitter": 0.001,
        "error_ttl": 3,
    }  # fmt: skip

    def ask():
        return cache.get_or_compute("k", factory, **options)

    assert [ask(), ask()] == ["value 1", "value 1"]
    assert calls == [MISSING]
    fake_clock.advance(6)
    assert ask() == "value 1"
    cache.settle()
    assert calls == [MISSING, "value 1"], "refreshed ahead, which failed"
    fake_clock.advance(6)
    assert ask() == "value 1"
    cache.settle()
    assert len(calls) == 2, "left alone"
    fake_clock.advance(cache.config.freshness.throttle)
    assert ask() == "value 3"
    cache.set("db", "changed")
    assert ask() == "value 4"
    cache.invalidate(tags=["chosen"])
    assert ask() == "value 5"
    assert not cache.left()


def test_the_configuration_says_what_callers_leave_out(open_cache, tiers, fake_clock):
    freshness = {
        "stale_ttl": 100, "refresh_ahead": 0.5, "soft_timeout": 5, "hard_timeout": 7, "negative_ttl": 2, "jitter": 0.2,
        "throttle": 3,
    }  # fmt: skip
    cache = open_cache(tiers, default_ttl=10, freshness=freshness)
    cache.core.world.dice = lambda: 0.5
    cache.get_or_compute("none", lambda: None)
    assert cache.ttl("none") == pytest.approx(1.8, abs=0.01)
    cache.get_or_compute("k", lambda: "old")
    assert cache.ttl("k") == pytest.approx(9, abs=0.01)
    fake_clock.advance(5)
    cache.get_or_compute("k", lambda: "ahead")
    cache.settle()
    assert cache.get("k") == "ahead"
    fake_clock.advance(20)
    assert cache.get_or_compute("k", lambda: "new", soft_timeout=0) == "ahead", "a caller's own word comes first"
    cache.settle()
    fake_clock.advance(20)
    assert cache.get_or_compute("k", lambda: "newer") == "newer", "within the soft timeout"
    fake_clock.advance(20)
    cache.get_or_compute("k", fails)
    fake_clock.advance(3)
    assert cache.get_or_compute("k", lambda: "newest") == "newest", "after the throttle"
    assert not cache.left()


def test_a_cached_function_takes_the_same_options(cache, fake_clock):
    calls = []

    @cache.cached(ttl=10, stale_ttl=100, refresh_ahead=0.8, negative_ttl=5)
    def read(name):
        calls.append(name)
        return None if name == "nobody" else f"{name} {len(calls)}"

    assert [read("a"), read("a"), read("nobody"), read("nobody")] == ["a 1", "a 1", None, None]
    fake_clock.advance(9)
    assert read("a") == "a 1"
    cache.settle()
    assert read("a") == "a 3"
    assert read("nobody") is None
    assert calls == ["a", "nobody", "a", "nobody"]
    fake_clock.advance(20)
    assert read("a") == "a 3"
    cache.settle()
    assert read("a") == "a 5"


def test_a_cached_function_is_refreshed_ahead_where_the_configuration_says_so(open_cache, tiers, fake_clock):
    cache = open_cache(tiers, default_ttl=10, freshness={"refresh_ahead": 0.5})
    calls = []

    @cache.cached()
    def read():
        calls.append(1)
        return len(calls)

    assert read() == 1
    fake_clock.advance(6)
    assert read() == 1
    cache.settle()
    assert read() == 2


def test_setting_the_clock_of_the_machine_makes_no_value_in_memory_younger_or_older(open_cache, fake_clock):
    cache = open_cache(["memory"])
    cache.set("k", "old", ttl=100, stale_ttl=100)
    fake_clock.step_wall(150)
    assert cache.get_or_compute("k", pytest.fail, refresh_ahead=0.9) == "old"
    fake_clock.advance(120)
    fake_clock.step_wall(-500)
    assert cache.get("k") is None
    assert cache.get_or_compute("k", lambda: "new", soft_timeout="never", **STALE) == "new"


# -- bad values


@pytest.mark.parametrize(
    ("name", "value"),
    [("ttl", -1), ("ttl", "soon"), ("stale_ttl", float("nan")), ("soft_timeout", -1), ("soft_timeout", "x"),
     ("hard_timeout", 0), ("hard_timeout", "1 parsec"), ("hard_timeout", True), ("negative_ttl", -0.5),
     ("error_ttl", []), ("refresh_ahead", 2), ("refresh_ahead", "0.8"), ("refresh_ahead", -0.1),
     ("refresh_ahead", True), ("jitter", "x"), ("jitter", 1), ("jitter", float("nan"))],
)  # fmt: skip
def test_a_bad_time_is_refused_by_the_options_name(cache, name, value):
    with pytest.raises(InvalidTTL, match=name):
        cache.get_or_compute("k", pytest.fail, **{name: value})
    assert not cache.left()


async def _later():
    return True


@pytest.mark.parametrize(
    ("name", "value"),
    [("condition", True), ("store_if", "x"), ("validate", _later), ("condition", _later), ("cost", "a lot"),
     ("cost", -1), ("tags", "red"), ("depends_on", "db")],
)  # fmt: skip
def test_what_else_cant_be_meant_is_refused_by_the_options_name(cache, name, value):
    with pytest.raises(CacheError, match=name):
        cache.get_or_compute("k", pytest.fail, **{name: value})


def test_a_factory_that_cant_be_called_is_told_so(cache):
    with pytest.raises(CacheError, match="factory"):
        cache.get_or_compute("k", 42)


@pytest.mark.parametrize("option", ["soft_timeout", "hard_timeout", "error_ttl"])
@pytest.mark.parametrize("given", [-1, "soon", math.nan, True])
def test_a_wait_that_is_none_is_not_told_of_storing(option, given, tmp_path):
    with Cache(directory=tmp_path) as cache, pytest.raises(InvalidTTL) as caught:
        cache.get_or_compute("k:1", int, **{option: given})
    assert str(caught.value).startswith(f"{option}: ")
    assert "storing" not in str(caught.value)
    assert "'never'" in str(caught.value)
