"""Freshness: what is stale is served while one refresh runs, and when that fails or is slow."""

from __future__ import annotations

import pytest

from scoutcache.engine.recipe import Recipe, wants_context
from scoutcache.engine.writing import Lifetime
from scoutcache.entry import MISSING
from scoutcache.errors import CacheError, FactoryTimeout


def answer(world, key, factory=lambda: "new", **options):
    return world.drive(world.compute(key, factory, **{"ttl": 10.0, "stale": 100.0, **options}))


@pytest.fixture
def stale(world):
    """A world in which ``k`` has a stale value."""
    world.put("k", "old", ttl=10.0, stale=100.0)
    world.now += 20
    return world


def fail():
    raise KeyError("boom")


def test_a_stale_value_is_served_at_once_and_one_refresh_begins(stale):
    outcome = answer(stale, "k")
    assert (outcome.value, outcome.how, outcome.reason) == ("old", "stale", "refreshing")
    assert answer(stale, "k", pytest.fail).value == "old"
    assert len(stale.beside) == 1
    stale.refresh()
    assert answer(stale, "k", pytest.fail).value == "new"
    assert {"stale", "refreshed"} <= set(stale.names_told())
    assert not len(stale.world.flights)
    assert not len(stale.world.refreshes)


def test_when_too_many_refreshes_run_the_stale_value_is_served_all_the_same(stale):
    stale.spawns = False
    assert answer(stale, "k").value == "old"
    assert not len(stale.world.refreshes)


def test_after_its_stale_time_it_is_gone(stale):
    stale.now += 100
    assert answer(stale, "k").value == "new"


def test_a_factory_that_fails_leaves_the_stale_value_and_is_left_alone_for_a_while(stale):
    answer(stale, "k", fail)
    stale.refresh()
    outcome = answer(stale, "k", pytest.fail)
    assert (outcome.value, outcome.reason) == ("old", "failed")
    assert not stale.beside
    stale.now += stale.world.throttle
    answer(stale, "k")
    assert len(stale.beside) == 1


def test_an_announcement_ends_the_pause_after_a_failure(stale):
    answer(stale, "k", fail)
    stale.refresh()
    stale.world.failures.drop()
    answer(stale, "k")
    assert len(stale.beside) == 1


def test_within_the_soft_timeout_the_fresh_value_is_waited_for(stale):
    flow = stale.compute("k", lambda: "new", ttl=10.0, stale=100.0, soft_timeout=5.0)
    effect, _ = stale.drive_until(flow, lambda effect: type(effect).__name__ == "Join")
    stale.refresh()
    outcome = stale.finish(flow, effect)
    assert (outcome.value, outcome.how) == ("new", "joined")


def test_past_the_soft_timeout_the_stale_value_is_served(stale):
    outcome = answer(stale, "k", soft_timeout=5.0)
    assert (outcome.value, outcome.reason) == ("old", "slow")
    stale.refresh()
    assert answer(stale, "k", pytest.fail).value == "new", "the late result is stored"


def test_a_failure_within_the_soft_timeout_gives_the_stale_value(stale):
    flow = stale.compute("k", fail, ttl=10.0, stale=100.0, soft_timeout=5.0)
    effect, _ = stale.drive_until(flow, lambda effect: type(effect).__name__ == "Join")
    stale.refresh()
    assert stale.finish(flow, effect).reason == "failed"


def test_the_hard_timeout_raises_and_the_late_result_is_stored(world):
    with pytest.raises(FactoryTimeout, match=r"'k' takes longer than 2 s"):
        answer(world, "k", hard_timeout=2.0)
    assert not len(world.world.flights)
    world.refresh()
    assert answer(world, "k", pytest.fail).value == "new"
    assert not len(world.world.refreshes)


def test_who_comes_after_a_timeout_waits_for_the_computation_under_way(world):
    with pytest.raises(FactoryTimeout):
        answer(world, "k", hard_timeout=2.0)
    flow = world.compute("k", pytest.fail)
    effect, _ = world.drive_until(flow, lambda effect: type(effect).__name__ == "Join")
    world.refresh()
    assert world.finish(flow, effect).value == "new"


@pytest.mark.parametrize("own", [None, 5.0])
def test_a_follower_without_a_timeout_or_with_a_longer_one_is_not_given_its_leaders(world, own):
    leader = world.compute("k", lambda: "new", hard_timeout=2.0)
    effect, _ = world.drive_until(leader, lambda effect: type(effect).__name__ == "Join")
    follower = world.compute("k", pytest.fail, hard_timeout=own)
    joining = next(follower)
    world.now += 2
    with pytest.raises(FactoryTimeout):
        world.finish(leader, effect)
    effect = world.advance(follower, joining)
    while type(effect).__name__ != "Join":
        effect = world.advance(follower, effect)
    assert effect.timeout == (own and 3.0), "what is left of its own"
    world.refresh()
    assert world.finish(follower, effect).value == "new"


def test_who_waits_for_others_until_a_moment_waits_for_its_own_call_as_long_as_for_any(world):
    flow = world.compute("k", lambda: "own", hard_timeout=60.0, until=world.now + 5)
    effect, _ = world.drive_until(flow, lambda effect: type(effect).__name__ == "Join")
    assert effect.timeout == 60
    world.refresh()
    assert world.finish(flow, effect).value == "own"


def test_an_ageing_value_is_refreshed_ahead_by_one_reader(world):
    world.put("k", "old", ttl=10.0)
    world.now += 7.9
    assert answer(world, "k", refresh_ahead=0.8).how == "hit"
    assert not world.beside
    world.now += 0.2
    assert answer(world, "k", refresh_ahead=0.8).value == "old"
    assert answer(world, "k", refresh_ahead=0.8).value == "old"
    assert len(world.beside) == 1
    world.refresh()
    assert answer(world, "k", pytest.fail, refresh_ahead=0.8).value == "new"


def test_nothing_is_kept_for_its_own_time(world):
    answer(world, "k", lambda: None, negative_ttl=2.0)
    world.now += 1
    assert answer(world, "k", pytest.fail, negative_ttl=2.0).value is None
    world.now += 1.1
    assert answer(world, "k", negative_ttl=2.0).value == "new"


@pytest.mark.parametrize(("throw", "lives"), [(0.0, 10.0), (0.5, 9.0), (1.0, 8.0)])
def test_jitter_takes_a_part_off_the_ttl_and_never_adds(world, throw, lives):
    world.world.dice = lambda: throw
    answer(world, "k", jitter=0.2)
    assert world.find("k").header.fresh_until - world.now == pytest.approx(lives)


def test_a_value_that_doesnt_hold_is_dropped_and_computed_anew(world):
    world.put("k", "bad")
    assert answer(world, "k", lambda: "good", validate=lambda value: value != "bad").value == "good"
    assert answer(world, "k", pytest.fail, validate=lambda value: value != "bad").value == "good"


def test_a_value_that_doesnt_hold_is_gone_though_computing_fails(world):
    world.put("k", "bad")
    with pytest.raises(KeyError):
        answer(world, "k", fail, validate=lambda value: value != "bad")
    assert world.find("k") is None


def test_an_error_is_kept_only_where_one_asks_for_it(world):
    with pytest.raises(KeyError):
        answer(world, "k", fail, error_ttl=5.0)
    with pytest.raises(KeyError):
        answer(world, "k", pytest.fail, error_ttl=5.0)
    assert answer(world, "k").value == "new"


def test_a_kept_error_has_its_time(world):
    with pytest.raises(KeyError):
        answer(world, "k", fail, error_ttl=5.0)
    world.now += 5
    assert answer(world, "k", error_ttl=5.0).value == "new"


def test_while_another_process_refreshes_nobody_here_tries_at_each_read(stale):
    """The world has no leases, so one that is taken is played by a job that comes back without an outcome."""
    stale.computing._calling.obtain = lambda job, refs: iter(())
    assert answer(stale, "k", pytest.fail).reason == "refreshing"
    stale.refresh()
    assert answer(stale, "k", pytest.fail).reason == "refreshing"
    assert not stale.beside
    stale.now += 0.3
    answer(stale, "k", pytest.fail)
    assert len(stale.beside) == 1


# -- what a factory says


def test_a_factory_gets_the_stale_value_and_may_call_it_unmodified(stale):
    def factory(ctx):
        assert (ctx.key, ctx.stale) == ("k", "old")
        return ctx.not_modified()

    answer(stale, "k", factory)
    stale.refresh()
    outcome = answer(stale, "k", pytest.fail)
    assert (outcome.value, outcome.how) == ("old", "hit")


def test_without_a_stale_value_nothing_can_be_unmodified(world):
    def factory(ctx):
        assert ctx.stale is MISSING
        return ctx.not_modified()

    with pytest.raises(CacheError, match="'k'"):
        answer(world, "k", factory)


def test_a_factory_says_how_its_result_is_kept(world):
    def factory(ctx):
        ctx.ttl, ctx.tags, ctx.cost = "1h", ["red"], 0.5
        return "new"

    assert answer(world, "k", factory).cost == 0.5
    header = world.find("k").header
    assert (header.tags, header.fresh_until - header.created, header.cost) == (("red",), 3600.0, 0.5)


def test_a_factory_may_say_that_its_result_is_not_to_be_kept(world):
    def factory(ctx):
        ctx.store = False
        return "new"

    assert not answer(world, "k", factory).stored
    assert world.find("k") is None


def test_a_name_that_a_context_does_not_have_is_refused(world):
    def factory(ctx):
        ctx.tll = 5

    with pytest.raises(AttributeError, match="tll"):
        answer(world, "k", factory)


def test_only_a_first_parameter_named_ctx_is_given_a_context():
    assert wants_context(lambda ctx: ctx)
    assert not wants_context(lambda: 1)
    assert not wants_context(lambda x=1, ctx=2: x)
    assert not wants_context(print)


def test_nobody_is_given_what_began_before_an_invalidation_of_a_tag_that_its_factory_chose(world):
    """While it runs nobody can know of the tag; once it has ended, those who asked after the invalidation can."""

    def chooses(ctx):
        ctx.tags = ["red"]
        return "old"

    early = world.compute("k", chooses)
    call, _ = world.drive_until(early, lambda effect: type(effect).__name__ == "Call")
    world.hear("mark", "red")
    late = world.compute("k", lambda: "new")
    join = next(late)
    assert world.finish(early, call).value == "old"
    assert world.finish(late, join).value == "new"
    other = world.compute("j", chooses)
    call, _ = world.drive_until(other, lambda effect: type(effect).__name__ == "Call")
    world.hear("mark", "blue")
    late = world.compute("j", pytest.fail)
    join = next(late)
    world.finish(other, call)
    assert world.finish(late, join).value == "old", "another tag is no reason to compute anew"


# -- many


def many(world, keys, factory, **options):
    from scoutcache.engine.computing import Recipe
    from scoutcache.engine.writing import Lifetime

    recipe = Recipe(factory, Lifetime(10.0, 100.0), many=True, **options)
    return world.drive(world.computing.compute_many([world.ref(key) for key in keys], recipe))


@pytest.mark.parametrize("tiers", [("memory", "disk"), ("memory",)])
def test_what_is_invalidated_while_it_is_computed_is_not_said_to_be_stored_and_the_rest_is(make_world, tiers):
    world = make_world(tiers)

    def factory(keys):
        world.hear("key", "b")
        return dict.fromkeys(keys, 0)

    outcomes = many(world, "abc", factory)
    assert {ref.key: one.stored for ref, one in outcomes.items()} == {"a": True, "b": False, "c": True}


def test_what_is_missing_is_computed_by_one_call(world):
    world.put("b", "there")
    calls = []

    def factory(keys):
        calls.append(keys)
        return {key: key.upper() for key in keys}

    outcomes = many(world, "abc", factory)
    assert {ref.key: one.value for ref, one in outcomes.items()} == {"a": "A", "b": "there", "c": "C"}
    assert calls == [["a", "c"]]
    assert many(world, "abc", pytest.fail)[world.ref("a")].how == "hit"


def test_a_key_that_the_factory_leaves_out_has_no_value(world):
    outcomes = many(world, "ab", lambda keys: {"a": 1})
    assert outcomes[world.ref("b")].value is MISSING
    assert not len(world.world.flights)


def test_a_factory_of_many_that_returns_no_mapping_is_told_so(world):
    with pytest.raises(CacheError, match="mapping"):
        many(world, "ab", lambda keys: [1, 2])
    assert not len(world.world.flights)


def test_keys_that_somebody_computes_are_waited_for(world):
    calls = []
    leader = world.compute("b", lambda: calls.append("b") or "B")
    effect, _ = world.drive_until(leader, lambda effect: type(effect).__name__ == "Call")
    from scoutcache.engine.computing import Recipe
    from scoutcache.engine.writing import Lifetime

    recipe = Recipe(lambda keys: calls.append(keys) or dict.fromkeys(keys, "A"), Lifetime(10.0), many=True)
    batch = world.computing.compute_many([world.ref("a"), world.ref("b")], recipe)
    joining, _ = world.drive_until(batch, lambda effect: type(effect).__name__ == "Join")
    assert calls == [["a"]]
    world.finish(leader, effect)
    outcomes = world.finish(batch, joining)
    assert {ref.key: one.value for ref, one in outcomes.items()} == {"a": "A", "b": "B"}


def test_an_error_is_answered_no_more_once_the_value_was_computed(world):
    with pytest.raises(KeyError):
        answer(world, "k", fail, error_ttl=60.0)
    world.drive(world.computing.anew(world.ref("k"), Recipe(lambda: "new", Lifetime(10.0))))
    world.memory.rows.clear()
    world.disk.rows.clear()
    assert answer(world, "k", error_ttl=60.0).value == "new"


def test_a_value_that_holds_for_another_life_keeps_its_tags_and_what_it_depends_on(world):
    world.put("k", "old", ttl=10.0, stale=100.0, tags=["red"], depends_on=["db"])
    world.now += 20
    answer(world, "k", lambda ctx: ctx.not_modified())
    world.refresh()
    header = world.disk.rows[world.ref("k")].header
    assert header.fresh_until > world.now
    assert (header.tags, header.depends_on) == (("red",), ("db",))
