"""Leases that may stand on a server for nobody: whoever asked for one, or let it go, was given no answer.

A server that was frozen carries out what it finds in its sockets once it goes on, long after its callers have given up.
Nobody renews what it makes then, but for three seconds all others would wait for it.

Rule 1: each is let go of as soon as the server answers: by its owner's token, so that no other one's ends, and in the
        way that wakes whoever waits.
Rule 2: and again until a life of a lease is over: what was sent before may be carried out after.
Rule 3: beyond `MOST` they are left to end of themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from scoutcache.channels.lease_plans import LIFE

__all__ = ["MOST", "Doubts", "Named"]

MOST: Final = 1000
"""As many are remembered: those of the callers that a server met when it went, and of probes."""

Named = tuple[bytes, bytes]
"""A lease by its name and its owner's token."""


class Doubts:
    """The leases of one process that may stand for nobody; *now* is a monotonic clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._told: dict[Named, float | None] = {}
        """When the server was told first that one is free."""

    def add(self, lease: Named) -> None:
        """It may stand for nobody."""
        if len(self._told) < MOST:
            self._told.setdefault(lease, None)

    def all(self) -> list[Named]:
        """What is to be let go of."""
        return list(self._told)

    def let_go(self, leases: Sequence[Named]) -> None:
        """The server has answered that these are free."""
        now = self._now()
        for lease in leases:
            if lease not in self._told:
                continue
            first = self._told[lease]
            if first is None:
                self._told[lease] = now
            elif now - first >= LIFE:
                del self._told[lease]
