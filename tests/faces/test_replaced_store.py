"""What a process remembers of a store is void when another store stands in its place."""

from __future__ import annotations

from scoutcache import Cache


def test_versions_of_a_store_that_was_set_aside_are_forgotten(tmp_path):
    with Cache(directory=tmp_path, tiers=["disk"]) as cache:
        cache.set("a", 1, tags=["red"])
        for file in (tmp_path / "disk").glob("cache.db*"):
            file.unlink()
        cache._core.background.turn()  # notices that the file is gone
        assert cache.get("a") is None
        cache.set("b", 2, tags=["red"])
        assert cache.get("b") == 2
        with Cache(directory=tmp_path, tiers=["disk"]) as other:
            assert other.get("b") == 2
