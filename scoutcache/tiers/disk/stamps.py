"""Which of two writers of a key began later.

Rule 1: starts are compared to the nanosecond: the column ``store_time`` resolves 240 of them, and where it says that
        two are equal their headers decide.  Equal starts are one entry with other times, and the last write wins.
Rule 2: a start that lies in the future, by this machine's clock, was taken before that was set back: all processes of a
        store share the clock, and a process's stamps never run ahead of it otherwise.  An entry with such a start
        gives way to every write whose own does not lie there; else no set would be taken until the clock has caught up.
        Two such starts are compared as ever.  What is left: until then a process that runs since before may replace
        what a younger one wrote while it was computing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from scoutcache.tiers.base import AHEAD

__all__ = ["WINS", "began_no_earlier", "horizon"]

WINS: Final = (
    "(excluded.store_time > Cache.store_time"
    " OR (excluded.store_time = Cache.store_time AND began_no_earlier(excluded.tag, Cache.tag))"
    " OR (Cache.store_time > ?9 AND excluded.store_time <= ?9))"
)
"""Whether the row to be written takes the place of the one there; parameter 9 is the `horizon`."""


def horizon(now: float) -> float:
    """The latest start, in seconds, that does not lie in the future."""
    return now + AHEAD


class _Begun(msgspec.Struct, array_like=True):
    """The beginning of a header as listings keep it: what it refers to, and its start."""

    ref: msgspec.Raw
    start: int


_start_of = msgspec.msgpack.Decoder(_Begun).decode


def began_no_earlier(new: object, old: object) -> bool:
    """The same of two headers; one that can't be read never wins."""
    if type(new) is not bytes or type(old) is not bytes:
        return True
    try:
        there = _start_of(old).start
    except msgspec.DecodeError:
        return True
    return _start_of(new).start >= there
