"""An entry as the memory tier keeps it: what a hit reads as attributes, and everything else packed.

100,000 entries are common, so bytes count: a `Header` with its numbers costs 450 bytes, the same packed costs 80.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from struct import Struct, error
from typing import Any, Final, NamedTuple

from scoutcache.entry import NEVER, Header, Live, Mark, Ref
from scoutcache.eviction import Node

__all__ = ["Detail", "Slot"]

_TIMES: Final = Struct("<qdddd")
"""Start, created, fresh until, expires, cost (NaN for none)."""

_RESOLUTION: Final = 1e-6
"""What seconds since the epoch resolve in a float, generously: an entry may die so much early but never late."""


class Detail(NamedTuple):
    """What the memory tier knows of an entry.  *accessed* is seconds since the epoch, right to about a second."""

    header: Header
    size: int
    hits: int
    accessed: float


class LongWay(NamedTuple):
    """What a slot whose deadline is not its end has in *cold*: until when it is fresh, and what stands there else.

    (Not a class of slots of its own: a hit is fastest while it has seen one class only.)
    """

    until: float
    cold: bytes | Header


class Slot(Node):
    """One entry.  Never changed after it was made, but for counters and its place in the policy's queues:

    a reader without a lock must see one value with its own deadline, so a new value is a new slot.
    """

    __slots__ = ("cold", "deadline", "decode", "held", "marks", "told", "used", "written")

    key: str
    held: Any
    decode: Callable[[Any], Any] | None
    deadline: float
    """Monotonic time until which the short way may answer it; the other ways ask `until`."""
    marks: tuple[Mark, ...]
    cold: bytes | Header | LongWay
    told: int
    """How many of the hits were harvested."""
    written: int
    used: float
    """Monotonic time by which the last harvested hit had happened."""

    def __init__(
        self, header: Header, live: Live, marks: tuple[Mark, ...], now: float, wall: float, used: float,
        *, told_from: float | None = None,
    ) -> None:  # fmt: skip
        """*marks* equal the header's.  *now* and *wall* are one moment: setting the wall clock moves no deadline.

        *told_from* is wall time from which each hit has to be told: then the short way takes it for stale.
        """
        self.key = header.ref.key
        self.space = header.ref.namespace
        self.size = live.size
        self.written = live.written
        self.hits = self.mark = self.told = 0
        self.home = None
        self.held = live.held
        self.decode = live.decode
        self.deadline = now + (min(header.fresh_until, header.expires) - wall) - _RESOLUTION
        self.marks = marks
        self.cold = _pack(header)
        self.used = used
        if told_from is not None and told_from < header.fresh_until:
            self.cold = LongWay(self.deadline, self.cold)
            self.deadline = now + (told_from - wall)

    @property
    def until(self) -> float:
        """Monotonic time until which it is fresh."""
        return self.cold.until if isinstance(self.cold, LongWay) else self.deadline

    @property
    def _packed(self) -> bytes | Header:
        return self.cold.cold if isinstance(self.cold, LongWay) else self.cold

    @property
    def ref(self) -> Ref:
        """Which entry."""
        return Ref(self.space, self.key)

    @property
    def live(self) -> Live:
        """The value as it came."""
        return Live(self.held, self.decode, self.size, self.written)

    @property
    def header(self) -> Header:
        """Everything but the value, as it came."""
        if isinstance(packed := self._packed, Header):
            return packed
        start, created, fresh_until, expires, cost = _TIMES.unpack(packed)
        return Header(
            ref=self.ref, start=start, created=created, fresh_until=fresh_until, expires=expires, marks=self.marks,
            cost=None if math.isnan(cost) else cost,
        )  # fmt: skip

    @property
    def start(self) -> int:
        """When computing it began, in nanoseconds."""
        if isinstance(packed := self._packed, Header):
            return packed.start
        start: int = _TIMES.unpack(packed)[0]
        return start

    @property
    def cost(self) -> float | None:
        """What computing it cost, None when nobody said."""
        if isinstance(packed := self._packed, Header):
            return packed.cost
        cost: float = _TIMES.unpack(packed)[4]
        return None if math.isnan(cost) else cost

    def expired(self, now: float) -> bool:
        """Is it past its expiry at monotonic time *now*?  Between its deadline and its expiry it is stale."""
        if self.until > now:
            return False
        if isinstance(packed := self._packed, Header):
            fresh_until, expires = packed.fresh_until, packed.expires
        else:
            _, _, fresh_until, expires, _ = _TIMES.unpack(packed)
        return expires != NEVER and self.until + (expires - min(fresh_until, expires)) <= now


def _pack(header: Header) -> bytes | Header:
    """The numbers of *header*, or itself when there is more to it than fits."""
    if header.provenance is None:
        cost = math.nan if header.cost is None else header.cost
        try:
            return _TIMES.pack(header.start, header.created, header.fresh_until, header.expires, cost)
        except error:  # a start beyond 64 bits: nobody's clock, but somebody's argument
            return header
    return header
