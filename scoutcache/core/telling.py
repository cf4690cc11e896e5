"""What the engine and the background do of their own accord is told: to the operation log, and to the program's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from scoutcache import events
from scoutcache.engine.recipe import Outcome
from scoutcache.entry import Handled, Ref
from scoutcache.errors import CacheError, CorruptEntry, SerializationError
from scoutcache.events import Hooks
from scoutcache.oplog.recorder import Recorder
from scoutcache.tiers.base import Tier

__all__ = [
    "codec_figures", "elsewhere_s", "say_hook_failed", "tell_left", "tell_recorder", "tell_refresh_failed",
    "tell_refreshed", "tell_stored", "tell_what_writes_removed", "warn_of_trouble",
]  # fmt: skip

_log = logging.getLogger("scoutcache")

WARNED_LIMIT = 100
"""Different problems with values that are logged; all of them are counted."""


def say_hook_failed(hook: events.Hook, record: events.Event | events.Emitted, error: Exception) -> None:
    _log.error("the hook %r raised on %r", hook, record.name, exc_info=error)


def tell_recorder(hooks: Hooks, recorder: Recorder, clock: Callable[[], int]) -> None:
    """What the engine and the background do of their own accord belongs into the log as well."""

    def moved(record: events.Promoted | events.Demoted) -> None:
        now, kind = clock(), "promote" if record.name == "promoted" else "demote"
        recorder.record(
            kind, record.namespace, record.key, tier=record.to_tier, outcome="done", began_ns=now, ended_ns=now
        )

    hooks.add("promoted", moved)
    hooks.add("demoted", moved)
    hooks.add("tier_down", lambda record: recorder.error(record.tier, CacheError(record.problem)))
    warned: set[str] = set()

    def warn(record: events.Unstorable | events.Unreadable, consequence: str) -> None:
        if record.problem not in warned and len(warned) < WARNED_LIMIT:
            warned.add(record.problem)
            _log.warning("%s: %s; %s", record.key, record.problem, consequence)

    def unstorable(record: events.Unstorable) -> None:
        recorder.error(None, SerializationError(record.problem), namespace=record.namespace, key=record.key)
        warn(record, "it isn't stored, so each call computes it")

    def unreadable(record: events.Unreadable) -> None:  # no tier failed: it is a miss of its own reason, and no error
        warn(record, "it is a miss here, and stays for processes that can read it")

    def refused(record: events.Refused) -> None:
        now = clock()
        recorder.record(
            "set", record.namespace, record.key, tier=None, outcome="refused", reason=record.reason,
            size=record.size_bytes, began_ns=now, ended_ns=now,
        )  # fmt: skip
        if record.policy not in warned:
            warned.add(record.policy)
            _log.warning("%s takes %d bytes, more than the policy %r allows: it is not stored, nor are others that "
                         "are too large", record.key, record.size_bytes, record.policy)  # fmt: skip

    hooks.add("refused", refused)
    hooks.add("unstorable", unstorable)
    hooks.add("unreadable", unreadable)


def tell_refreshed(recorder: Recorder, clock: Callable[[], int], ref: Ref, outcome: Outcome) -> None:
    """What was computed beside the calls: the run, and the write that it ended with."""
    now = clock()
    began = now - int(elsewhere_s([outcome]) * 1e9)
    recorder.record(
        "refresh", *ref, tier=None, outcome="stored" if outcome.stored else "refused", factory_s=outcome.factory_s,
        cost=outcome.cost, size=outcome.size, began_ns=began, ended_ns=now,
    )  # fmt: skip
    tell_stored(recorder, ref, outcome, now, now)


def tell_refresh_failed(recorder: Recorder, clock: Callable[[], int], ref: Ref, error: Exception) -> None:
    """What was to be computed beside the calls, or anew, was not; the type of the error alone is told."""
    now = clock()
    recorder.record("refresh", *ref, tier=None, outcome="failed", began_ns=now, ended_ns=now,
                    error=type(error).__name__)  # fmt: skip


def elsewhere_s(outcomes: Iterable[Outcome]) -> float:
    """How long the one call that gave *outcomes* was not the cache's own: it computed, and waited for others."""
    computing_s, wait_s = 0.0, 0.0
    for one in outcomes:
        computing_s, wait_s = computing_s + (one.factory_s or 0.0), max(wait_s, one.wait_s or 0.0)
    return computing_s + wait_s


def tell_stored(recorder: Recorder, ref: Ref, outcome: Outcome, began: int, ended: int) -> None:
    """The write that a computation ended with, if it did; it *began* after what took its time `elsewhere_s`."""
    if (kept := outcome.kept) is not None:
        recorder.record(
            "set", *ref, tier=None, outcome="stored", began_ns=min(began, ended), ended_ns=ended, size=outcome.size,
            tags=tuple(kept.tags), cost=outcome.cost, depends_on=tuple(kept.depends_on), ttl=kept.life,
            **codec_figures(outcome.handled),
        )  # fmt: skip


def codec_figures(handled: Handled | None) -> dict[str, Any]:
    """What a record says of what the codec did; nothing where only memory was asked or told."""
    if handled is None or handled.size is None:
        return {}
    return {"stored": handled.size, "codec": handled.compression, "codec_us": handled.ns / 1000}


def warn_of_trouble(hooks: Hooks, warned: set[str]) -> None:
    """One log line when a tier goes away, not one for each call; those in *warned* say so themselves."""
    down: dict[str, str] = {}

    def warn(record: events.TierDown) -> None:
        if record.tier not in warned and down.get(record.tier) != record.problem:
            down[record.tier] = record.problem
            _log.warning("%s; what only it holds is a miss until it answers again", record.problem)

    hooks.add("tier_down", warn)


def tell_left(recorder: Recorder, hooks: Hooks | None, tier: str, counts: Mapping[str, int]) -> None:
    """So many entries left *tier*, by reason; their keys nobody noted."""
    for reason, times in counts.items():
        if times:
            recorder.left(tier, reason, times)
            if hooks is not None:
                expired = reason == "expired"
                hooks.emit(events.Expired("", "", tier, times) if expired
                           else events.Evicted("", "", tier, reason, times))  # fmt: skip


def tell_what_writes_removed(recorder: Recorder, hooks: Hooks | None, tiers: Sequence[Tier]) -> None:
    """What tiers had to remove inside writes, as far as it wasn't told yet."""
    for tier in tiers:
        if hasattr(tier, "take_left"):
            tell_left(recorder, hooks, tier.name, tier.take_left())
        for reason in tier.take_lost() if hasattr(tier, "take_lost") else ():
            recorder.error(tier.name, CorruptEntry(f"the database was set aside as damaged: {reason}"))
