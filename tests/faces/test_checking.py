"""Values that are checked before they are served, or whose source is asked whether it still has them."""

from __future__ import annotations

import asyncio

import pytest

from scoutcache import MISSING, AsyncCache
from scoutcache.errors import CacheError


def test_a_value_that_passes_is_served(cache):
    cache.set("k", [1])
    assert cache.get_with_validation("k", lambda value: value == [1], lambda: pytest.fail("computed")) == [1]
    assert cache.get_with_validation("k", lambda value: value == [1]) == [1]


def test_a_value_that_fails_is_removed_and_computed_anew(cache):
    cache.set("k", "old", tags=["t"])
    assert cache.get_with_validation("k", lambda value: value == "new", lambda: "new", ttl=60, tags=["u"]) == "new"
    assert cache.get("k") == "new"
    assert cache.keys(tag="u") == ["k"]
    assert cache.keys(tag="t") == []


def test_without_a_factory_it_is_removed_and_the_default_returned(cache):
    cache.set("k", "old")
    cache.set("k", "of a tenant", namespace="tenant")
    assert cache.get_with_validation("k", lambda value: False, default="none") == "none"
    assert cache.exists("k") is False
    assert cache.get_with_validation("k", lambda value: pytest.fail("asked")) is None
    assert cache.get_with_validation("k", lambda value: value != "", namespace="tenant") == "of a tenant"
    with pytest.raises(CacheError, match="without a factory"):
        cache.get_with_validation("k", bool, ttl=5)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda cache: cache.get_with_validation("k", 5), "validate is a function, not 5"),
        (lambda cache: cache.get_or_reload("k", 5), "loader is a function, not 5"),
        (lambda cache: cache.get_or_reload("k", lambda key: key, exists=5), "exists is a function, not 5"),
    ],
)
def test_what_is_no_function_is_named_also_where_nothing_is_kept_yet(cache, call, named):
    with pytest.raises(CacheError, match=named):
        call(cache)


def test_a_check_that_raises_removes_nothing(cache):
    cache.set("k", 1)
    with pytest.raises(ZeroDivisionError):
        cache.get_with_validation("k", lambda value: 1 / 0)
    assert cache.get("k") == 1


def test_a_check_answers_at_once(cache):
    async def check(value):
        return False

    with pytest.raises(CacheError, match="coroutine function"):
        cache.get_with_validation("k", check)


def test_on_a_miss_the_loader_loads_without_asking_whether_there_is_anything(cache):
    assert cache.get_or_reload("k", lambda key: key + "!", lambda key: pytest.fail("asked"), ttl=60) == "k!"
    assert cache.get("k") == "k!"
    assert cache.get_or_reload("z", lambda key: MISSING, default="none") == "none"
    assert cache.exists("z") is False


def test_a_cached_value_is_served_while_the_source_has_it(cache):
    there = {"k"}
    asked = []

    def exists(key):
        asked.append(key)
        return key in there

    def load(key):
        return pytest.fail("loaded")

    cache.set("k", 1)
    cache.set("page", 1, depends_on=["k"])
    assert [cache.get_or_reload("k", load, exists), cache.get_or_reload("k", load)] == [1, 1]
    there.clear()
    assert cache.get_or_reload("k", load, exists, default="gone") == "gone"
    assert asked == ["k", "k"]
    assert cache.exists("k") is False
    assert cache.exists("page") is False
    assert cache.get_or_reload("k", lambda key: "back", exists) == "back"


def test_a_source_that_cant_be_asked_is_no_reason_to_forget(cache):
    def exists(key):
        raise OSError("away")

    cache.set("k", 1)
    with pytest.raises(OSError, match="away"):
        cache.get_or_reload("k", str, exists)
    assert cache.get("k") == 1


def test_views_look_into_their_namespace(cache):
    tenant = cache.namespace("tenant")
    assert tenant.get_or_reload("k", lambda key: 1) == 1
    assert cache.get_or_reload("k", lambda key: 2, lambda key: True, namespace="tenant") == 1
    assert cache.keys() == []


def test_on_a_loop_both_functions_may_be_coroutine_functions(tmp_path):
    async def main():
        async def load(key):
            return key

        async def exists(key):
            return False

        async with AsyncCache(directory=tmp_path) as cache:
            assert await cache.get_or_reload("k", load, exists) == "k"
            assert await cache.get_or_reload("k", load, exists, default="gone") == "gone"

    asyncio.run(main())
