"""An invalidation of another process that has begun and doesn't end: it died, or its server did."""

from __future__ import annotations

import pytest

from scoutcache import Cache


@pytest.fixture
def opened(tmp_path, cache):
    """Another process begins to invalidate keys, and is never heard of again."""
    other = Cache(directory=cache.config.directory)

    def begin(*keys):
        core = other._core
        core.follower.announce(core.world.message("key", "default", keys).opening)
        cache.cache._core.follower.sync()

    yield begin
    other.close()


def test_a_value_is_set_though_its_key_was_invalidated_since(cache, opened):
    """Else the value before it would be answered, which a computation has stored."""
    opened("another")
    cache.delete("k")
    assert cache.get_or_compute("k", lambda: "computed") == "computed"
    assert cache.set("k", "set")
    assert cache.get("k") == "set"


def test_what_it_names_is_not_kept(cache, opened):
    opened("k")
    assert not cache.set("k", "set")
    assert cache.get("k") is None
    position = cache.position()
    assert not cache.set("k", "set", since=position)
