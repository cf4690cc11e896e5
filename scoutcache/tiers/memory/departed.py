"""Why entries are gone that were here lately, for whoever asks for one of them again.

Two generations of names, each of at most as many as the tier has room for entries (`FEWEST` in a small one): when the
young one is full it becomes the old one, so that forgetting costs nothing and a flood of names costs no more memory
than two of them.
"""

from __future__ import annotations

from typing import Final

from scoutcache.entry import Ref

__all__ = ["FEWEST", "MOST", "Departed"]

FEWEST: Final = 250
MOST: Final = 2500
"""About half a megabyte in each generation, with keys of the usual length."""


class Departed:
    """The reasons, as misses have them: ``evicted``, ``expired``, ``invalidated``.  Not thread-safe.

    *capacity* is how many names a generation may have, `MOST` where that is fewer.
    """

    __slots__ = ("_capacity", "_old", "_young")

    def __init__(self, capacity: int = MOST) -> None:
        self._capacity = min(capacity, MOST)
        self._young: dict[Ref, str] = {}
        self._old: dict[Ref, str] = {}

    def note(self, ref: Ref, reason: str) -> None:
        """*ref* left for this *reason*."""
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
        self._young[ref] = reason

    def back(self, ref: Ref) -> None:
        """*ref* is here again."""
        if self._young or self._old:
            self._young.pop(ref, None)
            self._old.pop(ref, None)

    def why(self, ref: Ref) -> str | None:
        """Why *ref* left; None where it never was here, is here, or left too long ago."""
        return self._young.get(ref) or self._old.get(ref)
