"""Marking stale: what becomes of an entry, and where it is removed instead."""

from __future__ import annotations

import pytest

from scoutcache.engine.staling import Staling


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
