"""What a channel has nothing to do about that has no place on disk: nobody can replace it or leave it half written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from scoutcache.channels.changes import was_interrupted
from scoutcache.coherence.messages import Message

__all__ = ["Placeless"]


class Placeless:
    """The part of a `Channel` that is about its directory."""

    def lately(self) -> Sequence[Message]:
        """Nobody who was not there need know what was owed."""
        return ()

    def trim(self) -> None:
        """It is trimmed as it grows."""

    def changing(self) -> AbstractContextManager[None]:
        """What is changed is told in the same step, or nobody else is there to be told.

        Where it was interrupted (`scoutcache.channels.changes`) this process doesn't know what it holds.
        """
        return _Change(self)

    def miss(self) -> None:
        """Something was missed that might have named anything."""
        raise NotImplementedError

    def broken_off(self) -> None:
        """Whoever calls was interrupted in the middle of a change."""
        self.miss()

    def recover(self) -> bool:
        """Nobody can have died half-way."""
        return False

    def replaced(self) -> bool:
        """It has no directory."""
        return False

    def reopen(self) -> None:
        """It is never replaced."""


class _Change:
    """Entered by every write, so it is no generator."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Placeless) -> None:
        self._channel = channel

    def __enter__(self) -> None:
        """There is nothing to be said beforehand."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and was_interrupted(kind):
            self._channel.broken_off()
