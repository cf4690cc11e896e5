"""Removing through both faces: by pattern, key, tag, namespace, and what depends on what is removed."""

from __future__ import annotations

import pytest

from scoutcache import CacheError
from scoutcache.errors import InvalidKey


@pytest.fixture
def filled(cache):
    cache.set_many({"llm:1": 1, "llm:2": 2}, tags=["red"])
    cache.set_many({"job:1": 3, "LLM:1": 4}, tags=["blue"])
    cache.set("job:2", 5, tags=["red", "blue"])
    return cache


def left(cache):
    return sorted(cache.keys())


def test_keys_by_pattern_and_tag(filled):
    assert left(filled) == ["LLM:1", "job:1", "job:2", "llm:1", "llm:2"]
    assert sorted(filled.keys("llm:*")) == ["llm:1", "llm:2"]
    assert sorted(filled.keys("*:1")) == ["LLM:1", "job:1", "llm:1"]
    assert filled.keys("job:[2-9]") == ["job:2"]
    assert sorted(filled.keys(tag="red")) == ["job:2", "llm:1", "llm:2"]
    assert filled.keys("job:*", tag="red") == ["job:2"]
    assert filled.keys("nothing*") == []
    with pytest.raises(InvalidKey):
        filled.keys("[a-")


def test_invalidate_by_pattern(filled):
    result = filled.invalidate("llm:*", "job:1", reason="why not")
    assert (result.matched, result.invalidated) == (3, 3)
    assert result.by_tier == {tier.name: 3 for tier in filled.core.tiers}
    assert left(filled) == ["LLM:1", "job:2"]


def test_invalidate_by_key(filled):
    assert filled.invalidate(keys=["llm:1", "missing"]).invalidated == 1
    assert left(filled) == ["LLM:1", "job:1", "job:2", "llm:2"]


def test_invalidate_by_tag_counts_only_when_asked(filled):
    result = filled.invalidate(tags=["red"])
    assert (result.matched, result.invalidated) == (None, None)
    assert left(filled) == ["LLM:1", "job:1"]
    assert filled.get("llm:1") is None
    result = filled.invalidate(tags=["blue"], count=True)
    assert (result.matched, result.invalidated) == (2, 2)
    assert left(filled) == []


def test_patterns_keys_and_tags_unite(filled):
    filled.invalidate("LLM*", keys=["job:1"], tags=["red"])
    assert left(filled) == []


def test_or_intersect(filled):
    result = filled.invalidate("job:*", tags=["red"], match="all")
    assert result.invalidated == 1
    assert left(filled) == ["LLM:1", "job:1", "llm:1", "llm:2"]
    assert filled.invalidate(tags=["red", "blue"], match="all").invalidated == 0


def test_a_dry_run_tells_how_many_and_which_and_removes_nothing(filled):
    result = filled.invalidate("llm:*", tags=["blue"], dry_run=True)
    assert (result.matched, result.invalidated) == (5, 0)
    assert sorted(result.sample) == ["LLM:1", "job:1", "job:2", "llm:1", "llm:2"]
    assert result.by_tier == {tier.name: 5 for tier in filled.core.tiers}
    assert len(left(filled)) == 5
    assert filled.invalidate("*", tags=["red", "blue"], match="all", dry_run=True).matched == 1


def test_some_of_what_was_hit_is_named(filled):
    """Those that are there, by pattern, by key and by a pattern that is one; of tags only with a count."""
    assert sorted(filled.invalidate("llm:*", keys=["job:1", "absent"]).sample) == ["job:1", "llm:1", "llm:2"]
    filled.set_many({f"many:{number}": number for number in range(50)}, tags=["many"])
    assert len(set(filled.invalidate("many:1*", action="mark_stale").sample)) == 11
    sample = filled.invalidate("*ny:*", "LLM:1", tags=["many"]).sample
    assert (len(set(sample)), sample[0]) == (20, "LLM:1")
    assert filled.invalidate("many:*").sample == ()
    filled.set("job:3", 1, tags=["red"])
    assert filled.invalidate("job:*", tags=["red"], match="all").sample in {("job:2", "job:3"), ("job:3", "job:2")}
    filled.set("job:3", 1, tags=["red"])
    assert filled.invalidate(tags=["red"]).sample == ()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [((), {}), (("[a-",), {}), ((), {"keys": [""]}), ((), {"tags": ["\x00"]}), (("*",), {"match": "some"}),
     (("*",), {"action": "some"}), ((), {"tags": "red"}), ((), {"keys": "llm:1"})],
)  # fmt: skip
def test_what_cant_be_invalidated_is_refused_and_nothing_removed(filled, arguments, options):
    with pytest.raises(CacheError):
        filled.invalidate(*arguments, **options)
    assert len(left(filled)) == 5


def test_clear_empties_the_namespace(filled):
    result = filled.clear(reason="enough")
    assert (result.matched, result.invalidated) == (None, None)
    assert left(filled) == []
    filled.set("llm:1", "new")
    assert filled.get("llm:1") == "new"


def test_clear_counts_where_one_asks(filled):
    every = {tier.name: 5 for tier in filled.core.tiers}
    tried = filled.clear(dry_run=True)
    assert (tried.matched, tried.invalidated, tried.by_tier) == (5, 0, every)
    assert sorted(tried.sample) == left(filled)
    result = filled.clear(count=True)
    assert (result.matched, result.invalidated, result.by_tier) == (5, 5, every)
    assert left(filled) == []


def test_a_tag_can_be_used_again_after_it_was_invalidated(filled):
    filled.invalidate(tags=["red"])
    filled.set("llm:1", "new", tags=["red"])
    assert filled.get("llm:1") == "new"
    assert filled.get("llm:2") is None


def test_dependents_die_with_what_they_depend_on(cache):
    cache.set("db:1", 1)
    cache.set("page", "of 1", depends_on=["db:1"])
    cache.set("site", "of page", depends_on=["page"])
    cache.set("db:1", 1)
    assert cache.get("site") == "of page"
    cache.set("db:1", 2)
    assert (cache.get("page"), cache.get("site"), cache.get("db:1")) == (None, None, 2)
    cache.set("page", "of 2", depends_on=["db:1"])
    cache.delete("db:1")
    assert cache.get("page") is None


def test_cascading_can_be_switched_off(cache):
    cache.set("db:1", 1)
    cache.set("page", "of 1", depends_on=["db:1"])
    cache.invalidate(keys=["db:1"], cascade=False)
    assert cache.get("page") == "of 1"


def test_an_entry_evicted_or_expired_takes_no_dependent_with_it(cache, fake_clock):
    cache.set("db:1", 1, ttl=1)
    cache.set("page", "of 1", depends_on=["db:1"], ttl=100)
    fake_clock.advance(2)
    assert cache.get("db:1") is None
    assert cache.get("page") == "of 1"


def test_a_set_with_a_position_is_refused_after_an_invalidation_since(cache, fake_clock):
    since = cache.position()
    cache.invalidate(keys=["k"])
    assert cache.set("k", "old", since=since) is False
    assert cache.get("k") is None
    assert cache.set("k", "new", since=cache.position()) is True
    early = cache.position()
    fake_clock.advance(0.001)
    cache.set("k", "later")
    assert cache.set("k", "earlier", since=early) is False
    assert cache.get("k") == "later"


@pytest.mark.parametrize("action", ["delete", "mark_stale"])
@pytest.mark.parametrize(("tags", "kept"), [(["red"], None), (["blue"], "from before")])
def test_an_intersection_beats_what_began_before_it_and_is_not_stored_yet(cache, action, tags, kept):
    position = cache.position()
    cache.invalidate("llm:*", tags=["red"], match="all", action=action)
    cache.set("llm:1", "from before", tags=tags, since=position)
    assert cache.get("llm:1") == kept


@pytest.mark.parametrize("action", ["delete", "mark_stale"])
def test_nobody_joins_or_keeps_a_computation_that_an_intersection_names(sync, action):
    def compute():
        assert len(sync._core.world.flights) == 1
        sync.invalidate("llm:*", tags=["red"], match="all", action=action)
        assert len(sync._core.world.flights) == 0
        return 1

    assert sync.get_or_compute("llm:1", compute, tags=["red"]) == 1
    assert sync.get("llm:1") is None
