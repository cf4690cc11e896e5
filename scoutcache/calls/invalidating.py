"""The one way to invalidate, for the library and the command line alike: by pattern, key and tag.

Tags are one write, so how many entries they covered is not known (None) unless one asks for a count or a dry run, which
scan.  A result names some of the keys that patterns and names hit; those of tags only where it scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal, get_args

from scoutcache.calls.calls import Calls
from scoutcache.calls.mark_stale import mark_stale
from scoutcache.calls.targets import SAMPLE, Match, Survey, Target, sample_of, some_keys, survey_of, target_of
from scoutcache.coherence.messages import Action, intersection
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.engine.removing import Removed
from scoutcache.entry import Ref
from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.events import Invalidated
from scoutcache.models import InvalidationResult
from scoutcache.oplog.records import tag_target
from scoutcache.rules.planning import Change

__all__ = ["SAMPLE", "Match", "SpelledAction", "Target", "clear", "invalidate", "target_of"]

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
SpelledAction = Action | Literal["mark-stale"]
"""An action as a caller may write it: the command line's spelling will do."""


def invalidate(
    calls: Calls,
    target: Target,
    *,
    cascade: bool = True,
    dry_run: bool = False,
    count: bool = False,
    action: SpelledAction = "delete",
    reason: str | None = None,
    event: str | None = None,
    follow: bool = True,
) -> Flow[InvalidationResult]:
    """Remove what *target* names or mark it stale, or with *dry_run* only say what that would be.

    *event* is what set it off, for those who listen; *follow* runs the rules that watch what is hit.
    """
    action = _meant(action)
    survey = None
    if dry_run or count:
        survey = yield from perform(Work(lambda: survey_of(calls.core, target)))
        if dry_run:
            return InvalidationResult(matched=survey.matched, invalidated=0, **survey.more())
    sample = [] if survey is not None else (yield from _sample(calls, target))
    began = calls.core.clocks.monotonic_ns()
    if action != "delete":
        removed = yield from mark_stale(calls.core, target, action, cascade=cascade, reason=reason)
    else:
        removed = yield from (_intersection if target.match == "all" else _union)(calls, target, cascade, reason)
    _record(calls, target, began, reason)
    result = _result(target, removed, survey, sample)
    patterns, keys = tuple(one.text for one in target.patterns), tuple(sorted(target.keys))
    calls.core.hooks.emit(
        Invalidated(target.namespace, patterns, keys, target.tags, event, action, result.invalidated, reason)
    )
    if follow:
        yield from calls.core.dependents.changed(target.namespace, Change(keys, target.patterns, target.tags))
    return result


def _meant(action: object) -> Action:
    for known in ACTIONS:
        if action in (known, known.replace("_", "-")):  # no set: it may be anything
            return known
    raise CacheError(f"action is one of {', '.join(ACTIONS)}, not {action!r:.80}")


def clear(
    calls: Calls, namespace: str | None, *, dry_run: bool = False, count: bool = False, reason: str | None = None
) -> Flow[InvalidationResult]:
    """End everything in the namespace by one write; counted in all where one asks, else what tiers gave back at once.

    With *dry_run* only say what that would be.
    """
    target = target_of(calls, ["*"], namespace=namespace)
    survey = (yield from perform(Work(lambda: survey_of(calls.core, target)))) if dry_run or count else None
    if survey is not None and dry_run:
        return InvalidationResult(matched=survey.matched, invalidated=0, **survey.more())
    began = calls.core.clocks.monotonic_ns()
    removed = yield from calls.core.removing.clear(target.namespace, reason=reason)
    calls.recording.done("invalidate", Ref(target.namespace, "*"), began, outcome="cleared", reason=reason)
    if survey is not None:
        return _result(target, removed, survey, [])
    return InvalidationResult(by_tier=dict(removed.by_tier), failed=removed.failed)


def _record(calls: Calls, target: Target, began: int, reason: str | None) -> None:
    for what in [*(one.text for one in target.patterns), *sorted(target.keys)]:
        calls.recording.done("invalidate", Ref(target.namespace, what), began, outcome="invalidated", reason=reason)
    for tag in target.tags:
        name = Ref(target.namespace, tag_target(tag))
        calls.recording.done("invalidate", name, began, outcome="invalidated", reason=reason, tags=(tag,))


def _sample(calls: Calls, target: Target) -> Flow[list[str]]:
    """Some of the keys that are there; of an intersection, which is found by a scan, none but what that finds first."""
    if target.match == "all":
        found: list[str] = yield from perform(Work(lambda: some_keys(calls.core, target, SAMPLE)))
        return found
    literal = {one.literal for one in target.patterns if one.literal is not None}
    keys = sorted(target.keys | literal)[:SAMPLE]
    there = (yield from calls.core.writing.standing([Ref(target.namespace, key) for key in keys])) if keys else {}
    named = [key for key in keys if Ref(target.namespace, key) in there]
    patterns = tuple([one for one in target.patterns if one.literal is None])
    if not patterns or len(named) == SAMPLE:
        return named
    matched = yield from perform(Work(lambda: sample_of(calls.core, target._replace(patterns=patterns))))
    return list(dict.fromkeys([*named, *matched]))[:SAMPLE]


def _result(target: Target, removed: Removed, survey: Survey | None, sample: Sequence[str]) -> InvalidationResult:
    if survey is not None:
        survey.failed |= removed.failed
        done = [number or 0 for tier, number in survey.by_tier.items() if tier not in removed.failed]
        number = survey.matched
        if removed.failed and number is not None:
            number = min(number, max(done, default=0))
        survey.by_tier = {tier: number for tier, number in survey.by_tier.items() if tier not in removed.failed}
        return InvalidationResult(matched=survey.matched, invalidated=number, **survey.more())
    if target.tags and target.match == "any":
        return InvalidationResult(
            by_tier=dict.fromkeys(removed.by_tier), sample=tuple(sample), failed=removed.failed
        )  # fmt: skip
    number = removed.count
    return InvalidationResult(
        matched=number, invalidated=number, by_tier=dict(removed.by_tier), sample=tuple(sample), failed=removed.failed
    )


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
    """It is announced as one, for what is being computed and not stored yet, and then by its keys.

    Where a tier can't be searched for them, or lets none go, all of a `wider` target goes: that can be owed.
    """
    core, names = calls.core, intersection([one.text for one in target.patterns], target.keys, target.tags)
    message, unsearched = core.world.message("all", target.namespace, names, reason), dict[str, str]()
    with core.world.changing():
        removed = yield from core.removing.announce(message.opening)
        try:
            while keys := (yield from perform(Work(lambda: some_keys(core, target, failed=unsearched)))):
                gone = yield from core.removing.keys(target.namespace, keys, cascade=cascade, reason=reason)
                removed.add(gone)
                if not gone.count:
                    unsearched.update(gone.failed)
                    break  # what can't be removed would be found for ever
            if unsearched:
                removed.failed |= unsearched
                removed.add((yield from _union(calls, target.wider, cascade, reason)))
        except TierUnavailable:
            with suppress(TierUnavailable):
                yield from core.removing.announce(message)
            raise
        removed.add((yield from core.removing.announce(message)))
    return removed
