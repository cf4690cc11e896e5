"""What a tier is owed, while it is being made good."""

from __future__ import annotations

import pytest

from scoutcache.drive.blocking import run
from scoutcache.engine.effects import Erase
from scoutcache.entry import Ref
from scoutcache.patterns import Pattern


@pytest.fixture
def disk(open_cache):
    cache = open_cache(["memory", "disk"])
    return cache, cache.core.world.names.index("disk")


def test_a_tier_is_not_believed_until_the_removal_it_is_owed_is_done(disk, monkeypatch):
    """Else a reader would find there what was invalidated long ago."""
    cache, level = disk
    cache.set("a:1", "old")
    core, ref, seen = cache.core, Ref("default", "a:1"), []
    doubt, tier = core.world.doubts[level], cache.tier("disk")
    remove = tier.remove_matching

    def removing(*given):
        seen.append(doubt.covers(ref))
        return remove(*given)

    monkeypatch.setattr(tier, "remove_matching", removing)
    doubt.owe(Erase(level, "default", Pattern.parse("a:*")))
    run(core.amends.make(level), core.ports)
    assert seen == [True]
    assert not doubt.covers(ref)


def test_what_comes_into_doubt_while_others_are_given_waits_for_its_turn(open_cache, monkeypatch):
    """It would be removed from the server, and stay with those who set it."""
    cache = open_cache(["memory", "redis"])
    core, tier, level = cache.core, cache.tier("redis"), cache.core.world.tells
    cache.set_many({"first": 1, "late": 2})
    doubt, write = core.world.doubts[level], tier.write

    def writing(*given):
        doubt.about([Ref("default", "late")], 2)
        return write(*given)

    monkeypatch.setattr(tier, "write", writing)
    doubt.about([Ref("default", "first")], 1)
    run(core.amends.make(level), core.ports)
    assert set(doubt.refs) == {Ref("default", "late")}
    assert tier.read(Ref("default", "late"), core.world.now()) is not None


def test_what_comes_into_doubt_anew_while_it_is_given_is_given_again(open_cache, monkeypatch):
    """Else this process answers with the newer value, and all others with the older one, for as long as both live."""
    cache = open_cache(["memory", "redis"])
    core, tier, level = cache.core, cache.tier("redis"), cache.core.world.tells
    cache.set("k", 1)
    doubt, write, ref = core.world.doubts[level], tier.write, Ref("default", "k")

    def writing(*given):
        taken = write(*given)
        doubt.about([ref], 2)
        return taken

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(tier, "write", writing)
        doubt.about([ref], 1)
        run(core.amends.make(level), core.ports)
    assert doubt.refs == {ref: 2}
    assert tier.read(ref, core.world.now()) is not None
    run(core.amends.make(level), core.ports)
    assert not doubt


@pytest.mark.parametrize("tiers", [["memory", "redis"], ["memory", "redis", "disk"]], ids="+".join)
def test_what_a_server_refuses_leaves_nothing_older_in_memory(open_cache, monkeypatch, tiers):
    """As it does after three tries between which somebody invalidated something."""
    cache = open_cache(tiers)
    cache.set("k", "old")
    tier = cache.tier("redis")

    def refuse(rows, *_):
        tier.remove([row.header.ref for row in rows])
        return 0

    monkeypatch.setattr(tier, "write", refuse)
    cache.set("k", "new")
    assert cache.get("k") in {None, "new"}


def test_what_is_set_while_its_key_is_being_removed_counts_as_set_during_an_invalidation(open_cache, monkeypatch):
    cache = open_cache(["memory", "redis"])
    core, tier, level = cache.core, cache.tier("redis"), cache.core.world.tells
    ref, doubt, remove = Ref("default", "k"), core.world.doubts[level], tier.remove_older

    def removing(*given):
        monkeypatch.undo()
        assert not cache.set("k", "set")
        return remove(*given)

    monkeypatch.setattr(tier, "remove_older", removing)
    doubt.about([ref], core.world.stamp())
    run(core.amends.make(level), core.ports)
    assert cache.get("k") is None
    assert not doubt
    assert cache.set("k", "set")
    assert tier.read(ref, core.world.now()) is not None


def rest_of(plan, command):
    """What is left of a plan whose next command is known already."""
    try:
        while True:
            command = plan.send((yield command))
    except StopIteration as end:
        return end.value


def test_a_write_that_is_carried_out_after_its_key_was_removed_is_refused(open_cache, monkeypatch):
    """It was in flight in a server that was stopped, and began before what that could not be told."""
    cache = open_cache(["memory", "redis"])
    core, tier, level = cache.core, cache.tier("redis"), cache.core.world.tells
    ref, doubt, write = Ref("default", "k"), core.world.doubts[level], tier.plans.write

    def late(*given):
        plan = write(*given)
        command = next(plan)
        vars(tier.plans).pop("write")
        doubt.about([ref], core.world.stamp())
        run(core.amends.make(level), core.ports)
        return (yield from rest_of(plan, command))

    began = cache.position()
    vars(tier.plans)["write"] = late
    cache.set("k", "old", since=began)
    assert "write" not in vars(tier.plans)
    assert tier.read(ref, core.world.now()) is None
    assert cache.get("k") is None


def test_of_two_machines_that_wrote_apart_the_later_one_wins_whoever_comes_back_first(open_cache):
    """The earlier one is given to the server first; the later writer, who hears of that, still knows when he began."""
    cache = open_cache(["memory", "redis"])
    core, tier, level = cache.core, cache.tier("redis"), cache.core.world.tells
    ref, doubt = Ref("default", "k"), core.world.doubts[level]
    cache.set("k", "earlier")
    doubt.about([ref], core.world.stamp())  # ours, which memory has lost since
    core.memory.remove([ref])
    run(core.amends.make(level), core.ports)
    assert tier.read(ref, core.world.now()) is None
    start = core.world.stamp()
    cache.set("k", "later")
    doubt.about([ref], start)
    core.memory.remove([ref])
    run(core.amends.make(level), core.ports)
    assert tier.read(ref, core.world.now()) is not None


def test_too_many_doubts_are_owed_as_their_namespaces():
    from scoutcache.engine.doubt import Doubt

    doubt = Doubt(1, capacity=3)
    doubt.about([Ref(space, str(number)) for space in "ab" for number in range(2)], 1)
    assert not doubt.refs
    assert sorted(owed.namespace for owed in doubt.owed) == ["a", "b"]
    assert doubt.covers(Ref("a", "k"))
    assert not doubt.covers(Ref("c", "k"))


@pytest.mark.parametrize("error", [RuntimeError("a tier of one's own"), KeyboardInterrupt()], ids=repr)
def test_what_is_owed_stays_so_where_making_it_good_ends_by_another_error(disk, monkeypatch, error):
    cache, level = disk
    cache.set("a:1", "old")
    core, ref = cache.core, Ref("default", "a:1")
    doubt = core.world.doubts[level]

    def fail(*_):
        raise error

    doubt.owe(Erase(level, "default", Pattern.parse("a:*")))
    monkeypatch.setattr(cache.tier("disk"), "remove_matching", fail)
    with pytest.raises(type(error)):
        run(core.amends.make(level), core.ports)
    assert doubt.covers(ref)
    monkeypatch.undo()
    run(core.amends.make(level), core.ports)
    assert not doubt
    assert cache.get("a:1") is None
