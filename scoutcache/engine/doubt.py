"""What a lower tier isn't believed about, because it could not be told.

Rule 1: what can't be written or removed below (a full disk, a lock held too long) leaves an older entry there.  This
        process doesn't ask that tier for such a key until the key is written there, or removed at last.
Rule 2: the removal is made good beside the calls (`Background`), with its announcements, so that other processes and
        the next start are right as well as soon as the tier answers.
Rule 3: for a pattern, a tag, a namespace, or more than *capacity* keys the tier isn't believed about anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from scoutcache.entry import Ref

if TYPE_CHECKING:
    from scoutcache.engine.effects import Clear, Erase, Renew

__all__ = ["Doubt"]


class Doubt:
    """Doubt in one tier."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self.refs: set[Ref] = set()
        self.owed: list[Clear | Erase | Renew] = []
        """What could not be done, to be done when the tier answers."""

    def __bool__(self) -> bool:
        return bool(self.refs or self.owed)

    def covers(self, ref: Ref) -> bool:
        """Must the tier not be asked for this entry?"""
        return ref in self.refs or bool(self.owed)

    def about(self, refs: Iterable[Ref], clear_instead: Iterable[Clear] = ()) -> None:
        """Doubt *refs*; when there are too many, *clear_instead* is owed."""
        self.refs.update(refs)
        if len(self.refs) > self._capacity:
            self.owed.extend(clear_instead)
            self.refs.clear()

    def settle(self, refs: Iterable[Ref]) -> None:
        """They were written there, or removed."""
        self.refs.difference_update(refs)
