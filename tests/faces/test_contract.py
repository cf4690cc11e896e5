"""The contract of the faces: each call, through `Cache` and `AsyncCache`, on memory, disk, and both."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from uuid import UUID

import pytest

from scoutcache import CacheError, CacheKey
from scoutcache.errors import InvalidKey, InvalidTTL, SerializationError


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


# -- get, set, exists, delete


def test_what_is_set_is_got(cache):
    assert cache.set("k", {"a": [1, 2.5, "x", None, True]})
    assert cache.get("k") == {"a": [1, 2.5, "x", None, True]}


def test_a_miss_is_the_default_and_not_none(cache):
    assert cache.get("k") is None
    marker = object()
    assert cache.get("k", marker) is marker
    assert cache.get("k", default=7) == 7


def test_none_is_a_value(cache):
    cache.set("k", None)
    assert cache.get("k", "default") is None
    assert cache.exists("k")
    assert cache.get_many(["k"]) == {"k": None}
    assert cache.get_or_compute("k", pytest.fail) is None


def test_a_key_may_be_text_or_a_cache_key(cache):
    key = CacheKey(prefix="llm", identifier="summary", parameters={"model": "small", "t": 0.1})
    cache.set(key, 1)
    assert cache.get(key) == cache.get(key.generate()) == 1
    assert cache.exists(key)
    assert cache.get_many([key]) == {key.generate(): 1}
    assert cache.delete(key)


@pytest.mark.parametrize(
    "key",
    ["naïve:ключ:鍵:🔑", " spaces ", "a:b::c", "with*star[x]?", "\u00e9", "e\u0301", "x" * 5000],
)
def test_any_unicode_is_a_key(cache, key):
    cache.set(key, key)
    assert cache.get(key) == key
    assert cache.keys() == [key]
    assert cache.delete(key)
    assert not cache.exists(key)


@pytest.mark.parametrize("key", ["", "a\x00b", "a\nb", "\ud800", "\x7f", "x" * 70_000, 7, None, b"bytes", ("a",)])
@pytest.mark.parametrize(
    "call", ["get", "set", "delete", "exists", "ttl", "touch", "get_many", "get_or_compute", "get_entry"]
)
def test_what_cant_be_a_key_is_refused_by_every_call(open_cache, key, call):
    cache = open_cache(["memory"])
    arguments = {"set": (key, 1), "touch": (key, 1), "get_many": ([key],), "get_or_compute": (key, pytest.fail)}
    with pytest.raises(InvalidKey):
        getattr(cache, call)(*arguments.get(call, (key,)))


@pytest.mark.parametrize("call", ["get_many", "delete_many"])
def test_one_text_where_several_keys_belong_is_refused(open_cache, call):
    with pytest.raises(InvalidKey):
        getattr(open_cache(["memory"]), call)("abc")


def test_delete_says_whether_it_was_there(cache):
    cache.set("k", 1)
    assert cache.delete("k") is True
    assert cache.delete("k") is False
    assert cache.get("k") is None


def test_many_at_once(cache):
    assert cache.set_many({"a": 1, "b": [2], "c": None}) is None
    assert cache.get_many(["c", "a", "missing", "b", "a"]) == {"c": None, "a": 1, "b": [2]}
    assert list(cache.get_many(["b", "a"])) == ["b", "a"]
    assert cache.delete_many(["a", "b", "missing"]) == 2
    assert cache.get_many(["a", "b", "c"]) == {"c": None}
    assert cache.get_many([]) == {}
    assert cache.delete_many([]) == 0
    cache.set_many({})


def test_more_than_one_statement_holds(cache):
    many = {f"k:{n}": n for n in range(1500)}
    cache.set_many(many)
    assert cache.get_many(many) == many
    assert len(cache.keys("k:*")) == 1500
    assert cache.delete_many(many) == 1500


def test_nothing_of_many_is_stored_if_one_cant_be(cache):
    with pytest.raises(SerializationError):
        cache.set_many({"a": 1, "b": object()})
    assert cache.keys() == []


# -- values


VALUES = [
    None, True, 0, -1, 2**63, -(2**200), 1.5, math.inf, "", "text", "🔑", b"", b"bytes", bytearray(b"ba"),
    [], [1, [2]], (), (1, (2, "x")), set(), {1, "a"}, frozenset({1, (2,)}), {}, {"a": {"b": 1}}, {1: "i", (1, 2): "t"},
    datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), datetime(2026, 1, 2, 3, 4, 5, tzinfo=None),  # noqa: DTZ001  # naive
    date(2026, 1, 2), time(3, 4, 5),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))), timedelta(days=-1, microseconds=7),
    Decimal("1.10"), UUID(int=7), Colour.RED, Point(1, 2.0), complex(1, -2),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}-{value!r:.20}")
def test_every_standard_type_comes_back_as_it_went_in(cache, value):
    assert cache.set("k", value)
    for _ in range(3):  # from where it was put, and from where it was promoted to
        got = cache.get("k")
        assert got == value
        assert type(got) is type(value)
    assert cache.get_or_compute("new", lambda: value) == value
    assert cache.get("new") == value


def test_nan_comes_back(cache):
    cache.set("k", math.nan)
    assert math.isnan(cache.get("k"))


def test_values_inside_keep_their_types(cache):
    value = {"t": (1, 2), "s": {1}, "d": Decimal(1), "n": [Point(1, 2.0), Colour.RED, (b"x", {"y": frozenset()})]}
    cache.set("k", value)
    got = cache.get("k")
    assert got == value
    assert type(got["t"]) is tuple
    assert type(got["n"][2][1]["y"]) is frozenset


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "value"),
        ({"items": [1, 2, object()]}, "value['items'][2]"),
        ({"f": open}, "value['f']"),
        ([{"x": threading.Lock()}], "value[0]['x']"),
    ],
)
def test_a_value_that_cant_be_stored_is_refused_by_its_path_and_stores_nothing(cache, value, path):
    cache.set("k", "before")
    with pytest.raises(SerializationError) as caught:
        cache.set("k", value)
    assert caught.value.path == path
    assert cache.get("k") == "before"


@pytest.mark.parametrize("value", [OrderedDict(a=1), deque([1]), Fraction(1, 3), IPv4Address(1), PurePosixPath("a")])
def test_a_standard_type_comes_back_as_it_was_or_is_refused_but_never_changed(cache, value):
    try:
        cache.set("k", value)
    except SerializationError:
        assert not cache.exists("k")
    else:
        assert cache.get("k") == value
        assert type(cache.get("k")) is type(value)


def test_what_the_caller_does_to_a_value_later_changes_nothing(cache):
    value = {"list": [1]}
    cache.set("k", value)
    value["list"].append(2)
    first = cache.get("k")
    assert first == {"list": [1]}
    first["list"].append(3)
    assert cache.get("k") == {"list": [1]}
    computed = cache.get_or_compute("c", lambda: {"list": [1]})
    computed["list"].append(2)
    assert cache.get("c") == {"list": [1]}
    many = cache.get_many(["k", "c"])
    many["k"]["list"].clear()
    assert cache.get_many(["k"]) == {"k": {"list": [1]}}


# -- ttl


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(90, 90), (0.25, 0.25), ("90s", 90), ("2h", 7200), ("7d", 604800), ("500ms", 0.5), (timedelta(minutes=3), 180),
     ("1h30m", 5400)],
)  # fmt: skip
def test_a_ttl_is_seconds_a_timedelta_or_text(cache, fake_clock, ttl, seconds):
    cache.set("k", 1, ttl=ttl)
    assert cache.ttl("k") == pytest.approx(seconds, abs=1e-5)
    fake_clock.advance(seconds - 0.001)
    assert cache.get("k") == 1
    fake_clock.advance(0.002)
    assert cache.get("k") is None
    assert cache.ttl("k") is None


def test_no_ttl_is_the_default_of_the_prefix_the_namespace_or_the_configuration(open_cache, tiers):
    cache = open_cache(tiers, default_ttl="10s", ttl={"llm": "20s", "namespace": {"tenant": "30s"}})
    for key, namespace, seconds in (("a", None, 10), ("llm:a", None, 20), ("a", "tenant", 30), ("llm:a", "tenant", 20)):
        cache.set(key, 1, namespace=namespace)
        assert cache.ttl(key, namespace=namespace) == pytest.approx(seconds, abs=1e-5)


def test_a_ttl_may_be_one_of_the_configurations_names(open_cache, tiers):
    cache = open_cache(tiers, ttl={"short": "5m"})
    cache.set("k", 1, ttl="short")
    assert cache.ttl("k") == pytest.approx(300, abs=1e-5)


def test_never_is_never(cache, fake_clock):
    cache.set("k", 1, ttl="never")
    assert cache.ttl("k") == math.inf
    fake_clock.advance(10 * 365 * 86400)
    assert cache.get("k") == 1


def test_a_ttl_of_zero_is_not_stored(cache):
    assert cache.set("k", 1, ttl=0) is False
    assert cache.get("k") is None
    assert cache.get_or_compute("k", lambda: 2, ttl=0) == 2
    assert cache.keys() == []


@pytest.mark.parametrize("ttl", [-1, math.nan, "soon", "", "-5s", True, timedelta(seconds=-1), [], "5 parsecs"])
def test_a_ttl_that_is_none_is_refused(cache, ttl):
    for call in (
        lambda: cache.set("k", 1, ttl=ttl),
        lambda: cache.set_many({"k": 1}, ttl=ttl),
        lambda: cache.get_or_compute("k", pytest.fail, ttl=ttl),
        lambda: cache.touch("k", ttl),
        lambda: cache.set("k", 1, stale_ttl=ttl),
    ):
        with pytest.raises(InvalidTTL):
            call()
    assert cache.keys() == []


def test_entries_expire_within_a_second(cache, fake_clock):
    cache.set("k", 1, ttl=0.050)
    fake_clock.advance(0.049)
    assert cache.get("k") == 1
    assert cache.exists("k")
    fake_clock.advance(0.001)
    assert cache.get("k") is None
    assert not cache.exists("k")
    assert cache.keys() == []


def test_touch_lets_it_live_from_now(cache, fake_clock):
    cache.set("k", [1], ttl=10)
    fake_clock.advance(6)
    assert cache.touch("k", 10)
    assert cache.ttl("k") == pytest.approx(10, abs=1e-5)
    fake_clock.advance(8)
    assert cache.get("k") == [1]
    assert cache.touch("missing", 10) is False
    assert cache.touch("k", "never")
    assert cache.ttl("k") == math.inf
    fake_clock.advance(100)
    cache.touch("k", 0)
    assert not cache.exists("k")


def test_what_is_stale_is_not_fresh_and_not_revived(cache, fake_clock):
    cache.set("k", "old", ttl=10, stale_ttl=100)
    fake_clock.advance(11)
    assert cache.get("k") is None
    assert not cache.exists("k")
    assert cache.ttl("k") is None
    assert cache.keys() == []
    assert cache.get_many(["k"]) == {}
    assert cache.touch("k", 10) is False
    assert cache.get_entry("k").value == "old"
    assert cache.get_or_compute("k", lambda: "new", soft_timeout="never") == "new"
    assert cache.get("k") == "new"


# -- namespaces


def test_namespaces_dont_cross(cache):
    cache.set("k", "mine", tags=["t"])
    cache.set("k", "theirs", namespace="tenant", tags=["t"])
    view = cache.namespace("tenant")
    assert (cache.get("k"), view.get("k"), cache.get("k", namespace="tenant")) == ("mine", "theirs", "theirs")
    view.set("only", 1)
    assert cache.get("only") is None
    assert (cache.keys(), sorted(view.keys())) == (["k"], ["k", "only"])
    cache.invalidate("*")
    assert view.get("k") == "theirs"
    cache.set("k", "mine", tags=["t"])
    view.invalidate(tags=["t"])
    assert (cache.get("k"), view.get("k"), view.get("only")) == ("mine", None, 1)
    view.clear()
    assert (cache.get("k"), view.get("only")) == ("mine", None)
    assert view.get_or_compute("k", lambda: "again") == "again"
    assert cache.get_or_compute("k", pytest.fail) == "mine"


@pytest.mark.parametrize("name", ["", "a\x00b", 7])
def test_what_cant_be_a_namespace_is_refused(open_cache, name):
    cache = open_cache(["memory"])
    with pytest.raises(InvalidKey):
        cache.namespace(name)
    with pytest.raises(InvalidKey):
        cache.get("k", namespace=name)


def test_names_that_could_run_together_stay_apart(cache):
    for space, key in (("a", "b:c"), ("a:b", "c"), ("1", "1:a"), ("1:1", "a")):
        cache.set(key, f"{space}|{key}", namespace=space)
    for space, key in (("a", "b:c"), ("a:b", "c"), ("1", "1:a"), ("1:1", "a")):
        assert cache.get(key, namespace=space) == f"{space}|{key}"


# -- keys, invalidate, clear


@pytest.fixture
def filled(cache):
    cache.set_many({"llm:1": 1, "llm:2": 2}, tags=["red"])
    cache.set_many({"job:1": 3, "LLM:1": 4}, tags=["blue"])
    cache.set("job:2", 5, tags=["red", "blue"])
    return cache


def left(cache):
    return sorted(cache.keys())


def test_keys_by_pattern_and_tag(filled):
    assert left(filled) == ["LLM:1", "job:1", "job:2", "llm:1", "llm:2"]
    assert sorted(filled.keys("llm:*")) == ["llm:1", "llm:2"]
    assert sorted(filled.keys("*:1")) == ["LLM:1", "job:1", "llm:1"]
    assert filled.keys("job:[2-9]") == ["job:2"]
    assert sorted(filled.keys(tag="red")) == ["job:2", "llm:1", "llm:2"]
    assert filled.keys("job:*", tag="red") == ["job:2"]
    assert filled.keys("nothing*") == []
    with pytest.raises(InvalidKey):
        filled.keys("[a-")


def test_invalidate_by_pattern(filled):
    result = filled.invalidate("llm:*", "job:1", reason="why not")
    assert (result.matched, result.invalidated) == (3, 3)
    assert result.by_tier == {tier.name: 3 for tier in filled.core.tiers}
    assert left(filled) == ["LLM:1", "job:2"]


def test_invalidate_by_key(filled):
    assert filled.invalidate(keys=["llm:1", "missing"]).invalidated == 1
    assert left(filled) == ["LLM:1", "job:1", "job:2", "llm:2"]


def test_invalidate_by_tag_counts_only_when_asked(filled):
    result = filled.invalidate(tags=["red"])
    assert (result.matched, result.invalidated) == (None, None)
    assert left(filled) == ["LLM:1", "job:1"]
    assert filled.get("llm:1") is None
    result = filled.invalidate(tags=["blue"], count=True)
    assert (result.matched, result.invalidated) == (2, 2)
    assert left(filled) == []


def test_patterns_keys_and_tags_unite(filled):
    filled.invalidate("LLM*", keys=["job:1"], tags=["red"])
    assert left(filled) == []


def test_or_intersect(filled):
    result = filled.invalidate("job:*", tags=["red"], match="all")
    assert result.invalidated == 1
    assert left(filled) == ["LLM:1", "job:1", "llm:1", "llm:2"]
    assert filled.invalidate(tags=["red", "blue"], match="all").invalidated == 0


def test_a_dry_run_tells_how_many_and_which_and_removes_nothing(filled):
    result = filled.invalidate("llm:*", tags=["blue"], dry_run=True)
    assert (result.matched, result.invalidated) == (5, 0)
    assert sorted(result.sample) == ["LLM:1", "job:1", "job:2", "llm:1", "llm:2"]
    assert result.by_tier == {tier.name: 5 for tier in filled.core.tiers}
    assert len(left(filled)) == 5
    assert filled.invalidate("*", tags=["red", "blue"], match="all", dry_run=True).matched == 1


@pytest.mark.parametrize(
    ("arguments", "options"),
    [((), {}), (("[a-",), {}), ((), {"keys": [""]}), ((), {"tags": ["\x00"]}), (("*",), {"match": "some"}),
     (("*",), {"action": "refresh"}), ((), {"tags": "red"}), ((), {"keys": "llm:1"})],
)  # fmt: skip
def test_what_cant_be_invalidated_is_refused_and_nothing_removed(filled, arguments, options):
    with pytest.raises(CacheError):
        filled.invalidate(*arguments, **options)
    assert len(left(filled)) == 5


def test_clear_empties_the_namespace(filled):
    result = filled.clear(reason="enough")
    assert (result.matched, result.invalidated) == (None, None)
    assert left(filled) == []
    filled.set("llm:1", "new")
    assert filled.get("llm:1") == "new"


def test_a_tag_can_be_used_again_after_it_was_invalidated(filled):
    filled.invalidate(tags=["red"])
    filled.set("llm:1", "new", tags=["red"])
    assert filled.get("llm:1") == "new"
    assert filled.get("llm:2") is None


def test_dependents_die_with_what_they_depend_on(cache):
    cache.set("db:1", 1)
    cache.set("page", "of 1", depends_on=["db:1"])
    cache.set("site", "of page", depends_on=["page"])
    cache.set("db:1", 1)
    assert cache.get("site") == "of page"
    cache.set("db:1", 2)
    assert (cache.get("page"), cache.get("site"), cache.get("db:1")) == (None, None, 2)
    cache.set("page", "of 2", depends_on=["db:1"])
    cache.delete("db:1")
    assert cache.get("page") is None


def test_cascading_can_be_switched_off(cache):
    cache.set("db:1", 1)
    cache.set("page", "of 1", depends_on=["db:1"])
    cache.invalidate(keys=["db:1"], cascade=False)
    assert cache.get("page") == "of 1"


def test_an_entry_evicted_or_expired_takes_no_dependent_with_it(cache, fake_clock):
    cache.set("db:1", 1, ttl=1)
    cache.set("page", "of 1", depends_on=["db:1"], ttl=100)
    fake_clock.advance(2)
    assert cache.get("db:1") is None
    assert cache.get("page") == "of 1"


def test_a_set_with_a_position_is_refused_after_an_invalidation_since(cache, fake_clock):
    since = cache.position()
    cache.invalidate(keys=["k"])
    assert cache.set("k", "old", since=since) is False
    assert cache.get("k") is None
    assert cache.set("k", "new", since=cache.position()) is True
    early = cache.position()
    fake_clock.advance(0.001)
    cache.set("k", "later")
    assert cache.set("k", "earlier", since=early) is False
    assert cache.get("k") == "later"


# -- entries, figures, health


def test_an_entry_tells_everything(cache, fake_clock):
    cache.set("llm:1", {"a": "x" * 5000}, ttl=60, stale_ttl=30, tags=["red"], depends_on=["db"], cost=0.5)
    entry = cache.get_entry("llm:1")
    now = datetime.fromtimestamp(fake_clock.wall(), UTC)
    assert entry.key == "llm:1"
    assert entry.value == {"a": "x" * 5000}
    assert (entry.created_at, entry.fresh_until) == (now, now + timedelta(seconds=60))
    assert entry.expires_at == now + timedelta(seconds=90)
    assert (entry.tags, entry.depends_on, entry.namespace, entry.cost) == (("red",), ("db",), "default", 0.5)
    assert entry.backend in {"memory", "disk"}
    assert entry.size_bytes > 0
    assert cache.get_entry("missing") is None


def test_an_entry_without_an_end(cache):
    cache.set("k", 1, ttl="never")
    entry = cache.get_entry("k")
    assert (entry.expires_at, entry.fresh_until) == (None, None)


def test_figures_count_requests_hits_and_misses(cache):
    cache.set("k", 1)
    cache.get("k"), cache.get("k"), cache.get("missing")
    cache.get_or_compute("new", lambda: 1)
    cache.delete("k")
    cache.flush()
    stats = cache.stats()
    assert (stats.cache_hits, stats.cache_misses, stats.total_requests) == (2, 2, 4)
    assert stats.hit_rate == 0.5
    assert stats.sets == 2
    assert stats.deletes == 1
    assert stats.estimated_cost_saved is None, "nobody named a price"


def test_health_names_each_tier(cache):
    health = cache.health()
    assert health["healthy"] is True
    assert set(health["tiers"]) == {tier.name for tier in cache.core.tiers}
    assert all(tier["ok"] for tier in health["tiers"].values())


def test_closing_twice_is_closing_once(cache):
    cache.set("k", 1)
    cache.close()
    cache.close()


def test_what_is_on_disk_outlives_the_process(open_cache, fake_clock):
    first = open_cache(["memory", "disk"])
    first.set("k", {"a": 1}, ttl=100, tags=["red"])
    first.close()
    fake_clock.advance(50)
    second = open_cache(["memory", "disk"])
    assert second.get("k") == {"a": 1}
    assert second.ttl("k") == pytest.approx(50, abs=1e-4)
    assert second.keys(tag="red") == ["k"]


# -- the off switch


def test_switched_off_reads_miss_nothing_is_stored_and_factories_run(open_cache, tiers):
    on = open_cache(tiers)
    on.set("k", "there")
    on.close()
    off = open_cache(tiers, enabled=False)
    calls = []
    assert off.set("new", 1) is False
    assert off.get("k", "default") == "default"
    assert off.get_many(["k"]) == {}
    assert (off.exists("k"), off.touch("k", 9)) == (False, False)
    assert (off.ttl("k"), off.get_entry("k"), off.keys()) == (None, None, [])
    for _ in range(2):
        assert off.get_or_compute("k", lambda: calls.append(1) or "computed") == "computed"
    assert len(calls) == 2
    off.set_many({"a": 1})
    with pytest.raises(SerializationError):
        off.set("k", object())
    with pytest.raises(InvalidTTL):
        off.set("k", 1, ttl="soon")
    off.close()
    assert sorted(open_cache(tiers).keys()) == (["k"] if "disk" in tiers else [])
