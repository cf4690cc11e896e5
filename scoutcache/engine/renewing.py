"""Sliding expiration: a hit renews the time to live, for entries of which a policy says so.

Rule 1: what is renewed is the life that the policy (or ``[ttl]``) gives.  An entry that was given a shorter one of its
        own, by its writer or as a negative answer, keeps to it; of one with a longer life nothing is taken.
Rule 2: at most once in each tenth of the life; in between a hit in memory costs what any other costs, for the tier
        knows from when on it is to be told.
Rule 3: a renewal is a write of the same entry with the same start: what was invalidated since the hit, or replaced by a
        later writer, is not brought back, which is asked inside the write.
Rule 4: it goes to the tier of the hit and those below that hold such entries, and is not announced: whoever has a copy
        with the shorter life asks below once that is over, and finds the longer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scoutcache.engine import effects
from scoutcache.engine.effects import Flow
from scoutcache.entry import NEVER, Header, Live, Ref, Row
from scoutcache.errors import TierUnavailable

if TYPE_CHECKING:
    from scoutcache.engine.effects import Allow
    from scoutcache.engine.moments import Here
    from scoutcache.engine.reading import Reading
    from scoutcache.engine.world import World

__all__ = ["Renewing", "due_from"]

OFTEN: Final = 0.1
"""The part of the life that must have passed before it is renewed again."""

_SLACK: Final = 1e-3
"""Seconds by which a life may seem shorter than it was given, for times are floats."""


def due_from(header: Header, ttl: float) -> float | None:
    """When a hit is to renew the life of an entry that slides by *ttl* seconds; None for never."""
    own_life = header.fresh_until - header.created < ttl - _SLACK
    return None if own_life or not 0 < ttl < NEVER else header.fresh_until - (1 - OFTEN) * ttl


class Renewing:
    """Renewals for one cache."""

    def __init__(self, world: World, reading: Reading) -> None:
        self._world, self._reading = world, reading
        self._under_way: set[Ref] = set()

    def drop(self) -> None:
        """In a forked child: nobody here does what the parent's threads had begun."""
        self._under_way.clear()

    def after_hit(self, level: int, header: Header, live: Live, here: Here) -> Flow[Row | None]:
        """Renew an entry found at *level* if that is due; the entry as it stands now, None when it is unchanged.

        *here* is the moment before the entry was read.  What a tier that lags says is not written anywhere.
        """
        world, ref = self._world, header.ref
        ttl = None if world.sliding is None or level in world.lagging else world.sliding(ref)
        due, now = None if ttl is None else due_from(header, ttl), world.now()
        if ttl is None or due is None or not due <= now < header.fresh_until or ref in self._under_way:
            return None
        stale = 0.0 if header.expires == header.fresh_until else header.expires - header.fresh_until
        later = header._replace(fresh_until=now + ttl, expires=now + ttl + stale)
        row = Row(later, live, lambda: world.codec.seal(later, live))
        self._under_way.add(ref)  # of many hits at once one renews
        try:
            yield from self._write(level, row, here)
        finally:
            self._under_way.discard(ref)
        return row

    def _write(self, level: int, row: Row, here: Here) -> Flow[None]:
        world = self._world
        below = [other for other in world.lower if other > level and world.writes_to(other, row.header.ref)]
        for target in (*reversed(below), level):
            allow: Allow = self._reading.unless_announced(target, here.end, heard=here.noted)
            try:
                yield from effects.write(target, [row], allow)
            except TierUnavailable as error:  # it keeps the entry with the life it had
                world.down(world.names[target], error)
