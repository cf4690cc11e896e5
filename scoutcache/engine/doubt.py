"""What a lower tier isn't believed about, because it could not be told.

Rule 1: what can't be written or removed below (a full disk, a lock held too long) leaves an older entry there.  This
        process doesn't ask that tier for such a key until the key is written there, or removed at last.
Rule 2: the removal is made good beside the calls (`Background`), with its announcements, so that other processes and
        the next start are right as well as soon as the tier answers.
Rule 3: what other machines have announced is not believed either until it was removed here (`also`).
Rule 4: for a pattern, a tag, a namespace, or more than *capacity* keys the tier isn't believed about anything.
Rule 5: where it is the authority, what depends on such keys is in doubt wherever it is: their marks weren't renewed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from scoutcache.engine.effects import Clear, Renew
from scoutcache.entry import KEY_MARK, Ref

if TYPE_CHECKING:
    from scoutcache.engine.effects import Erase

__all__ = ["Doubt"]

_MOST_OWED: Final = 1000


class Also(Protocol):
    """Somebody else who knows what is not to be believed."""

    def __bool__(self) -> bool: ...
    def covers(self, ref: Ref) -> bool: ...


class Doubt:
    """Doubt in the tier at *level*."""

    def __init__(self, level: int, capacity: int = 10_000) -> None:
        self._level, self._capacity = level, capacity
        self.refs: dict[Ref, int] = {}
        """Entries, and when what could not be told there began: what began later there is right."""
        self.owed: list[Clear | Erase | Renew] = []
        """What could not be done, to be done when the tier answers."""
        self.tried: Clear | Erase | Renew | None = None
        """What was owed and is being done: until it is done nothing may be believed."""
        self.also: Also | None = None
        self.shut = False
        """Not asked for anything: what it holds may be older than it may be."""

    def __bool__(self) -> bool:
        return bool(self.refs or self.owed or self.tried or self.also or self.shut)

    @property
    def owes(self) -> bool:
        """Is there something to be made good?"""
        return bool(self.refs or self.owed)

    def covers(self, ref: Ref) -> bool:
        """Must the tier not be asked for this entry?"""
        if ref in self.refs or self.owed or self.tried is not None or self.shut:
            return True
        return self.also is not None and self.also.covers(ref)

    def owes_marks(self, namespace: str, names: Iterable[str]) -> bool:
        """Is one of the marks *names* that of what depends on a key that could not be told of (Rule 5)?"""
        refs = [Ref(namespace, name[len(KEY_MARK) :]) for name in names if name.startswith(KEY_MARK)]
        removals = [one for one in (*self.owed, self.tried) if one is not None and not isinstance(one, Renew)]
        spaces = {one.namespace for one in removals}
        return bool(refs) and (namespace in spaces or not self.refs.keys().isdisjoint(refs))

    def owe(self, doom: Clear | Erase | Renew) -> None:
        """*doom* is to be done when the tier answers; when there are too many, its namespace is to be cleared."""
        everything = Clear(self._level, doom.namespace)
        if doom in self.owed or everything in self.owed:
            return
        self.owed.append(doom)
        if len(self.owed) > _MOST_OWED:
            self.owed = [*(one for one in self.owed if one.namespace != doom.namespace), everything]

    def about(self, refs: Iterable[Ref], start: int) -> None:
        """Doubt *refs*, which were to change at *start*; when there are too many, namespaces are to be cleared."""
        for ref in refs:
            self.refs[ref] = max(start, self.refs.get(ref, 0))
        if len(self.refs) > self._capacity:
            clears = [Clear(self._level, namespace) for namespace in {ref.namespace for ref in self.refs}]
            self.owed.extend(clear for clear in clears if clear not in self.owed)
            self.refs.clear()

    def about_each(self, starts: Mapping[Ref, int]) -> None:
        """`about` entries of which each has its own start."""
        for ref, start in starts.items():
            self.about([ref], start)

    def known(self, refs: Iterable[Ref]) -> dict[Ref, int]:
        """Those of *refs* that are in doubt, and since when: to be asked before they are dealt with, for `settle`."""
        return {ref: start for ref in refs if (start := self.refs.get(ref)) is not None} if self.refs else {}

    def settle(self, known: Mapping[Ref, int]) -> None:
        """They were written there, or removed; what came into doubt anew meanwhile stays so."""
        for ref, start in known.items():
            if self.refs.get(ref) == start:
                self.refs.pop(ref, None)
