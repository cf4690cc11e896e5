"""What a process remembers of factories that failed: for a while it doesn't ask them again.

Rule 1: where a stale value is served instead, the factory is left alone for *throttle* seconds, so that a source in
        trouble isn't asked at every read.  Likewise for a moment where another process is refreshing the value, or
        each read would begin a thread to find that out.
Rule 2: an error is answered to later callers only where they ask for that (`error_ttl`).
Rule 3: an announcement that names the key ends it: what was wrong may be right now.
Rule 4: an error is kept, and given out, as a copy without its traceback: that would keep alive every frame it went
        through, and grow with each caller it is raised to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from scoutcache.coherence.messages import Message, concerns
from scoutcache.entry import Ref

__all__ = ["Failures", "copied"]


@dataclass(slots=True)
class _Failed:
    """*paused* and *kept* are monotonic: until when the factory is left alone, and until when *error* is answered.

    Without an error it has not failed: another process is at it.
    """

    error: Exception | None
    paused: float
    kept: float


class Failures:
    """The latest failures, at most *capacity*; *clock* is monotonic seconds."""

    def __init__(self, clock: Callable[[], float], capacity: int = 1000) -> None:
        self._clock, self._capacity = clock, capacity
        self._failed: dict[Ref, _Failed] = {}

    def __len__(self) -> int:
        return len(self._failed)

    def note(self, ref: Ref, error: Exception, *, pause: float = 0.0, keep: float = 0.0) -> None:
        """Computing *ref* failed: leave the factory alone for *pause* seconds, and answer *error* for *keep*."""
        now, old = self._clock(), self._failed.pop(ref, None)
        # A copy of the keys, in one step: another thread may add one while the first is looked for.
        for oldest in list(self._failed)[: max(0, len(self._failed) + 1 - self._capacity)]:
            self._failed.pop(oldest, None)
        paused, kept = (old.paused, old.kept) if old is not None else (now, now)
        self._failed[ref] = _Failed(copied(error) or error, max(paused, now + pause), max(kept, now + keep))

    def pause(self, ref: Ref, seconds: float) -> None:
        """Leave the factory of *ref* alone for *seconds*: another process computes it."""
        if ref not in self._failed and len(self._failed) < self._capacity:
            now = self._clock()
            self._failed[ref] = _Failed(None, now + seconds, now)

    def is_paused(self, ref: Ref) -> bool:
        """Is its factory to be left alone?"""
        failed = self._current(ref)
        return failed is not None and failed.paused > self._clock()

    def has_failed(self, ref: Ref) -> bool:
        """Is that because it failed?"""
        failed = self._current(ref)
        return failed is not None and failed.error is not None and failed.paused > self._clock()

    def kept(self, ref: Ref) -> Exception | None:
        """The error that callers are answered with, one of their own each time."""
        failed = self._current(ref)
        if failed is None or failed.error is None or failed.kept <= self._clock():
            return None
        return copied(failed.error) or failed.error.with_traceback(None)

    def _current(self, ref: Ref) -> _Failed | None:
        failed = self._failed.get(ref)
        if failed is not None and max(failed.paused, failed.kept) <= self._clock():
            self._failed.pop(ref, None)
            return None
        return failed

    def forget(self, ref: Ref) -> None:
        """It was computed."""
        self._failed.pop(ref, None)

    def apply(self, message: Message) -> None:
        """Forget what *message* names."""
        if not self._failed:
            return
        if message.kind in ("key", "written"):
            for name in message.names:
                self.forget(Ref(message.namespace, name))
            return
        for ref in list(self._failed):
            if concerns(message, ref, ()):
                self.forget(ref)

    def drop(self) -> None:
        """Forget all."""
        self._failed.clear()


def copied(error: Exception) -> Exception | None:
    """A copy without a traceback, None where there can be none."""
    try:
        other = copy.copy(error)
    except Exception:  # noqa: BLE001  # an exception's own constructor may raise anything
        return None
    if type(other) is not type(error) or other is error:
        return None
    other.args = error.args  # its constructor may have made others of them
    return other.with_traceback(None)
