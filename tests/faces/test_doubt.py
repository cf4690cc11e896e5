"""A lower tier that could not be told of a change is not believed about it, and is told as soon as it answers."""

from __future__ import annotations

import asyncio

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.calls.pruning import prune_dead
from scoutcache.errors import TierUnavailable


@pytest.fixture
def cache(tmp_path):
    with Cache(directory=tmp_path) as cache:
        yield cache


@pytest.fixture
def full(cache, monkeypatch):
    """While it is entered, nothing can be written to or removed from the disk."""
    disk = cache._core.tier("disk")

    def refuse(*_, **__):
        raise TierUnavailable("disk", "full")

    def known(*args, create=False, current=disk.current):
        return refuse() if create else current(*args)

    def fill():
        monkeypatch.setattr(disk, "current", known)
        for name in ("write", "remove", "remove_matching", "clear", "renew"):
            monkeypatch.setattr(disk, name, refuse)

    return fill


def test_what_is_owed_is_made_good_before_a_cache_is_closed(tmp_path, monkeypatch):
    """Or other processes would go on to find on disk what this one replaced, until its time is over."""
    with Cache(directory=tmp_path) as other:
        other.set("profile", "Ada")
        cache = Cache(directory=tmp_path)
        cache._core.background._stop.set()  # there is no turn between
        disk = cache._core.tier("disk")
        with monkeypatch.context() as patch:
            patch.setattr(disk, "write", _refuse)
            patch.setattr(disk, "remove", _refuse)
            cache.set("profile", "Grace")
        assert other.get("profile") == "Ada"
        cache.close()
        assert other.get("profile") is None


def test_what_can_not_be_made_good_keeps_no_cache_from_being_closed(tmp_path, monkeypatch):
    cache = Cache(directory=tmp_path)
    monkeypatch.setattr(cache._core.tier("disk"), "write", _refuse)
    monkeypatch.setattr(cache._core.tier("disk"), "remove", _refuse)
    cache.set("profile", "Grace")
    cache.close()


def _refuse(*_, **__):
    raise TierUnavailable("disk", "full")


CHANGES = {
    "set": (lambda cache: cache.set("llm:a", "new"), "new"),
    "set with a new tag": (lambda cache: cache.set("llm:a", "new", tags=["blue"]), "new"),
    "delete": (lambda cache: cache.delete("llm:a"), None),
    "mark a key": (lambda cache: cache.invalidate(keys=["llm:a"], action="mark_stale"), None),
    "mark a pattern": (lambda cache: cache.invalidate("llm:*", action="mark_stale"), None),
    "mark a tag": (lambda cache: cache.invalidate(tags=["red"], action="mark_stale"), None),
    "mark both": (lambda cache: cache.invalidate("llm:*", tags=["red"], match="all", action="mark_stale"), None),
    "pattern": (lambda cache: cache.invalidate("llm:*"), None),
    "tag": (lambda cache: cache.invalidate(tags=["red"]), None),
    "clear": (lambda cache: cache.clear(), None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_old_value_never_comes_back(change, cache, full, monkeypatch, tmp_path):
    act, then = change
    cache.set("llm:a", "old", tags=["red"])
    full()
    act(cache)
    assert cache.get("llm:a") == then
    cache._core.memory.clear(None)
    assert cache.get("llm:a") is None
    assert cache.health()["healthy"] is False
    monkeypatch.undo()
    cache._core.background.turn()
    assert cache.health()["healthy"] is True
    assert cache.get("llm:a") is None
    with Cache(directory=tmp_path) as other:
        assert other.get("llm:a") is None


OTHERS = {"other": {}, "tagged": {"tags": ["green"]}, "dependent": {"depends_on": ["other"]}}


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "clear"])
def test_what_it_was_told_before_and_nobody_changed_is_believed(change, cache, full):
    cache.set("llm:a", "old", tags=["red"])
    for key, more in OTHERS.items():
        cache.set(key, 1, **more)
    full()
    CHANGES[change][0](cache)
    cache._core.memory.clear(None)
    assert cache.get_many(list(OTHERS)) == dict.fromkeys(OTHERS, 1)
    assert [cache.get(key) for key in OTHERS] == [1, 1, 1]


@pytest.mark.parametrize("tags", [[], ["blue"]], ids=["known tags", "a new tag"])
def test_memory_keeps_what_the_disk_could_not_take(tags, cache, full, monkeypatch):
    cache.set("a", "old")
    full()
    cache.set("a", "new", tags=tags)
    monkeypatch.undo()
    cache._core.background.turn()
    assert cache.get("a") == "new"


def test_dependents_end_when_the_disk_answers_again(cache, full, monkeypatch):
    cache.set("a", "old")
    cache.set("child", "of old", depends_on=["a"])
    full()
    cache.set("a", "new", tags=["blue"])
    monkeypatch.undo()
    cache._core.background.turn()
    assert (cache.get("a"), cache.get("child")) == ("new", None)


def test_others_drop_what_a_new_tag_kept_off_the_disk(cache, full, tmp_path):
    with Cache(directory=tmp_path) as other:
        cache.set("a", "old")
        for _ in range(3):
            other.get("a")
        assert other.get_entry("a").backend == "memory"
        full()
        cache.set("a", "new", tags=["blue"])
        other._core.follower.sync()
        assert other._core.memory.usage().entries == 0


@pytest.mark.parametrize("count", [False, True])
@pytest.mark.parametrize("target", [{"patterns": ["a"]}, {"patterns": ["a"], "tags": ["red"], "match": "all"}])
def test_what_could_not_be_marked_is_not_counted(target, count, cache, full):
    cache.set("a", "old", tags=["red"])
    cache._core.memory.clear(None)
    full()
    patterns = target["patterns"]
    more = {name: value for name, value in target.items() if name != "patterns"}
    result = cache.invalidate(*patterns, **more, action="mark_stale", count=count)
    assert (result.invalidated, dict(result.by_tier)) == (0, {"memory": 0})
    assert "disk" in result.failed


def test_what_could_not_be_searched_owes_what_was_to_be_marked(cache, monkeypatch):
    def refuse(*_, **__):
        raise TierUnavailable("disk", "busy")

    cache.set("a", "old")
    monkeypatch.setattr(cache._core.tier("disk"), "scan", refuse)
    assert "disk" in cache.invalidate("a*", action="mark_stale").failed
    cache._core.memory.clear(None)
    assert cache.get("a") is None
    monkeypatch.undo()
    cache._core.background.turn()
    assert cache.get("a") is None


def test_a_key_written_again_is_believed_again(cache, full, monkeypatch):
    cache.set("a", "old")
    full()
    cache.set("a", "new")
    monkeypatch.undo()
    cache.set("a", "newer")
    cache._core.memory.clear(None)
    assert cache.get("a") == "newer"


def test_what_died_by_a_tag_is_pruned(cache, monkeypatch):
    monkeypatch.setattr(cache._core.tier("disk"), "maintain", lambda _: {})  # the background would do it as well
    cache.set_many({f"a:{n}": n for n in range(600)}, tags=["red"], ttl="never")
    cache.set("b", 1)
    cache.invalidate(tags=["red"])
    assert prune_dead(cache._core, dry_run=True) == {"disk": 600}
    assert prune_dead(cache._core) == {"disk": 600}
    assert cache._core.tier("disk").usage().entries == 1


def test_many_keys_at_once_read_each_message_once(cache, monkeypatch):
    reads = []
    journal = cache._core.world.since
    monkeypatch.setattr(cache._core.world, "since", lambda end: reads.append(end) or journal(end))
    cache.set_many({f"a:{n}": n for n in range(1000)})
    assert cache.get("a:7") == 7
    assert len(reads) < 5


def test_a_cancelled_set_is_done_everywhere_or_nowhere(tmp_path, turns):
    async def main():
        async with AsyncCache(directory=tmp_path) as cache:
            await cache.set("k", "old")
            await cache.set("child", "of old", depends_on=["k"])
            task = asyncio.ensure_future(cache.set("k", "new"))
            await turns(3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await cache.set("later", 1)  # its writes queue behind the cancelled one's
            while await cache.get("k") != "new":
                await turns()
            cache._core.memory.clear(None)
            return await cache.get("k"), await cache.get("child")

    assert asyncio.run(asyncio.wait_for(main(), 30)) == ("new", None)
