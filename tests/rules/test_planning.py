"""What an event or a change sets off: which rules, in which order, hitting what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.errors import InvalidKey
from scoutcache.patterns import Pattern
from scoutcache.policies import InvalidationRule
from scoutcache.rules.planning import Change, Ruleset, of_rule
from scoutcache.rules.planning import by_event as by_event_of
from scoutcache.rules.planning import with_dependents as with_dependents_of


def on(event, target, rule_id=None, **more):
    return InvalidationRule(rule_id=rule_id or target, event_types=event, target_pattern=target, **more)


def after(keys, target, **more):
    config = {"keys": keys} | more.pop("config", {})
    return InvalidationRule(
        rule_id=target, trigger_type="dependency", trigger_config=config, target_pattern=target, **more
    )


def by_event(rules, event, fields):
    return by_event_of(Ruleset(rules), event, fields)


def with_dependents(rules, first, *changes):
    return with_dependents_of(Ruleset(rules), first, *changes)


def ids(plan):
    return [planned.rule.rule_id for planned in plan]


@pytest.mark.parametrize(
    ("types", "event", "set_off"),
    [
        (["db.users.updated"], "db.users.updated", True),
        (["db.users.updated"], "db.users.updated2", False),
        (["db.users.*"], "db.users.updated", True),
        (["db.*"], "db.users.updated", True),
        (["db.users.*"], "db.users", False),
        (["x", "*.updated"], "db.users.updated", True),
        (["DB.*"], "db.x", False),
    ],
)
def test_an_event_sets_off_the_rules_that_name_it(types, event, set_off):
    assert bool(by_event([on(types, "a")], event, {})) is set_off


def test_the_highest_priority_comes_first_then_the_first_named():
    rules = [on("e", "a"), on("e", "b", priority=5), on("e", "c"), on("e", "d", priority=-1)]
    assert ids(by_event(rules, "e", {})) == ["b", "a", "c", "d"]


def test_fields_are_filled_into_patterns_and_tags():
    rule = on("e", "user:{id}:*", target_tags=["u:{id}", "all"])
    (planned,) = by_event([rule], "e", {"id": "*", "unused": object()})
    assert (planned.pattern, planned.tags) == (r"user:\*:*", ("u:*", "all"))


def test_all_rules_that_miss_a_field_are_named_at_once():
    rules = [on("e", "a"), on("e", "b:{id}", "one"), on("e", "{name}", "two")]
    with pytest.raises(InvalidKey, match=r"event 'e': rule 'one': the field 'id' is missing.*rule 'two':.*'name'"):
        by_event(rules, "e", {"x": 1})


@pytest.mark.parametrize("value", ["a\x00", "\ud800", "x" * 2000])
def test_a_value_that_makes_no_tag_is_refused_with_the_rule(value):
    with pytest.raises(InvalidKey, match="rule 't': the tag"):
        of_rule(InvalidationRule(rule_id="t", event_types="e", target_tags="u:{id}"), {"id": value})


def test_fields_are_a_mapping():
    with pytest.raises(InvalidKey, match="a mapping, not list"):
        by_event([], "e", ["id"])


@pytest.mark.parametrize(
    ("change", "set_off"),
    [
        (Change(keys=("rate:eur",)), True),
        (Change(keys=("rates",)), False),
        (Change(patterns=(Pattern.parse("rate:e*"),)), True),
        (Change(patterns=(Pattern.parse("*:eur"),)), True),
        (Change(patterns=(Pattern.parse("user:*"),)), False),
        (Change(patterns=(Pattern.parse("fx"),)), True),
        (Change(tags=("money",)), True),
        (Change(tags=("other",)), False),
        (Change(), False),
    ],
)
def test_a_change_sets_off_the_rules_that_watch_it(change, set_off):
    rules = [after(["rate:*", "fx"], "price:*", config={"tags": ["money"]}), on("e", "x")]
    assert bool(with_dependents(rules, [], change)) is set_off


def test_what_rules_hit_sets_off_further_rules_after_all_that_came_before():
    rules = [after("b:*", "c:*"), after("a:*", "b:*"), after("a:1", "d:*", priority=3), on("e", "a:{id}")]
    plan = with_dependents(rules, by_event(rules, "e", {"id": 1}))
    assert ids(plan) == ["a:{id}", "d:*", "b:*", "c:*"]


def test_a_circle_of_ten_rules_runs_each_once():
    rules = [after(f"k{n}", f"k{(n + 1) % 10}") for n in range(10)]
    assert ids(with_dependents(rules, [], Change(keys=("k0",)))) == [f"k{(n + 1) % 10}" for n in range(10)]
    assert len(with_dependents(rules, [of_rule(rules[4], {})])) == 10


@given(
    st.lists(
        st.tuples(st.sets(st.integers(0, 5), min_size=1), st.integers(0, 5)).filter(
            lambda pair: pair[1] not in pair[0]
        ),
        max_size=8,
    )
)
def test_whatever_the_rules_each_runs_once_and_all_that_can_be_reached_do(edges):
    rules = [
        after([f"k{key}" for key in sorted(keys)], f"k{target}").model_copy(update={"rule_id": str(number)})
        for number, (keys, target) in enumerate(edges)
    ]
    plan = ids(with_dependents(rules, [], Change(keys=("k0",))))
    changed, reached = {0}, set()
    while more := {n for n, (keys, _) in enumerate(edges) if keys & changed} - reached:
        reached |= more
        changed |= {edges[number][1] for number in more}
    assert sorted(map(int, plan)) == sorted(reached)


def test_the_watched_keys_are_those_of_dependency_rules():
    rules = [after(["a", "b:*"], "c"), on("e", "d"), after("x", "y")]
    assert [pattern.text for pattern in Ruleset(rules).watched] == ["a", "b:*", "x"]
