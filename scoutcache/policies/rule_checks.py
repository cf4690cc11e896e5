"""What makes an invalidation rule impossible, or more than it says; each problem in one line.

Rules:

1. A rule acts when its trigger says so, and on what it names: what it needs for that is there, and what another trigger
   would need is not.
2. A target made of wildcards alone would be everything: such a sweep wants ``trigger_config = {"all": true}``.
3. Fields in braces come from an event; without one there are none.
4. A rule that hits the key that sets it off would undo each write of it.
5. ``trigger_config`` may hold notes of one's own, but no name that is nearly one of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from scoutcache.canonical import shown
from scoutcache.errors import InvalidKey
from scoutcache.keys import check_name, check_tag
from scoutcache.patterns import Pattern
from scoutcache.patterns.templates import Template

if TYPE_CHECKING:
    from scoutcache.policies import InvalidationRule

__all__ = ["check_event", "names_nothing", "rule_problems", "texts_of"]

_TRIGGERS: Final = ("all", "keys", "tags")
_NEEDED: Final = {
    "time": ("schedule", "needs a schedule, such as '0 3 * * *'"),
    "event": ("event_types", "needs event_types, such as ['db.users.updated']"),
}


def check_event(event: str) -> str:
    """The name of an event, if it can be one; raises `InvalidKey`."""
    name = check_name(event, "name of an event")
    if set(name) & set("*?[]\\"):
        raise InvalidKey(
            f"{shown(name)} is a pattern, and what happened is one event", hint="patterns belong in event_types"
        )
    return name


def names_nothing(pattern: str) -> bool:
    """Whether *pattern* is made of wildcards alone, and so may be everything."""
    return not pattern.replace("[^]", "?").strip("*?")


def texts_of(rule: InvalidationRule, name: str) -> tuple[str, ...]:
    """The list called *name* in the rule's trigger_config; one text alone needs no list."""
    value = rule.trigger_config.get(name, ())
    return (value,) if isinstance(value, str) else tuple(value)


def rule_problems(rule: InvalidationRule) -> Iterator[str]:
    """Everything that is wrong with a rule whose single fields are right."""
    kind = rule.trigger_type.value
    yield from _config_problems(rule.trigger_config, kind)
    for other, (field, needs) in _NEEDED.items():
        if other == kind and not getattr(rule, field):
            yield f"a rule with trigger_type {kind!r} {needs}"
        elif other != kind and getattr(rule, field):
            yield f"{field} has no effect with trigger_type {kind!r}; expected trigger_type {other!r}"
    if rule.target_pattern is None and not rule.target_tags:
        yield "a rule needs a target_pattern or target_tags"
    yield from _target_problems(rule, kind)


def _config_problems(config: Mapping[str, Any], kind: str) -> Iterator[str]:
    for name in config:
        meant = difflib.get_close_matches(name.lower(), _TRIGGERS, n=1, cutoff=0.75)
        if meant and name not in _TRIGGERS:
            yield f"trigger_config.{ascii(name)[1:-1]}: unknown name; did you mean {meant[0]!r}?"
    if not isinstance(config.get("all", False), bool):
        yield "trigger_config.all: expected true or false"
    for name, check in (("keys", Pattern.parse), ("tags", check_tag)):
        if name in config:
            yield from _list_problems(config[name], name, check)
    if kind == "dependency" and not (config.get("keys") or config.get("tags")):
        yield "a rule with trigger_type 'dependency' needs trigger_config keys, such as {'keys': ['rates:*']}, or tags"
    elif kind != "dependency" and (found := [name for name in ("keys", "tags") if name in config]):
        yield f"trigger_config.{found[0]} has no effect with trigger_type {kind!r}; expected trigger_type 'dependency'"


def _list_problems(value: Any, name: str, check: Any) -> Iterator[str]:
    if not isinstance(value, str | list | tuple):
        yield f"trigger_config.{name}: expected a list of text, not {shown(value)}"
        return
    for one in [value] if isinstance(value, str) else value:
        try:
            check(one)
        except InvalidKey as error:
            yield f"trigger_config.{name}: {error}"


def _target_problems(rule: InvalidationRule, kind: str) -> Iterator[str]:
    pattern = rule.target_pattern
    template = None if pattern is None else Template.pattern(pattern)
    named = [
        *(template.fields if template else ()),
        *(f for tag in rule.target_tags for f in Template.parse(tag).fields),
    ]
    if named and kind != "event":
        yield f"{{{named[0]}}} is a field of an event, and trigger_type {kind!r} has none; write {{{{ for a brace"
    elif template is not None and not named:
        filled = template.fill_pattern({})
        if names_nothing(filled) and rule.trigger_config.get("all") is not True:
            yield f"target_pattern {filled!r} may be everything; if that is meant, say trigger_config = {{all = true}}"
        yield from _own_keys(rule, Pattern.parse(filled))


def _own_keys(rule: InvalidationRule, target: Pattern) -> Iterator[str]:
    keys = rule.trigger_config.get("keys", ())
    for key in [keys] if isinstance(keys, str) else keys if isinstance(keys, list | tuple) else ():
        try:
            literal = Pattern.parse(key).literal
        except InvalidKey:
            continue  # said above
        if key == target.text or (literal is not None and target.matches(literal)):
            yield f"target_pattern {target.text!r} hits {shown(key)}, which sets it off: it would undo each write of it"
