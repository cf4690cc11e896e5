"""The requests to simulate, as columns of plain numbers: keys are interned once, and loops over integers do the rest.

Rule 1: key *n* is the *n*-th that was seen; what belongs to a key is a list by that number.
Rule 2: *acts* is empty where every event is a request and nothing expires; else each event is one of `READ` (a request;
        a miss is stored), `WRITE` (stored without having been asked for) and `DROP` (removed).
Rule 3: a size of 0 counts as 1 byte of room, so that nothing is kept for ever for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from math import inf
from typing import Final

__all__ = ["DROP", "READ", "WRITE", "Requests"]

READ: Final = 0
WRITE: Final = 1
DROP: Final = 2


@dataclass(slots=True)
class Requests:
    """Events in the order of time.

    By event: *keys*, and where there are *acts*, *times* and *ttls* in seconds (`math.inf`: never expires).  By key:
    *sizes* in bytes, *names*, and *costs* of recomputing it, in any unit (empty where nobody knows).  *rate* is the
    share of the keys that is here, where the others were left out; *expected* how many requests such a share has on
    average, where the counters know of all of them.
    """

    keys: list[int]
    sizes: list[int]
    names: list[str]
    acts: bytearray = field(default_factory=bytearray)
    times: Sequence[float] = ()
    ttls: Sequence[float] = ()
    costs: list[float] = field(default_factory=list)
    rate: float = 1.0
    expected: float | None = None
    _requested: int | None = None

    @property
    def count(self) -> int:
        """How many events are requests."""
        return self.acts.count(READ) if self.acts else len(self.keys)

    @property
    def distinct(self) -> int:
        """How many different keys there are."""
        return len(self.sizes)

    @property
    def distinct_bytes(self) -> int:
        """What they need together."""
        return sum(self.sizes)

    @property
    def requested_bytes(self) -> int:
        """What the requests asked for."""
        if self._requested is None:
            asked = compress(self.keys, [act == READ for act in self.acts]) if self.acts else self.keys
            self._requested = sum(map(self.sizes.__getitem__, asked))
        return self._requested

    @property
    def has_ttls(self) -> bool:
        """Does anything expire?"""
        return any(ttl != inf for ttl in self.ttls)
