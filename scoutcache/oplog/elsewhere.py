"""Counters that other machines keep: what a recorder hands to them, and what ``stats`` adds from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from scoutcache.oplog.process import Segment

__all__ = ["Ask", "Elsewhere", "Sharing"]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the processes of other machines counted; of those that live now *living* holds the present segment."""

    living: Sequence[Segment] = ()
    ended: Sequence[Segment] = ()
    machines: int = 0
    skipped: int = 0
    """Segments that can't be read, and are left out."""


Ask: TypeAlias = Callable[[float | None, float], Elsewhere]
"""Asks for what was counted in the last so many seconds (None: all there is) before a time of the wall clock.

Raises `TierUnavailable`."""


class Sharing(Protocol):
    """Where a recorder hands its segments to, for other machines."""

    def take(self, segment: Segment) -> None:
        """The process's segment as it is now; one of another id says that the one before is over.  Does no I/O."""

    def close(self) -> None:
        """Have everything arrive that was taken, as far as that can be.  Raises nothing."""

    def forget(self) -> None:
        """In a forked child: what was taken is the parent's."""
