"""Mark a target stale: what may be served stale is, while it is refreshed; the rest is computed anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from scoutcache.calls.targets import BATCH, Target, fresh_keys, survey_of
from scoutcache.coherence.messages import Action, Message, intersection
from scoutcache.core.core import Core
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.engine.removing import Removed
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable

__all__ = ["mark_stale"]


def mark_stale(core: Core, target: Target, action: Action, *, cascade: bool, reason: str | None) -> Flow[Removed]:
    """Mark what *target* names stale; how many entries each tier had, where no tags hide it."""
    if target.match == "any" and target.tags and not (target.patterns or target.keys):
        marked = Removed(by_tier=dict.fromkeys((tier.name for tier in core.tiers), 0))
    else:
        survey = yield from perform(Work(lambda: survey_of(core, _physical(target))))
        counted = {tier: number or 0 for tier, number in survey.by_tier.items() if tier not in survey.failed}
        marked = Removed(counted, survey.failed)
    try:
        if target.match == "all":
            yield from _each(core, target, action, marked, cascade=cascade, reason=reason)
        else:
            yield from _united(core, target, action, marked, cascade=cascade, reason=reason)
    except TierUnavailable as error:
        core.world.down(error.tier, error)
        marked.failed[error.tier] = error.reason
    for tier in marked.failed:
        marked.by_tier.pop(tier, None)
    return marked


def _united(
    core: Core, target: Target, action: Action, marked: Removed, *, cascade: bool, reason: str | None
) -> Flow[None]:
    namespace, staling = target.namespace, core.staling
    if messages := _messages(core, target, action, reason):
        failed, unread = (yield from staling.announce(messages)), dict[str, str]()
        keys = fresh_keys(core, _physical(target), unread)
        while batch := (yield from perform(Work(lambda: _batch(keys)))):
            failed |= yield from staling.mark([Ref(namespace, key) for key in batch])
        staling.unread(unread, namespace, target.patterns, target.keys)
        failed |= unread
        marked.failed |= failed | (yield from staling.announce(messages, failed))
    if cascade and messages:
        awaited, unasked = yield from core.removing.depended_on_or_known(namespace)
        if unasked.failed:
            marked.add(unasked)
            awaited = list(dict.fromkeys([*awaited, *target.keys]))
            for pattern in target.patterns:
                yield from core.removing.owe_pattern(namespace, pattern, reason, action)
        hit = [key for key in awaited if key in target.keys or any(one.matches(key) for one in target.patterns)]
        marked.failed |= yield from staling.dependents(namespace, hit, action, reason)
    if target.tags:
        marked.failed |= yield from staling.tags(namespace, target.tags, action, cascade=cascade, reason=reason)


def _each(
    core: Core, target: Target, action: Action, marked: Removed, *, cascade: bool, reason: str | None
) -> Flow[None]:
    """It is announced as one, for what is being computed and not stored yet, and then by its keys."""
    namespace, staling = target.namespace, core.staling
    names = intersection([one.text for one in target.patterns], target.keys, target.tags)
    whole = [core.world.message("all", namespace, names, reason, action)]
    marked.failed |= yield from staling.announce(whole)
    unread = dict[str, str]()
    keys = fresh_keys(core, target, unread)
    while batch := (yield from perform(Work(lambda: _batch(keys)))):
        message = core.world.message("key", namespace, batch, reason, action)
        failed = yield from staling.announce([message])
        failed |= yield from staling.mark([Ref(namespace, key) for key in batch])
        marked.failed |= failed | (yield from staling.announce([message], failed))
        if cascade:
            marked.failed |= yield from staling.dependents(namespace, batch, action, reason)
    if unread:  # what can be owed
        marked.failed |= unread
        yield from _united(core, target.wider, action, marked, cascade=cascade, reason=reason)
    marked.failed |= yield from staling.announce(whole)


def _physical(target: Target) -> Target:
    """The part of a target that is marked entry by entry."""
    return target if target.match == "all" else target._replace(tags=())


def _messages(core: Core, target: Target, action: Action, reason: str | None) -> Sequence[Message]:
    namespace, messages = target.namespace, []
    if target.patterns:
        texts = [one.text for one in target.patterns]
        messages.append(core.world.message("pattern", namespace, texts, reason, action))
    if target.keys:
        messages.append(core.world.message("key", namespace, sorted(target.keys), reason, action))
    return messages


def _batch(keys: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(islice(keys, BATCH)))
