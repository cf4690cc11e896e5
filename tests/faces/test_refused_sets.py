"""A set that an invalidation forbids: nobody is answered with the value before, and nothing else is lost."""

from __future__ import annotations

import pytest

from scoutcache import Cache
from scoutcache.tiers.redis.plans import ATTEMPTS
from scoutcache.tiers.redis.scripts import MOVED

TIERS = [["disk"], ["memory", "disk"], ["redis"], ["memory", "redis", "disk"]]


@pytest.fixture(params=TIERS, ids="+".join)
def open_cache(request, tmp_path):
    """Opens caches on one store, each on a machine of its own where a server is."""
    opened = []

    def open_one():
        config, directory = {"tiers": request.param}, tmp_path / "one"
        if "redis" in request.param:
            config["redis"] = {"url": request.getfixturevalue("redis_url")}
            directory = tmp_path / str(len(opened))
        opened.append(Cache(config, directory=directory))
        return opened[-1]

    yield open_one
    for cache in opened:
        cache.close()


def test_what_was_to_be_replaced_is_gone_with_it(open_cache, until):
    cache, other = open_cache(), open_cache()
    cache.set("k", "old")
    assert other.get_many(["k"]) == {"k": "old"}
    assert [other.get("k") for _ in range(3)] == ["old"] * 3
    since = cache.position()
    cache.invalidate(tags=["T"])
    assert cache.set("k", "new", tags=["T"], since=since) is False
    assert cache.get("k") is None
    until(lambda: other.get("k") is None, "the other one hears of it")


def test_of_many_those_before_are_gone_and_the_others_there(open_cache):
    cache = open_cache()
    cache.set_many({"a": "old", "b": "old"})
    since = cache.position()
    cache.invalidate(keys=["b"])
    cache.set("b", "later")
    cache.set_many({"a": "new", "b": "new", "c": "new"}, since=since)
    assert cache.get_many(["a", "b", "c"]) == {"a": "new", "b": "later", "c": "new"}


def test_a_later_value_stays(open_cache):
    cache, since = open_cache(), None
    since = cache.position()
    cache.invalidate(tags=["T"])
    cache.set("k", "later")
    cache.set("k", "new", tags=["T"], since=since)
    assert cache.get("k") == "later"


def test_what_depends_on_it_dies(open_cache):
    cache = open_cache()
    cache.set("k", "old")
    cache.set("d", "of the old", depends_on=["k"])
    since = cache.position()
    cache.invalidate(tags=["T"])
    cache.set("k", "new", tags=["T"], since=since)
    assert cache.get("d") is None


def test_a_computed_value_that_is_not_kept_takes_nothing_away(open_cache):
    cache = open_cache()
    cache.set("k", "old")

    def compute(ctx):
        cache.invalidate(tags=["T"])
        ctx.tags = ["T"]
        return "new"

    assert cache.get_or_compute("k", compute, validate=lambda value: True) == "old"
    assert cache.get("k") == "old"


@pytest.mark.parametrize("moves", [5, ATTEMPTS + 1])
def test_invalidations_of_other_keys_all_the_time_take_no_field_away(tmp_path, redis_url, monkeypatch, moves):
    with Cache({"tiers": ["redis"], "redis": {"url": redis_url}}, directory=tmp_path) as cache:
        cart = cache.hash("cart", ttl="1h")
        cart.set_field("theirs", 1)
        plans, left = cache._core.tiers[0].plans, [None] * moves
        sent = plans._sent

        def busy(rows, *rest):
            if left:
                left.pop()
                cache.invalidate(keys=["other"])
                return [MOVED] * len(rows)
            return (yield from sent(rows, *rest))

        monkeypatch.setattr(plans, "_sent", busy)
        assert cart.set_field("mine", 2) is True
        assert cart.get_all() == {"theirs": 1, "mine": 2}
