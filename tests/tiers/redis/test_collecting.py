"""Versions that no entry carries any more are forgotten, and reading a cache changes nothing of it."""

from __future__ import annotations

import pytest

from scoutcache import Cache
from scoutcache.calls.pruning import forget_unused_tags
from scoutcache.cli.opening import observed
from scoutcache.config import CacheConfig


@pytest.fixture
def config(redis_url, tmp_path):
    return CacheConfig(tiers=["memory", "redis", "disk"], directory=tmp_path, redis={"url": redis_url})


def versions(cache, namespace="default"):
    tier = cache._core.tier("redis")
    return {name for name in tier.do(tier.version_plans.all(namespace)) if not name.startswith("\0")}


def test_unused_tags_are_forgotten_in_every_namespace_and_used_ones_stay(config):
    with Cache(config) as cache:
        for space in ("default", "a:b"):
            view = cache.namespace(space)
            view.set("kept", 1, tags=["used"])
            view.set("gone", 1, tags=["unused"])
            view.delete("gone")
        assert versions(cache) == {"used", "unused"}
        assert forget_unused_tags(cache._core, dry_run=True) == 2
        assert forget_unused_tags(cache._core) == 2
        assert versions(cache) == versions(cache, "a:b") == {"used"}
        assert cache.get("kept") == 1
        cache.set("again", 1, tags=["unused"])
        assert cache.get("again") == 1
        cache.invalidate(tags=["unused"])
        assert cache.get("again") is None


def test_who_only_looks_at_a_server_empties_no_disk(config, tmp_path):
    alone = CacheConfig(tiers=["memory", "disk"], directory=tmp_path)
    with Cache(alone) as cache:
        cache.set("k", 1, ttl="1h")
    with observed(config, verbose=False, raising=True, said=set()) as cache:
        assert cache.get("k") is None  # the server doesn't know it
    with Cache(alone) as cache:
        assert cache.get("k") == 1


def test_a_disk_that_never_heard_of_the_server_is_emptied_by_who_uses_it(config, tmp_path):
    with Cache(CacheConfig(tiers=["memory", "disk"], directory=tmp_path)) as cache:
        cache.set("k", 1, ttl="1h")
    with Cache(config) as cache:
        assert cache.get("k") is None
        assert cache._core.tier("disk").usage().entries == 0
