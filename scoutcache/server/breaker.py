"""A circuit breaker: while a server is away, calls fail at once instead of waiting for it.

Rule 1: the first error that says nobody is answered opens it: a call that waited out its timeout has cost enough.  It
        is cheap to be wrong, for the listener, which hears from the server twice a second, closes it again.
Rule 2: only an answer of the server closes it.  Where no listener runs, one caller at a time is let through as a probe
        once *patience* seconds have passed, longer than a listener is silent: beside one no caller waits again.
Rule 3: waiting for a free connection says nothing about the server.
Rule 4: each change of state is told once, however many calls met it; so is that a server which answers refuses
        something, for each kind of refusal.
Rule 5: a refusal is over when something that was refused has been done since, and nothing was refused for a while: a
        server that is full to the brim takes every other write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Final

from scoutcache.server.faults import Fault, Kind, unavailable

__all__ = ["QUIET", "WITHOUT_IT", "Breaker"]

_WRITES = frozenset({Kind.OOM, Kind.READONLY, Kind.MISCONF})
"""The refusals of writes alone."""
_REFUSALS = _WRITES | {Kind.NOPERM, Kind.CLUSTER}

WITHOUT_IT: Final = "continuing without it"
"""Ends what is said of a server that can't be used."""

PATIENCE = 1.0
"""Seconds between two probes."""

QUIET: Final = 1.0
"""Seconds without a refusal after which it is over, where what was refused has been done."""


class _Refusal:
    """*what* a server refused, when it did so last, and whether some of it was done since."""

    def __init__(self) -> None:
        self.what = set[object]()
        self.latest, self.done = 0.0, False

    def is_over(self, now: float) -> bool:
        """See Rule 5."""
        return self.done and now - self.latest >= QUIET


class Breaker:
    """The breaker of one server; *monotonic* is a clock, *say* is told of each change in a sentence."""

    def __init__(self, server: str, monotonic: Callable[[], float], say: Callable[[str], None],
                 patience: float = PATIENCE) -> None:  # fmt: skip
        self.server, self.now, self._say, self.patience = server, monotonic, say, patience
        self.patience_refused: float | None = None
        """The same where it says at once that it isn't there, so that nobody waits; None for no less."""
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self.refused: dict[Kind, _Refusal] = {}
        """What it refuses though it answers, by the kind of refusal: that it does something else shows nothing."""
        self._since = self._probed = 0.0
        self.on_open: list[Callable[[], None]] = []
        """Called whenever it opens: connections that were made before are of no use."""
        self.on_close: list[Callable[[], None]] = []

    @property
    def fault(self) -> Fault | None:
        """Why it is open, None while it is closed."""
        return self._fault

    @property
    def refusing(self) -> Kind | None:
        """How the server refuses something though it answers; None while it doesn't."""
        now = self.now()
        return next((kind for kind, refusal in list(self.refused.items()) if not refusal.is_over(now)), None)

    def check(self) -> None:
        """Raise `TierUnavailable` unless a call may be tried: then nothing was asked."""
        fault = self._fault
        if fault is None:
            return
        with self._lock:
            now = self.now()
            if self._fault is None or now - self._probed >= self._rest(fault):
                self._probed = now
                return
        error = unavailable(fault)
        error.uncertain = False
        raise error

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
        if self.refused:
            self._tell_what_is_over()
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
        """The server answers, and doesn't do what it was asked."""
        if fault.kind not in _REFUSALS:
            return
        new = _Refusal()
        refusal = self.refused.setdefault(fault.kind, new)
        refusal.what.add(what)
        refusal.latest, refusal.done = self.now(), False
        if refusal is new:
            commands = "writes" if fault.kind in _WRITES else "some commands"
            self._say(f"{self.server} refuses {commands} ({fault.reason}): continuing without them")

    def did(self, what: Collection[object], kind: Kind) -> None:
        """The server did *what*, which may be what met a refusal of that *kind*."""
        refusal = self.refused.get(kind)
        if refusal is not None and not refusal.what.isdisjoint(what):
            refusal.done = True

    def _tell_what_is_over(self) -> None:
        now = self.now()
        for kind, refusal in list(self.refused.items()):
            if refusal.is_over(now) and self.refused.pop(kind, None) is not None:
                commands = "writes" if kind in _WRITES else "these commands"
                self._say(f"{self.server} accepts {commands} again")

    def restart(self) -> None:
        """In a forked child: no thread that held the lock exists here."""
        self._lock = threading.Lock()
