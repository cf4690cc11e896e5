"""The one way to invalidate, for the library and the command line alike: by pattern, key and tag.

Patterns, keys and tags unite; ``match="all"`` intersects them.  Tags are one write, so how many entries they covered
is not known (None) unless one asks for a count or a dry run, which scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from scoutcache.calls import Calls, Key, several, tag_names
from scoutcache.core import Core
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.engine.removing import Removed
from scoutcache.entry import Header, Ref
from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.events import Invalidated
from scoutcache.keys import check_namespace, key_text
from scoutcache.listing import is_valid
from scoutcache.models import InvalidationResult
from scoutcache.patterns import Pattern
from scoutcache.rules.planning import Change

__all__ = ["Action", "Match", "Target", "invalidate", "target_of"]

Match = Literal["any", "all"]
Action = Literal["delete", "refresh", "mark_stale"]

SAMPLE = 20
"""How many keys a result names."""

BATCH = 500
"""How many keys an intersection removes at a time, so that memory stays flat."""


class Target(NamedTuple):
    """What is to die, checked."""

    namespace: str
    patterns: tuple[Pattern, ...]
    keys: frozenset[str]
    tags: tuple[str, ...]
    match: Match

    def takes(self, header: Header) -> bool:
        """Is this entry one of them?"""
        key = header.ref.key
        says = [*(pattern.matches(key) for pattern in self.patterns), *(tag in header.tags for tag in self.tags)]
        if self.keys:
            says.append(key in self.keys)
        return bool(says) and (all(says) if self.match == "all" else any(says))


@dataclass(slots=True)
class Survey:
    """What a scan found."""

    matched: int = 0
    by_tier: dict[str, int | None] = field(default_factory=dict)
    sample: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def more(self) -> dict[str, Any]:
        """What a result takes over as it is."""
        return {"by_tier": self.by_tier, "sample": tuple(self.sample), "failed": self.failed}


def target_of(
    calls: Calls,
    patterns: Iterable[str],
    keys: Iterable[Key] = (),
    tags: Iterable[str] = (),
    match: Match = "any",
    namespace: str | None = None,
) -> Target:
    """The target as the caller wrote it, checked; raises `InvalidKey` or `CacheError`."""
    if match not in ("any", "all"):
        raise CacheError(f"match is 'any' or 'all', not {match!r}")
    target = Target(
        calls.namespace if namespace is None else check_namespace(namespace),
        tuple(Pattern.parse(text) for text in dict.fromkeys(several(patterns, "patterns"))),
        frozenset(key_text(key) for key in several(keys, "keys")),
        tuple(tag_names(tags)),
        match,
    )
    if not (target.patterns or target.keys or target.tags):
        raise CacheError("nothing to invalidate was named", hint="name a pattern, a key or a tag")
    return target


def invalidate(
    calls: Calls,
    target: Target,
    *,
    cascade: bool = True,
    dry_run: bool = False,
    count: bool = False,
    action: Action = "delete",
    reason: str | None = None,
    event: str | None = None,
    follow: bool = True,
) -> Flow[InvalidationResult]:
    """Remove what *target* names, or with *dry_run* only say what that would be.

    *event* is what set it off, for those who listen; *follow* runs the rules that watch what is hit.
    """
    if action != "delete":
        raise CacheError(f"the action {action!r} is not available in this version", hint="use action='delete'")
    survey = None
    if dry_run or count:
        survey = yield from perform(Work(lambda: _survey(calls.core, target)))
        if dry_run:
            return InvalidationResult(matched=survey.matched, invalidated=0, **survey.more())
    began = calls.core.clocks.monotonic_ns()
    removed = yield from (_intersection if target.match == "all" else _union)(calls, target, cascade, reason)
    for what in [*(one.text for one in target.patterns), *sorted(target.keys), *(f"tag:{tag}" for tag in target.tags)]:
        calls.record("invalidate", Ref(target.namespace, what), began, outcome="invalidated", reason=reason)
    result = _result(target, removed, survey)
    patterns, keys = tuple(one.text for one in target.patterns), tuple(sorted(target.keys))
    calls.core.hooks.emit(
        Invalidated(target.namespace, patterns, keys, target.tags, event, action, result.invalidated, reason)
    )
    if follow:
        yield from calls.core.dependents.changed(target.namespace, Change(keys, target.patterns, target.tags))
    return result


def _result(target: Target, removed: Removed, survey: Survey | None) -> InvalidationResult:
    if survey is not None:
        survey.failed |= removed.failed
        return InvalidationResult(matched=survey.matched, invalidated=survey.matched, **survey.more())
    if target.tags and target.match == "any":
        return InvalidationResult(by_tier=dict.fromkeys(removed.by_tier), failed=removed.failed)
    number = removed.count
    return InvalidationResult(matched=number, invalidated=number, by_tier=dict(removed.by_tier), failed=removed.failed)


def _union(calls: Calls, target: Target, cascade: bool, reason: str | None) -> Flow[Removed]:
    removing, removed = calls.core.removing, Removed()
    for pattern in target.patterns:
        removed.add((yield from removing.pattern(target.namespace, pattern, cascade=cascade, reason=reason)))
    if target.keys:
        keys = sorted(target.keys)
        removed.add((yield from removing.keys(target.namespace, keys, cascade=cascade, reason=reason)))
    if target.tags:
        removed.add((yield from removing.tags(target.namespace, target.tags, cascade=cascade, reason=reason)))
        for tier in calls.core.tiers:
            removed.by_tier.setdefault(tier.name, 0)
    return removed


def _intersection(calls: Calls, target: Target, cascade: bool, reason: str | None) -> Flow[Removed]:
    removed = Removed()
    while keys := (yield from perform(Work(lambda: _some(calls.core, target)))):
        gone = yield from calls.core.removing.keys(target.namespace, keys, cascade=cascade, reason=reason)
        removed.add(gone)
        if not gone.count:
            break  # what can't be removed would be found for ever
    return removed


def _some(core: Core, target: Target) -> list[str]:
    keys: dict[str, None] = {}
    for _, header in _matching(core, target, {}):
        keys[header.ref.key] = None
        if len(keys) == BATCH:
            break
    return list(keys)


def _survey(core: Core, target: Target) -> Survey:
    survey = Survey()
    above: set[str] = set()
    last = core.tiers[-1].name
    by_tier: dict[str, int] = {}
    for tier, header in _matching(core, target, survey.failed):
        by_tier[tier] = by_tier.get(tier, 0) + 1
        key = header.ref.key
        if key not in above:
            survey.matched += 1
            if len(survey.sample) < SAMPLE:
                survey.sample.append(key)
        if tier != last:
            above.add(key)
    survey.by_tier = {tier.name: by_tier.get(tier.name, 0) for tier in core.tiers}
    return survey


def _matching(core: Core, target: Target, failed: dict[str, str]) -> Iterator[tuple[str, Header]]:
    core.follower.sync()
    now = core.world.now()
    for tier in core.tiers:
        try:
            for entry in tier.scan(target.namespace, _narrowed(target.patterns, target)):
                header = entry.header
                if header.expires > now and target.takes(header) and is_valid(core, header):
                    yield tier.name, header
        except TierUnavailable as error:
            failed[tier.name] = error.reason


def _narrowed(patterns: Sequence[Pattern], target: Target) -> Pattern | None:
    """The one pattern that every match must satisfy, so that a tier needn't list the rest."""
    only = len(patterns) == 1 and (target.match == "all" or not (target.tags or target.keys))
    return patterns[0] if only else None
