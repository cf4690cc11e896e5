"""What depends on an entry dies with it, however the entry was invalidated."""

from __future__ import annotations

import pytest

from scoutcache import Cache


@pytest.fixture(params=[["memory"], ["disk"], ["memory", "disk"]], ids=lambda tiers: "+".join(tiers))
def cache(request, tmp_path):
    with Cache(directory=tmp_path, tiers=request.param) as cache:
        cache.set("p", 1, tags=["red"])
        cache.set("child", 2, depends_on=["p"])
        cache.set("grandchild", 3, depends_on=["child"])
        cache.set("other", 4)
        yield cache


WAYS = {
    "key": lambda cache, **how: cache.invalidate(keys=["p"], **how),
    "pattern": lambda cache, **how: cache.invalidate("p*", **how),
    "literal pattern": lambda cache, **how: cache.invalidate("p", **how),
    "tag": lambda cache, **how: cache.invalidate(tags=["red"], **how),
    "intersection": lambda cache, **how: cache.invalidate("p*", tags=["red"], match="all", **how),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_dependents_die_with_what_they_depend_on(way, cache):
    way(cache)
    assert [cache.get(key) for key in ("p", "child", "grandchild", "other")] == [None, None, None, 4]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_without_cascade_they_stay(way, cache):
    way(cache, cascade=False)
    assert [cache.get(key) for key in ("p", "child", "grandchild", "other")] == [None, 2, 3, 4]


def test_only_dependents_of_what_was_meant_die(cache):
    cache.set("q", 5)
    cache.set("of-q", 6, depends_on=["q"])
    cache.invalidate("p*")
    assert cache.get("of-q") == 6
    cache.set("p", 1, tags=["red"])
    cache.set("child", 2, depends_on=["p"])
    cache.invalidate(tags=["green"])
    assert (cache.get("child"), cache.get("of-q")) == (2, 6)
