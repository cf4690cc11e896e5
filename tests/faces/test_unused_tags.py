"""Versions of tags that no entry carries any more are forgotten, and nothing lives or dies wrongly by it."""

from __future__ import annotations

import pytest

from scoutcache import Cache
from scoutcache.calls.pruning import forget_unused_tags


@pytest.fixture
def open_cache(tmp_path):
    caches = []

    def make(**options):
        caches.append(Cache(directory=tmp_path, **options))
        return caches[-1]

    yield make
    for cache in caches:
        cache.close()


def names(cache):
    disk = cache._core.tier("disk")
    return {name for name in disk.names("default", "") if not name.startswith("\0")}


def test_tags_that_nothing_carries_are_forgotten(open_cache):
    cache = open_cache()
    for number in range(30):
        cache.set(f"k{number}", 1, tags=[f"user:{number}"])
    cache.delete_many([f"k{number}" for number in range(25)])
    assert forget_unused_tags(cache._core, dry_run=True) == 25
    assert len(names(cache)) == 30
    assert forget_unused_tags(cache._core) == 25
    assert names(cache) == {f"user:{number}" for number in range(25, 30)}
    assert [cache.get(f"k{number}") for number in range(25, 30)] == [1] * 5
    assert forget_unused_tags(cache._core) == 0


def test_a_process_that_remembers_a_forgotten_version_writes_entries_that_live(open_cache):
    """Or they would be valid for itself, and dead for everybody else."""
    ours, theirs = open_cache(), open_cache()
    ours.set("a", 1, tags=["red"])
    assert theirs.get("a") == 1  # remembers the version
    ours.delete("a")
    assert forget_unused_tags(ours._core) == 1
    theirs.set("b", 2, tags=["red"])
    ours.set("c", 3, tags=["red"])
    fresh = open_cache()
    assert [fresh.get(key) for key in "bc"] == [2, 3]
    assert [ours.get(key) for key in "bc"] == [2, 3]
    assert [theirs.get(key) for key in "bc"] == [2, 3]
    ours.invalidate(tags=["red"])
    assert [one.get(key) for one in (ours, theirs, fresh) for key in "bc"] == [None] * 6


def test_what_was_computed_with_a_forgotten_version_is_not_kept(open_cache):
    cache, other = open_cache(), open_cache()
    cache.set("a", 1, tags=["red"])
    cache.delete("a")

    def factory():
        forget_unused_tags(other._core)
        return 2

    assert cache.get_or_compute("b", factory, tags=["red"]) == 2
    assert other.get("b") in (None, 2)
    cache.set("b", 3, tags=["red"])
    assert other.get("b") == 3
    other.invalidate(tags=["red"])
    assert cache.get("b") is None


def test_a_version_that_was_renewed_meanwhile_stays(open_cache):
    cache = open_cache()
    cache.set("a", 1, tags=["red"])
    cache.delete("a")
    disk = cache._core.tier("disk")
    (unused,) = disk.unused_versions()
    disk.renew("default", ["red"])
    assert disk.forget_versions("default", {name: version for (_, name), version in unused.items()}) == 0
    assert names(cache) == {"red"}


def test_namespaces_and_dependencies_keep_their_marks(open_cache):
    cache = open_cache()
    cache.set("parent", 1)
    cache.set("child", 2, depends_on=["parent"])
    assert forget_unused_tags(cache._core) == 0
    cache.set("parent", 3)
    assert cache.get("child") is None
    cache.delete("child")
    forget_unused_tags(cache._core)
    assert cache.get("parent") == 3
    cache.set("child", 4, depends_on=["parent"])
    cache.set("parent", 5)
    assert cache.get("child") is None


def test_more_names_than_are_looked_for_at_once(open_cache, monkeypatch):
    from scoutcache.tiers.disk import collecting

    monkeypatch.setattr(collecting, "_AT_ONCE", 7)
    cache = open_cache()
    for number in range(30):
        cache.set(f"k{number}", 1, tags=[f"user:{number}"])
    cache.delete_many([f"k{number}" for number in range(0, 30, 2)])
    assert forget_unused_tags(cache._core) == 15
    assert names(cache) == {f"user:{number}" for number in range(1, 30, 2)}
