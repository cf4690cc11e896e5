"""What is in memory with marks that nobody could tell a version of hears of what it depends on by its name."""

from __future__ import annotations

import pytest

from scoutcache.coherence.messages import Message
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, UNVERSIONED, Mark, Ref
from scoutcache.tiers.memory.holder import MemoryHolder


def marks(version, *names):
    return tuple([Mark(name, version) for name in (NAMESPACE_MARK, *names)])


@pytest.fixture
def holder(world):
    world.put("unversioned", marks=marks(UNVERSIONED, KEY_MARK + "source"))
    world.put("tagged", marks=marks(UNVERSIONED, "own"))
    world.put("versioned", marks=marks(7, KEY_MARK + "source"))
    return MemoryHolder(world.tier)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("key", "source"), ("written", "source"), ("pattern", "sou*"), ("all", "psou*"), ("mark", "any tag")],
)
def test_whatever_may_have_ended_that_ends_it(world, holder, kind, name):
    holder.apply(Message(kind, "default", (name,), 1, "you"))
    assert world.keys() == ["tagged", "versioned"]
    assert world.tier.unversioned() == []


@pytest.mark.parametrize(
    ("kind", "names", "namespace"),
    [("key", "other", "default"), ("pattern", "oth*", "default"), ("written", "source", "elsewhere"),
     ("mark", DEPENDED_MARK, "default"), ("mark", KEY_MARK + "other", "default")],
)  # fmt: skip
def test_nothing_else_does(world, holder, kind, names, namespace):
    holder.apply(Message(kind, namespace, (names,), 1, "you"))
    assert world.keys() == ["tagged", "unversioned", "versioned"]


def test_a_write_of_the_value_it_had_doesnt(world, holder):
    holder.apply(Message("written", "default", ("source",), 1, "you", same=("source",)))
    assert world.keys() == ["tagged", "unversioned", "versioned"]


@pytest.mark.parametrize(("kind", "name"), [("key", "source"), ("pattern", "sou*"), ("mark", "any tag")])
def test_what_marks_that_stale_marks_it_stale(world, holder, kind, name):
    holder.apply(Message(kind, "default", (name,), 1, "you", action="mark_stale"))
    fresh = {key for key in ("tagged", "unversioned", "versioned") if world.tier.live(Ref("default", key))}
    assert fresh == {"tagged", "versioned"}


def test_where_nobody_could_say_what_depends_on_a_tag_whatever_depends_on_a_key_goes(world, holder):
    holder.apply(Message("mark", "default", ("another tag", DEPENDED_MARK), 1, "you"))
    assert world.keys() == ["tagged"]


def test_a_child_that_begins_empty_knows_of_nothing_without_a_version(world, holder):
    world.tier._tables.restart()
    assert world.tier.unversioned() == []


def test_what_depends_on_a_write_that_is_owed_goes_with_it(world, holder):
    """Nobody could renew its mark."""
    holder.apply(Message("written", "default", ("source",), 1, "you").owing)
    assert world.keys() == ["tagged"]


@pytest.mark.parametrize(("kind", "why"), [("written", None), ("key", "invalidated")])
def test_what_was_written_anew_elsewhere_has_not_ended(world, holder, kind, why):
    holder.apply(Message(kind, "default", ("tagged",), 1, "you"))
    assert world.tier.why_absent(Ref("default", "tagged")) == why


@pytest.mark.parametrize("lasts", [True, False])
def test_what_was_replaced_and_may_lie_nowhere_below_has_ended(world, holder, lasts):
    holder.lasts = lambda _: lasts
    holder.apply(Message("written", "default", ("tagged", "never here"), 1, "you"))
    told = [world.tier.why_absent(Ref("default", key)) for key in ("tagged", "never here")]
    assert told == [None if lasts else "invalidated", None]
