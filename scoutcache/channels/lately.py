"""The last messages of the stream, for who has heard less of it: as many as have no more than `NAMES`."""

from __future__ import annotations

from collections import deque
from typing import Final

from scoutcache.coherence.messages import Message

__all__ = ["Lately", "Told"]

MESSAGES: Final = 1_000
NAMES: Final = 10_000
"""In all of them: each is text, and every process keeps them."""

Told = tuple[bytes, bytes, Message]
"""A message of the stream, behind its id and that of the one before it."""


class Lately:
    """What the stream told last; not safe for threads."""

    def __init__(self) -> None:
        self._told = deque[Told]()
        self._names = 0

    def add(self, identity: bytes, before: bytes, message: Message) -> None:
        """Keep it, and let go of what is too much."""
        self._told.append((identity, before, message))
        self._names += len(message.names)
        while self._told and (self._names > NAMES or len(self._told) > MESSAGES):
            self._names -= len(self._told.popleft()[2].names)

    def all(self) -> list[Told]:
        """The oldest first."""
        return list(self._told)
