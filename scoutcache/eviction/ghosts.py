"""Who left lately: a first-in-first-out list of 32-bit hashes that answers "was this one here?" in O(1).

Rule 1: a ghost is 8 bytes, a hash and the number of its arrival; buckets of eight hold them in two flat arrays, so
        that neither a Python object nor a key stays alive for it.  (A dict costs 100 bytes a ghost, an OrderedDict 150,
        and eviction quality needs as many ghosts as there are entries, twice.)
Rule 2: a list is as long as the cache is large: what its ghosts needed, in entries or in bytes, is at most its *limit*.
        In a cache bounded by bytes a list of so many entries forgets the small too early: up to two points of hits.
Rule 3: who is old is not removed, but no longer counts; the oldest of a bucket makes room for the next in it.
Rule 4: the table doubles by repeating itself.  A ghost then stands in two buckets, of which its hash names one; the
        other copy is never found and ages.
Rule 5: the answer may be wrong, both ways and rarely: two keys may share a hash, and a bucket may be full of the
        young.  Eviction gets a hair worse; nothing else depends on it.
"""

from __future__ import annotations

from array import array
from typing import Final

__all__ = ["Ghosts"]

_WAYS: Final = 8
_LAST: Final = 0xFFFF_FFFF
_FINEST: Final = 1 << 20
"""A number tells no less than such a part of the limit, so that they last for 4,096 times all of it."""


class Ghosts:
    """Names (`ghost_name`) of those that left last, of so many that together they needed *limit*."""

    __slots__ = ("_arrived", "_grain", "_holes", "_limit", "_mask", "_names", "_numbers", "count", "room")

    def __init__(self, limit: float) -> None:
        self._limit, self._grain = limit, max(1.0, limit / _FINEST)
        self.reset()

    def reset(self) -> None:
        """Forget everybody."""
        self._names = array("I", bytes(4 * _WAYS))
        self._numbers = array("I", bytes(4 * _WAYS))
        self._mask = 0
        self._arrived = 0.0
        """What all that ever came needed."""
        self._holes = 0.0
        self.room = 0.0
        """What those on the list needed."""
        self.count = 0.0
        """About how many those are."""

    def add(self, name: int, room: float) -> None:
        """Put *name* on the list as the youngest; it needed *room*."""
        number = int(self._arrived / self._grain) + 1  # nought is an empty place
        if number >= _LAST:
            self.reset()
            number = 1
        self._arrived += room
        self._age(room)
        while self.count * 2 > len(self._names):
            self._double()
        at = self._place(name)
        self._names[at] = name
        self._numbers[at] = number

    def _age(self, room: float) -> None:
        self.count += 1
        self.room += room
        if self.room > self._limit:
            self.count *= self._limit / self.room
            self.room = self._limit
        # Taking one out of the middle lets the list reach back further, until that place is out of sight itself.
        self._holes -= min(self._holes, self._holes * room / (self._limit + self._holes))

    def take(self, name: int, room: float) -> bool:
        """Was *name* on the list?  It no longer is."""
        start = (name & self._mask) * _WAYS
        bucket = self._names[start : start + _WAYS]
        if name not in bucket:
            return False
        at = start + bucket.index(name)
        since = self._arrived - (self._numbers[at] - 1) * self._grain
        self._names[at] = self._numbers[at] = 0
        if since - room / 2 > self._limit + self._holes:  # to the nearest: holes are an estimate
            return False
        self._holes += room
        self.room = max(0.0, self.room - room)
        self.count = max(0.0, self.count - 1)
        return True

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
