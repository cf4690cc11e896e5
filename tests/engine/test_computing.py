"""Computing: look, else fly once however many ask, and never hang."""

from __future__ import annotations

import pytest

from scoutcache.engine.computing import Recipe
from scoutcache.engine.effects import Call, Join, Write
from scoutcache.engine.flights import Abandoned
from scoutcache.engine.writing import Lifetime
from scoutcache.entry import Live
from scoutcache.errors import FactoryTimeout, FlightCycle


def answer(world, key, factory=lambda: "computed", **options):
    return world.drive(world.compute(key, factory, **options))


def test_a_miss_is_computed_and_stored_in_every_tier(world):
    outcome = answer(world, "k")
    assert (outcome.value, outcome.how, outcome.reason, outcome.stored) == ("computed", "computed", "cold", True)
    assert "k" in world.memory
    assert "k" in world.disk


def test_a_hit_in_any_tier_asks_no_factory(world):
    world.put("k", "there")
    never = pytest.fail
    assert (answer(world, "k", never).how, answer(world, "k", never).tier) == ("hit", "memory")
    world.memory.rows.clear()
    outcome = answer(world, "k", never)
    assert (outcome.value, outcome.how, outcome.tier) == ("there", "hit", "disk")


def test_an_expired_entry_is_computed_anew(world):
    world.put("k", "old", ttl=10.0)
    world.now += 20
    assert answer(world, "k", lambda: "new").value == "new"


@pytest.mark.parametrize("value", [None, 0, "", False, (), []])
def test_nothing_is_a_value(world, value):
    assert answer(world, "k", lambda: value).value == value
    assert answer(world, "k", pytest.fail).value == value


def test_a_factorys_error_is_told_and_stores_nothing(world):
    def fail():
        raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        answer(world, "k", fail)
    assert not world.disk.rows
    assert world.names_told() == ["factory_failed"]
    assert not len(world.flights)


def test_a_factory_that_ends_its_iterator_is_an_error_and_not_an_answer(world):
    with pytest.raises(RuntimeError) as caught:
        answer(world, "k", lambda: next(iter(())))
    assert isinstance(caught.value.__cause__, StopIteration)
    assert not len(world.flights)


def test_a_value_that_cant_be_stored_is_returned_all_the_same(world):
    thing = object()
    assert answer(world, "k", lambda: thing).value is thing
    assert "unstorable" in world.names_told()
    assert not world.disk.rows


def test_store_if_decides_after_the_value_is_there(world):
    outcome = answer(world, "k", lambda: "bad", store_if=lambda value: value != "bad")
    assert (outcome.value, outcome.stored) == ("bad", False)
    assert not world.disk.rows


@pytest.mark.parametrize(("kind", "name"), [("key", "k"), ("mark", "red"), ("pattern", "*"), ("namespace", "")])
def test_an_invalidation_beats_a_computation_that_began_before_it(world, kind, name):
    def factory():
        world.hear(kind, name)
        return "old"

    outcome = answer(world, "k", factory, tags=["red"])
    assert (outcome.value, outcome.stored) == ("old", False)
    assert not world.disk.rows
    assert not world.memory.rows


def test_so_does_one_of_a_key_that_it_depends_on_for_the_first_time(world):
    def factory():
        world.drive(world.removing.keys("ns", ["db"]))
        return "old"

    assert not answer(world, "k", factory, depends_on=["db"]).stored


def test_a_set_since_the_computation_began_wins(world):
    def factory():
        world.put("k", "set")
        return "computed"

    assert answer(world, "k", factory).value == "computed"
    assert world.find("k").value == world.peek(world.ref("k")).value() == "set"


def test_a_bypass_reads_and_stores_nothing(world):
    world.put("k", "there")
    world.effects.clear()
    recipe = Recipe(lambda: "fresh", Lifetime(60.0))
    assert world.drive(world.computing.bypass([world.ref("k")], recipe))[world.ref("k")].value == "fresh"
    assert [type(effect) for effect in world.effects] == [Call]


# -- flights


def test_a_second_caller_joins_at_every_moment_and_gets_the_value(make_world):
    """One joins at each yield point of the leader; all get the value, and the factory ran once."""
    for moment in range(20):
        if not _join_at(make_world(), moment):
            return
    pytest.fail("the computation never ended")


def _join_at(world, moment):
    calls, followers = [], []

    def during(step):
        if step == moment:
            follower = world.compute("k", pytest.fail)
            followers.append((follower, next(follower)))

    leader = world.compute("k", lambda: calls.append(1) or ["value"])
    outcome = world.finish(leader, next(leader), during)
    for follower, effect in followers:
        assert isinstance(effect, Join) or world.messages, "only once it was told that it is written, nobody joins"
        got = world.finish(follower, effect)
        assert (got.value, got.how) == (["value"], "joined" if isinstance(effect, Join) else "hit")
        assert got.value is not outcome.value, "each has a value of its own"
    assert calls == [1]
    assert not len(world.flights)
    return followers


def test_a_follower_that_gives_up_leaves_the_flight_alone(world):
    leader, follower = world.compute("k", lambda: 1), world.compute("k", pytest.fail)
    effect = next(leader)
    next(follower)
    follower.close()
    assert world.finish(leader, effect).value == 1


def test_a_follower_waits_until_it_said_and_then_takes_its_time_for_its_own_call(world):
    leader, follower = world.compute("k", lambda: 1), world.compute("k", lambda: "own", until=world.now + 5)
    next(leader)
    join = next(follower)
    assert (type(join), join.timeout) == (Join, 5)
    leader.close()  # the follower leads now, and its own call may take as long as it takes
    world.now += 6
    assert world.finish(follower, join).value == "own"


@pytest.mark.parametrize("waited", [4.999, 5])  # timers may come a little early
def test_who_has_waited_long_enough_is_told_whose_computation_it_was(world, waited):
    leader, follower = world.compute("k", lambda: 1), world.compute("k", pytest.fail, until=world.now + 5)
    next(leader)
    join = next(follower)
    world.now += waited
    with pytest.raises(FactoryTimeout, match="another caller's computation of 'k' takes longer than this one waits"):
        world.finish(follower, join)
    assert world.drive(leader).value == 1


def test_a_leader_abandoned_at_every_moment_lets_a_follower_lead(make_world):
    for moment in range(20):
        world = make_world()
        leader = world.compute("k", lambda: "first")
        effect, ended = next(leader), False
        for _ in range(moment):
            try:
                effect = world.advance(leader, effect)
            except StopIteration:
                ended = True
                break
        if ended:
            return
        follower = world.compute("k", lambda: "second")
        if world.messages:  # it is written, and nobody joins any more
            leader.close()
            assert world.drive(follower).value == "first"
            continue
        join = next(follower)
        (flight,) = world.flights._flights.values()
        leader.close()
        assert not len(world.flights), "off the table first, or somebody would join what has ended"
        with pytest.raises(Abandoned):
            flight.future.result(timeout=0)
        assert world.finish(follower, join).value in {"first", "second"}
        assert not len(world.flights)
    pytest.fail("the computation never ended")


def test_an_error_reaches_leader_and_followers(world):
    def fail():
        raise ValueError("boom")

    leader, followers = world.compute("k", fail), [world.compute("k", pytest.fail) for _ in range(3)]
    effect, joins = next(leader), [next(follower) for follower in followers]
    with pytest.raises(ValueError, match="boom"):
        world.finish(leader, effect)
    for follower, join in zip(followers, joins, strict=True):
        with pytest.raises(ValueError, match="boom"):
            world.advance(follower, join)
    assert not len(world.flights)


def test_an_interrupt_elects_a_follower_and_doesnt_reach_it(world):
    def interrupted():
        raise KeyboardInterrupt

    leader, follower = world.compute("k", interrupted), world.compute("k", lambda: "mine")
    world.drive_until(leader, lambda effect: isinstance(effect, Call))
    join = next(follower)
    with pytest.raises(KeyboardInterrupt):
        leader.throw(KeyboardInterrupt())
    assert world.finish(follower, join).value == "mine"


def test_who_joins_saves_what_the_call_cost_as_its_factory_said(world):
    def costly(ctx):
        ctx.cost = 0.25
        return "value"

    leader = world.compute("k", costly)
    calling, _ = world.drive_until(leader, lambda effect: isinstance(effect, Call))
    asked = [world.compute("k", pytest.fail), world.compute("k", costly, cost=1.0)]
    followers = [(one, next(one)) for one in asked]
    assert world.finish(leader, calling).cost == 0.25
    assert [world.finish(*follower).cost for follower in followers] == [0.25, 0.25]


@pytest.mark.parametrize(("stated", "asked"), [(0.25, None), (0.25, 1.0), (None, 1.0)])
def test_who_joins_a_read_saves_what_the_entry_says_as_who_reads_it(world, stated, asked):
    answer(world, "k", cost=stated)
    world.memory.rows.clear()
    leader = world.compute("k", pytest.fail, cost=asked)
    read, follower = next(leader), world.compute("k", pytest.fail, cost=asked)
    join = next(follower)
    outcomes = [world.finish(leader, read), world.finish(follower, join)]
    assert [outcome.how for outcome in outcomes] == ["hit", "joined"]
    assert [(one.tier, one.cost, one.size) for one in outcomes] == [("disk", stated, outcomes[0].size)] * 2


@pytest.mark.parametrize(
    ("kind", "name"),
    [("key", "k"), ("mark", "red"), ("pattern", "k*"), ("namespace", ""), ("written", "k"), ("key", "db")],
)
def test_nobody_joins_a_computation_that_began_before_an_invalidation(world, kind, name):
    """Who asks after an invalidation has returned must not be answered by what began before it."""
    options = {"tags": ["red"], "depends_on": ["db"]}
    early = world.compute("k", lambda: "old", **options)
    early_effect, _ = world.drive_until(early, lambda effect: isinstance(effect, Call))
    joined = world.compute("k", pytest.fail, **options)
    join = next(joined)
    world.hear(kind, name)
    late = world.compute("k", lambda: "new", **options)
    assert world.drive(late).value == "new"
    assert world.finish(early, early_effect).value == "old"
    assert world.finish(joined, join).value == "old", "who joined before is answered"
    assert world.peek(world.ref("k")).value() == "new"
    assert not len(world.flights)


def test_an_announcement_of_something_else_takes_no_flight_away(world):
    leader = world.compute("k", lambda: 1)
    next(leader)
    world.hear("key", "other")
    assert isinstance(next(world.compute("k", pytest.fail)), Join)
    leader.close()


def test_a_flight_that_left_the_table_takes_no_other_with_it(world):
    early, late = world.compute("k", lambda: 1), world.compute("k", lambda: 2)
    next(early)
    world.hear("key", "k")
    next(late)
    early.close()
    assert len(world.flights) == 1
    late.close()
    assert not len(world.flights)


# -- circles


def test_a_factory_that_asks_for_its_own_key_is_told_so(world):
    with pytest.raises(FlightCycle, match="'k'"):
        answer(world, "k", lambda: answer(world, "k"))
    assert not len(world.flights)


def test_one_that_asks_for_it_through_another_names_both(world):
    def a():
        return answer(world, "b", b).value

    def b():
        return answer(world, "a", a).value

    with pytest.raises(FlightCycle) as caught:
        answer(world, "a", a)
    assert "'a'" in str(caught.value)
    assert "'b'" in str(caught.value)
    assert not len(world.flights)


@pytest.mark.parametrize("length", [2, 3, 5])
def test_flights_that_would_wait_for_each_other_in_a_ring_are_refused_at_its_closing(world, length):
    """Each is led by a caller of its own; the last join closes the ring."""
    import contextvars

    contexts = [contextvars.copy_context() for _ in range(length)]
    outer = [world.compute(str(n), pytest.fail) for n in range(length)]
    for n in range(length):
        effect, _ = contexts[n].run(world.drive_until, outer[n], lambda effect: isinstance(effect, Call))
        contexts[n].run(_lead, effect.flight)
    inner = [world.compute(str((n + 1) % length), pytest.fail) for n in range(length)]
    for n in range(length - 1):
        assert isinstance(contexts[n].run(next, inner[n]), Join)
    with pytest.raises(FlightCycle):
        contexts[-1].run(next, inner[-1])
    for n in range(length):
        contexts[n].run(inner[n].close)
        contexts[n].run(outer[n].close)
    assert not len(world.flights)


def _lead(flight):
    from scoutcache.engine.flights import LEADING

    LEADING.set((*LEADING.get(), flight))


def test_waiting_for_what_waits_for_nobody_of_ours_is_no_circle(world):
    world.put("b", "there")

    def a():
        return answer(world, "b", pytest.fail).value + answer(world, "c", lambda: "!").value

    assert answer(world, "a", a).value == "there!"


def test_a_flight_that_ended_in_a_circles_error_can_be_flown_again(world):
    with pytest.raises(FlightCycle):
        answer(world, "k", lambda: answer(world, "k"))
    assert answer(world, "k", lambda: "fine").value == "fine"


def test_a_thousand_followers_of_one_flight(world):
    calls = []
    leader = world.compute("k", lambda: calls.append(1) or 7)
    effect = next(leader)
    followers = [world.compute("k", pytest.fail) for _ in range(1000)]
    joins = [next(follower) for follower in followers]
    world.finish(leader, effect)
    for follower, join in zip(followers, joins, strict=True):
        assert world.finish(follower, join).value == 7
    assert calls == [1]


def test_a_flight_lands_with_what_was_found_below_as_well(world):
    world.put("k", "there")
    world.memory.rows.clear()
    leader, follower = world.compute("k", pytest.fail), world.compute("k", pytest.fail)
    effect, join = next(leader), next(follower)
    world.finish(leader, effect)
    assert world.finish(follower, join).value == "there"
    assert isinstance(join.flight.future.result()[world.ref("k")], Live)


def test_the_position_is_noted_before_the_factory_is_called(world):
    flow = world.compute("k", lambda: 1)
    effect, _ = world.drive_until(flow, lambda effect: isinstance(effect, Call))
    world.hear("key", "k")
    effect = world.advance(flow, effect)
    while not isinstance(effect, Write):
        effect = world.advance(flow, effect)
    assert world.perform(effect) == 0
    flow.close()
