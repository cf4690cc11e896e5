"""Writing: the order of the tiers, what forbids a write, and what dies of one."""

from __future__ import annotations

import contextlib

import pytest

from scoutcache.coherence.messages import Message
from scoutcache.engine.effects import Announce, Renew, Write
from scoutcache.engine.moments import Moments
from scoutcache.engine.writing import Lifetime, lifetime
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, NEVER
from scoutcache.errors import PolicyError, SerializationError, TierUnavailable
from scoutcache.policies.book import Effective


def step_names(world):
    return [type(effect).__name__ + str(getattr(effect, "level", "")) for effect in world.effects]


def test_the_lowest_tier_first_then_others_are_told_and_memory_last(make_world):
    world = make_world(("memory", "near", "far"))
    assert world.put("k", 1) == 1
    assert [name for name in step_names(world) if name[:5] in {"Write", "Annou"}] == [
        "Write2", "Write1", "Announce", "Write0",
    ]  # fmt: skip
    (message,) = world.messages
    assert (message.kind, message.names) == ("written", ("k",))


def test_a_cache_of_memory_alone_tells_nobody(make_world):
    world = make_world(("memory",))
    world.put("k", 1)
    assert world.messages == []
    assert "k" in world.memory


def test_an_entry_carries_its_tags_the_namespaces_mark_and_its_dependencies(world):
    world.put("k", 1, tags=["red"], depends_on=["db"])
    header = world.disk.rows[world.ref("k")].header
    assert {mark.name for mark in header.marks} == {NAMESPACE_MARK, "red", KEY_MARK + "db"}
    assert all(world.versions["ns", mark.name] == mark.version for mark in header.marks)
    assert (header.tags, header.depends_on) == (("red",), ("db",))


def test_a_lifetime_of_zero_stores_nothing_and_asks_for_nothing(world):
    assert world.put("k", 1, ttl=0.0) == 0
    assert world.effects == []


@pytest.mark.parametrize(("ttl", "stale", "fresh", "expires"), [(10.0, 5.0, 10.0, 15.0), (NEVER, 5.0, NEVER, NEVER)])
def test_fresh_until_and_expiry(world, ttl, stale, fresh, expires):
    kept = lifetime(ttl, stale)
    world.put("k", 1, ttl=kept.fresh, stale=kept.stale)
    header = world.disk.rows[world.ref("k")].header
    assert (header.fresh_until, header.expires) == (world.now + fresh, world.now + expires)


def test_a_value_that_cant_be_stored_changes_nothing(world):
    with pytest.raises(SerializationError):
        world.put("k", {"a": object()})
    assert world.effects == []


@pytest.mark.parametrize(
    ("kind", "name"), [("key", "k"), ("pattern", "k*"), ("mark", "red"), ("mark", NAMESPACE_MARK), ("namespace", "")]
)
@pytest.mark.parametrize("source", ["me", "you"])
def test_a_write_that_began_before_an_invalidation_is_refused_by_every_tier(world, kind, name, source):
    began = world.writing.moment()
    world.hear(kind, name, source=source)
    assert world.put("k", 1, tags=["red"], began=began) == 0
    assert "k" not in world.memory
    assert "k" not in world.disk
    assert [m.kind for m in world.messages] == [kind], "what nobody took isn't told"


@pytest.mark.parametrize(
    ("kind", "name"), [("key", "db"), ("pattern", "d*"), ("written", "db"), ("mark", KEY_MARK + "db")]
)
@pytest.mark.parametrize("source", ["me", "you"])
def test_so_is_one_that_depends_on_what_was_invalidated_or_written_since(world, kind, name, source):
    began = world.writing.moment()
    world.hear(kind, name, source=source)
    assert world.put("k", 1, depends_on=["db"], began=began) == 0


@pytest.mark.parametrize(
    ("kind", "name", "namespace"),
    [("key", "other", "ns"), ("mark", "blue", "ns"), ("pattern", "*", "elsewhere"), ("written", "k", "ns")],
)
def test_what_doesnt_name_it_doesnt_make_a_slow_answer_unkeepable(world, kind, name, namespace):
    began = world.writing.moment()
    world.hear(kind, name, namespace=namespace)
    assert world.put("k", 1, tags=["red"], began=began) == 1
    assert "k" in world.disk


def test_a_foreign_write_since_keeps_the_copy_out_of_memory_only(world):
    began = world.writing.moment()
    world.hear("written", "k", source="you")
    world.put("k", 1, began=began)
    assert ("k" in world.memory, "k" in world.disk) == (False, True)


@pytest.mark.parametrize("level", [1, 0])
def test_an_invalidation_in_the_middle_of_a_write_stops_the_tiers_that_are_left(world, level):
    flow = world.set("k", 1)
    effect, _ = world.drive_until(flow, lambda effect: isinstance(effect, Write) and effect.level == level)
    world.hear("key", "k")
    world.finish(flow, effect)
    assert "k" not in world.memory


def test_of_two_writers_the_later_start_wins_whoever_ends_first(world):
    early, late = world.writing.moment(), world.writing.moment()
    assert world.put("k", "late", began=late) == 1
    assert world.put("k", "early", began=early) == 0
    assert world.find("k").value == world.peek(world.ref("k")).value() == "late"


def test_the_position_is_noted_before_the_stamp(world):
    """Who writes between the two is the earlier one, and must be heard of."""
    seen = []
    world.world.applied = lambda: seen.append("position") or 0
    world.world.stamp = lambda: seen.append("stamp") or 1
    world.writing.moment()
    assert seen == ["position", "stamp"]


def test_a_lower_tier_that_is_away_leaves_the_others(world):
    world.disk.down = True
    assert world.put("k", 1) == 1
    assert "k" in world.memory
    assert world.messages == [], "nobody else has a copy to drop"
    assert "tier_down" in world.names_told()


def test_without_the_authority_only_memory_keeps_it(world):
    world.authority_down = True
    assert world.put("k", 1) == 1
    assert ("k" in world.memory, "k" in world.disk) == (True, False)


def test_stored_is_told_with_the_tiers_that_took_it(world):
    world.put("k", "value", ttl=60.0)
    (stored,) = [record for record in world.told if record.name == "stored"]
    assert (stored.tiers, stored.ttl) == (("memory", "disk"), 60.0)


# -- dependents


@pytest.fixture
def family(world):
    """`child` depends on `parent`; nothing is told yet."""
    world.put("parent", {"a": 1})
    world.put("child", "of a=1", depends_on=["parent"])
    world.messages.clear()
    return world


def alive(world, key):
    return world.find(key, promote=False) is not None


def test_a_dependent_dies_when_the_key_gets_another_value(family):
    family.put("parent", {"a": 2})
    assert not alive(family, "child")
    assert "child" not in family.memory
    assert [m.kind for m in family.messages] == ["written", "mark", "mark"]


def test_a_dependent_lives_when_the_value_is_the_same(family):
    family.put("parent", {"a": 1})
    assert alive(family, "child")
    assert [m.kind for m in family.messages] == ["written"]


def test_a_computation_is_kept_though_what_it_depends_on_is_set_to_the_same_value(family):
    began = family.writing.moment()
    family.put("parent", {"a": 1})
    assert family.put("child", "slow", depends_on=["parent"], began=began)
    family.put("parent", {"a": 2})
    assert not family.put("child", "slower", depends_on=["parent"], began=began)


@pytest.mark.parametrize("kind", ["written", "key"])
def test_it_is_not_where_another_value_came_between_the_look_and_the_write(family, kind):
    began = family.writing.moment()
    flow = family.set("parent", {"a": 1})
    effect, _ = family.drive_until(flow, lambda effect: isinstance(effect, Write))
    family.hear(kind, "parent")
    family.finish(flow, effect)
    late = family.writing.moment()
    assert [m.same for m in family.messages if m.source == "me" and m.kind == "written"] in ([()], [])
    assert not family.put("child", "slow", depends_on=["parent"], began=began)
    assert family.put("child", "after", depends_on=["parent"], began=late)


@pytest.mark.parametrize(
    ("old", "new"), [(1, 1.0), (1, True), ((1,), (True,)), ((1, (0,)), (1, (0.0,))), ([1], b"\x91\x01")]
)
def test_equal_is_what_is_stored_and_not_what_python_calls_equal(world, old, new):
    world.put("parent", old)
    world.put("child", "derived", depends_on=["parent"])
    world.put("parent", new)
    assert not alive(world, "child")


def test_a_dependent_dies_when_the_key_wasnt_there_any_more(family):
    for tier in family.tiers:
        tier.rows.pop(family.ref("parent"))
    family.put("parent", {"a": 1})
    assert not alive(family, "child")


def test_dependents_of_dependents_die_as_well(world):
    world.put("a", 1)
    world.put("b", 2, depends_on=["a"])
    world.put("c", 3, depends_on=["b"])
    world.put("a", 10)
    assert not alive(world, "b")
    assert not alive(world, "c")


def test_that_holds_in_memory_alone(make_world):
    world = make_world(("memory",))
    world.put("a", 1)
    world.put("b", 2, depends_on=["a"])
    world.put("c", 3, depends_on=["b"])
    world.drive(world.removing.keys("ns", ["a"]))
    assert not world.memory.rows


def test_a_circle_of_dependencies_ends_and_whoever_was_written_last_lives(world):
    world.put("a", 1, depends_on=["b"])
    world.put("b", 2, depends_on=["a"])
    assert alive(world, "b")
    world.put("a", 3, depends_on=["b"])
    assert alive(world, "a")
    assert not alive(world, "b")
    world.put("self", 1, depends_on=["self"])
    assert alive(world, "self")


def test_renewing_is_announced_before_and_after(family):
    flow = family.set("parent", "changed")
    effect, _ = family.drive_until(flow, lambda effect: isinstance(effect, Renew))
    assert family.messages[-1].kind == "mark"
    before = len(family.messages)
    effect = family.advance(flow, effect)
    assert isinstance(effect, Announce)
    with pytest.raises(StopIteration):
        family.advance(flow, effect)
    assert [m.kind for m in family.messages[before:]] == ["mark"]


def test_a_dependent_written_at_every_moment_of_the_write_it_depends_on_is_never_left_with_the_old_value(make_world):
    """The child reads the parent and is stored, as a whole, at each yield point of the parent's next write."""
    for moment in range(30):
        world = make_world()
        world.put("parent", "old")
        flow, steps = world.set("parent", "new"), 0
        try:
            effect = next(flow)
            while True:
                if steps == moment:
                    began = world.writing.moment()
                    seen = world.find("parent", promote=False).value
                    world.put("child", f"of {seen}", depends_on=["parent"], began=began)
                steps += 1
                effect = world.advance(flow, effect)
        except StopIteration:
            pass
        child = world.find("child", promote=False)
        assert child is None or child.value == "of new", moment
        if steps < moment:
            return
    pytest.fail("the write never ended")


def test_a_child_that_read_before_and_is_written_at_any_moment_is_never_left_with_the_old_value(make_world):
    for moment in range(30):
        world = make_world()
        world.put("parent", "old")
        began = world.writing.moment()
        seen = world.find("parent", promote=False).value
        flow, steps = world.set("parent", "new"), 0
        try:
            effect = next(flow)
            while True:
                if steps == moment:
                    world.put("child", f"of {seen}", depends_on=["parent"], began=began)
                steps += 1
                effect = world.advance(flow, effect)
        except StopIteration:
            if steps <= moment:
                world.put("child", f"of {seen}", depends_on=["parent"], began=began)
        assert world.find("child", promote=False) is None, moment
        if steps < moment:
            return
    pytest.fail("the write never ended")


def test_many_are_one_write_per_tier(world):
    entries = [world.writing.entry(world.ref(key), key, Lifetime(60.0)) for key in "abc"]
    assert world.drive(world.writing.store(entries, world.writing.moment())) == 3
    writes = [effect for effect in world.effects if isinstance(effect, Write)]
    assert [(effect.level, len(effect.rows)) for effect in writes] == [(1, 3), (0, 3)]


# -- policies


def under(world, **said):
    """Let a policy say this of every key that begins with ``p``."""
    effective = Effective(sources=dict.fromkeys(said, "policy"), **said)
    world.world.policy = lambda ref: effective if ref.key.startswith("p") else None
    return world


def holders(world, key):
    return [tier.name for tier in world.tiers if key in tier]


THREE = ("memory", "redis", "disk")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"allowed_backends": frozenset({"memory"})}, ["memory"]),
        ({"allowed_backends": frozenset({"redis", "disk"})}, ["redis", "disk"]),
        ({"preferred_backend": "redis"}, ["redis", "disk"]),
        ({"preferred_backend": "disk"}, ["disk"]),
    ],
)
def test_of_a_batch_each_entry_goes_where_its_policy_says_in_one_write_per_tier(make_world, said, expected):
    world = under(make_world(THREE), **said)
    entries = [world.writing.entry(world.ref(key), key, Lifetime(60)) for key in ("p1", "other", "p2")]
    assert world.drive(world.writing.store(entries, world.writing.moment())) == 3
    assert [holders(world, key) for key in ("p1", "other", "p2")] == [expected, list(THREE), expected]
    levels = [effect.level for effect in world.effects if isinstance(effect, Write)]
    assert len(levels) == len(set(levels))


def test_tiers_above_the_preferred_one_lose_the_older_entry(make_world):
    world = make_world(THREE)
    world.put("p", "old")
    under(world, preferred_backend="disk").put("p", "new")
    assert holders(world, "p") == ["disk"]
    assert world.messages[-1].names == ("p",)


def test_a_tier_above_that_cannot_let_go_of_the_older_entry_is_not_believed(make_world):
    world = make_world(THREE)
    world.put("p", "old")
    world.tiers[1].down = True
    under(world, preferred_backend="disk").put("p", "new")
    world.tiers[1].down = False
    assert world.find("p").value == "new"


def test_a_write_that_no_shared_tier_takes_is_told_to_the_others_all_the_same(world):
    under(world, allowed_backends=frozenset({"memory"})).put("p", 1)
    assert [(message.kind, message.names) for message in world.messages] == [("written", ("p",))]


def test_without_the_authority_memory_keeps_only_what_may_be_there(world):
    under(world, allowed_backends=frozenset({"disk"})).authority_down = True
    assert (world.put("p", 1), world.put("other", 2)) == (0, 1)


def test_what_must_be_encrypted_is_never_written_in_plain(world):
    with pytest.raises(PolicyError, match="'p' must be encrypted at rest"):
        under(world, encrypt_at_rest=True).put("p", 1)
    assert holders(world, "p") == []
    assert under(world, encrypt_at_rest=True, allowed_backends=frozenset({"memory"})).put("p", 1) == 1


def test_what_is_too_large_is_refused_and_the_rest_of_the_batch_stored(world):
    under(world, max_entry_size=50)
    entries = [world.writing.entry(world.ref(key), value, Lifetime(60)) for key, value in
               (("p1", "x" * 60), ("p2", ["x" * 60]), ("p3", "x" * 40), ("other", "x" * 60))]  # fmt: skip
    refused = set()
    assert world.drive(world.writing.store(entries, world.writing.moment(), refused=refused)) == 2
    assert {ref.key for ref in refused} == {"p1", "p2"}
    assert [(one.key, one.policy, one.size_bytes) for one in world.told if one.name == "refused"] == [
        ("p1", "policy", 62), ("p2", "policy", 63),
    ]  # fmt: skip


# -- what depends on what is written


class Watching:
    """Wants to know of every change."""

    def __init__(self):
        self.told = []

    def watches(self, key):
        return True

    def changed(self, namespace, change):
        self.told += change.keys
        return iter(())


@pytest.fixture
def watching(family):
    family.world.watch = Watching()
    return family.world.watch


def test_the_authority_renews_the_tag_of_a_key_with_the_write_itself(family):
    """Should this process be killed between the two."""

    def renews():
        return {one.rows[0].renews for one in family.effects if isinstance(one, Write)}

    family.effects.clear()
    family.put("parent", {"a": 1})
    assert renews() == {None}
    family.effects.clear()
    family.put("parent", {"a": 2})
    assert renews() == {KEY_MARK + "parent"}


def test_a_dependent_of_which_is_heard_with_the_writes_answer_dies(family):
    heard = []
    family.world.known = lambda _, __: None if heard else {}
    family.world.hear = lambda: heard.append(True)
    family.put("parent", {"a": 2})
    assert not alive(family, "child")


def test_a_dependent_dies_though_a_tier_could_not_take_it_and_that_is_raised(family):
    flow = family.set("parent", {"a": 2})
    effect, _ = family.drive_until(flow, lambda effect: isinstance(effect, Write))
    family.disk.down = family.world.raise_errors = True
    with pytest.raises(TierUnavailable):
        family.finish(flow, effect)
    family.disk.down = family.world.raise_errors = False
    assert not alive(family, "child")


@pytest.mark.parametrize(
    ("kind", "name", "same", "lives"),
    [
        ("written", "parent", (), False),
        ("mark", "red", (), False),  # what carried it, and was put there in between, nobody can say
        ("written", "other", (), True),
        ("written", "parent", ("parent",), True),
    ],
)
def test_a_dependent_dies_where_another_value_may_have_come_between(family, kind, name, same, lives):
    """It seemed to be the same when it was looked at."""
    flow = family.set("parent", {"a": 1})
    effect, _ = family.drive_until(flow, lambda effect: isinstance(effect, Write))
    family.messages.append(Message(kind, "ns", (name,), 1, "you", same=same))
    family.finish(flow, effect)
    assert alive(family, "child") == lives


def test_where_the_authority_goes_away_after_the_write_the_renewal_is_owed(family):
    flow = family.set("parent", {"a": 2})
    effect, _ = family.drive_until(flow, lambda effect: isinstance(effect, Announce))
    family.authority_down = True
    family.finish(flow, effect)
    assert family.world.doubts[1].owed == [Renew("ns", [KEY_MARK + "parent"])]


def test_that_somebody_depends_on_a_key_of_the_namespace_is_announced_once(world):
    """Whoever knows that nobody does must forget it."""
    world.put("child", 1, depends_on=["parent"])
    world.put("other", 1, depends_on=["parent"])
    assert [one.names for one in world.messages if one.kind == "mark"] == [(DEPENDED_MARK,)]


def test_a_value_that_is_the_same_ends_nothing_though_all_versions_are_known(family):
    def known(namespace, names):
        return {name: family.versions[namespace, name] for name in names if (namespace, name) in family.versions}

    family.world.known = known
    family.put("parent", {"a": 1})
    assert alive(family, "child")
    assert family.put("parent", {"a": 1}, tags=["never heard of"]) == 1


def test_to_look_at_what_it_depends_on_promotes_nothing(make_world):
    world = make_world(promote_on_hits=1)
    world.put("parent", 1)
    world.memory.rows.clear()
    world.put("child", 2, depends_on=["parent"])
    assert "parent" not in world.memory


def test_who_watches_is_told_of_what_was_written_and_is_another_value(family, watching):
    family.put("parent", {"a": 1})
    family.put("other", 1)
    assert watching.told == ["other"]
    began = family.writing.moment()
    family.hear("key", "other")
    family.put("other", 2, began=began)
    assert watching.told == ["other"], "nobody took it"
    family.authority_down = True
    family.put("other", 3)
    assert watching.told == ["other", "other"]


def test_a_touch_says_that_the_value_is_the_same(family):
    found = family.find("parent")
    family.drive(family.removing.touch(found, 100.0, family.writing.moment()))
    assert [one.same for one in family.messages if one.kind == "written"] == [("parent",)]
    assert alive(family, "child")


@pytest.mark.parametrize(("tells", "owed"), [(1, False), (2, True)])
def test_a_renewal_that_fails_is_over_and_owed_where_the_tier_failed_that_tells(shared, tells, owed):
    shared.world.tells, shared.authority_down = tells, True
    with pytest.raises(TierUnavailable):
        shared.drive(shared.writing.renew("ns", ["red"]))
    assert [(one.opens, one.owed) for one in shared.messages] == [(True, False), (False, owed)]


# -- without the authority


@pytest.mark.parametrize(("replaces", "told"), [(True, [("k",)]), (False, [])], ids=["set", "computed"])
def test_without_the_authority_no_older_one_is_left_to_be_found(shared, replaces, told):
    """Of what was computed nobody hears: what he computed himself is as good."""
    shared.put("k", "old")
    shared.messages.clear()
    shared.authority_down = True
    assert shared.put("k", "new", replaces=replaces) == 1
    ref = shared.ref("k")
    assert [shared.world.doubts[level].covers(ref) for level in (1, 2)] == [True, False]
    assert ref not in shared.disk.rows, "a neighbour finds it there"
    assert ref in shared.tiers[1].rows, "what another machine wrote there later would go as well"
    assert [one.names for one in shared.messages] == told


def test_without_the_authority_what_depends_on_it_is_ended_as_far_as_it_is_known(shared):
    shared.world.is_remembered = lambda _, name: name == KEY_MARK + "k"
    shared.world.known = lambda _, __: {}
    shared.authority_down = True
    shared.put("k", 1)
    assert {one.names for one in shared.messages if one.kind == "mark"} == {(KEY_MARK + "k",)}
    shared.messages.clear()
    shared.put("child", 1, depends_on=["k"])
    assert {one.names for one in shared.messages if one.kind == "mark"} == {(DEPENDED_MARK,)}


def test_a_computation_that_is_over_is_told_no_more(world):
    moments = world.world.moments = Moments(contextlib.nullcontext())
    with world.writing.computing([world.ref("k")], ["parent"]):
        assert len(moments) == 1
    assert len(moments) == 0


@pytest.mark.parametrize(("beside", "taken"), [("other", 1), ("parent", 0)])
def test_what_a_cache_that_shares_nothing_writes_beside_a_computation_forbids_its_result(make_world, beside, taken):
    """Nobody announces it."""
    world = make_world(("memory",))
    world.world.moments = Moments(contextlib.nullcontext())
    with world.writing.computing([world.ref("child")], ["parent"]) as began:
        world.put(beside, 1)
        assert world.put("child", "slow", depends_on=["parent"], began=began) == taken


def test_a_channel_that_began_anew_behind_what_was_noted_is_a_gap(world):
    world.hear("key", "other")
    began = world.writing.moment()
    world.world.end = world.world.invalidated = lambda: 0
    world.world.since = lambda _: (None, 0)
    assert world.put("k", 1, began=began) == 0


def test_a_write_of_what_it_depends_on_forbids_it_below_memory_too(world):
    world.put("other", 1, depends_on=["db"])
    began = world.writing.moment()
    world.hear("written", "db")
    assert world.put("k", 1, depends_on=["db"], began=began) == 0


def test_a_foreign_write_is_no_reason_for_a_lower_tier_whatever_else_was_announced(world):
    began = world.writing.moment()
    world.hear("written", "k")
    world.hear("key", "other")
    world.put("k", 1, began=began)
    assert ("k" in world.memory, "k" in world.disk) == (False, True)


@pytest.fixture
def heard(world):
    """Others announce something, of which running computations are told; somebody has depended on `db` before."""
    moments = world.world.moments = Moments(contextlib.nullcontext())
    world.put("other", 1, depends_on=["db"])
    moments.applied(len(world.messages))

    def hear(*messages):
        for message in messages:
            world.say(message)
            moments.apply(message)
        moments.applied(len(world.messages))

    return hear


@pytest.mark.parametrize("gap", [False, True])
def test_what_only_its_factory_knew_that_it_depends_on_is_looked_for_among_all_that_was_announced(world, heard, gap):
    with world.writing.computing([world.ref("k")], []) as began:
        heard(Message("written", "ns", ("db" if not gap else "other",), 1, "you"))
        if gap:
            world.world.since = lambda _: (None, len(world.messages))
        assert world.put("k", 1, depends_on=["db"], began=began) == 0


def test_a_computation_hears_of_what_it_depends_on_that_it_got_the_value_it_had(world, heard):
    with world.writing.computing([world.ref("k")], ["db"]) as began:
        heard(Message("written", "ns", ("db",), 1, "you", same=("db",)))
        assert world.put("k", 1, depends_on=["db"], began=began) == 1


def test_what_both_this_process_and_another_wrote_meanwhile_stays_out_of_memory(world, heard):
    with world.writing.computing([world.ref("k")], []) as began:
        heard(*(Message("written", "ns", ("k",), 1, source) for source in ("me", "you")))
        world.put("k", 1, began=began)
    assert ("k" in world.memory, "k" in world.disk) == (False, True)


def test_what_the_authority_could_not_be_told_gets_another_value_though_memory_has_it(shared):
    """There is the older one, and what depends on that."""
    shared.put("k", 1)
    shared.put("child", 1, depends_on=["k"])
    shared.tiers[1].down = shared.authority_down = True
    shared.put("k", 2)
    shared.tiers[1].down = shared.authority_down = False
    assert shared.find("child") is None
    shared.effects.clear()
    assert shared.put("k", 2)
    renewed = [at for at, one in enumerate(shared.effects) if isinstance(one, Renew) and KEY_MARK + "k" in one.names]
    written = [at for at, one in enumerate(shared.effects) if isinstance(one, Write) and one.level == 1]
    assert renewed[0] < written[0] < renewed[-1], "before neighbours hear that it is there"
    assert not shared.world.doubts[1]
    assert shared.find("child") is None
