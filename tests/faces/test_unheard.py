"""A machine to which the stream comes late: what was over before its call began neither forbids nor escapes it."""

from __future__ import annotations

import pytest

ALL = ["memory", "redis", "disk"]


@pytest.fixture(params=[["redis"], ALL], ids="+".join)
def levels(request):
    return request.param


@pytest.fixture
def deaf(machines, levels):
    """A machine that hears only what it asks for itself."""
    opened = machines(levels)
    opened._core.background._listener._listener.close()
    return opened


@pytest.fixture
def other(machines, levels):
    return machines(levels)


OVER = {
    "key": lambda one: one.invalidate(keys=["k:1"]),
    "pattern": lambda one: one.invalidate("k:*"),
    "tag": lambda one: one.invalidate(tags=["red"]),
    "clear": lambda one: one.clear(),
    "source": lambda one: one.set("source", "changed"),
}


@pytest.mark.parametrize("way", OVER)
def test_a_set_after_an_invalidation_is_taken(deaf, other, way):
    deaf.set("k:1", "old", tags=["red"], depends_on=["source"])
    OVER[way](other)
    assert deaf.set("k:1", "new", tags=["red"], depends_on=["source"])
    assert other.get("k:1") == "new"


@pytest.mark.parametrize("way", ["tag", "key"])
def test_so_is_one_of_many(deaf, other, way):
    deaf.set("k:1", "old", tags=["red"])
    OVER[way](other)
    deaf.set_many({f"k:{number}": number for number in range(5)}, tags=["red"])
    assert other.get_many([f"k:{number}" for number in range(5)]) == {f"k:{number}": number for number in range(5)}


@pytest.mark.parametrize("way", OVER)
def test_what_is_computed_after_it_is_kept(deaf, other, way):
    deaf.set("k:0", "old", tags=["red"])
    OVER[way](other)
    assert deaf.get_or_compute("k:1", lambda: "new", tags=["red"], depends_on=["source"]) == "new"
    assert other.get("k:1") == "new"


@pytest.mark.parametrize("way", OVER)
def test_one_that_began_before_it_is_not(deaf, other, way):
    deaf.set("k:1", "old", tags=["red"], depends_on=["source"])
    since = deaf.position()
    OVER[way](other)
    assert not deaf.set("k:1", "late", tags=["red"], depends_on=["source"], since=since)
    assert other.get("k:1") is None


@pytest.mark.parametrize("way", OVER)
def test_nor_is_what_was_being_computed(deaf, other, way):
    if other.is_async:
        pytest.skip("a plain function can't wait for a call of a loop")

    def late():
        OVER[way](other)
        return "late"

    deaf.set("k:0", "old", tags=["red"])
    assert deaf.get_or_compute("k:1", late, tags=["red"], depends_on=["source"]) == "late"
    assert other.get("k:1") is None


def test_who_sets_what_it_did_not_know_to_be_depended_on_ends_what_does(deaf, other):
    deaf.set("source", "old")  # and learns that nothing in the namespace depends on anything
    other.set("k:1", "made of old", depends_on=["source"])
    assert deaf.get("k:1") == "made of old"
    deaf.set("source", "new")
    assert deaf.get("k:1") is None
