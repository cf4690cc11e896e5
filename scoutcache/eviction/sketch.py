"""How often was this one asked for lately?  Answered for any number of keys in a few bytes each, never too low.

Rule 1: a count-min sketch of four rows of one byte; a key's count is the least of its four (Cormode, Muthukrishnan).
Rule 2: counts end at 15 and are halved when so many were added as *sample* says, so that fame fades.
Rule 3: the sketch grows with what it counts for, four places a row for each entry; what was counted then starts over.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Sketch"]

_MOST: Final = 15
_PLACES: Final = 4
_HALVED: Final = bytes(number >> 1 for number in range(256))
_MIX: Final = (0x9E37_79B1, 0x85EB_CA77, 0xC2B2_AE3D, 0x27D4_EB2F)


class Sketch:
    """Counts of names (`ghost_name`)."""

    __slots__ = ("_mask", "_rows", "added")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._mask = 63
        self._rows = [bytearray(64) for _ in _MIX]
        self.added = 0
        """How many were added since the counts were halved."""

    def make_room(self, entries: int) -> None:
        """Count for so many entries from now on, if that is more than before."""
        if entries * _PLACES > self._mask + 1:
            size = 1 << (entries * _PLACES - 1).bit_length()
            self._mask = size - 1
            self._rows = [bytearray(size) for _ in _MIX]

    def add(self, name: int) -> None:
        """One more of *name*."""
        self.added += 1
        mask = self._mask
        for row, mix in zip(self._rows, _MIX, strict=True):
            at = ((name * mix) >> 15) & mask
            if row[at] < _MOST:
                row[at] += 1

    def count(self, name: int) -> int:
        """How many there were of *name*, or a little more."""
        mask = self._mask
        return min([row[((name * mix) >> 15) & mask] for row, mix in zip(self._rows, _MIX, strict=True)])

    def halve(self) -> None:
        """Everything counts half from now on."""
        self._rows = [row.translate(_HALVED) for row in self._rows]
        self.added = 0
