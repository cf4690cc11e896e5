"""Who left lately: a first-in-first-out list of 32-bit hashes that answers "was this one here?" in O(1).

Rule 1: a ghost is 8 bytes, a hash and the number of its arrival; buckets of eight hold them in two flat arrays, so
        that neither a Python object nor a key stays alive for it.  (A dict costs 100 bytes a ghost, an OrderedDict 150,
        and eviction quality needs as many ghosts as there are entries, twice.)
Rule 2: who is old is not removed, but no longer counts; the oldest of a bucket makes room for the next in it.
Rule 3: the table doubles by repeating itself.  A ghost then stands in two buckets, of which its hash names one; the
        other copy is never found and ages.
Rule 4: the answer may be wrong, both ways and rarely: two keys may share a hash, and a bucket may be full of the
        young.  Eviction gets a hair worse; nothing else depends on it.
"""

from __future__ import annotations

from array import array
from typing import Final

__all__ = ["Ghosts"]

_WAYS: Final = 8
_LAST: Final = 0xFFFF_FFFF


class Ghosts:
    """Names (`ghost_name`) of the last *limit* to leave; the limit comes with each call, since it moves."""

    __slots__ = ("_arrivals", "_holes", "_mask", "_names", "_numbers", "count")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everybody."""
        self._names = array("I", bytes(4 * _WAYS))
        self._numbers = array("I", bytes(4 * _WAYS))
        self._mask = 0
        self._arrivals = 0
        self._holes = 0.0
        self.count = 0
        """How many of the last *limit* are still on the list."""

    def add(self, name: int, limit: int) -> None:
        """Put *name* on the list as the youngest."""
        if self._arrivals == _LAST:
            self.reset()
        self._arrivals += 1
        self.count = min(self.count + 1, limit)
        # Taking one out of the middle lets the list reach back one further, until that place is out of sight itself.
        self._holes -= self._holes / (limit + self._holes)
        while self.count * 2 > len(self._names):
            self._double()
        at = self._place(name)
        self._names[at] = name
        self._numbers[at] = self._arrivals

    def take(self, name: int, limit: int) -> bool:
        """Was *name* on the list?  It no longer is."""
        start = (name & self._mask) * _WAYS
        bucket = self._names[start : start + _WAYS]
        if name not in bucket:
            return False
        at = start + bucket.index(name)
        young = self._arrivals - self._numbers[at] < limit + self._holes
        self._names[at] = self._numbers[at] = 0
        if young:
            self._holes += 1
            self.count = max(0, self.count - 1)
        return young

    def _place(self, name: int) -> int:
        """Where *name* goes: where it was, else where the longest gone is, which is an empty place if there is one."""
        start = (name & self._mask) * _WAYS
        bucket = self._names[start : start + _WAYS]
        if name in bucket:
            return start + bucket.index(name)
        numbers = self._numbers[start : start + _WAYS]
        return start + numbers.index(min(numbers))

    def _double(self) -> None:
        self._names *= 2
        self._numbers *= 2
        self._mask = self._mask * 2 + 1
