"""Marking stale: served where a stale value may be, computed anew, in every tier and every process alike."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import wait

import pytest

from scoutcache import InvalidationRule
from scoutcache.errors import CacheError
from scoutcache.oplog.totals import collect_stats


def serve(cache, key="k", factory=None):
    """What get_or_compute gives while its refresh can't begin, so that only what is there answers."""
    return cache.get_or_compute(key, factory or (lambda: "new"), soft_timeout="never")


@pytest.fixture(params=[{"patterns": ["k*"]}, {"keys": ["k"]}, {"tags": ["red"]}], ids=["pattern", "key", "tag"])
def named(request):
    """What names the entry ``k``."""
    target = dict(request.param)
    return target.pop("patterns", []), target


def mark(cache, named, **options):
    patterns, target = named
    return cache.invalidate(*patterns, **target, action="mark_stale", **options)


def test_what_is_marked_stale_is_no_longer_fresh_but_still_there(cache, named):
    cache.set("k", "old", ttl=100, tags=["red"])
    mark(cache, named)
    assert cache.get("k") is None
    assert not cache.exists("k")
    assert cache.keys() == []
    assert cache.get_entry("k").value == "old"


def test_it_is_served_while_it_is_refreshed_or_when_that_fails(cache, named):
    def fail():
        raise KeyError("boom")

    cache.set("k", "old", ttl=100, tags=["red"])
    mark(cache, named)
    assert serve(cache, factory=fail) == "old"
    cache.invalidate(keys=["other"], action="mark_stale")
    assert cache.get_or_compute("k", lambda: "new") == "old", "the source that failed is left alone for a while"


def test_it_is_computed_anew(cache, named):
    cache.set("k", "old", ttl=100, tags=["red"])
    mark(cache, named)
    assert serve(cache) == "new"
    assert cache.get("k") == "new"


def test_it_goes_when_its_time_is_over(cache, named, fake_clock):
    cache.set("k", "old", ttl=100, tags=["red"])
    mark(cache, named)
    fake_clock.advance(101)
    assert cache.get_entry("k") is None


def test_what_isnt_named_stays_fresh(cache, named):
    cache.set("k", "old", tags=["red"])
    cache.set("other", 1, tags=["blue"])
    cache.set("k", "theirs", tags=["red"], namespace="theirs")
    mark(cache, named)
    assert cache.get("other") == 1
    assert cache.get("k", namespace="theirs") == "theirs"


def test_dependents_are_stale_as_well_unless_told_otherwise(cache, named):
    for cascade in (True, False):
        cache.set("k", "parent", tags=["red"])
        cache.set("child", "old", depends_on=["k"])
        mark(cache, named, cascade=cascade)
        assert cache.get("child") == (None if cascade else "old")
        assert cache.get_entry("child").value == "old"


def test_marking_twice_is_marking_once(cache, named):
    cache.set("k", "old", tags=["red"])
    mark(cache, named)
    mark(cache, named)
    assert cache.get_entry("k").value == "old"


def test_what_is_deleted_after_that_is_gone(cache, named):
    cache.set("k", "old", tags=["red"])
    mark(cache, named)
    cache.invalidate(tags=["red"])
    assert cache.get_entry("k") is None


def test_a_set_after_it_is_fresh(cache, named):
    cache.set("k", "old", tags=["red"])
    mark(cache, named)
    cache.set("k", "new", tags=["red"])
    assert cache.get("k") == "new"


def test_it_beats_a_computation_that_began_before_it(cache, named):
    def compute():
        position = cache.position()
        mark(cache, named)
        return position

    position = compute()
    assert not cache.set("k", "old", tags=["red"], since=position)
    assert cache.get_entry("k") is None


def test_an_intersection_marks_only_what_both_name(cache):
    cache.set("a:1", 1, tags=["red"])
    cache.set("a:2", 2)
    cache.set("b:1", 3, tags=["red"])
    result = cache.invalidate("a:*", tags=["red"], match="all", action="mark_stale")
    assert result.matched == 1
    assert sorted(cache.keys()) == ["a:2", "b:1"]


def test_the_counts_are_of_what_was_fresh(cache):
    for key in ("a:1", "a:2", "b:1"):
        cache.set(key, 1)
    result = cache.invalidate("a:*", action="mark_stale")
    assert (result.matched, result.invalidated) == (2, 2)
    assert cache.invalidate("a:*", action="mark_stale", dry_run=True).invalidated == 0
    assert cache.invalidate(tags=["red"], action="mark_stale").matched is None


def test_an_unknown_action_is_refused_by_name(cache):
    with pytest.raises(CacheError, match="'burn'"):
        cache.invalidate("k*", action="burn")


@pytest.mark.parametrize("target", [{"keys": []}, {"tags": ["red"]}], ids=["key", "tag"])
def test_a_refresh_is_done_by_whoever_holds_a_factory(cache, target):
    values = iter(["old", "new"])
    question = cache.cached(ttl=100, tags=["red"])(lambda: next(values))
    assert question() == "old"
    target = {"keys": [question.key()]} if "keys" in target else target
    cache.invalidate(**target, action="refresh")
    cache.turn()
    _wait_for_refreshes(cache)
    assert cache.get(question.key()) == "new"


def _wait_for_refreshes(cache):
    for thread in threading.enumerate():
        if thread.name == "scoutcache-refresh":
            thread.join(10)
    if not cache.is_async:
        wait(list(cache.core.ports.beside), timeout=10)
        return

    async def ended():
        await asyncio.sleep(0)  # what the background has handed to this loop begins
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            assert not (await asyncio.wait(others, timeout=10))[1], "a refresh hangs"

    cache.runner.run(ended())


def test_keys_and_patterns_are_looked_for_by_themselves(cache, monkeypatch):
    """Among a million entries a key is found as one is among ten."""
    cache.set_many({key: key for key in ("a", "b", "c:1", "c:2", "other")}, ttl=100)
    asked = set()

    def watched(scan):
        return lambda namespace, pattern=None: asked.add(pattern and pattern.text) or scan(namespace, pattern)

    for tier in map(cache.tier, cache.config.tiers):
        monkeypatch.setattr(tier, "scan", watched(tier.scan))
    marked = cache.invalidate("c:*", keys=["a", "gone"], action="mark_stale")
    assert (marked.matched, sorted(marked.sample)) == (3, ["a", "c:1", "c:2"])
    assert {"c:*", "a", "gone"} <= asked
    assert None not in asked
    assert sorted(cache.keys()) == ["b", "other"]
    asked.clear()
    cache.invalidate("b*", "?ther", action="mark_stale")
    assert None in asked, "one walk over all that there is, not one for each pattern"
    assert cache.keys() == []


@pytest.mark.parametrize("extra", [[], [f"n:{number}" for number in range(40)]], ids=["few", "many"])
def test_what_two_of_them_match_is_counted_once(cache, extra):
    cache.set_many({key: key for key in ("k:1", "k:2", "m:1")}, ttl=100)
    marked = cache.invalidate("k:*", "*:1", keys=["k:1", "k:2", *extra], action="mark_stale")
    assert marked.matched == 3
    assert cache.keys() == []


@pytest.mark.parametrize("tiers", [["memory"], ["disk"], ["memory", "disk"]], ids="+".join)
def test_who_takes_nothing_stale_is_told_that_a_tag_ended_it(open_cache, tiers, fake_clock):
    cache = open_cache(tiers)
    missed = []
    cache.on("miss", lambda miss: missed.append((miss.key, miss.reason)))
    cache.set("k", "old", ttl=100, tags=["red"])
    cache.set("late", "old", ttl=1, stale_ttl=100, tags=["red"])
    fake_clock.advance(2)
    cache.invalidate(tags=["red"], action="mark_stale")
    assert cache.get_many(["k", "late"]) == {}
    assert cache.get("k") is None
    assert missed == [("k", "invalidated"), ("late", "expired"), ("k", "invalidated")]


def test_what_expired_on_disk_is_told_from_what_never_was_there(open_cache, fake_clock):
    """By a process that never had it in memory."""
    open_cache(["memory", "disk"]).set("k", "old", ttl=1)
    fake_clock.advance(2)
    other = open_cache(["memory", "disk"])
    missed = []
    other.on("miss", lambda miss: missed.append((miss.key, miss.reason)))
    assert other.get("k") is None
    assert other.get_many(["k", "never"]) == {}
    assert other.get_or_compute("k", lambda: "new") == "new"
    assert missed == [("k", "expired"), ("k", "expired"), ("never", "cold"), ("k", "expired")]


def test_the_spelling_of_the_command_line_will_do(cache):
    """The same word in a script, in code and in a rule."""
    cache.set("a", 1)
    cache.invalidate("a", action="mark-stale")
    assert cache.get("a") is None
    assert cache.get_entry("a").value == 1
    rule = InvalidationRule(rule_id="r", event_types=["x"], target_pattern="a", action="mark-stale")
    assert rule.action == "mark_stale"
    for wrong in ("mark stale", "stale", None, ["delete"]):
        with pytest.raises(CacheError, match="action is one of delete, mark_stale, refresh, not "):
            cache.invalidate("a", action=wrong)


def missed_for(cache):
    return dict(collect_stats(cache.core.directory, now=cache.core.world.now(),
                              extra=[cache.core.recorder.snapshot()]).total.misses_by_reason)  # fmt: skip


def test_who_opens_the_cache_later_misses_it_as_invalidated(open_cache, named, fake_clock):
    with_disk = ["memory", "disk"]
    first = open_cache(with_disk)
    first.set("k", "old", ttl=100, stale_ttl=100, tags=["red"])
    first.set("late", "old", ttl=1, stale_ttl=100)
    mark(first, named)
    fake_clock.advance(2)
    first.close()
    later = open_cache(with_disk)
    assert [later.get("k"), later.get_many(["k", "late"])] == [None, {}]
    assert missed_for(later) == {"invalidated": 2, "expired": 1}


@pytest.mark.parametrize("cleaned", [False, True])
def test_what_died_by_its_tag_is_missed_as_invalidated_also_when_it_was_cleaned_away(open_cache, cleaned):
    first = open_cache(["memory", "disk"])
    first.set("k", "old", tags=["red"])
    later = open_cache(["memory", "disk"])  # and has never seen it
    first.invalidate(tags=["red"])
    if cleaned:
        later.turn()
        assert later.core.tier("disk").usage().entries == 0
    assert later.get("k") is None
    assert missed_for(later) == {"invalidated": 1}
