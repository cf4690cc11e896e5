"""A circuit breaker: while a server is away, calls fail at once instead of waiting for it.

Rule 1: the first error that says nobody is answered opens it: a call that waited out its timeout has cost enough.  It
        is cheap to be wrong, for the listener, which hears from the server twice a second, closes it again.
Rule 2: only an answer of the server closes it.  Where no listener runs, one caller at a time is let through as a probe
        once *patience* seconds have passed, longer than a listener is silent: beside one no caller waits again.
Rule 3: waiting for a free connection says nothing about the server.
Rule 4: each change of state is told once, however many calls met it; so is that a server which answers takes no writes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from scoutcache.server.faults import Fault, Kind, unavailable

__all__ = ["WITHOUT_IT", "Breaker"]

_REFUSALS = frozenset({Kind.OOM, Kind.READONLY, Kind.MISCONF, Kind.NOPERM, Kind.CLUSTER})

_NO_WRITES, _NOT_ALL = "takes no writes", "doesn't do all that it is asked for"

WITHOUT_IT: Final = "going on without it"
"""Ends what is said of a server that can't be used."""

PATIENCE = 1.0
"""Seconds between two probes."""


class Breaker:
    """The breaker of one server; *monotonic* is a clock, *say* is told of each change in a sentence."""

    def __init__(self, server: str, monotonic: Callable[[], float], say: Callable[[str], None],
                 patience: float = PATIENCE) -> None:  # fmt: skip
        self.server, self.now, self._say, self.patience = server, monotonic, say, patience
        self.patience_refused: float | None = None
        """The same where it says at once that it isn't there, so that nobody waits; None for no less."""
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self.refusing: Kind | None = None
        """Why the server takes no writes, though it answers."""
        self.refused = set[object]()
        """What it refused, by what was asked: that it does something else shows nothing."""
        self._since = self._probed = 0.0
        self.on_open: list[Callable[[], None]] = []
        """Called whenever it opens: connections that were made before are of no use."""
        self.on_close: list[Callable[[], None]] = []

    @property
    def fault(self) -> Fault | None:
        """Why it is open, None while it is closed."""
        return self._fault

    def check(self) -> None:
        """Raise `TierUnavailable` unless a call may be tried."""
        fault = self._fault
        if fault is None:
            return
        with self._lock:
            now = self.now()
            if self._fault is None or now - self._probed >= self._rest(fault):
                self._probed = now
                return
        raise unavailable(fault)

    def _rest(self, fault: Fault) -> float:
        """Seconds between two probes."""
        if fault.kind is Kind.TIMEOUT or self.patience_refused is None:
            return self.patience
        return self.patience_refused

    def failed(self, fault: Fault, what: object = None) -> None:
        """A call met *fault* when it asked for *what*."""
        if not fault.away:
            self._refused(fault, what)
            return
        with self._lock:
            opened = self._fault is None
            self._fault, self._probed = fault, self.now()
            if opened:
                self._since = self._probed
        if opened:
            self._say(f"{self.server} can't be used ({fault.reason}): {WITHOUT_IT}")
            for listener in list(self.on_open):  # one that is gone may leave meanwhile
                listener()

    def answered(self) -> None:
        """The server answered."""
        if self._fault is None:
            return
        with self._lock:
            closed, lasted = self._fault is not None, self.now() - self._since
            self._fault = None
        if closed:
            self._say(f"{self.server} is back after {lasted:.1f} s")
            for listener in self.on_close:
                listener()

    def _refused(self, fault: Fault, what: object) -> None:
        """The server answers, and doesn't do what it was asked; told once until it does again."""
        if fault.kind not in _REFUSALS:
            return
        if self.refusing is fault.kind:
            self.refused.add(what)
        else:
            self.refusing, self.refused = fault.kind, {what}
            what = _NOT_ALL if fault.kind is Kind.NOPERM else _NO_WRITES
            self._say(f"{self.server} {what} ({fault.reason}): going on without")

    def accepted(self) -> None:
        """The server did one of the things that it had refused."""
        if self.refusing is not None:
            refused, self.refusing = self.refusing, None
            self._say(f"{self.server} {'does what it refused' if refused is Kind.NOPERM else 'takes writes'} again")

    def restart(self) -> None:
        """In a forked child: no thread that held the lock exists here."""
        self._lock = threading.Lock()
