"""What a tier could not be told, made good: given where others share it, removed elsewhere, and announced."""

from __future__ import annotations

import pytest

from scoutcache.engine.amends import Amends
from scoutcache.engine.effects import Announce, Current, Read, Remove, RemoveOlder, Renew, Write
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, UNVERSIONED
from scoutcache.patterns import Pattern

SERVER, DISK = 1, 2


@pytest.fixture
def server(shared):
    return shared.tiers[SERVER]


@pytest.fixture
def amends(shared):
    return Amends(shared.world, shared.reading, shared.writing, shared.removing)


@pytest.fixture
def doubt(shared):
    return shared.world.doubts[SERVER]


@pytest.fixture
def missed(shared, server):
    """While the server was away, `k` got another value; what was done until then is forgotten."""
    shared.put("k", "old")
    server.down = True
    shared.put("k", "new")
    server.down = False
    shared.effects.clear()
    shared.messages.clear()
    return shared.ref("k")


def live(tier, ref):
    return tier.rows[ref].live.value() if ref in tier.rows else None


def test_the_server_is_given_what_it_could_not_take(shared, amends, doubt, server, missed):
    assert live(server, missed) == "old"
    shared.drive(amends.make(SERVER))
    assert live(server, missed) == "new"
    assert not doubt.is_owing
    assert [(one.kind, one.names) for one in shared.messages] == [("written", ("k",))]


def test_what_this_process_cannot_read_is_given_as_it_is(shared, amends, server, missed, foreign, monkeypatch):
    """A command makes good what an application owed, and has none of its classes."""
    foreign(shared, expands=True)
    shared.drive(amends.make(SERVER))
    monkeypatch.undo()
    assert shared.world.codec.open(missed, server.rows[missed].sealed).value == "new"


def test_where_its_time_is_over_the_older_entry_goes_with_what_is_given(shared, amends, missed):
    """A row that a script refuses ends what is older only if it says so."""
    shared.drive(amends.make(SERVER))
    assert all(row.replaces for one in shared.effects if isinstance(one, Write) for row in one.rows)


def test_as_long_as_it_is_away_nothing_else_is_tried(shared, amends, doubt, server, missed):
    doubt.owe(Renew("ns", ["red"]))
    server.down = True
    shared.drive(amends.make(SERVER))
    assert doubt.refs.keys() == {missed}
    assert doubt.owed
    assert not [one for one in shared.effects if isinstance(one, Announce | Renew)]


def test_what_the_highest_tier_has_is_what_is_given(shared, amends, server, missed):
    shared.disk.rows[missed] = server.rows[missed]
    shared.drive(amends.make(SERVER))
    assert live(server, missed) == "new"


def test_what_a_tier_has_that_is_in_doubt_itself_is_not_given(shared, amends, server, missed):
    shared.disk.rows[missed] = server.rows[missed]
    shared.memory.rows.clear()
    shared.world.doubts[DISK].about([missed], shared.world.stamp())
    shared.drive(amends.make(SERVER))
    assert missed not in server.rows


@pytest.mark.parametrize("held", [True, False])
def test_it_says_nothing_of_what_is_owed_after_it_looked(shared, amends, missed, held):
    """Neighbours would believe the server of that as well."""
    if not held:
        shared.memory.rows.clear()
        shared.disk.rows.clear()
    flow = amends.make(SERVER)
    effect, _ = shared.drive_until(flow, lambda one: isinstance(one, Read))
    owed_later = shared.world.stamp()
    shared.finish(flow, effect)
    told = [one for one in shared.messages if "k" in one.names]
    assert told
    assert {one.kind for one in told} == {"written" if held else "key"}
    assert all(one.stamp < owed_later for one in told if one.kind == "written")


def test_what_is_owed_again_while_the_older_one_is_removed_stays_owed(shared, amends, doubt, missed):
    """What began between the two is still there, and the later one was to end it."""
    shared.memory.rows.clear()
    shared.disk.rows.clear()
    flow = amends.make(SERVER)
    effect, _ = shared.drive_until(flow, lambda one: isinstance(one, Announce))
    later = shared.world.stamp()
    doubt.about([missed], later)
    shared.finish(flow, effect)
    assert doubt.refs == {missed: later}


@pytest.mark.parametrize("authority_down", [False, True])
@pytest.mark.parametrize("step", range(12))
def test_the_server_is_never_given_what_a_write_under_way_replaces(shared, amends, server, step, authority_down):
    """It is back when the write has failed there and is not yet done beside it."""
    shared.put("k", "old")
    server.down = True
    shared.authority_down = authority_down
    flow = shared.set("k", "new")
    effect = next(flow)

    def pay(now):
        if now == step:
            server.down = shared.authority_down = False
            shared.drive(amends.make(SERVER))

    taken = shared.finish(flow, effect, during=pay)
    server.down = shared.authority_down = False
    shared.drive(amends.make(SERVER))
    assert live(server, shared.ref("k")) in (["new"] if taken else [None, "new"])
    if taken:
        assert shared.find("k").live.held == "new"


def test_a_tier_beside_it_that_cannot_be_asked_is_passed_over(shared, amends, doubt, server, missed):
    del shared.memory.rows[missed]
    shared.disk.down = True
    shared.drive(amends.make(SERVER))
    assert missed not in server.rows, "nobody has it, so the older one goes"
    assert not doubt.is_owing


def test_what_nobody_has_goes_unless_a_later_writer_put_it_there(shared, amends, doubt, server, missed):
    shared.memory.rows.clear()
    shared.disk.rows.clear()
    row = server.rows[missed]
    later = row.header._replace(start=shared.world.stamp())
    server.rows[missed] = type(row)(later, row.live, lambda: row.sealed)
    shared.drive(amends.make(SERVER))
    assert missed in server.rows
    assert not doubt.is_owing
    del server.rows[missed]
    server.rows[missed] = row
    doubt.about([missed], row.header.start)
    shared.drive(amends.make(SERVER))
    assert missed not in server.rows
    assert [one.kind for one in shared.messages] == ["key"] * 4, "as an invalidation: writes in flight are refused"


def test_what_a_later_writer_put_there_is_left_alone(shared, amends, doubt, server, missed):
    row = server.rows[missed]
    later = row.header._replace(start=shared.world.stamp())
    server.rows[missed] = type(row)(later, row.live, lambda: shared.world.codec.seal(later, row.live))
    shared.drive(amends.make(SERVER))
    assert server.rows[missed].header == later
    assert not doubt.is_owing
    assert len([one for one in shared.effects if isinstance(one, Write)]) == 1
    assert not [one for one in shared.effects if isinstance(one, Remove)]


def test_what_the_server_refuses_all_the_time_nobody_keeps(shared, amends, doubt, server, missed, monkeypatch):
    """Or this process would go on to answer with what no other one has."""
    del server.rows[missed]
    monkeypatch.setattr(server, "write", lambda *_: 0)
    shared.drive(amends.make(SERVER))
    assert missed not in shared.memory.rows
    assert missed not in shared.disk.rows
    assert not doubt.is_owing


def test_what_it_goes_on_to_refuse_leaves_no_older_one_there(shared, amends, doubt, server, missed, monkeypatch):
    monkeypatch.setattr(server, "write", lambda *_: 0)
    shared.drive(amends.make(SERVER))
    assert live(server, missed) is None
    assert missed not in shared.memory.rows
    assert not doubt.is_owing


def test_where_others_have_it_refuse_a_batch_it_is_given_again(shared, amends, doubt, server, missed, monkeypatch):
    """And what stands there is the older one: nothing says that this is right."""
    write, refusals = server.write, iter([0, 0])
    monkeypatch.setattr(server, "write", lambda *given: write(*given) if next(refusals, None) is None else 0)
    shared.drive(amends.make(SERVER))
    assert live(server, missed) == "new"
    assert not doubt.is_owing


def test_what_is_invalidated_while_it_is_given_is_refused(shared, amends, server, missed):
    del server.rows[missed]
    flow = amends.make(SERVER)
    effect, _ = shared.drive_until(flow, lambda one: isinstance(one, Write))
    shared.hear("key", "k")
    shared.finish(flow, effect)
    assert missed not in server.rows


def test_whatever_depends_on_what_was_given_is_dead_or_it_is_still_owed(shared, amends, doubt, server, missed):
    shared.put("child", 1, depends_on=["k"])
    shared.authority_down = True
    shared.drive(amends.make(SERVER))
    assert doubt.refs.keys() == {missed}
    shared.authority_down = False
    shared.drive(amends.make(SERVER))
    assert not doubt.is_owing
    assert shared.find("child") is None


@pytest.fixture
def told(shared):
    """When in turn the versions of `names` were renewed, and the server was told by messages of *kinds*."""

    def when(kinds, names):
        renewed = [at for at, one in enumerate(shared.effects) if isinstance(one, Renew) and names <= set(one.names)]
        messages = [(at, one.message) for at, one in enumerate(shared.effects) if isinstance(one, Announce | Write)]
        return renewed, [at for at, message in messages if message is not None and message.kind in kinds]

    return when


@pytest.mark.parametrize("how", ["given", "removed", "pattern"])
def test_what_depends_on_it_is_dead_before_anybody_hears_that_it_is_made_good(
    shared, amends, doubt, server, told, how
):  # fmt: skip
    """Neighbours believe the server as soon as they hear it; whoever computes in between is caught after that."""
    shared.put("child", 1, depends_on=["k"])
    server.down = True
    shared.drive(shared.removing.pattern("ns", Pattern.parse("k*"))) if how == "pattern" else shared.put("k", "new")
    server.down = False
    if how == "removed":
        shared.memory.rows.clear()
        shared.disk.rows.clear()
    shared.effects.clear()
    shared.drive(amends.make(SERVER))
    renewed, said = told({"written", "key", "pattern"}, {KEY_MARK + "k"})
    assert len(renewed) >= 2
    assert renewed[0] < min(said)
    assert max(said) < renewed[-1]
    assert not doubt


def test_whatever_depends_on_what_was_removed_is_dead_or_it_is_still_owed(shared, amends, doubt, missed):
    shared.memory.rows.clear()
    shared.disk.rows.clear()
    started = dict(doubt.refs)
    shared.authority_down = True
    shared.drive(amends.make(SERVER))
    assert doubt.refs == started


def test_what_is_owed_together_stays_in_doubt_each_since_its_own_time(shared, amends, doubt, missed):
    """Or what a later writer put there would go with what came into doubt still later."""
    shared.memory.rows.clear()
    shared.disk.rows.clear()
    doubt.about([shared.ref("later")], shared.world.stamp())
    started = dict(doubt.refs)
    shared.authority_down = True
    shared.drive(amends.make(SERVER))
    assert doubt.refs == started


def test_what_could_not_be_removed_stays_in_doubt_as_it_was(shared, amends, doubt, server, missed):
    """Or what a later writer put there since would go with it."""
    shared.memory.rows.clear()
    shared.disk.rows.clear()
    started = dict(doubt.refs)
    flow = amends.make(SERVER)
    effect, _ = shared.drive_until(flow, lambda one: isinstance(one, RemoveOlder))
    server.down = True
    shared.finish(flow, effect)
    assert doubt.refs == started


def test_what_was_removed_unannounced_stays_in_doubt_as_it_was(shared, amends, doubt, server, missed):
    """A write in flight may bring it back, and is older than what is owed."""
    shared.memory.rows.clear()
    shared.disk.rows.clear()
    started, older = dict(doubt.refs), server.rows[missed]
    flow = amends.make(SERVER)
    effect, _ = shared.drive_until(flow, lambda one: isinstance(one, Announce))
    shared.journal_down = True
    shared.finish(flow, effect)
    assert doubt.refs == started
    shared.journal_down = False
    server.rows[missed] = older
    shared.drive(amends.make(SERVER))
    assert missed not in server.rows


@pytest.mark.parametrize("depends_on", [(), ("parent",)])
def test_what_was_stored_without_versions_is_given_with_those_of_now(shared, amends, server, depends_on):
    shared.authority_down = server.down = True
    shared.put("k", "new", tags=["red"], depends_on=depends_on)
    ref = shared.ref("k")
    assert {mark.version for mark in shared.memory.rows[ref].header.marks} == {UNVERSIONED}
    shared.authority_down = server.down = False
    shared.drive(amends.make(SERVER))
    marks = server.rows[ref].header.marks
    assert marks
    assert server.rows[ref].replaces
    assert all(shared.versions["ns", mark.name] == mark.version for mark in marks)
    assert (("ns", DEPENDED_MARK) in shared.versions) == bool(depends_on)
    said = [one.names for one in shared.messages if one.kind == "mark"]
    assert ((DEPENDED_MARK,) in said) == bool(depends_on), "whoever writes the parent looks for dependents from now on"


def test_another_tier_loses_the_older_entry_and_memory_keeps_the_newer_one(shared, amends):
    shared.put("k", "old")
    shared.disk.down = True
    shared.put("k", "new")
    shared.disk.down = False
    shared.messages.clear()
    shared.drive(amends.make(DISK))
    ref = shared.ref("k")
    assert ref not in shared.disk.rows
    assert live(shared.memory, ref) == live(shared.tiers[SERVER], ref) == "new"
    assert {one.kind for one in shared.messages} == {"written"}
    assert not shared.world.doubts[DISK].is_owing


# -- what is owed whole


def test_what_is_made_good_is_owed_no_longer(shared, amends, doubt):
    shared.put("k", 1, tags=["red"])
    doubt.owe(Renew("ns", ["red"]))
    shared.drive(amends.make(SERVER))
    assert not doubt
    assert shared.find("k") is None


def test_where_nobody_could_say_what_depends_on_it_whatever_depends_on_anything_is_dead(shared, amends, doubt):
    shared.put("child", 1, depends_on=["parent"])
    before = shared.versions["ns", KEY_MARK + "parent"]
    doubt.owe(Renew("ns", ["red", DEPENDED_MARK]))
    shared.drive(amends.make(SERVER))
    assert shared.versions["ns", KEY_MARK + "parent"] != before
    assert not doubt


@pytest.mark.parametrize("names", [["red"], ["red", DEPENDED_MARK]])
def test_what_fails_once_more_is_still_owed_and_the_rest_waits(shared, amends, doubt, names):
    owed = [Renew("ns", names), Renew("other", ["blue"])]
    for one in owed:
        doubt.owe(one)
    shared.authority_down = True
    shared.drive(amends.make(SERVER))
    assert sorted(doubt.owed, key=owed.index) == owed
    asked = [name for one in shared.effects if isinstance(one, Renew | Current) for name in one.names]
    assert "blue" not in asked
