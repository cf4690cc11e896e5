"""Placing: who takes a row before whom where a server announces what it takes, and who keeps nothing older."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from scoutcache.engine.effects import Announce, Remove, Write
from scoutcache.engine.moments import Moments
from scoutcache.engine.writing import Lifetime
from scoutcache.errors import TierUnavailable
from scoutcache.policies.book import Effective

SERVER, DISK = 1, 2


@pytest.fixture
def server(shared):
    return shared.tiers[SERVER]


@pytest.fixture
def outrun(shared, server):
    """All tiers have an older `k`, and another machine has put a later one on the server since `began`."""
    shared.put("k", "first")
    began, ref = shared.writing.moment(), shared.ref("k")
    row = server.rows[ref]
    server.rows[ref] = type(row)(row.header._replace(start=shared.world.stamp()), row.live, lambda: row.sealed)
    shared.messages.clear()
    return began


def written(world):
    return [one for one in world.messages if one.kind == "written"]


def made(world, value):
    return world.writing.entry(world.ref("k"), value, Lifetime(60.0))


def test_the_server_is_first_tells_with_the_write_and_memory_is_last(shared):
    shared.put("k", 1)
    steps = [type(one).__name__ + str(getattr(one, "level", "")) for one in shared.effects]
    assert [step for step in steps if step[:5] in {"Write", "Annou"}] == ["Write1", "Write2", "Write0"]
    assert [one.names for one in written(shared)] == [("k",)]


def test_what_the_server_refuses_goes_nowhere_and_nothing_older_stays(shared, outrun):
    """Nobody hears of it, so who has an older one would answer with that."""
    ref = shared.ref("k")
    assert shared.put("k", "mine", began=outrun) == 0
    assert ref not in shared.memory.rows
    assert ref not in shared.disk.rows
    assert not written(shared)


def test_a_tier_that_cannot_let_go_of_the_older_one_is_not_believed(shared, outrun):
    shared.disk.down = True
    shared.put("k", "mine", began=outrun)
    assert shared.world.doubts[DISK].covers(shared.ref("k"))


def test_what_a_server_that_is_away_could_not_take_the_others_have(shared, server):
    server.down = True
    assert shared.put("k", 1) == 1
    assert ("k" in shared.memory, "k" in shared.disk) == (True, True)
    assert [one.owed for one in written(shared)] == [True], "neighbours owe it as well"
    shared.messages.clear()
    server.down, shared.disk.down = False, True
    shared.put("k", 2)
    assert [one.owed for one in written(shared)] == [False]


def test_a_write_says_when_it_began_and_what_is_owed_when_that_was_said(shared, server):
    """Of what others could not tell meanwhile it settles nothing."""
    began = shared.writing.moment()
    later = shared.world.stamp()
    shared.put("k", 1, began=began)
    assert [one.stamp for one in written(shared)] == [began.start]
    shared.messages.clear()
    server.down = True
    shared.put("k", 2, began=shared.writing.moment())
    assert [one.stamp > later for one in written(shared)] == [True]


def test_a_tier_is_believed_again_once_it_has_taken_what_it_could_not(shared, server):
    server.down = True
    shared.put("k", 1)
    began = shared.writing.moment()
    server.down = False
    shared.hear("key", "k")
    shared.put("k", 2, began=began)
    doubt = shared.world.doubts[SERVER]
    assert doubt.is_owing, "that was refused"
    shared.put("k", 3)
    assert not doubt.is_owing


def test_a_copy_that_was_promoted_while_others_wrote_leaves_memory(shared):
    shared.put("k", "old")
    row = shared.memory.rows[shared.ref("k")]
    began = shared.writing.moment()
    shared.hear("written", "k")
    shared.memory.rows[shared.ref("k")] = row
    shared.put("k", "mine", began=began)
    assert shared.ref("k") not in shared.memory.rows


@pytest.mark.parametrize("replaces", [False, True])
def test_who_replaces_what_is_older_tells_of_it_though_nobody_took_it(shared, replaces):
    began = shared.writing.moment()
    shared.hear("key", "k")
    entry = made(shared, 1)
    shared.drive(shared.writing.store([entry], began, replaces=replaces))
    assert len(written(shared)) == replaces


@pytest.mark.parametrize("computed", [False, True])
def test_what_only_memory_may_keep_is_told_to_others_unless_it_was_computed(shared, computed):
    allowed = Effective(sources={}, allowed_backends=frozenset({"memory"}))
    shared.world.policy = lambda _: allowed
    moments = shared.world.moments = Moments(nullcontext())
    heard, began = moments.begin([shared.ref("k")]), shared.writing.moment()
    assert shared.drive(shared.writing.store([made(shared, 1)], began, computed=computed)) == 1
    assert len(written(shared)) == (not computed)
    assert heard.wrote_here([shared.ref("k")]) is computed, "else the message says it"


def test_where_it_shows_only_afterwards_which_are_the_same_others_are_told_then(shared):
    shared.put("k", 1)
    shared.put("child", 2, depends_on=["k"])
    shared.effects.clear()
    shared.messages.clear()
    shared.put("k", 1)
    assert [(one.names, one.same) for one in written(shared)] == [(("k",), ("k",))]
    order = [type(one) for one in shared.effects if isinstance(one, Write | Announce)]
    assert order == [Write, Write, Announce, Write]


def test_an_error_that_was_asked_for_comes_when_the_others_have_it_and_were_told(shared, server):
    server.down = shared.world.raise_errors = True
    with pytest.raises(TierUnavailable):
        shared.put("k", 1)
    assert ("k" in shared.memory, "k" in shared.disk) == (True, True)
    assert len(written(shared)) == 1


@pytest.mark.parametrize("where", ["in every tier", "in memory alone", "nowhere"])
def test_it_says_what_was_forbidden_everywhere(shared, where):
    began = shared.writing.moment()
    if where != "nowhere":
        shared.hear("key" if where == "in every tier" else "written", "k")
    entry = made(shared, 1)
    unstored = set()
    shared.drive(shared.writing.store([entry], began, unstored=unstored))
    assert unstored == ({shared.ref("k")} if where == "in every tier" else set())


def test_what_others_announced_before_it_was_asked_for_forbids_it_once(shared):
    """A caller's own write begins anew then: he could not know."""
    began = shared.writing.moment()
    shared.hear("key", "k")
    entry = made(shared, 1)
    assert shared.drive(shared.writing.store([entry], began)) == 0
    assert shared.drive(shared.writing.store([entry], began, anew=True)) == 1
    assert "k" in shared.disk


def test_it_does_not_begin_anew_for_what_a_later_writer_was_faster_with(shared, outrun):
    entry = made(shared, "mine")
    assert shared.drive(shared.writing.store([entry], outrun, anew=True)) == 0
    assert len([one for one in shared.effects if isinstance(one, Write) and one.level == SERVER]) == 2
    assert any(isinstance(one, Remove) for one in shared.effects)
