"""An invalidation of another process that has begun and doesn't end: it died, or its server did."""

from __future__ import annotations

import pytest

from scoutcache import Cache
from scoutcache.entry import Ref


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


BOTH = pytest.mark.parametrize("tiers", [["memory", "disk"]], ids="+".join)


@pytest.fixture
def read_again(cache, monkeypatch):
    """The messages that the cache reads in order to judge what it may keep."""
    read, world = [], cache.core.world
    since = world.since

    def noted(position):
        messages, end = since(position)
        read.extend(messages or ())
        return messages, end

    monkeypatch.setattr(world, "since", noted)
    return read


def only_on_disk(cache, *keys):
    cache.tier("memory").remove([Ref("default", key) for key in keys])


def in_memory(cache, *keys):
    return [key for key in keys if cache.tier("memory").entry(Ref("default", key)) is not None]


@BOTH
def test_what_was_announced_meanwhile_is_not_read_again_for_each_promotion(cache, opened, read_again):
    """Else one invalidation that is never ended makes each read the slower the more others write."""
    opened("another")
    for number in range(50):
        cache.set(f"k{number}", number)
    only_on_disk(cache, "k1", "k2", "k3")
    read_again.clear()
    assert [cache.get("k1"), cache.get("k1")] == [1, 1]
    assert [cache.get_many(["k2", "k3"]) for _ in range(2)] == [{"k2": 2, "k3": 3}] * 2
    assert in_memory(cache, "k1", "k2", "k3") == ["k1", "k2", "k3"]
    assert read_again == []


@BOTH
def test_nor_for_what_is_moved_down(cache, opened, read_again, fake_clock):
    opened("another")
    for number in range(50):
        cache.set(f"k{number}", number, ttl="1d")
    read_again.clear()
    fake_clock.advance(24 * 1800)
    cache.core.background._demote(cache.core)
    assert in_memory(cache, "k1") == []
    assert cache.get("k1") == 1
    assert read_again == []


@BOTH
def test_what_it_names_is_not_promoted(cache, opened):
    cache.set_many({"k": 1, "else": 2})
    opened("k")
    only_on_disk(cache, "k", "else")
    for _ in range(3):
        assert cache.get_many(["k", "else"]) == {"k": 1, "else": 2}
        cache.get("k")
    assert in_memory(cache, "k", "else") == ["else"]
