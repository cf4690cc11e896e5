"""Removing: announced before and after, memory swept first, and a tier that is away stops nobody."""

from __future__ import annotations

import pytest

from scoutcache.engine.effects import Announce, Clear, Current, Erase, Remove, Renew
from scoutcache.entry import NAMESPACE_MARK
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
