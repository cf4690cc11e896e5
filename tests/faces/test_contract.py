"""The contract of the faces: each call, through `Cache` and `AsyncCache`, on memory, disk, and both."""

from __future__ import annotations

import copy
import pickle
import re
from datetime import UTC, datetime, timedelta

import pytest

from scoutcache import CacheKey
from scoutcache.errors import CacheError, InvalidKey, InvalidTTL, SerializationError

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


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda cache: cache.get_many(None), "keys is a list of them, not None"),
        (lambda cache: cache.delete_many(5), "keys is a list of them, not 5"),
        (lambda cache: cache.set("k", 1, tags=5), "tags is a list of them, not 5"),
        (lambda cache: cache.set("k", 1, tags=[["red"]]), "a tag is a str, not list"),
        (lambda cache: cache.set("k", 1, depends_on=5), "depends_on is a list of them, not 5"),
        (lambda cache: cache.invalidate("k*", tags=None), "tags is a list of them, not None"),
        (lambda cache: cache.invalidate(["k*"]), "a pattern is a str, not list"),
        (lambda cache: cache.set("k", 1, cost=object()), "cost is an amount of money of 0 or more, not <object"),
        (lambda cache: cache.set("k", 1, cost="5"), "cost is an amount of money of 0 or more, not '5'"),
        (lambda cache: cache.set("k", 1, since=5), "since is a position in time, not 5"),
    ],
)
def test_what_is_of_another_type_is_named(open_cache, call, named):
    cache = open_cache(["memory"])
    with pytest.raises(CacheError, match=re.escape(named)):
        call(cache)
    assert not cache.exists("k")


NONE = {"tags": None, "depends_on": None}


def test_no_tags_and_no_sources_may_be_none(open_cache):
    cache = open_cache(["memory"])
    assert cache.set("set", 1, **NONE)
    cache.set_many({"many": 1}, **NONE)
    assert cache.get_or_compute("computed", lambda: 1, **NONE) == 1
    assert cache.get_or_compute_many(["both"], lambda keys: dict.fromkeys(keys, 1), **NONE) == {"both": 1}
    cache.hash("hash", tags=None).set_field("field", 1)
    for key in ("set", "many", "computed", "both", "hash"):
        entry = cache.get_entry(key)
        assert (list(entry.tags), list(entry.depends_on)) == ([], [])


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


def test_a_view_tells_the_statistics_of_its_namespace(cache):
    view = cache.namespace("tenant")
    cache.set_many({"a:1": 1, "a:2": 2})
    view.set("b:1", 1)
    assert (cache.get("a:1"), cache.get("a:1"), view.get("b:1"), view.get("b:2")) == (1, 1, 1, None)
    own, every = view.stats(), cache.stats()
    assert (own.total_requests, own.cache_hits, own.cache_misses, own.sets) == (2, 1, 1, 1)
    assert (set(own.stats_by_namespace), set(own.stats_by_prefix)) == ({"tenant"}, {"b"})
    assert (own.total_entries, own.total_size_bytes) == (None, None)
    assert {row["namespace"] for row in own.most_accessed_keys + own.largest_entries} <= {"tenant"}
    assert (every.total_requests, every.sets, every.total_entries) == (4, 3, 3)


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
    assert entry.backend in {"memory", "redis", "disk"}
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


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, pickle.dumps, lambda cache: pickle.dumps(cache.llm)],
    ids=["copy", "deepcopy", "pickle", "pickle_llm"],
)  # fmt: skip
def test_it_cant_be_copied_and_says_what_to_do_instead(open_cache, copied):
    """As when it is an argument of a function that another process is to run."""
    whole = open_cache().cache
    for cache in (whole, whole.namespace("a")):
        with pytest.raises(TypeError, match=r"a cache can't be copied or pickled.*open one in each process"):
            copied(cache)


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
    assert sorted(open_cache(tiers).keys()) == ([] if tiers == ["memory"] else ["k"])
