"""What became of each key that was asked for: told to the operation log, and to hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scoutcache import events
from scoutcache.engine.reading import Found
from scoutcache.entry import Ref
from scoutcache.oplog.records import UNREAD

if TYPE_CHECKING:
    from scoutcache.core.core import Core

__all__ = ["Recording"]


class Recording:
    """Records the calls of one cache.  Times are monotonic nanoseconds; what isn't told when it *ended* ends now."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def share(self, began: int, number: int) -> tuple[int, int]:
        """When each of *number* keys that were asked for together began and ended: it took its share of the batch."""
        ended = self._core.clocks.monotonic_ns()
        return ended - (ended - began) // number, ended

    def hit(
        self, ref: Ref, began: int, size: int | None, keygen_us: float | None = None, ended: int | None = None
    ) -> None:
        """A hit in memory that its tier has counted, so that only the log is told."""
        core = self._core
        log = core.recorder.hit_log
        if log is not None:
            ended = core.clocks.monotonic_ns() if ended is None else ended
            if keygen_us is not None:
                core.recorder.hit_of_made_key(*ref, began, ended, size or 0, keygen_us)
            else:
                log((began, ended, ref.namespace, ref.key, size or 0))
        if core.hooks.wants("hit"):
            core.hooks.emit(events.Hit(*ref, "memory"))

    def found(self, ref: Ref, found: Found, began: int, keygen_us: float | None, ended: int | None = None) -> None:
        """A hit of what a look has found."""
        core = self._core
        if found.tier == "memory":
            core.world.served(found.header)
            self.hit(ref, began, found.raw_size, keygen_us, ended)
            return
        core.recorder.record(
            "get", ref.namespace, ref.key, tier=found.tier, outcome="hit", began_ns=began,
            ended_ns=core.clocks.monotonic_ns() if ended is None else ended, size=found.raw_size,
            cost=found.header.cost, stored=found.size, codec=found.compression, codec_us=found.took_ns / 1000,
            keygen_us=keygen_us,
        )  # fmt: skip
        if core.hooks.wants("hit"):
            core.hooks.emit(events.Hit(*ref, found.tier))

    def missed(
        self, kind: str, ref: Ref, began: int, reasons: Mapping[Ref, str], keygen_us: float | None,
        ended: int | None = None,
    ) -> None:  # fmt: skip
        """A miss; *reasons* are those that the tiers below memory gave.

        Who only looks need not know the application's classes: what he can't read is there, and no miss.
        """
        if self._core.clocks.looking and reasons.get(ref) in UNREAD:
            return
        absent = reasons.get(ref) or self._core.world.why_absent(ref)
        reason = absent if self._core.config.enabled else "bypassed"
        self.done(kind, ref, began, outcome="miss", reason=reason, keygen_us=keygen_us, ended=ended)

    def done(
        self, kind: str, ref: Ref, began: int, *, outcome: str, tier: str | None = None, ended: int | None = None,
        **more: Any,
    ) -> None:  # fmt: skip
        """Whatever else a call did; *more* as `Recorder.record` takes it."""
        core = self._core
        ended = core.clocks.monotonic_ns() if ended is None else ended
        if kind in {"get", "compute"}:
            self._say(ref, outcome, tier, more.get("reason"))
        core.recorder.record(
            kind, ref.namespace, ref.key, tier=tier, outcome=outcome, began_ns=began, ended_ns=ended, **more
        )

    def _say(self, ref: Ref, outcome: str, tier: str | None, reason: str | None) -> None:
        hooks = self._core.hooks
        if hooks.wants(outcome):
            record = events.Hit(*ref, tier or "flight") if outcome == "hit" else events.Miss(*ref, reason or "cold")
            hooks.emit(record)
