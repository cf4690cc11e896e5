"""What a tier has yet to be told: entries and what removes or renews many, each with what its holder knows of it.

Rule 1: it isn't believed about what that may have changed, and about nothing else: of entries about those that are
        named, that match, or that stand in a namespace; of the authority's versions about the marks that are named, and
        about those of whatever depends on such an entry.
Rule 2: many patterns are the whole of their namespaces: each read would try them all.
Rule 3: others look while they change: each is a dict of its own, changed in place, one entry at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

from scoutcache.engine.effects import Clear, Erase, Renew
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, Ref
from scoutcache.patterns import Pattern

__all__ = ["Debt", "Debts", "InSpace", "in_spaces"]

_MANY: Final = 100

V = TypeVar("V")
InSpace = tuple[str, str]
"""A namespace, and the name of a mark or a pattern in it."""
Debt = Clear | Erase | Renew
"""What removes or renews many."""


def in_spaces(marks: Iterable[InSpace]) -> dict[str, list[str]]:
    """The names in each namespace."""
    spaces: dict[str, list[str]] = {}
    for namespace, name in marks:
        spaces.setdefault(namespace, []).append(name)
    return spaces


class Debts(Generic[V]):
    """Entries, marks, patterns and namespaces."""

    def __init__(self) -> None:
        self.refs: dict[Ref, V] = {}
        self.marks: dict[InSpace, V] = {}
        self.patterns: dict[InSpace, V] = {}
        self.spaces: dict[str, V] = {}

    def __bool__(self) -> bool:
        return bool(self.refs or self.marks or self.patterns or self.spaces)

    def __len__(self) -> int:
        return len(self.refs) + len(self.marks) + len(self.patterns) + len(self.spaces)

    def add(self, debt: Debt, value: V) -> None:
        """Take on *debt*."""
        space = debt.namespace
        match debt:  # what was tried before and failed comes last
            case Clear():
                self.spaces[space] = value
            case Erase():
                self.patterns[space, debt.pattern.text] = value
            case Renew():
                self.marks.update([((space, name), value) for name in debt.names])

    def let_go(self, debt: Debt) -> None:
        """Let go of *debt*."""
        space = debt.namespace
        match debt:
            case Clear():
                self.spaces.pop(space, None)
            case Erase():
                self.patterns.pop((space, debt.pattern.text), None)
            case Renew():
                for name in debt.names:
                    self.marks.pop((space, name), None)

    def covers(self, ref: Ref) -> bool:
        """Is it an entry that the tier isn't to be believed about?"""
        space = ref.namespace
        if ref in self.refs or space in self.spaces or (space, NAMESPACE_MARK) in self.marks:
            return True
        return bool(self.patterns) and self._matches(*ref)

    def _matches(self, namespace: str, key: str) -> bool:
        patterns = list(self.patterns)
        many = len(patterns) > _MANY
        return any(space == namespace and (many or Pattern.parse(text).matches(key)) for space, text in patterns)

    def owes(self, namespace: str, names: Sequence[str]) -> bool:
        """Is the version of one of those marks to be renewed?"""
        if not Debts.__bool__(self):
            return False
        if any(self._owes(namespace, name) for name in names):
            return True
        return NAMESPACE_MARK in names and (namespace, NAMESPACE_MARK) in self.marks  # many may have become that one

    def _owes(self, namespace: str, name: str) -> bool:
        if (namespace, name) in self.marks:
            return True
        if not name.startswith(KEY_MARK):
            return False
        return (namespace, DEPENDED_MARK) in self.marks or Debts.covers(self, Ref(namespace, name[len(KEY_MARK) :]))
