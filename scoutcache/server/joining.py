"""Makes one call of the calls of a script that leave together: a server takes a third of the time for it.

Rule 1: an answer of such a call is a list, of one for each that it was made of; an error stands for all of them.
Rule 2: what is joined takes the place of the first of it, and keeps its order.
Rule 3: who fails in company is answered ``NOSCRIPT`` by the script, and so is sent again by itself: the server then
        says to that caller alone what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from scoutcache.server.commands import Command, Script

__all__ = ["Calls", "Joinable"]

MOST: Final = 64
"""Calls that are joined: nobody else is answered while a script runs."""

_joinable: Final[dict[str, Joinable]] = {}


class Joinable(Script):
    """A script that does for several entries what it does for one.

    KEYS are the entries, then *keys* that they share; ARGV is how many entries there are, then *arguments* that they
    share, then *own* arguments of each.  A call with more of anything is made as it is.
    """

    def __init__(self, text: str, *, keys: int, arguments: int, own: int) -> None:
        super().__init__(text)
        self._keys, self._shared = slice(4, 4 + keys), slice(5 + keys, 5 + keys + arguments)
        self._alike, self._own = slice(4, 5 + keys + arguments), slice(5 + keys + arguments, None)
        self._length, self._count = 5 + keys + arguments + own, keys + 1
        _joinable[self.digest] = self

    def kind(self, call: Command) -> object:
        """What is equal for calls that can be joined; None for one that can't be."""
        if len(call) != self._length or call[2] != self._count:
            return None
        return call[1], call[self._alike]

    def join(self, calls: Sequence[Command]) -> Command:
        """One call for all."""
        first = calls[0]
        keys, own = [call[3] for call in calls], chain.from_iterable([call[self._own] for call in calls])
        count = len(keys)
        return (*first[:2], count + self._count - 1, *keys, *first[self._keys], count, *first[self._shared], *own)


def _kind(command: Command) -> object:
    script = _joinable.get(command[1]) if command[0] == "EVALSHA" else None
    return None if script is None else script.kind(command)


class Calls:
    """*commands* as they are *sent*, and the answers as they were asked for."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.sent, self._places = commands, list[list[int]]()
        if len(commands) > 1 and any(command[0] == "EVALSHA" for command in commands):
            self._join(commands)

    def _join(self, commands: Sequence[Command]) -> None:
        latest: dict[object, list[int]] = {}
        for at, command in enumerate(commands):
            kind = _kind(command)
            places = latest.get(kind)
            if kind is None or places is None or len(places) == MOST:
                places = latest[kind] = []
                self._places.append(places)
            places.append(at)
        self.sent = [_joined([commands[at] for at in places]) for places in self._places]

    def spread(self, answers: Sequence[Any]) -> list[Any]:
        """The answer to each command."""
        if not self._places:
            return list(answers)
        found: dict[int, Any] = {}
        for places, answer in zip(self._places, answers, strict=True):
            several = len(places) > 1 and isinstance(answer, list)
            found.update(zip(places, answer if several else [answer] * len(places), strict=True))
        return [found[at] for at in range(len(found))]


def _joined(commands: Sequence[Command]) -> Command:
    return commands[0] if len(commands) == 1 else _joinable[commands[0][1]].join(commands)
