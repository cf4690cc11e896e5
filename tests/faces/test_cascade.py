"""What depends on an entry dies with it, however the entry was invalidated."""

from __future__ import annotations

import threading

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


ENDS = {
    "its tag": lambda cache: cache.invalidate(tags=["own"]),
    "the tag of what it depends on": lambda cache: cache.invalidate(tags=["red"]),
    "the name of that": lambda cache: cache.invalidate(keys=["p"]),
    "a pattern for that": lambda cache: cache.invalidate("p*"),
    "another value of that": lambda cache: cache.set("p", "new"),
    "deleting that": lambda cache: cache.delete("p"),
    "marking its tag stale": lambda cache: cache.invalidate(tags=["own"], action="mark_stale"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_computation_isnt_kept_whose_source_ended_meanwhile_whatever_that_was_ended_by(end, cache):
    """Nothing had depended on the source before, and nothing of it is left when the result is to be stored."""
    cache.set("source", "old", tags=["own"], depends_on=["p"])

    def compute():
        read = cache.get("source")
        end(cache)
        return read

    assert cache.get_or_compute("of-source", compute, depends_on=["source"]) == "old"
    assert cache.get("of-source") is None


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_who_asks_after_that_gets_another_computation(end, cache):
    cache.set("source", "old", tags=["own"], depends_on=["p"])
    ended, asked = threading.Event(), threading.Event()
    first = threading.Thread(target=cache.get_or_compute, args=("of-source", lambda: ended.set() or asked.wait(10)),
                             kwargs={"depends_on": ["source"]})  # fmt: skip
    first.start()
    assert ended.wait(10)
    end(cache)
    second = threading.Thread(target=asked.set)
    try:
        assert cache.get_or_compute("of-source", lambda: second.start() or "new", depends_on=["source"]) == "new"
    finally:
        asked.set()
        first.join()


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_so_it_is_where_another_machine_ended_it(end, tmp_path, start_redis):
    server = start_redis()
    with (Cache(directory=tmp_path / "a", redis={"url": server.url}) as one,
          Cache(directory=tmp_path / "b", redis={"url": server.url}) as other):  # fmt: skip
        one.set("p", 1, tags=["red"])
        one.set("source", "old", tags=["own"], depends_on=["p"])

        def compute():
            read = one.get("source")
            end(other)
            return read

        one.get_or_compute("of-source", compute, depends_on=["source"])
        assert one.get("of-source") is None


@pytest.mark.parametrize("action", ["delete", "mark_stale"])
@pytest.mark.parametrize("before", [[], ["elsewhere"]], ids=["nothing depends on anything", "something does"])
def test_who_begins_to_depend_on_it_before_its_tag_is_announced_ends_as_well(action, before, tmp_path, monkeypatch):
    """By then it was asked which keys anything depends on, and this one was not among them."""
    with Cache(directory=tmp_path) as cache:
        cache.set("some", 1, depends_on=before)
        cache.set("source", "old", tags=["own"])
        removing = cache._core.removing
        resolve = removing.with_dependents

        def resolved(*asked):
            names = yield from resolve(*asked)
            assert cache.get_or_compute("of-source", lambda: cache.get("source"), depends_on=["source"]) == "old"
            assert cache.get("of-source") == "old"
            return names

        monkeypatch.setattr(removing, "with_dependents", resolved)
        cache.invalidate(tags=["own"], action=action)
        assert cache.get("of-source") is None
