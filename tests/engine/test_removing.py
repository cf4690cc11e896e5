"""Removing: announced before and after, memory swept first, and a tier that is away stops nobody."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from scoutcache.engine.effects import Announce, Clear, Current, Erase, Names, Remove, Renew
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, Mark
from scoutcache.errors import TierUnavailable
from scoutcache.patterns import Pattern


@pytest.fixture
def filled(world):
    for key in ("llm:1", "llm:2", "job:1"):
        world.put(key, key, tags=[key[:3]])
    for record in (world.messages, world.effects, world.told):
        record.clear()
    return world


def order(world, *kinds):
    of_those = [effect for effect in world.effects if type(effect) in kinds]
    return [type(effect).__name__ + str(getattr(effect, "level", "")) for effect in of_those]


def test_memory_is_swept_then_it_is_announced_removed_and_announced_again(filled):
    removed = filled.drive(filled.removing.keys("ns", ["llm:1"]))
    assert order(filled, Remove, Announce) == ["Remove0", "Announce", "Remove1", "Announce"]
    assert removed.by_tier == {"memory": 1, "disk": 1}
    assert removed.count == 1
    assert [record.key for record in filled.told if record.name == "removed"] == ["llm:1"]


def test_a_pattern_removes_physically(filled):
    removed = filled.drive(filled.removing.pattern("ns", Pattern.parse("llm:*")))
    assert order(filled, Erase, Announce) == ["Erase0", "Announce", "Erase1", "Announce"]
    assert removed.count == 2
    assert {ref.key for ref in filled.disk.rows} == {"job:1"}


def test_tags_are_one_write_whatever_their_number(filled):
    filled.drive(filled.removing.tags("ns", ["llm", "job"]))
    assert [type(effect) for effect in filled.effects] == [Current, Announce, Renew, Announce, Current]
    assert filled.find("llm:1") is None
    assert filled.find("job:1") is None
    assert not filled.memory.rows


def test_clearing_renews_the_namespace_between_two_announcements(filled):
    removed = filled.drive(filled.removing.clear("ns"))
    assert order(filled, Clear, Renew, Announce) == ["Clear0", "Announce", "Renew", "Clear1", "Announce"]
    assert removed.by_tier == {"memory": 3, "disk": 3}
    assert "cleared" in filled.names_told()


def test_what_a_tier_could_not_clear_is_dead_all_the_same(filled):
    filled.disk.down = True
    removed = filled.drive(filled.removing.clear("ns"))
    assert removed.failed == {"disk": "gone"}
    filled.disk.down = False
    assert filled.find("llm:1") is None


def test_what_is_written_at_any_moment_of_a_failing_clear_but_computed_before_it_is_dead(make_world):
    for moment in range(12):
        world = make_world()
        began = world.writing.moment()
        world.disk.down = False
        flow, steps = world.removing.clear("ns"), 0
        try:
            effect = next(flow)
            while True:
                if steps == moment:
                    world.put("k", "old", began=began)
                    world.memory.rows.clear()
                world.disk.down = isinstance(effect, Clear)
                steps += 1
                effect = world.advance(flow, effect)
        except StopIteration:
            pass
        world.disk.down = False
        assert world.find("k") is None, moment


def test_a_tier_that_is_away_is_reported_and_the_others_go_on(filled):
    filled.disk.down = True
    removed = filled.drive(filled.removing.keys("ns", ["llm:1"]))
    assert removed.by_tier == {"memory": 1}
    assert removed.failed == {"disk": "gone"}
    assert len(filled.messages) == 2


@pytest.mark.parametrize("call", ["tags", "clear", "keys"])
def test_an_authority_that_is_away_is_reported(filled, call):
    filled.authority_down = True
    removing = filled.removing
    flow = {"tags": lambda: removing.tags("ns", ["llm"]), "clear": lambda: removing.clear("ns"),
            "keys": lambda: removing.keys("ns", ["llm:1"])}[call]()  # fmt: skip
    assert filled.drive(flow).failed == {"disk": "locked"}
    assert "tier_down" in filled.names_told()


def test_it_raises_where_the_user_asked_for_that(filled):
    filled.authority_down = filled.world.raise_errors = True
    with pytest.raises(TierUnavailable):
        filled.drive(filled.removing.tags("ns", ["llm"]))


def test_a_journal_that_is_away_is_reported_and_the_entries_are_removed(filled):
    filled.journal_down = True
    removed = filled.drive(filled.removing.keys("ns", ["llm:1"]))
    assert removed.failed == {"journal": "full"}
    assert "llm:1" not in filled.disk


def test_deleting_a_key_cascades_unless_told_not_to(world):
    world.put("parent", 1)
    world.put("child", 2, depends_on=["parent"])
    world.drive(world.removing.keys("ns", ["parent"], cascade=False))
    assert world.find("child") is not None
    world.drive(world.removing.keys("ns", ["parent"]))
    assert world.find("child") is None


def test_a_key_nobody_depends_on_costs_no_renewal(filled):
    filled.drive(filled.removing.keys("ns", ["llm:1"]))
    assert order(filled, Renew) == []


@pytest.mark.parametrize("what", ["key", "pattern", "tag", "namespace"])
def test_nothing_dead_is_read_after_the_call_whatever_a_writer_does_meanwhile(make_world, what):
    """A writer that began before stores at each yield point of the invalidation; nobody reads it afterwards."""
    for moment in range(12):
        world = make_world()
        world.put("k", "old", tags=["red"])
        began = world.writing.moment()
        flow = {"key": lambda w: w.removing.keys("ns", ["k"]), "tag": lambda w: w.removing.tags("ns", ["red"]),
                "pattern": lambda w: w.removing.pattern("ns", Pattern.parse("k*")),
                "namespace": lambda w: w.removing.clear("ns")}[what](world)  # fmt: skip
        steps = 0
        try:
            effect = next(flow)
            while True:
                if steps == moment:
                    world.put("k", "old", tags=["red"], began=began)
                steps += 1
                effect = world.advance(flow, effect)
        except StopIteration:
            if steps <= moment:
                world.put("k", "old", tags=["red"], began=began)
        assert world.peek(world.ref("k")) is None, moment
        assert world.find("k") is None, moment


def test_touch_gives_a_new_life_time_and_nothing_else(world):
    world.put("k", "value", ttl=10.0, stale=5.0, tags=["red"])
    found = world.find("k")
    assert world.drive(world.removing.touch(found, 100.0, world.writing.moment())) == 105
    header = world.disk.rows[world.ref("k")].header
    assert header._replace(fresh_until=0.0, expires=0.0) == found.header._replace(fresh_until=0.0, expires=0.0)
    assert (header.fresh_until, header.expires) == (world.now + 100.0, world.now + 105.0)


def test_touch_brings_nothing_back_that_died_meanwhile(world):
    world.put("k", "value")
    began, found = world.writing.moment(), world.find("k")
    world.drive(world.removing.keys("ns", ["k"]))
    assert world.drive(world.removing.touch(found, 100.0, began)) is None
    assert "k" not in world.disk
    assert NAMESPACE_MARK in {mark.name for mark in found.header.marks}


# -- with a server that others share

SERVER, DISK = 1, 2


def test_what_the_server_did_not_remove_is_not_over(shared):
    shared.put("k", 1)
    shared.messages.clear()
    shared.tiers[SERVER].down = True
    shared.drive(shared.removing.keys("ns", ["k"]))
    assert [(one.opens, one.owed) for one in shared.messages] == [(True, False), (False, True)]
    shared.messages.clear()
    shared.tiers[SERVER].down, shared.disk.down = False, True
    shared.drive(shared.removing.keys("ns", ["k"]))
    assert [(one.opens, one.owed) for one in shared.messages] == [(True, False), (False, False)], "a disk is its own"


def test_what_could_not_be_announced_before_is_removed_there_once_more(shared):
    """A write in flight may have brought it back."""
    shared.put("k", 1)
    shared.journal_down = True
    shared.drive(shared.removing.keys("ns", ["k"]))
    doubts = shared.world.doubts
    assert doubts[SERVER].covers(shared.ref("k"))
    assert not doubts[DISK]
    shared.drive(shared.removing.clear("ns"))
    assert Renew("ns", [NAMESPACE_MARK]) in doubts[SERVER].owed


def test_a_tier_that_did_its_part_is_believed_though_another_one_did_not(shared):
    shared.put("k", 1)
    shared.disk.down = True
    shared.drive(shared.removing.keys("ns", ["k"]))
    assert not shared.world.doubts[SERVER]
    assert shared.world.doubts[DISK].covers(shared.ref("k"))


def test_what_could_not_be_removed_is_doubted_from_then_on(shared):
    """What began before it is older than the removal, wherever it comes from."""
    shared.put("k", 1)
    shared.tiers[SERVER].down = True
    before = shared.world.stamp()
    shared.drive(shared.removing.keys("ns", ["k"]))
    assert before < shared.world.doubts[SERVER].refs[shared.ref("k")] < shared.world.stamp()


def test_what_is_removed_at_last_is_in_doubt_no_longer_and_nothing_else_is_settled_by_it(filled):
    doubt = filled.world.doubts[1]
    doubt.about([filled.ref("llm:1"), filled.ref("llm:2")], 5)
    filled.drive(filled.removing.keys("ns", ["llm:1"]))
    assert doubt.refs == {filled.ref("llm:2"): 5}


def test_versions_that_could_not_be_renewed_are_in_doubt_wherever_they_are_asked(shared):
    shared.authority_down = True
    shared.drive(shared.removing.tags("ns", ["red"], cascade=False))
    assert shared.world.doubts[SERVER].owed == [Renew("ns", ["red"])]
    assert not shared.world.doubts[DISK], "it has no versions"
    marks = (Mark(NAMESPACE_MARK, 1), Mark("red", 1))
    assert shared.world.is_owed("ns", marks)
    assert not shared.world.is_owed("ns", (Mark(NAMESPACE_MARK, 1), Mark("blue", 1)))
    assert not shared.world.is_owed("other", marks)


def test_all_of_it_is_one_change(filled):
    """Should this process be killed in the middle, others drop what they hold."""
    inside = []

    @contextmanager
    def changing():
        inside.append(len(filled.effects))
        yield
        inside.append(len(filled.effects))

    filled.world.changing = changing
    filled.drive(filled.removing.keys("ns", ["llm:1"], cascade=False))
    kinds = [type(one) for one in filled.effects[slice(*inside)]]
    assert kinds == [Announce, Remove, Announce]


def test_an_error_that_was_asked_for_comes_when_all_of_it_is_done(filled):
    filled.disk.down = filled.world.raise_errors = True
    with pytest.raises(TierUnavailable):
        filled.drive(filled.removing.keys("ns", ["llm:1"]))
    assert [one.opens for one in filled.messages] == [True, False]


# -- what depends on it


@pytest.fixture
def family(world):
    """A child of a tagged key, and one of another key."""
    world.put("parent", 1, tags=["red"])
    world.put("other", 2)
    world.put("child", 3, depends_on=["parent"])
    world.put("others", 4, depends_on=["other"])
    return world


@pytest.mark.parametrize("what", ["tag", "pattern"])
def test_what_depends_on_it_dies_and_what_depends_on_others_lives(family, what):
    removing = family.removing
    flow = removing.tags("ns", ["red"]) if what == "tag" else removing.pattern("ns", Pattern.parse("par*"))
    family.drive(flow)
    assert family.find("child") is None
    assert family.find("others") is not None


def test_who_begins_to_depend_on_a_tagged_key_meanwhile_dies_as_well(family):
    family.put("late", 5, tags=["red"])
    flow = family.removing.tags("ns", ["red"])
    effect, _ = family.drive_until(flow, lambda one: isinstance(one, Renew))
    family.put("grandchild", 6, depends_on=["late"])
    family.finish(flow, effect)
    assert family.find("grandchild") is None


def test_where_nobody_can_say_what_depends_on_a_tag_whatever_depends_on_anything_is_named(shared):
    shared.authority_down = True
    shared.world.remembered = lambda _, __: [KEY_MARK + "known"]
    shared.drive(shared.removing.tags("ns", ["red"]))
    assert {one.names for one in shared.messages} == {("red", DEPENDED_MARK, KEY_MARK + "known")}
    assert shared.world.doubts[SERVER].owed == [Renew("ns", ["red", DEPENDED_MARK, KEY_MARK + "known"])]


def test_where_nobody_can_say_what_depends_on_a_pattern_what_is_known_of_is_named(shared):
    shared.put("llm:1", 1)
    shared.messages.clear()
    shared.authority_down = True
    shared.world.remembered = lambda _, __: [KEY_MARK + "llm:1", KEY_MARK + "job:1"]
    shared.drive(shared.removing.pattern("ns", Pattern.parse("llm:*")))
    assert {one.names for one in shared.messages if one.kind == "mark"} == {(KEY_MARK + "llm:1",)}


@pytest.fixture
def untold(shared):
    """`child` depends on `k`, of which the server could not be told."""
    shared.put("k", 1)
    shared.put("child", 1, depends_on=["k"])
    shared.world.doubts[1].about([shared.ref("k")], 1)
    shared.effects.clear()
    return shared


REMOVALS = {"key": lambda world: world.removing.keys("ns", ["k"]),
            "pattern": lambda world: world.removing.pattern("ns", Pattern.parse("k*"))}  # fmt: skip


@pytest.mark.parametrize("kind", REMOVALS)
def test_what_depends_on_what_was_owed_ends_before_that_is_announced(untold, kind):
    """With the announcement neighbours owe it no longer."""
    untold.drive(REMOVALS[kind](untold))
    renewed = [at for at, one in enumerate(untold.effects) if isinstance(one, Renew)]
    said = [at for at, one in enumerate(untold.effects) if isinstance(one, Announce) and one.message.kind == kind]
    assert renewed[0] < said[0] < said[-1] < renewed[-1]


@pytest.mark.parametrize("kind", REMOVALS)
def test_where_that_is_away_the_rest_is_done_and_it_is_tried_once(untold, kind):
    untold.authority_down = untold.tiers[1].down = True
    untold.world.raise_errors = True
    with pytest.raises(TierUnavailable):
        untold.drive(REMOVALS[kind](untold))
    assert "k" not in untold.memory
    assert "k" not in untold.disk
    untold.world.raise_errors = False
    untold.effects.clear()
    assert untold.drive(REMOVALS[kind](untold)).failed
    assert len([one for one in untold.effects if isinstance(one, Current | Names)]) == 1


def test_a_key_that_was_not_there_has_not_ended(filled):
    ended = []
    filled.world.note_ended = ended.append
    filled.drive(filled.removing.pattern("ns", Pattern.parse("absent")))
    filled.drive(filled.removing.keys("ns", ["absent"]))
    assert ended == []
    filled.drive(filled.removing.pattern("ns", Pattern.parse("llm:1")))
    assert ended == [filled.ref("llm:1")]
