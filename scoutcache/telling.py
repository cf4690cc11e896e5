"""What the engine and the background do of their own accord is told: to the operation log, and to the program's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from scoutcache import events
from scoutcache.errors import CacheError, SerializationError
from scoutcache.events import Hooks
from scoutcache.oplog.recorder import Recorder
from scoutcache.tiers.base import Tier

__all__ = ["say_hook_failed", "tell_left", "tell_recorder", "tell_what_writes_removed", "warn_of_trouble"]

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

    def refreshed(record: events.Refreshed) -> None:
        now, outcome = clock(), "stored" if record.stored else "refused"
        recorder.record(
            "refresh", record.namespace, record.key, tier=None, outcome=outcome, factory_s=record.seconds,
            began_ns=now - int(record.seconds * 1e9), ended_ns=now,
        )  # fmt: skip

    hooks.add("promoted", moved)
    hooks.add("demoted", moved)
    hooks.add("refreshed", refreshed)
    hooks.add("tier_down", lambda record: recorder.error(record.tier, CacheError(record.problem)))
    warned: set[str] = set()

    def unkept(record: events.Unstorable | events.Unreadable) -> None:
        tier = getattr(record, "tier", None)
        recorder.error(tier, SerializationError(record.problem), namespace=record.namespace, key=record.key)
        if record.problem not in warned and len(warned) < WARNED_LIMIT:
            warned.add(record.problem)
            _log.warning("%s: %s; it is computed anew each time", record.key, record.problem)

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
    hooks.add("unstorable", unkept)
    hooks.add("unreadable", unkept)


def warn_of_trouble(hooks: Hooks, warned: set[str]) -> None:
    """One log line when a tier goes away, not one for each call; those in *warned* say so themselves."""
    down: dict[str, str] = {}

    def warn(record: events.TierDown) -> None:
        if record.tier not in warned and down.get(record.tier) != record.problem:
            down[record.tier] = record.problem
            _log.warning("%s; it counts as a miss until it answers again", record.problem)

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
