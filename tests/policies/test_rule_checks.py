"""Rules that could never do what they say, or would do more, are refused when they are read."""

from __future__ import annotations

import pytest

from scoutcache.config import CacheConfig
from scoutcache.errors import ConfigError, InvalidDeclaration, InvalidKey
from scoutcache.policies import InvalidationRule
from scoutcache.policies.rule_checks import check_event, names_nothing


def rule(**fields):
    return InvalidationRule(**{"rule_id": "r", "event_types": ["e"], "target_pattern": "a:*"} | fields)


def timed(**fields):
    return rule(**{"event_types": [], "trigger_type": "time", "schedule": "0 3 * * *"} | fields)


def watching(*keys, **fields):
    given = {"event_types": [], "trigger_type": "dependency", "trigger_config": {"keys": list(keys)}}
    return rule(**given | fields)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: rule(schedule="0 3 * * *"), "schedule has no effect with trigger_type 'event'"),
        (lambda: timed(event_types=["e"]), "event_types has no effect with trigger_type 'time'"),
        (lambda: timed(schedule="often"), "expected five fields"),
        (lambda: timed(target_pattern="user:{id}"), "is a field of an event"),
        (lambda: timed(target_tags=["u:{id}"]), "is a field of an event"),
        (lambda: rule(target_pattern="*"), "may be everything"),
        (lambda: rule(target_pattern="??*"), "may be everything"),
        (lambda: rule(target_pattern="*", trigger_config={"all": "yes"}), "all: expected true or false"),
        (lambda: rule(trigger_config={"key": ["a"]}), "did you mean 'keys'"),
        (lambda: rule(trigger_config={"keys": ["a"]}), "keys has no effect with trigger_type 'event'"),
        (lambda: watching(), "needs trigger_config keys"),
        (lambda: watching("b["), "never closed"),
        (lambda: watching(3), "a pattern is a str"),
        (lambda: watching("b", trigger_config={"keys": 7}), "expected a list of text"),
        (lambda: watching("b", trigger_config={"tags": ["\x00"]}), "control codes"),
        (lambda: watching("a:7"), "undo each write"),
        (lambda: watching("a:*"), "undo each write"),
        (lambda: watching("b", target_pattern=None), "needs a target_pattern"),
        (lambda: rule(rule_id="a\x1b"), "control codes"),
        (lambda: rule(target_tags=["{id:d}"]), "is no field"),
    ],
)
def test_each_problem_is_named(make, said):
    with pytest.raises(InvalidDeclaration, match=said):
        make()


def test_what_is_right_is_taken():
    assert rule(target_pattern="{id}").priority == 0
    assert rule(target_pattern="*", trigger_config={"all": True}).target_pattern == "*"
    assert rule(trigger_config={"owner": "billing"}).trigger_config == {"owner": "billing"}
    assert watching("rate:*", "fx").trigger_config["keys"] == ["rate:*", "fx"]
    assert watching(trigger_config={"keys": "rate:*"})
    assert watching(trigger_config={"tags": ["t"]})
    assert rule(event_types="db.*").event_types == ("db.*",)


def test_a_configuration_lists_what_is_wrong_with_all_its_rules_at_once():
    rules = [
        {"rule_id": "a", "trigger_type": "time", "schedule": "often", "target_pattern": "x"},
        {"rule_id": "b", "target_pattern": "*"},
        {"rule_id": "c", "event_types": ["e"], "target_pattern": "{id"},
    ]
    with pytest.raises(ConfigError) as caught:
        CacheConfig(rules=rules)
    told = [problem.partition(" ")[0] for problem in caught.value.problems]
    assert told == ["rules[0].schedule:", "rules[1]:", "rules[2].target_pattern:"]
    assert "needs event_types" in caught.value.problems[1]
    assert "may be everything" in caught.value.problems[1]


@pytest.mark.parametrize("event", ["", "db.*", "a?", "[x]", "a\\", "a\nb", "x" * 300, None, 7])
def test_what_can_t_name_an_event_is_refused(event):
    with pytest.raises(InvalidKey):
        check_event(event)


@pytest.mark.parametrize("pattern", ["*", "?", "**?", "[^]*"])
def test_wildcards_alone_name_nothing(pattern):
    assert names_nothing(pattern)
    assert not names_nothing(pattern + "a")
