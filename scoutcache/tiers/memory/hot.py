"""The hot path: what happens on a memory hit, written for speed and nothing else.

Rule 1: a hit takes no lock, moves nothing and calls no Python function.
Rule 2: ``hits += 1`` loses nothing.  CPython 3.11 to 3.13 let another thread in only when a call returns, when a
        function begins and at backward jumps; there is none between looking a slot up and counting the hit, so that a
        slot taken out of its table is never counted afterwards.  Where the clock was asked in between, the slot is
        looked up again, by operators, since a method would be one more call.  (On a build without the GIL counts
        would be approximate, and everything else would hold.)
Rule 3: a clock costs 40 % of a hit, so it is read only for slots that may expire soon.  A background ticker says about
        twice a second what time it is; *horizon* is `SLACK` later, and a slot with a deadline beyond it is fresh
        without asking.  Nobody ticks: the horizon is infinitely far, and the clock is read on every hit.
Rule 4: the shared word is compared after the slot was found: a slot found in a table to which all announcements up
        to *seen* were applied is valid if there are none after it.
Rule 5: whatever is unusual (absent, stale, unhashable, a `CacheKey`, something announced) goes to the slow path.

Functions and not methods, because a closure's cells are the cheapest names; parameters may be given by position or by
name, because CPython 3.11 does not specialise calls of functions with keyword-only ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from scoutcache.eviction import Node
from scoutcache.tiers.memory.slot import Slot

__all__ = [
    "SLACK", "Get", "Log", "Miss", "Nowhere", "Observers", "Position", "Pulse",
    "build_get", "build_observed_get",
]  # fmt: skip

SLACK: Final = 1.5
"""Seconds a tick is good for: three times the interval, so that one late tick harms nobody."""

Miss = Callable[[Any, Any, str | None], Any]
"""The slow path: key, default, namespace as the caller gave them."""

Log = Callable[[tuple[int, int, str, str, int]], object]
"""Takes ``(began_ns, ended_ns, namespace, key, size)`` of one hit; must be one C call, such as a deque's append."""

Tables = Mapping[str, dict[str, Slot]]


class Get(Protocol):
    """The synchronous face's `get`."""

    def __call__(self, key: Any, default: Any = None, namespace: str | None = None) -> Any: ...


class Position(Protocol):
    """Where the announcements of other processes stand: ``words[index]``, on a page they share."""

    @property
    def words(self) -> Sequence[int]: ...
    @property
    def index(self) -> int: ...


@dataclass(frozen=True)
class Nowhere:
    """The position of a process that shares nothing."""

    words: Sequence[int] = (0,)
    index: int = 0


class Pulse:
    """What changes under the closures: the horizon, and the position this process has applied."""

    __slots__ = ("horizon", "seen")

    def __init__(self) -> None:
        self.horizon = math.inf
        self.seen = 0


class Observers(NamedTuple):
    """Who wants to hear of each hit: *note* is a policy's, and neither is called where it is None."""

    note: Callable[[Node], object] | None
    log: Log | None
    nanoseconds: Callable[[], int]


def build_get(
    pulse: Pulse, tables: Tables, home: dict[str, Slot], position: Position, monotonic: Callable[[], float], miss: Miss
) -> Get:
    """`get` for entries in *home*, or in another table when a namespace is given."""
    words, at = position.words, position.index

    def get(key: Any, default: Any = None, namespace: str | None = None) -> Any:
        try:
            table = home if namespace is None else tables[namespace]
            slot = table[key]
        except (KeyError, TypeError):  # absent, or no str; the slow path's own errors must not carry this one
            pass
        else:
            if words[at] == pulse.seen and (
                slot.deadline > pulse.horizon or (slot.deadline > monotonic() and key in table and table[key] is slot)
            ):
                slot.hits += 1
                if slot.decode is None:
                    return slot.held
                return slot.decode(slot.held)
        return miss(key, default, namespace)

    return get


def build_observed_get(
    pulse: Pulse, tables: Tables, home: dict[str, Slot], position: Position, monotonic: Callable[[], float], miss: Miss,
    observers: Observers,
) -> Get:  # fmt: skip
    """The same, telling *observers*."""
    words, at = position.words, position.index
    note, log, nanoseconds = observers

    def get(key: Any, default: Any = None, namespace: str | None = None) -> Any:
        began = nanoseconds()
        try:
            table = home if namespace is None else tables[namespace]
            slot = table[key]
        except (KeyError, TypeError):
            pass
        else:
            if words[at] == pulse.seen and (
                slot.deadline > pulse.horizon or (slot.deadline > monotonic() and key in table and table[key] is slot)
            ):
                slot.hits += 1
                if note is not None:
                    note(slot)
                value = slot.held if slot.decode is None else slot.decode(slot.held)
                if log is not None:
                    log((began, nanoseconds(), slot.space, key, slot.written))
                return value
        return miss(key, default, namespace)

    return get
