"""What a neighbour could not tell the server: this process owes it as well, for the neighbour may end before it can.

Rule 1: the server isn't believed about it until it has been said again, later and with the server there to hear it.
Rule 2: who owed it first makes it good first, else all processes of the machine would do so at once when the server is
        back.  What has not been said again `GRACE` seconds later, nobody is left to say: this process does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from scoutcache.coherence.messages import Message
from scoutcache.engine.effects import Clear, Erase, Renew
from scoutcache.engine.world import World
from scoutcache.entry import Ref
from scoutcache.patterns import Pattern

__all__ = ["GRACE", "Entrusted"]

GRACE: Final = 2.0
"""Seconds: a process looks twice a second whether it can make good what it owes."""

_MOST: Final = 10_000
"""Debts; beyond that they become this process's own at once, which knows how to keep many."""

K = TypeVar("K")

_Wide = tuple[str, str, tuple[str, ...]]
"""A message's kind, namespace and names."""


class Entrusted:
    """Debts of neighbours to the tier of *world* that tells others; *now* is monotonic seconds.

    It hears every message, and is what that tier isn't believed about (`scoutcache.engine.doubt`).
    """

    def __init__(self, world: World, now: Callable[[], float], lock: AbstractContextManager[Any]) -> None:
        assert world.tells is not None
        self._world, self.level, self._now, self._lock = world, world.tells, now, lock
        self._back: float | None = None
        self._refs: dict[Ref, int] = {}
        self._wide: dict[_Wide, int] = {}
        """Each with the stamp of the message that was owed."""
        self._spaces: frozenset[str] = frozenset()
        """The namespaces that something wide is about."""

    def restart(self, lock: AbstractContextManager[Any]) -> None:
        """In a forked child: nobody holds the parent's."""
        self._lock = lock

    def __bool__(self) -> bool:
        return bool(self._refs or self._wide)

    def covers(self, ref: Ref) -> bool:
        """Is the tier not to be believed about *ref*?"""
        return ref in self._refs or ref.namespace in self._spaces

    def apply(self, message: Message) -> None:
        """Take on what is owed; let go of what was said again."""
        if message.owed:
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
        if message.kind in {"key", "written"}:
            self._refs.update(dict.fromkeys([Ref(message.namespace, key) for key in message.names], message.stamp))
        elif message.kind != "all":  # of which each key is named by itself
            self._wide[message.kind, message.namespace, message.names] = message.stamp
        if len(self._refs) + len(self._wide) > _MOST:
            self._make_own()
        self._note_spaces()

    def _settle(self, message: Message) -> None:
        if message.kind in {"key", "written"}:
            settled: list[Ref] = [Ref(message.namespace, key) for key in message.names]
            self._refs = _without(self._refs, settled, message.stamp)
        elif message.kind == "namespace":
            self._refs = _without(self._refs, [ref for ref in self._refs if ref[0] == message.namespace], message.stamp)
            self._wide = _without(self._wide, [one for one in self._wide if one[1] == message.namespace], message.stamp)
        else:
            self._wide = _without(self._wide, [(message.kind, message.namespace, message.names)], message.stamp)
        self._note_spaces()

    def _make_own(self) -> None:
        doubts = self._world.doubts
        for ref, start in self._refs.items():
            doubts[self.level].about([ref], start)
        for kind, namespace, names in self._wide:
            if kind == "mark":
                for level in self._world.judged_by_versions:
                    doubts[level].owe(Renew(namespace, names))
            elif kind == "pattern":
                for text in names:
                    doubts[self.level].owe(Erase(self.level, namespace, Pattern.parse(text)))
            else:
                doubts[self.level].owe(Clear(self.level, namespace))
        self._refs, self._wide = {}, {}
        self._note_spaces()

    def _note_spaces(self) -> None:
        self._spaces = frozenset([namespace for _, namespace, _ in self._wide])


def _without(debts: dict[K, int], settled: Iterable[K], stamp: int) -> dict[K, int]:
    """*debts* without those *settled* that are no later than *stamp*."""
    paid = {one for one in settled if debts.get(one, stamp + 1) <= stamp}
    return {one: owed for one, owed in debts.items() if one not in paid} if paid else debts
