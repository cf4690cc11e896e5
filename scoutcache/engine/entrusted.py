"""What a neighbour could not tell the server: this process owes it as well, for the neighbour may end before it can.

Rule 1: the server isn't believed about it until it has been said again, later and with the server there to hear it:
        neither about the entries that were named (`covers`), nor about the versions of marks that were to be renewed,
        those of what depends on a key that was written among them (`owes`).
Rule 2: who owed it first makes it good first, else all processes of the machine would do so at once when the server is
        back.  What has not been said again `GRACE` seconds later, nobody is left to say: this process does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from scoutcache.coherence.messages import Message
from scoutcache.engine.effects import Clear, Erase, Renew
from scoutcache.engine.world import World
from scoutcache.entry import KEY_MARK, NAMESPACE_MARK, Ref
from scoutcache.patterns import Pattern

__all__ = ["GRACE", "Entrusted"]

GRACE: Final = 2.0
"""Seconds: a process looks twice a second whether it can make good what it owes."""

_MOST: Final = 10_000
"""Debts; beyond that they become this process's own at once, which knows how to keep many."""

K = TypeVar("K")
_InSpace = tuple[str, str]
"""A namespace, and the name of a mark or a pattern in it."""


class Entrusted:
    """Debts of neighbours to the tier of *world* that tells others; *now* is monotonic seconds.

    It hears every message, and is what that tier isn't believed about (`scoutcache.engine.doubt`).
    """

    def __init__(self, world: World, now: Callable[[], float], lock: AbstractContextManager[Any]) -> None:
        assert world.tells is not None
        self._world, self.level, self._now, self._lock = world, world.tells, now, lock
        self._back: float | None = None
        # Each with the stamp of the message that was owed.
        self._refs: dict[Ref, int] = {}
        self._marks: dict[_InSpace, int] = {}
        self._patterns: dict[_InSpace, int] = {}
        self._spaces: dict[str, int] = {}

    def restart(self, lock: AbstractContextManager[Any]) -> None:
        """In a forked child: nobody holds the parent's."""
        self._lock = lock

    def __bool__(self) -> bool:
        return bool(self._refs or self._marks or self._patterns or self._spaces)

    def covers(self, ref: Ref) -> bool:
        """Is the tier not to be believed about *ref*?"""
        if ref in self._refs or ref.namespace in self._spaces:
            return True
        return any(space == ref.namespace and Pattern.parse(text).matches(ref.key) for space, text in self._patterns)

    def owes(self, namespace: str, names: Sequence[str]) -> bool:
        """Is the version of one of those marks to be renewed?"""
        return bool(self) and any(self._owes(namespace, name) for name in names)

    def _owes(self, namespace: str, name: str) -> bool:
        if name == NAMESPACE_MARK:
            return namespace in self._spaces
        key = name.removeprefix(KEY_MARK)
        return (namespace, name) in self._marks or (key != name and Ref(namespace, key) in self._refs)

    def apply(self, message: Message) -> None:
        """Take on what is owed; let go of what was said again."""
        if message.owed:
            if message.source != self._world.source:
                with self._lock:
                    self._take(message)
        elif self and self._back is not None and not message.opens:
            with self._lock:
                self._settle(message)

    def drop(self) -> None:
        """A message was missed: what is owed is owed all the same."""

    def turn(self, *, answers: bool) -> None:
        """To be called about twice a second: does the server answer?"""
        if not answers:
            self._back = None
            return
        if self._back is None:
            self._back = self._now()
        if self and self._now() - self._back >= GRACE:
            with self._lock:
                self._make_own()

    def _take(self, message: Message) -> None:
        space, stamp = message.namespace, message.stamp
        match message.kind:  # of an intersection ("all") each key is named by itself
            case "key" | "written":
                self._refs.update(dict.fromkeys([Ref(space, key) for key in message.names], stamp))
            case "mark":
                self._marks.update(dict.fromkeys([(space, name) for name in message.names], stamp))
            case "pattern":  # anew, for others may be looking through them
                self._patterns = {**self._patterns, **dict.fromkeys([(space, text) for text in message.names], stamp)}
            case "namespace":
                self._spaces[space] = stamp
        if len(self._refs) + len(self._marks) + len(self._patterns) > _MOST:
            self._make_own()

    def _settle(self, message: Message) -> None:
        space, names, stamp = message.namespace, message.names, message.stamp
        match message.kind:
            case "key" | "written":
                self._refs = _without(self._refs, [Ref(space, key) for key in names], stamp)
            case "mark":
                self._marks = _without(self._marks, [(space, name) for name in names], stamp)
            case "pattern":
                self._patterns = _without(self._patterns, [(space, text) for text in names], stamp)
            case "namespace":
                self._refs = _without(self._refs, [ref for ref in self._refs if ref.namespace == space], stamp)
                self._marks = _without(self._marks, [mark for mark in self._marks if mark[0] == space], stamp)
                self._patterns = _without(self._patterns, [one for one in self._patterns if one[0] == space], stamp)
                self._spaces = _without(self._spaces, [space], stamp)

    def _make_own(self) -> None:
        doubts, level = self._world.doubts, self.level
        for ref, start in self._refs.items():
            doubts[level].about([ref], start)
        for space in {space for space, _ in self._marks}:
            names = tuple([name for other, name in self._marks if other == space])
            for judged in self._world.judged_by_versions:
                doubts[judged].owe(Renew(space, names))
        for space, text in self._patterns:
            doubts[level].owe(Erase(level, space, Pattern.parse(text)))
        for space in self._spaces:
            doubts[level].owe(Clear(level, space))
        self._refs, self._marks, self._patterns, self._spaces = {}, {}, {}, {}


def _without(debts: dict[K, int], settled: Iterable[K], stamp: int) -> dict[K, int]:
    """*debts* without those *settled* that are no later than *stamp*."""
    paid = {one for one in settled if debts.get(one, stamp + 1) <= stamp}
    return {one: owed for one, owed in debts.items() if one not in paid} if paid else debts
