"""Invalidations that have begun and not ended: what is computed meanwhile may still be computed from what they name.

An invalidation is announced, removes, and is announced again.  Who begins a computation in between has heard the first
announcement already, and may read what is about to be removed; that it was named must count all the same.  (Found by
exploring interleavings: the new version of a tag can be read, and the write be done, before the second announcement.)

Rule 1: the first announcement *opens* it, the second, of the same source and stamp, closes it.
Rule 2: a position that is noted while one is open is that before its opening.
Rule 3: one whose maker died stays open for *patience* seconds, and what it names isn't kept meanwhile, unless somebody
        who knows of the death ends it for him.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scoutcache.coherence.messages import Message

__all__ = ["Opened"]

PATIENCE: Final = 60.0
"""Seconds that an invalidation may take; a pattern over a million keys takes some."""


class Opened:
    """The open ones, as one process has heard; *now* is monotonic seconds."""

    def __init__(self, now: Callable[[], float], patience: float = PATIENCE) -> None:
        self._now, self._patience = now, patience
        self._open: dict[tuple[str, int], tuple[int, float, Message]] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def apply(self, message: Message, before: int) -> None:
        """*message* is applied; everything up to position *before* came before it."""
        if message.opens:
            self._open.setdefault((message.source, message.stamp), (before, self._now(), message))
        elif self._open and message.is_invalidation:
            self._open.pop((message.source, message.stamp), None)

    def floor(self, position: int) -> int:
        """What to note at *position* (Rule 2)."""
        return min([position, *(before for before, _, _ in self._lasting())]) if self._open else position

    def messages(self) -> list[Message]:
        """Those that are open."""
        return [message for _, _, message in self._lasting()] if self._open else []

    def _lasting(self) -> list[tuple[int, float, Message]]:
        since = self._now() - self._patience
        for name, (_, opened, _) in list(self._open.items()):
            if opened < since:
                self._open.pop(name, None)
        return list(self._open.values())

    def drop(self) -> None:
        """Forget them: a message was missed, and with it everything that was held."""
        self._open.clear()
