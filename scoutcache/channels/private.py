"""The journal of a process that can share none: its directory can't be written, so it only talks to itself."""

from __future__ import annotations

import threading
from collections import deque

from scoutcache.channels.page import END, INVALIDATED, Page
from scoutcache.channels.placeless import Placeless
from scoutcache.coherence.messages import Message

__all__ = ["PrivateJournal"]


class PrivateJournal(Page, Placeless):
    """Keeps the last *capacity* messages; a position is how many there were."""

    def __init__(self, capacity: int = 10_000) -> None:
        self.words = memoryview(bytearray(64)).cast("Q")
        self._messages: deque[Message] = deque(maxlen=capacity)
        self._mutex = threading.Lock()

    def append(self, message: Message, *, wait: bool = True) -> tuple[int, int]:  # noqa: ARG002  # it never waits long
        """Keep *message*; return the positions before and after it."""
        with self._mutex:
            before = self.words[END]
            self._messages.append(message)
            self.words[END] = before + 1
            if message.is_invalidation:
                self.words[INVALIDATED] = before + 1
            return before, before + 1

    def since(self, position: int, most: int | None = None) -> tuple[list[Message] | None, int]:  # noqa: ARG002
        """The messages after *position*, and the new position; None for them when some are gone."""
        with self._mutex:
            end = self.words[END]
            wanted = end - position
            if wanted > len(self._messages):
                return None, end
            return list(self._messages)[len(self._messages) - wanted :], end

    def miss(self) -> None:
        """Something was missed that might have named anything."""
        with self._mutex:
            self._messages.clear()
            self.words[END] = self.words[INVALIDATED] = self.words[END] + 1

    def recent(self) -> tuple[list[Message], int]:
        """Nobody announced anything before it was there."""
        return [], 0

    def renew_mutex(self) -> None:
        """Called in a forked child."""
        self._mutex = threading.Lock()

    def close(self) -> None:
        """Nothing to let go of."""
