"""What a process remembers of factories that failed: for a while it doesn't ask them again.

Rule 1: where a stale value is served instead, the factory is left alone for *throttle* seconds, so that a source in
        trouble isn't asked at every read.
Rule 2: an error is answered to later callers only where they ask for that (`error_ttl`).
Rule 3: an announcement that names the key ends it: what was wrong may be right now.
"""

from __future__ import annotations

from collections.abc import Callable

from scoutcache.coherence.messages import Message, concerns
from scoutcache.entry import Ref

__all__ = ["Failures"]


class Failures:
    """The latest failures, at most *capacity*; *clock* is monotonic seconds."""

    def __init__(self, clock: Callable[[], float], capacity: int = 1000) -> None:
        self._clock, self._capacity = clock, capacity
        self._failed: dict[Ref, tuple[Exception, float]] = {}

    def __len__(self) -> int:
        return len(self._failed)

    def note(self, ref: Ref, error: Exception, seconds: float) -> None:
        """Remember that computing *ref* failed, for so many *seconds*."""
        while len(self._failed) >= self._capacity:
            self._failed.pop(next(iter(self._failed)), None)
        self._failed[ref] = error, self._clock() + seconds

    def recent(self, ref: Ref) -> Exception | None:
        """The error of the last time, while it is remembered."""
        failed = self._failed.get(ref)
        if failed is None:
            return None
        if failed[1] > self._clock():
            return failed[0]
        self._failed.pop(ref, None)
        return None

    def forget(self, ref: Ref) -> None:
        """It was computed."""
        self._failed.pop(ref, None)

    def apply(self, message: Message) -> None:
        """Forget what *message* names."""
        for ref in list(self._failed):
            if concerns(message, ref, ()):
                self.forget(ref)

    def drop(self) -> None:
        """Forget all."""
        self._failed.clear()
