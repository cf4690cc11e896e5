"""What a channel has nothing to do about that has no place on disk: nobody can replace it or leave it half written."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

__all__ = ["Placeless"]


_NOTHING: Final = nullcontext()


class Placeless:
    """The part of a `Channel` that is about its directory."""

    def trim(self) -> None:
        """It is trimmed as it grows."""

    def changing(self) -> AbstractContextManager[None]:
        """What is changed is told in the same step, or nobody else is there to be told."""
        return _NOTHING

    def recover(self) -> bool:
        """Nobody can have died half-way."""
        return False

    def replaced(self) -> bool:
        """It has no directory."""
        return False

    def reopen(self) -> None:
        """It is never replaced."""
