"""From what happened to what must go: which rules are set off, in which order, and what each hits.

Rules:

1. An event sets off the rules one of whose ``event_types`` matches its name; the fields they need must be there, in all
   of them, or none is run.
2. A change sets off the rules of type dependency that watch what changed.  An invalidated pattern changes every key
   that it may match, there or not: an answer computed anew is cheaper than a wrong one.
3. What a rule hits is a change itself, and sets off further rules.  Each runs once at most, so circles end.
4. The highest priority first, then in the order in which they were named; rules that other rules set off come after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scoutcache.canonical import shown
from scoutcache.errors import InvalidKey
from scoutcache.keys import check_tag
from scoutcache.patterns import Pattern
from scoutcache.patterns.overlap import overlap
from scoutcache.patterns.templates import Template
from scoutcache.policies import InvalidationRule, TriggerType
from scoutcache.policies.rule_checks import check_event, texts_of

__all__ = ["Change", "Planned", "Ruleset", "by_event", "of_rule", "with_dependents"]


class Change(NamedTuple):
    """What was written or invalidated, as it was named."""

    keys: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    tags: tuple[str, ...] = ()


class Planned(NamedTuple):
    """A rule that is to run, and what it hits."""

    rule: InvalidationRule
    pattern: str | None
    tags: tuple[str, ...]

    @property
    def change(self) -> Change:
        """The change that it is."""
        return Change((), () if self.pattern is None else (Pattern.parse(self.pattern),), self.tags)


class Ruleset:
    """Rules in the order in which they run, with their patterns compiled."""

    def __init__(self, rules: Iterable[InvalidationRule]) -> None:
        self.rules = tuple(rules)
        """In the order in which they were named."""
        ordered = sorted(self.rules, key=lambda rule: -rule.priority)
        self.by_event = [
            (_patterns(rule.event_types), rule) for rule in ordered if rule.trigger_type is TriggerType.EVENT
        ]
        self.watching = [
            (_patterns(texts_of(rule, "keys")), frozenset(texts_of(rule, "tags")), rule)
            for rule in ordered
            if rule.trigger_type is TriggerType.DEPENDENCY
        ]
        self.watched = [pattern for patterns, _, _ in self.watching for pattern in patterns]
        """The keys whose change sets some rule off."""


def by_event(rules: Ruleset, event: str, fields: Mapping[str, Any]) -> list[Planned]:
    """The rules that *event* sets off, with *fields* filled in.

    Raises `InvalidKey` for what can't be an event, and where a field is missing or can't stand in a key, naming each
    rule that needs it.
    """
    name = check_event(event)
    if not isinstance(fields, Mapping):
        raise InvalidKey(f"the fields of an event are a mapping, not {type(fields).__name__}")
    planned, problems = [], []
    for patterns, rule in rules.by_event:
        if any(pattern.matches(name) for pattern in patterns):
            try:
                planned.append(of_rule(rule, fields))
            except InvalidKey as error:
                problems.append(str(error))
    if problems:
        raise InvalidKey(f"event {shown(name)}: {'; '.join(problems)}", hint="nothing was invalidated")
    return planned


def of_rule(rule: InvalidationRule, fields: Mapping[str, Any]) -> Planned:
    """*rule* with *fields* filled in; raises `InvalidKey`, naming it."""
    try:
        pattern = None if rule.target_pattern is None else Template.pattern(rule.target_pattern).fill_pattern(fields)
        tags = tuple([check_tag(Template.parse(tag).fill(fields)) for tag in rule.target_tags])
        return Planned(rule, None if pattern is None else Pattern.parse(pattern).text, tags)
    except InvalidKey as error:
        raise InvalidKey(f"rule {shown(rule.rule_id)}: {error}") from error


def with_dependents(rules: Ruleset, first: Sequence[Planned], *changes: Change) -> list[Planned]:
    """*first*, then the rules that they and *changes* set off, and so on."""
    plan = list(first)
    waiting = [*changes, *(planned.change for planned in plan)] if rules.watching else []
    seen = {planned.rule.rule_id for planned in plan}
    while waiting:
        change = waiting.pop(0)
        for patterns, tags, rule in rules.watching:
            if rule.rule_id not in seen and _concerns(patterns, tags, change):
                seen.add(rule.rule_id)
                plan.append(of_rule(rule, {}))
                waiting.append(plan[-1].change)
    return plan


def _patterns(texts: Iterable[str]) -> list[Pattern]:
    return [Pattern.parse(text) for text in texts]


def _concerns(patterns: Sequence[Pattern], tags: frozenset[str], change: Change) -> bool:
    if not tags.isdisjoint(change.tags):
        return True
    return any(
        any(map(pattern.matches, change.keys)) or any(overlap(pattern, other) for other in change.patterns)
        for pattern in patterns
    )
