"""Reading: what answers, what is a miss and why, and what moves up."""

from __future__ import annotations

import contextlib

import pytest

from scoutcache.coherence.messages import Message
from scoutcache.engine.effects import Current, Read, ReadOne, Remove, Write
from scoutcache.engine.moments import Moments
from scoutcache.entry import NAMESPACE_MARK, Sealed
from scoutcache.errors import CorruptEntry
from scoutcache.policies.book import Effective
from scoutcache.wire.unknown import UnknownType


@pytest.fixture
def stored(world):
    """An entry on disk that memory doesn't have."""
    world.put("k", "value", tags=["red"])
    world.memory.rows.clear()
    world.effects.clear()
    world.told.clear()
    return world


def read_why(world, key="k"):
    reasons = {}
    found = world.drive(world.reading.find_one(world.ref(key), reasons))
    return found, reasons.get(world.ref(key))


def test_the_decision_is_visible_without_any_io(stored):
    flow = stored.reading.find_one(stored.ref("k"))
    effect = next(flow)
    assert effect == ReadOne(1, stored.ref("k"))
    effect = flow.send(stored.disk.read(stored.ref("k"), stored.now))
    assert isinstance(effect, Current)
    assert set(effect.names) == {NAMESPACE_MARK, "red"}
    with pytest.raises(StopIteration) as end:
        flow.send({name: stored.versions["ns", name] for name in effect.names})
    assert end.value.value.value == "value"


def test_an_absent_entry_is_a_miss_without_a_reason_of_its_own(world):
    assert read_why(world) == (None, None)


def test_a_valid_entry_comes_with_its_tier_and_its_header(stored):
    found, _ = read_why(stored)
    assert (found.value, found.tier, found.header.tags) == ("value", "disk", ("red",))


@pytest.mark.parametrize("damage", [b"", b"nothing of ours", None])
def test_bytes_that_are_no_entry_are_a_miss_reported_and_removed(stored, damage):
    whole = stored.disk.rows.pop(stored.ref("k")).sealed.head
    stored.disk.raw[stored.ref("k")] = Sealed(whole[:-1] if damage is None else damage)
    assert read_why(stored) == (None, "corrupt")
    assert stored.names_told() == ["corrupt"]
    assert Remove(1, [stored.ref("k")]) in stored.effects
    assert not stored.disk.raw


def test_an_entry_of_another_key_is_corrupt(stored):
    stored.disk.raw[stored.ref("other")] = stored.disk.rows[stored.ref("k")].sealed
    assert read_why(stored, "other") == (None, "corrupt")


def test_damage_that_can_not_be_removed_is_a_miss_all_the_same(stored):
    stored.disk.raw[stored.ref("k")] = Sealed(b"")
    flow = stored.reading.find_one(stored.ref("k"))
    effect, _ = stored.drive_until(flow, lambda effect: isinstance(effect, Remove))
    stored.disk.down = True
    with pytest.raises(StopIteration) as end:
        stored.advance(flow, effect)
    assert end.value.value is None
    assert stored.names_told() == ["corrupt", "tier_down"]


def test_an_entry_of_an_unknown_type_is_a_miss_with_a_warning_and_stays(stored, monkeypatch):
    def unknown(*_):
        raise UnknownType("a class nobody told us of")

    monkeypatch.setattr(stored.codec, "open", unknown)
    assert read_why(stored) == (None, "unknown_type")
    assert stored.names_told() == ["unreadable"]
    assert "k" in stored.disk


@pytest.mark.parametrize("known", [False, True], ids=["asked", "known to be current"])
def test_an_expired_entry_is_a_miss_at_its_very_moment(stored, monkeypatch, known):
    stored.world.is_current = lambda *_: known
    sealed = stored.disk.rows[stored.ref("k")].sealed
    monkeypatch.setattr(stored.disk, "read", lambda *_: sealed)  # a tier may be late to notice
    stored.now += 59.999
    assert read_why(stored)[0] is not None
    stored.now += 0.001
    assert read_why(stored) == (None, "expired")


@pytest.mark.parametrize("mark", ["red", NAMESPACE_MARK])
@pytest.mark.parametrize("how", ["renewed", "lost"])
def test_an_entry_with_a_mark_that_is_not_current_is_a_miss(stored, mark, how):
    if how == "renewed":
        stored.versions["ns", mark] += 1 << 24
    else:
        del stored.versions["ns", mark]
    assert read_why(stored) == (None, "invalidated")


def test_what_can_not_be_checked_can_not_be_served(stored):
    stored.authority_down = True
    assert read_why(stored)[0] is None


def test_a_tier_that_is_away_is_a_miss_and_a_warning(stored):
    stored.disk.down = True
    assert read_why(stored)[0] is None
    assert stored.drive(stored.reading.find([stored.ref("k")])) == {}
    assert stored.names_told() == ["tier_down", "tier_down"]


def test_the_next_tier_is_asked_when_one_has_nothing_valid(make_world):
    world = make_world(("memory", "near", "far"))
    world.put("k", "value")
    world.tiers[0].rows.clear()
    world.tiers[1].raw[world.ref("k")] = Sealed(b"damaged")
    found, reason = read_why(world)
    assert (found.value, found.tier, reason) == ("value", "far", "corrupt")
    world.tiers[1].down = True
    assert read_why(world)[0].tier == "far"


def test_many_are_read_in_one_step_per_tier_and_only_what_is_missing_from_the_next(make_world):
    world = make_world(("memory", "near", "far"))
    for key in "abc":
        world.put(key, key)
    del world.tiers[1].rows[world.ref("b")]
    world.effects.clear()
    refs = [world.ref(key) for key in "abcda"]
    found = world.drive(world.reading.find(refs))
    assert {ref.key: one.tier for ref, one in found.items()} == {"a": "near", "b": "far", "c": "near"}
    reads = [effect for effect in world.effects if isinstance(effect, Read)]
    assert [[ref.key for ref in effect.refs] for effect in reads] == [list("abcd"), list("bd")]


# -- promotion


def test_an_entry_is_promoted_after_two_hits_and_not_after_one(stored):
    stored.find("k")
    assert "k" not in stored.memory
    stored.find("k")
    assert "k" in stored.memory
    assert stored.names_told() == ["promoted"]


def test_promotion_after_one_hit_where_that_is_configured(make_world):
    world = make_world(promote_on_hits=1)
    world.put("k", "value")
    world.memory.rows.clear()
    world.find("k")
    assert "k" in world.memory


def test_a_look_that_is_no_request_promotes_nothing(stored):
    for _ in range(5):
        stored.find("k", promote=False)
    assert "k" not in stored.memory


def test_promotion_carries_the_remaining_time_to_live(stored):
    before = stored.disk.rows[stored.ref("k")].header
    stored.now += 30
    stored.find("k"), stored.find("k")
    assert stored.memory.rows[stored.ref("k")].header == before


@pytest.mark.parametrize("find", ["find_one", "find"])
def test_a_tier_that_a_policy_forbids_is_neither_asked_nor_given_anything(make_world, find):
    world = make_world(("memory", "redis", "disk"), promote_on_hits=1)
    world.put("k", "value")
    world.memory.rows.clear()
    world.effects.clear()
    allowed = Effective(sources={}, allowed_backends=frozenset({"memory", "disk"}))
    world.world.policy = lambda _: allowed
    ref = world.ref("k")
    world.drive(getattr(world.reading, find)(ref if find == "find_one" else [ref]))
    assert "k" in world.memory
    assert 1 not in {getattr(one, "level", None) for one in world.effects}


def test_promotion_begins_to_count_again_afterwards(stored):
    stored.find("k"), stored.find("k")
    stored.memory.rows.clear()
    stored.find("k")
    assert "k" not in stored.memory


@pytest.mark.parametrize(
    ("kind", "name"),
    [("key", "k"), ("pattern", "k*"), ("mark", "red"), ("mark", NAMESPACE_MARK), ("namespace", ""), ("written", "k")],
)
@pytest.mark.parametrize("source", ["me", "you"])
@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_slow_reader_brings_nothing_back_to_life(stored, kind, name, source, when):
    """Whatever is announced between its noting the position and its write into memory: this process's writes too."""
    stored.find("k")
    flow = stored.reading.find_one(stored.ref("k"))
    stored.finish(flow, next(flow), lambda step: stored.hear(kind, name, source=source) if step == when else None)
    assert stored.messages
    assert "k" not in stored.memory


def test_what_names_something_else_doesnt_keep_an_entry_from_memory(stored):
    stored.find("k")
    flow = stored.reading.find_one(stored.ref("k"))
    effect, _ = stored.drive_until(flow, lambda effect: isinstance(effect, Write))
    stored.hear("key", "other")
    stored.hear("written", "other")
    stored.hear("namespace", "", namespace="elsewhere")
    with pytest.raises(StopIteration):
        stored.advance(flow, effect)
    assert "k" in stored.memory


def test_when_messages_are_missing_nothing_goes_up(stored):
    stored.find("k")
    flow = stored.reading.find_one(stored.ref("k"))
    effect, _ = stored.drive_until(flow, lambda effect: isinstance(effect, Write))
    stored.hear("key", "other")
    stored.world.since = lambda _: (None, 0)
    with pytest.raises(StopIteration):
        stored.advance(flow, effect)
    assert "k" not in stored.memory


def test_what_was_announced_but_not_yet_applied_here_forbids_too(stored):
    """A remembered version may be an old one until then: the position that counts is the one that was applied."""
    stored.find("k")
    stored.hear("mark", "red")
    stored.world.applied = lambda: len(stored.messages) - 1
    stored.find("k")
    assert "k" not in stored.memory


def test_from_a_tier_that_lags_nothing_goes_up(make_world):
    """That it is old was said before it was read, and is not said again: a copy would be old until it expires."""
    world = make_world(("memory", "redis"), promote_on_hits=1)
    world.world.lagging = frozenset({1})
    ref = world.ref("k")
    world.put("k", "old")
    world.disk.raw[ref] = world.disk.read(ref, world.now)
    replica = dict(world.disk.raw)
    world.put("k", "new")
    world.memory.rows.clear()
    world.disk.raw.update(replica)
    assert world.find("k").value == "old"
    assert world.drive(world.reading.find([ref]))[ref].value == "old"
    assert world.drive(world.compute("k", pytest.fail)).value == "old"
    world.disk.raw.clear()
    assert "k" not in world.memory
    assert world.find("k").value == "new"


def test_what_is_below_a_tier_that_lags_goes_up_to_it_and_further(make_world):
    world = make_world(("memory", "redis", "disk"), promote_on_hits=1)
    world.world.lagging = frozenset({1})
    world.put("k", "value")
    world.tiers[0].rows.clear(), world.tiers[1].rows.clear()
    world.find("k")
    assert all("k" in tier for tier in world.tiers)


def test_a_read_raises_nothing_but_what_was_asked_for(stored):
    stored.world.raise_errors = True
    stored.disk.raw[stored.ref("k")] = Sealed(b"")
    assert read_why(stored)[1] == "corrupt"
    with pytest.raises(CorruptEntry):
        stored.codec.open(stored.ref("k"), Sealed(b""))


def test_what_is_under_way_while_it_is_found_does_not_go_up(make_world):
    """Its opening was applied before the look, and what it names is about to go."""
    world = make_world(promote_on_hits=1)
    world.put("k", "value")
    world.memory.rows.clear()
    moments = world.world.moments = Moments(contextlib.nullcontext(), len(world.messages))
    moments.opened = lambda: [Message("key", "ns", ("k",), 1, "you", opens=True)]
    assert world.find("k") is not None
    assert "k" not in world.memory


def test_what_is_marked_stale_by_a_mark_is_found_stale(world):
    world.put("k", "value", stale=60.0, tags=["red"])
    world.versions["ns", "red"] += 1  # the next count of the same life
    found = world.find("k", promote=False)
    assert found.value == "value"
    assert found.header.fresh_until <= world.now < found.header.expires


@pytest.mark.parametrize(("tiers", "why"), [(("memory", "disk"), "unavailable"), (("memory",), "cold")])
def test_a_tier_that_is_not_believed_may_have_what_it_may_hold(make_world, tiers, why):
    world = make_world()
    world.world.doubts[1].about([world.ref("k")], 5)
    allowed = Effective(sources={}, allowed_backends=frozenset(tiers))
    world.world.policy = lambda _: allowed
    assert world.world.why_absent(world.ref("k")) == why


@pytest.mark.parametrize("known", [False, True])
def test_what_depends_on_what_the_authority_could_not_be_told_is_not_served(shared, known):
    """It says that it is current, for nobody has renewed it there."""
    shared.put("k", 1)
    shared.put("child", 1, depends_on=["k"])
    if known:
        shared.world.is_current = lambda namespace, marks: all(shared.versions[namespace, n] == v for n, v in marks)
    assert shared.find("child") is not None
    shared.world.doubts[1].about([shared.ref("k")], 1)
    reasons = {}
    assert shared.find("child", reasons=reasons) is None
    assert reasons == {shared.ref("child"): "unavailable"}
    shared.put("other", 1, tags=["red"])
    assert shared.find("other") is not None
