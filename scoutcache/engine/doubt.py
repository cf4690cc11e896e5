"""What a lower tier isn't believed about, because it could not be told.

Rule 1: what can't be written or removed below (a full disk, a lock held too long) leaves an older entry there.  This
        process doesn't ask that tier for such a key until the key is written there, or removed at last.
Rule 2: the removal is made good beside the calls (`Background`), with its announcements, so that other processes and
        the next start are right as well as soon as the tier answers.
Rule 3: what other machines have announced is not believed either until it was removed here (`also`).
Rule 4: for more than *capacity* keys their namespaces are to be cleared, and for more marks or patterns than may be
        owed those of whatever came last.
Rule 5: where it is the authority, what depends on what could not be told is in doubt wherever it is, and so is what
        carries a mark that could not be renewed: it can't be judged by the versions there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from scoutcache.engine.debts import Debt, Debts, InSpace, in_spaces
from scoutcache.engine.effects import Clear, Erase, Renew
from scoutcache.entry import NAMESPACE_MARK, Ref
from scoutcache.patterns import Pattern

if TYPE_CHECKING:
    from scoutcache.entry import Header

__all__ = ["Doubt"]

_MOST_PATTERNS: Final = 1000

_RENEWED_AT_ONCE: Final = 500


class Also(Protocol):
    """Somebody else who knows what is not to be believed; *is_sure* that it is over, and only has yet to be removed."""

    is_sure: bool

    def __bool__(self) -> bool: ...
    def covers(self, ref: Ref) -> bool: ...
    def said_of(self, ref: Ref) -> int: ...


class Doubt(Debts[int]):
    """Doubt in the tier at *level*: of entries when what could not be told began, for what began later is right."""

    def __init__(self, level: int, capacity: int = 10_000) -> None:
        super().__init__()
        self._level, self._capacity = level, capacity
        self.inherited = set[Ref]()
        """Those of `refs` that a neighbour owed: what is found of them beside this tier is his, and no older."""
        self._tried: Debts[int] | None = None
        """What was owed and is being done: until it is done nothing of it may be believed."""
        self.also: Also | None = None
        self.shut = False
        """Not asked for anything: what it holds may be older than it may be."""

    def __bool__(self) -> bool:
        # As in `Debts`, without a call of its own: each read asks this of each tier, and it would double it.
        owed = self.refs or self.marks or self.patterns or self.spaces
        return bool(owed or self._tried is not None or self.also or self.shut)

    @property
    def is_owing(self) -> bool:
        """Is there something to be made good?"""
        return super().__bool__()

    @property
    def is_trying(self) -> bool:
        """Is something of it made good just now?"""
        return self._tried is not None

    def covers(self, ref: Ref) -> bool:
        """Must the tier not be asked for this entry?"""
        tried, also = self._tried, self.also
        if self.shut or super().covers(ref) or (tried is not None and tried.covers(ref)):
            return True
        return also is not None and also.covers(ref)

    def may_have(self, ref: Ref) -> bool:
        """Is it not asked for this entry, and might have it?"""
        also = self.also
        return self.covers(ref) and (self.shut or also is None or not also.is_sure or not also.covers(ref))

    def owes(self, namespace: str, names: Sequence[str]) -> bool:
        """Can one of the marks *names* not be judged by the versions that this tier has (Rule 5)?"""
        tried = self._tried
        return super().owes(namespace, names) or (tried is not None and tried.owes(namespace, names))

    @property
    def owed(self) -> list[Debt]:
        """What is to be done when the tier answers, beside `refs`; of a kind what failed last comes last."""
        owed: list[Debt] = []
        for namespace, names in in_spaces(list(self.marks)).items():
            some = [names[at : at + _RENEWED_AT_ONCE] for at in range(0, len(names), _RENEWED_AT_ONCE)]
            owed += [Renew(namespace, part) for part in some]
        owed += [Erase(self._level, space, Pattern.parse(text)) for space, text in list(self.patterns)]
        return owed + [Clear(self._level, space) for space in list(self.spaces)]

    @contextmanager
    def trying(self, debt: Debt) -> Iterator[None]:
        """Meanwhile it is not owed: it is again by whom it fails, and here where it is broken off."""
        tried = Debts[int]()
        tried.add(debt, 0)
        self._tried = tried
        self.let_go(debt)
        try:
            yield
        except BaseException:
            self.owe(debt)
            raise
        finally:
            self._tried = None

    def after_fork(self) -> None:
        """In a forked child: what a thread of the parent's tries may fail there."""
        if (tried := self._tried) is not None:
            self.marks.update(tried.marks)
            self.patterns.update(tried.patterns)
            self.spaces.update(tried.spaces)
            self._tried = None

    def owe(self, debt: Debt) -> None:
        """To be done when the tier answers; of too many their namespace is to be cleared (Rule 4)."""
        space = debt.namespace
        self.add(debt, 0)
        if len(self.marks) > self._capacity:
            self.marks[space, NAMESPACE_MARK] = self.spaces[space] = 0  # first: others look meanwhile
            _forget(self.marks, space, but=NAMESPACE_MARK)
        if len(self.patterns) > _MOST_PATTERNS:
            self.spaces[space] = 0
        if space in self.spaces:
            _forget(self.patterns, space)

    def about(self, refs: Iterable[Ref], start: int) -> None:
        """Doubt *refs*, which were to change at *start*; when there are too many, namespaces are to be cleared."""
        for ref in refs:
            self.refs[ref] = max(start, self.refs.get(ref, 0))
            self.inherited.discard(ref)
        if len(self.refs) > self._capacity:
            for namespace in {ref.namespace for ref in list(self.refs)}:
                self.owe(Clear(self._level, namespace))
            self.refs.clear()
            self.inherited.clear()

    def inherit(self, ref: Ref, said: int) -> None:
        """Doubt what a neighbour could not tell, who said so later than it began."""
        self.about([ref], said)
        self.inherited.add(ref)

    def is_told_by(self, header: Header, start: int) -> bool:
        """Is this what could not be told at *start*, or later, and not what that replaces?"""
        return header.start >= start or header.ref in self.inherited

    def since(self, ref: Ref) -> int:
        """When what could not be told of *ref* began; or what a neighbour could not tell, if that came later."""
        return max(self.refs.get(ref, 0), 0 if self.also is None else self.also.said_of(ref))

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
                self.inherited.discard(ref)


def _forget(debts: dict[InSpace, int], namespace: str, but: str | None = None) -> None:
    for one in list(debts):
        if one[0] == namespace and one[1] != but:
            debts.pop(one, None)
