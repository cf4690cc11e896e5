"""Events and rules at work: what an event, a time or a change sets off is invalidated, and `cache.rules`.

Rules:

1. All that an event sets off is worked out before the first entry is touched, so a missing field changes nothing.
2. A rule invalidates through `invalidating`, as a caller would, with its id and what set it off as the reason.
3. Rules that watch keys run after a write or removal in this process, before the call returns.  What goes wrong with
   them is reported as a `trouble` event and never fails the write.
4. Time rules run only when somebody calls `run_due`; one caller at a time in a directory.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from scoutcache import events
from scoutcache.calls.calls import Calls, Key, several
from scoutcache.calls.invalidating import SAMPLE, Match, SpelledAction, invalidate, target_of
from scoutcache.channels.locking import held
from scoutcache.core.core import Core
from scoutcache.core.rulebook import RuleBook
from scoutcache.drive.blocking import run
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.errors import CacheError
from scoutcache.models import EmitResult, InvalidationResult, RuleResult
from scoutcache.policies import InvalidationRule
from scoutcache.rules.planning import Change, Planned, Ruleset, by_event, of_rule, with_dependents
from scoutcache.schedules import Due, due_by

__all__ = ["AsyncRules", "Dependents", "Rules", "emit", "invalidate_named", "united"]


class _How(NamedTuple):
    """How rules are run, and why."""

    why: str
    event: str | None = None
    reason: str | None = None
    dry_run: bool = False
    counting: bool = False
    cascade: bool = True


def emit(
    calls: Calls, event: str, fields: Mapping[str, Any], *, reason: str | None = None, dry_run: bool = False,
    count: bool = False, cascade: bool = True,
) -> Flow[EmitResult]:  # fmt: skip
    """Run what *event* sets off, then tell who listens; with *dry_run* only say what would be hit."""
    rules = calls.core.rulebook.ruleset
    plan = with_dependents(rules, by_event(rules, event, fields))
    how = _How(f"event:{event}", event, reason, dry_run, count, cascade)
    results = yield from _run_all(calls, plan, how)
    if not dry_run:
        calls.core.rulebook.tell(events.Emitted(event, dict(fields), calls.namespace))
    if failed := [result for result in results if result.error is not None]:
        said = "; ".join(f"rule {result.rule_id}: {result.error}" for result in failed)
        others = len(results) - len(failed)
        raise CacheError(f"event {event}: {said}", hint=f"the other {others} were run" if others else None)
    return EmitResult(
        event=event, rules=tuple(results), matched=_sum(result.matched for result in results),
        invalidated=_sum(result.invalidated for result in results),
    )  # fmt: skip


def invalidate_named(
    calls: Calls, patterns: Iterable[str], keys: Iterable[Key], tags: Iterable[str], match: Match,
    namespace: str | None, event: str | None, *, cascade: bool, dry_run: bool, count: bool, action: SpelledAction,
    reason: str | None,
) -> Flow[InvalidationResult]:  # fmt: skip
    """What the faces' `invalidate` does: what is named, and what the rules say of *event*."""
    patterns, keys, tags = tuple(patterns), tuple(several(keys, "keys")), tuple(several(tags, "tags"))
    results: list[InvalidationResult] = []
    if event is not None:
        calls = calls if namespace is None else Calls(calls.core, namespace)
        if match == "all":
            raise CacheError("match='all' intersects names, and an event is none", hint="call it for each of them")
        by_event(calls.core.rulebook.ruleset, event, {})  # before anything is touched
    if event is None or patterns or keys or tags:
        target = target_of(calls, patterns, keys, tags, match, namespace)
        flow = invalidate(calls, target, cascade=cascade, dry_run=dry_run, count=count, action=action, reason=reason)
        results.append((yield from flow))
    if event is not None:
        emitted = yield from emit(calls, event, {}, reason=reason, dry_run=dry_run, count=count, cascade=cascade)
        results += emitted.rules
    return results[0] if event is None else united(results)


def united(results: Sequence[InvalidationResult]) -> InvalidationResult:
    """Several invalidations as one; what two of them hit counts twice."""
    tiers = dict.fromkeys(tier for result in results for tier in result.by_tier)
    return InvalidationResult(
        matched=_sum(result.matched for result in results),
        invalidated=_sum(result.invalidated for result in results),
        by_tier={tier: _sum(result.by_tier.get(tier, 0) for result in results) for tier in tiers},
        sample=tuple(dict.fromkeys(key for result in results for key in result.sample))[:SAMPLE],
        failed={tier: why for result in results for tier, why in result.failed.items()},
    )


def _sum(numbers: Iterable[int | None]) -> int | None:
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


def _run_all(calls: Calls, plan: Sequence[Planned], how: _How) -> Flow[list[RuleResult]]:
    results = []
    for planned in plan:
        result = yield from _run_one(calls, planned, how)
        results.append(result)
    return results


def _run_one(calls: Calls, planned: Planned, how: _How) -> Flow[RuleResult]:
    rule = planned.rule
    told: dict[str, Any] = {"rule_id": rule.rule_id, "action": rule.action, "target_pattern": planned.pattern,
                            "target_tags": planned.tags}  # fmt: skip
    at = calls.core.clocks.wall()
    try:
        target = target_of(calls, [] if planned.pattern is None else [planned.pattern], (), planned.tags)
        result = yield from invalidate(
            calls, target, cascade=rule.cascade and how.cascade, dry_run=how.dry_run, count=how.counting,
            action=rule.action.value, event=how.event, follow=False,
            reason=" ".join(filter(None, [f"rule:{rule.rule_id}", how.why, how.reason])),
        )  # fmt: skip
    except CacheError as error:
        return RuleResult(**told, error=str(error))
    if not (how.dry_run or result.failed):
        calls.core.rulebook.ran(calls.namespace, rule.rule_id, datetime.fromtimestamp(at, UTC), result.invalidated)
    return RuleResult(**told, **result.model_dump())


class Dependents:
    """Tells the rules that watch keys what has changed.  Doesn't keep its cache open."""

    def __init__(self, core: Core) -> None:
        self._core, self._book = weakref.ref(core), core.rulebook

    def watches(self, key: str) -> bool:
        """Does some rule want to know when *key* changes?"""
        patterns = self._book.ruleset.watched
        return bool(patterns) and any(pattern.matches(key) for pattern in patterns)

    def changed(self, namespace: str, change: Change) -> Flow[None]:
        """Run the rules that *change* sets off."""
        core = self._core()
        if core is None or not self._book.ruleset.watching:
            return
        plan = with_dependents(self._book.ruleset, [], change)
        for result in (yield from _run_all(Calls(core, namespace), plan, _How("dependency"))):
            if result.error is not None:
                core.hooks.emit(events.Trouble("rules", f"rule {result.rule_id}: {result.error}"))


# -- by hand and by time


def _run_chosen(
    calls: Calls, choose: Callable[[], Sequence[InvalidationRule]], how: _How, lock_timeout: float
) -> list[RuleResult]:
    """Run what *choose* gives, asked again under the lock: whoever held it may have just done it."""
    core, book = calls.core, calls.core.rulebook
    core.check_open()
    if not choose():
        return []
    if how.dry_run:
        return run(_run_all(calls, _plan(book.ruleset, choose()), how), core.ports)
    results = []
    with held(book.folder / "running", lock_timeout):
        for planned in _plan(book.ruleset, choose()):
            results.append(run(_run_one(calls, planned, how), core.ports))
            book.write(strict=True)
    return results


def _plan(rules: Ruleset, chosen: Iterable[InvalidationRule]) -> list[Planned]:
    return with_dependents(rules, [of_rule(rule, {}) for rule in chosen])


class RuleSet:
    """The rules of a cache, in the order in which they were named; iterating gives each with its statistics.

    Rules come from the configuration (``[[rules]]``) and from `add`, for this process.
    """

    def __init__(self, calls: Calls, run_flow: Callable[[Flow[Any]], Any]) -> None:
        self._calls, self._run_flow = calls, run_flow

    @property
    def _book(self) -> RuleBook:
        return self._calls.core.rulebook

    def add(self, rule: InvalidationRule | Mapping[str, Any]) -> InvalidationRule:
        """Put a rule in force in this process.

        Raises `ConfigError` for a wrong one, listing what is wrong, and `CacheError` where its id is taken.
        """
        return self._book.add(rule)

    def remove(self, rule_id: str) -> bool:
        """Take a rule out of force in this process; False when there is none."""
        return self._book.remove(rule_id)

    def due(self, now: datetime | None = None) -> list[tuple[InvalidationRule, Due]]:
        """Each rule with whether it is due at *now* (default: the present) and when its next time is."""
        at = self._now(now)
        return [(rule, due_by(rule.schedule, rule.last_run, at)) for rule in self]

    def _now(self, now: datetime | None) -> datetime:
        if now is None:
            return datetime.fromtimestamp(self._calls.core.clocks.wall(), UTC)
        if now.tzinfo is None:
            raise CacheError("a time without its zone could be any", hint="such as datetime.now(UTC)")
        return now.astimezone(UTC)

    def _chosen_due(self, now: datetime | None, reason: str | None, lock_timeout: float) -> list[RuleResult]:
        def choose() -> list[InvalidationRule]:
            return [rule for rule, due in self.due(now) if due.now]

        return _run_chosen(self._calls, choose, _How("schedule", None, reason), lock_timeout)

    def _chosen_named(self, names: Sequence[str], how: _How, lock_timeout: float) -> list[RuleResult]:
        chosen = self._book.named(names)
        return _run_chosen(self._calls, lambda: chosen, how, lock_timeout)

    def __iter__(self) -> Iterator[InvalidationRule]:
        return iter(self._book.told(self._calls.namespace))

    def __len__(self) -> int:
        return len(self._book.rules)

    def __contains__(self, rule_id: object) -> bool:
        return any(rule.rule_id == rule_id for rule in self._book.rules)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(rule.rule_id for rule in self._book.rules)}>"


class Rules(RuleSet):
    """`RuleSet` for blocking code."""

    def emit(
        self, event: str, fields: Mapping[str, Any], *, reason: str | None = None, dry_run: bool = False,
        count: bool = False,
    ) -> EmitResult:  # fmt: skip
        """What `Cache.emit` does, with the fields in a mapping, a *reason* for the log, and counts of tags if asked."""
        flow = emit(self._calls, event, fields, reason=reason, dry_run=dry_run, count=count)
        told: EmitResult = self._run_flow(flow)
        return told

    def test(self, event: str, /, **fields: Any) -> EmitResult:
        """What *event* would hit; nothing is changed, and hooks are not called."""
        return self.emit(event, fields, dry_run=True)

    def run(
        self, *names: str, reason: str | None = None, dry_run: bool = False, lock_timeout: float = 0.0
    ) -> list[RuleResult]:
        """Run the rules of those ids, due or not, and what they set off.

        Raises `CacheError` for one that is not there, `InvalidKey` for one that needs fields of an event, `LockTimeout`
        when another process runs rules for longer than *lock_timeout* seconds.
        """
        return self._chosen_named(names, _How("by hand", None, reason, dry_run), lock_timeout)

    def run_due(
        self, now: datetime | None = None, *, reason: str | None = None, lock_timeout: float = 0.0
    ) -> list[RuleResult]:
        """Run the time rules that are due at *now*; what was missed is done once.

        A rule that never ran is due at once.  Raises `LockTimeout` as `run`; when nothing is due the lock is not asked
        for.
        """
        return self._chosen_due(now, reason, lock_timeout)


class AsyncRules(RuleSet):
    """`RuleSet` for event loops; `add`, `remove`, `due` and iterating are not awaited."""

    async def emit(
        self, event: str, fields: Mapping[str, Any], *, reason: str | None = None, dry_run: bool = False,
        count: bool = False,
    ) -> EmitResult:  # fmt: skip
        """What `AsyncCache.emit` does, with the fields in a mapping, a *reason* for the log, and counts of tags."""
        flow = emit(self._calls, event, fields, reason=reason, dry_run=dry_run, count=count)
        told: EmitResult = await self._run_flow(flow)
        return told

    async def test(self, event: str, /, **fields: Any) -> EmitResult:
        """What *event* would hit; nothing is changed, and hooks are not called."""
        return await self.emit(event, fields, dry_run=True)

    async def run(
        self, *names: str, reason: str | None = None, dry_run: bool = False, lock_timeout: float = 0.0
    ) -> list[RuleResult]:
        """Run the rules of those ids, due or not, and what they set off; errors as `Rules.run`."""
        how = _How("by hand", None, reason, dry_run)
        return await self._in_thread(lambda: self._chosen_named(names, how, lock_timeout))

    async def run_due(
        self, now: datetime | None = None, *, reason: str | None = None, lock_timeout: float = 0.0
    ) -> list[RuleResult]:
        """Run the time rules that are due at *now*; what was missed is done once.  Errors as `Rules.run_due`."""
        return await self._in_thread(lambda: self._chosen_due(now, reason, lock_timeout))

    async def _in_thread(self, work: Callable[[], list[RuleResult]]) -> list[RuleResult]:
        told: list[RuleResult] = await self._run_flow(perform(Work(work)))
        return told
