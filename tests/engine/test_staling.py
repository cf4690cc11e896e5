"""Marking stale: what becomes of an entry, and where it is removed instead."""

from __future__ import annotations

import pytest

from scoutcache.engine.effects import Erase, Renew, Write
from scoutcache.engine.staling import Staling
from scoutcache.entry import KEY_MARK
from scoutcache.patterns import Pattern


@pytest.fixture
def staling(world):
    return Staling(world.world, world.reading, world.writing, world.removing)


def test_a_marked_entry_stays_and_is_fresh_no_longer(world, staling):
    world.put("k", "value", stale=60.0)
    assert world.drive(staling.mark([world.ref("k")])) == {}
    assert world.disk.rows[world.ref("k")].header.fresh_until == world.now


def test_what_a_lagging_replica_still_has_is_not_written_back(world, staling):
    """The replica answers with what was removed before: to write that again, stale, would bring it back."""
    ref = world.ref("k")
    world.put("k", "value", stale=60.0)
    world.world.lagging = frozenset({1})
    replica = world.disk.read(ref, world.now)
    world.disk.rows.clear()
    world.disk.raw[ref] = replica
    assert world.drive(staling.mark([ref])) == {}
    world.disk.raw.clear()
    assert "k" not in world.disk


@pytest.fixture
def kept(world):
    world.put("k", "value", stale=60.0)
    return world.ref("k")


def test_what_is_removed_while_it_is_marked_does_not_come_back(world, staling, kept):
    """Rule 4."""
    flow = staling.mark([kept])
    effect, _ = world.drive_until(flow, lambda one: isinstance(one, Write))
    world.hear("key", "k")
    del world.disk.rows[kept]
    world.finish(flow, effect)
    assert kept not in world.disk.rows


def test_what_others_are_at_time_and_again_is_removed(world, staling, kept, monkeypatch):
    monkeypatch.setattr(world.disk, "write", lambda *_: 0)
    world.drive(staling.mark([kept]))
    assert kept not in world.disk.rows


def test_a_tier_that_cannot_be_told_is_not_believed(world, staling, kept):
    """Rule 5."""
    world.disk.down = True
    assert world.drive(staling.mark([kept])) == {"disk": "gone"}
    assert world.world.doubts[1].covers(kept)


def test_a_tier_that_could_not_be_searched_owes_the_removal(world, staling):
    pattern = Pattern.parse("k*")
    staling.unread({"disk"}, "ns", [pattern], ["other"])
    doubt = world.world.doubts[1]
    assert doubt.owed == [Erase(1, "ns", pattern)]
    assert doubt.refs.keys() == {world.ref("other")}
    staling.unread({"memory"}, "ns", [pattern], ["another"])
    assert doubt.refs.keys() == {world.ref("other")}


def test_what_the_server_was_not_marked_at_is_not_over(shared):
    staling = Staling(shared.world, shared.reading, shared.writing, shared.removing)
    message = shared.world.message("key", "ns", ["k"], action="mark_stale")
    shared.drive(staling.announce([message]))
    shared.drive(staling.announce([message], unmarked={"redis": "away"}))
    assert [one.owed for one in shared.messages] == [False, True]


def test_what_depends_on_a_tagged_key_is_marked_and_what_begins_to_meanwhile_too(world, staling):
    world.put("parent", 1, tags=["red"])
    world.put("child", 2, depends_on=["parent"])
    world.put("late", 3, tags=["red"])
    flow = staling.tags("ns", ["red"], "mark_stale", cascade=True, reason=None)
    effect, _ = world.drive_until(flow, lambda one: isinstance(one, Renew))
    world.put("grandchild", 4, depends_on=["late"])
    world.finish(flow, effect)
    marked = [name for one in world.effects if isinstance(one, Renew) and one.soft for name in one.names]
    assert set(marked) == {"red", KEY_MARK + "parent", KEY_MARK + "late"}


def test_where_nobody_can_say_whether_anything_depends_on_a_key_its_mark_is_owed(world, staling):
    world.authority_down = True
    assert world.drive(staling.dependents("ns", ["k"], "mark_stale", None)) == {"disk": "locked"}
    assert world.world.doubts[1].owed == [Renew("ns", [KEY_MARK + "k"])]


def test_what_this_process_cannot_read_is_marked_all_the_same(world, staling, kept, foreign, monkeypatch):
    """Rule 6."""
    foreign(world, expands=True)
    world.drive(staling.mark([kept]))
    row = world.disk.rows[kept]
    monkeypatch.undo()
    assert row.header.fresh_until == world.now
    assert world.world.codec.open(kept, row.sealed).value == "value"


def test_what_can_be_neither_read_nor_written_again_is_removed(world, staling, kept, foreign):
    """Rule 6."""
    foreign(world, expands=False)
    world.drive(staling.mark([kept]))
    assert kept not in world.disk.rows
