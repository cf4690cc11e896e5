"""What a neighbour could not tell the server: this process owes it as well, for the neighbour may end before it can.

Rule 1: the server isn't believed about it until it has been said again, later and with the server there to hear it:
        neither about the entries that were named (`covers`), nor about the versions of marks that were to be renewed,
        those of what depends on a key that was named among them (`owes`).
Rule 2: who owed it first makes it good first, else all processes of the machine would do so at once when the server is
        back; where it fails there it tells so again.  Of what hasn't been said at all for `GRACE` seconds, with a
        server there that takes writes, nobody is left to speak: this process makes it its own.
Rule 3: of an entry only a process of this machine settles it, by a write or a removal: those have heard of the debt.
        What another machine wrote may have been computed before, and what that made good itself left what was later.
        Nor does what is marked stale: what is there may be what was to go.
        What this process owes itself is settled so as well: of two that computed a key apart the first that gives its
        own has done it for both.
Rule 4: at most `_MOST` keys are taken on, and few at a time made its own: a process that owes too many of them clears
        their namespace, and here the outage of one machine would clear it for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, TypeVar

from msgspec.structs import replace as replace_fields

from scoutcache.coherence.messages import Message
from scoutcache.engine.debts import Debt, Debts, in_spaces
from scoutcache.engine.effects import Clear, Erase, Renew
from scoutcache.engine.world import World
from scoutcache.entry import DEPENDED_MARK, NAMESPACE_MARK, Ref
from scoutcache.patterns import Pattern

__all__ = ["GRACE", "Entrusted"]

GRACE: Final = 2.0
"""Seconds: a process looks twice a second whether it can make good what it owes."""

_MOST: Final = 5_000
"""Debts of a kind that are taken on; those beyond are forgotten with whoever owes them."""

_AT_ONCE, _PATTERNS_AT_ONCE = 500, 100
"""Keys and patterns that are made its own in a turn."""

K = TypeVar("K")


class _Said(NamedTuple):
    """The stamp of the message that was owed, and when it was last said so."""

    stamp: int
    said: float


class Entrusted(Debts[_Said]):
    """Debts of neighbours to the tier of *world* at *level*, a server; *now* is monotonic seconds.

    It hears every message, and is what that tier isn't believed about (`scoutcache.engine.doubt`).  *lately* tells what
    neighbours have said so far.
    """

    def __init__(
        self, world: World, level: int, now: Callable[[], float], lock: AbstractContextManager[Any],
        lately: Callable[[], Iterable[Message]] = tuple,
    ) -> None:  # fmt: skip
        super().__init__()
        self.is_sure = False
        self._world, self.level, self._now, self._lock, self._lately = world, level, now, lock, lately
        self._machine = world.source.rpartition(".")[0]
        self._is_back = False
        """Does the server answer?"""
        self._payable: float | None = None
        """Since when it has taken writes while something was owed."""

    def restart(self, lock: AbstractContextManager[Any]) -> None:
        """In a forked child: nobody holds the parent's."""
        self._lock = lock

    def apply(self, message: Message) -> None:
        """Take on what is owed; let go of what was said again."""
        if message.owed:
            with self._lock:
                self._take(message)
            return
        if self and self._is_back and _settles(message):
            with self._lock:
                self._settle(message)
        if message.kind == "written" and message.source != self._world.source and self._is_here(message):
            self._settle_own(message)

    def without_later(self, message: Message) -> Message:
        """What was written, but for keys of which this machine owes the server a later write: what it has is later."""
        own, stamp = self._world.doubts[self.level].refs, message.stamp
        if not own and not self.refs:
            return message
        refs = [Ref(message.namespace, key) for key in message.names]
        later = {
            ref.key
            for ref in refs
            if own.get(ref, 0) > stamp or ((debt := self.refs.get(ref)) is not None and debt.stamp > stamp)
        }
        return replace_fields(message, names=tuple([key for key in message.names if key not in later]))

    def recall(self) -> None:
        """Take on what is left of what neighbours said was owed, before this process was there or unheard by it.

        What was said to the server and done there is not owed: of such a message alone neighbours hear without a debt.
        """
        with self._lock:
            for message in self._lately():
                if message.owed:
                    self._take(message)
                elif self and _settles(message):
                    self._settle(message)

    def lost(self, messages: Sequence[Message]) -> None:
        """Take on what the server did and has lost, whoever asked for it: nobody else is left to say it again."""
        with self._lock:
            for message in messages:
                self._take_on(message)

    def drop(self) -> None:
        """A message was missed: what is owed is owed all the same, and there may be more."""
        self.recall()

    def said_of(self, ref: Ref) -> int:
        """The stamp of what is owed about an entry; 0 where nothing is."""
        debt = self.refs.get(ref)
        return 0 if debt is None else debt.stamp

    def turn(self, *, answers: bool) -> None:
        """To be called about twice a second: does the server answer?"""
        was_back, self._is_back = self._is_back, answers
        if answers and self and not was_back:
            self.recall()  # others may have noticed before, and paid (Rule 1)
        if not (answers and self and self._world.takes_writes()):
            self._payable = None
            return
        now = self._now()
        if self._payable is None:
            self._payable = now
        if (until := now - GRACE) >= self._payable:
            with self._lock:
                self._make_own(until)

    def _take(self, message: Message) -> None:
        if message.source != self._world.source:
            self._take_on(message)

    def _take_on(self, message: Message) -> None:
        space, debt = message.namespace, _Said(message.stamp, self._now())
        match message.kind:  # of an intersection ("all") each key is named by itself
            case "key" | "written":
                _add(self.refs, [Ref(space, key) for key in message.names], debt)
            case "mark":
                names = [name for name in message.names if name != DEPENDED_MARK or message.is_unresolved]
                _add(self.marks, [(space, name) for name in names], debt)
            case "pattern":
                _add(self.patterns, [(space, text) for text in message.names], debt)
            case "namespace":
                self.spaces[space] = self.marks[space, NAMESPACE_MARK] = debt

    def _settle(self, message: Message) -> None:
        space, names, stamp = message.namespace, message.names, message.stamp
        match message.kind:
            case "key" | "written":
                if self._is_here(message):  # Rule 3
                    _pay(self.refs, [Ref(space, key) for key in names], stamp)
            case "mark":
                _pay(self.marks, [(space, name) for name in names], stamp)
            case "pattern":
                _pay(self.patterns, [(space, text) for text in names], stamp)
            case "namespace":
                _pay(self.refs, [ref for ref in self.refs if ref.namespace == space], stamp)
                _pay(self.marks, [mark for mark in self.marks if mark[0] == space], stamp)
                _pay(self.patterns, [pattern for pattern in self.patterns if pattern[0] == space], stamp)
                _pay(self.spaces, [space], stamp)

    def _is_here(self, message: Message) -> bool:
        """Is it of a process of this machine?"""
        return message.source.rpartition(".")[0] == self._machine

    def _settle_own(self, message: Message) -> None:
        doubt = self._world.doubts[self.level]
        known = doubt.known([Ref(message.namespace, key) for key in message.names])
        doubt.settle({ref: start for ref, start in known.items() if start < message.stamp})

    def _make_own(self, until: float) -> None:
        """Make its own what nobody has said anything of since *until* (Rule 2)."""
        doubt = self._world.doubts[self.level]
        if len(doubt.refs) < _MOST:  # Rule 4
            for ref in _silent(self.refs, until)[:_AT_ONCE]:
                doubt.inherit(ref, self.refs[ref].stamp)
                del self.refs[ref]  # only now: no reader must find it owed by nobody
        for debt in self._unsaid(until):
            self._world.owe(debt)
            self.let_go(debt)

    def _unsaid(self, until: float) -> list[Debt]:
        """What removes or renews many, and nobody has said anything of."""
        marks = _silent(self.marks, until) if len(self._world.doubts[self.level].marks) < _MOST else []  # Rule 4
        silent: list[Debt] = [Clear(self.level, space) for space in _silent(self.spaces, until)]
        silent += [
            Erase(self.level, space, Pattern.parse(text))
            for space, text in _silent(self.patterns, until)[:_PATTERNS_AT_ONCE]
        ]
        return silent + [Renew(namespace, names) for namespace, names in in_spaces(marks).items()]


def _settles(message: Message) -> bool:
    return not message.opens and message.action == "delete"


def _add(debts: dict[K, _Said], owed: Iterable[K], debt: _Said) -> None:
    for one in owed:
        if one in debts or len(debts) < _MOST:  # Rule 4
            debts[one] = debt


def _silent(debts: Mapping[K, _Said], until: float) -> list[K]:
    return [one for one, debt in debts.items() if debt.said <= until]


def _pay(debts: dict[K, _Said], settled: Iterable[K], stamp: int) -> None:
    """Let go of those *settled* that are older than *stamp*; of many each may be paid by itself.

    What has the same stamp is the copy of what was owed, as the server was told of it when it answered again.
    """
    for one in settled:
        debt = debts.get(one)
        if debt is not None and debt.stamp < stamp:
            del debts[one]
