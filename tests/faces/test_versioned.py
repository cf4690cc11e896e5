"""Versioned keys: raising the version leaves every older key behind, in every process at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from scoutcache import Cache, CacheKey
from scoutcache.calls import pruning
from scoutcache.errors import InvalidKey, TierUnavailable

PROJECT = Path(__file__).resolve().parents[2]


def test_a_key_holds_its_name_and_the_version(cache):
    catalog = cache.versioned("catalog")
    version = catalog.version()
    assert catalog.key("chair") == catalog.key("chair") == f"catalog:chair:{version}"
    assert version.startswith("v")
    assert catalog.key(42) == catalog.key("42")
    assert catalog.key(UUID(int=1)).startswith("catalog:00000000-")
    assert catalog.key(CacheKey.build("a", "b")).startswith("catalog:a:b:v")
    with pytest.raises(InvalidKey):
        catalog.key("")
    with pytest.raises(InvalidKey):
        cache.versioned("")


def test_a_bump_leaves_older_keys_behind_for_good(cache):
    catalog, other = cache.versioned("catalog"), cache.versioned("catalogue")
    old, others = catalog.key("chair"), other.key("chair")
    cache.set(old, "old")
    seen = {catalog.version()} | {catalog.bump() for _ in range(20)}
    assert len(seen) == 21
    assert cache.get(catalog.key("chair")) is None
    assert other.key("chair") == others


def test_namespaces_have_versions_of_their_own(cache):
    mine, tenant = cache.versioned("catalog"), cache.namespace("tenant").versioned("catalog")
    same = cache.versioned("catalog", namespace="tenant")
    before = mine.version()
    assert tenant.version() == same.version() != before
    tenant.bump()
    assert tenant.version() == same.version()
    assert mine.version() == before


def test_clearing_and_filling_up_the_cache_change_no_version(open_cache):
    cache = open_cache(["memory", "disk"], memory={"max_entries": 10})
    version = cache.versioned("catalog").version()
    for number in range(100):
        cache.set(f"k{number}", number)
    cache.clear()
    assert cache.versioned("catalog").version() == version


def test_the_version_outlives_the_process(open_cache):
    first = open_cache()
    version = first.versioned("catalog").bump()
    first.close()
    assert open_cache().versioned("catalog").version() == version


def test_another_cache_over_the_directory_sees_a_bump_at_once(open_cache):
    one, two = open_cache(), open_cache()
    mine, theirs = one.versioned("catalog"), two.versioned("catalog")
    assert mine.version() == theirs.version()
    for _ in range(5):
        assert mine.bump() == theirs.version()
        assert theirs.bump() == mine.version()


BUMP = "import sys; from scoutcache import Cache; print(Cache(directory=sys.argv[1]).versioned('catalog').bump())"


def test_another_process_is_heard_at_once(tmp_path):
    with Cache(directory=tmp_path) as cache:
        catalog = cache.versioned("catalog")
        before = catalog.version()
        command = [sys.executable, "-c", BUMP, tmp_path]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT)
        assert catalog.version() == done.stdout.strip() != before


def test_without_the_authority_every_key_is_a_miss_and_a_bump_fails(open_cache, monkeypatch):
    cache = open_cache()
    catalog, name = cache.versioned("catalog"), "\0version:catalog"

    def away(*_, **__):
        raise TierUnavailable("disk", "away")

    for method in ("current", "renew"):
        monkeypatch.setattr(cache.core.ports.versions._authority, method, away)
    assert cache.core.ports.versions.remembered("default", [name]) is None
    assert catalog.key("a") != catalog.key("a")
    with pytest.raises(TierUnavailable):
        catalog.bump()


def test_pruning_forgets_no_version(open_cache):
    cache = open_cache()
    catalog = cache.versioned("catalog")
    version = catalog.version()
    cache.set("k", 1, tags=["t"])
    cache.delete("k")
    pruning.prune_dead(cache.core)
    pruning.forget_unused_tags(cache.core)
    assert catalog.version() == version
    assert open_cache().versioned("catalog").version() == version
