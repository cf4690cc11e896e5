"""The thread that renews the leases a cache holds, and lets go of those that were released.

Rule 1: whoever releases a lease only says so: the way to the server is this thread's, and what came meanwhile leaves
        together.
Rule 2: what could not be let go of because the server is away, or of which it isn't known whether it was ever taken,
        is let go of when that is back (`scoutcache.channels.lease_doubts`).
Rule 3: what is held goes on being held while the server is away, and is there again when that is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from scoutcache.channels.lease_doubts import Doubts, Named
from scoutcache.channels.lease_plans import LeasePlans, Owned
from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import Conduit, perform, replies

__all__ = ["RENEWED_EVERY", "Keeper", "Keeps"]

_log = logging.getLogger("scoutcache")

RENEWED_EVERY: Final = 1.0
"""Seconds between two renewals; a lease outlasts two that fail."""

CLOSING: Final = 1.0
"""Seconds that closing waits for the last leases to be let go."""


class Keeps(NamedTuple):
    """What a keeper asks and tells: the leases *held*, of which it asks the server now, and each *freed* or *lost*."""

    held: Callable[[], Sequence[Owned]]
    freed: Callable[[bytes, bytes], None]
    lost: Callable[[Owned], None]


class _Freed(NamedTuple):
    name: bytes
    token: bytes
    unsure: bool


class _Wiped(NamedTuple):
    names: Sequence[bytes]
    word: bytes


class _Now:
    """Renew at once."""


class _End:
    """Let go of everything and end."""


class Keeper:
    """Keeps the leases of one cache.  All but `close` returns at once, in a signal handler too."""

    def __init__(self, plans: LeasePlans, conduit: Conduit, keeps: Keeps) -> None:
        self._plans, self._conduit, self._keeps = plans, conduit, keeps
        self.forget()

    def forget(self) -> None:
        """In a forked child: the thread is the parent's, and so is what it was told."""
        self._told: SimpleQueue[Any] = SimpleQueue()
        self._doubts = Doubts(time.monotonic)
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._closed = False

    def begin(self) -> None:
        """Start the thread, unless it runs.  Raises `TierUnavailable` where none can be had."""
        if self._thread is not None:
            return
        with self._starting:
            if self._closed:
                raise TierUnavailable("redis", "the cache is closed")
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="scoutcache-leases", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise TierUnavailable("redis", f"leases can't be renewed: {error}") from error
                self._thread = thread

    def free(self, name: bytes, token: bytes, *, unsure: bool) -> None:
        """Let this lease go; *unsure* says that the server may yet carry out something that makes it."""
        self._told.put(_Freed(name, token, unsure))

    def wipe(self, names: Sequence[bytes], word: bytes) -> None:
        """Their owner waits no longer for what it noted so."""
        self._told.put(_Wiped(names, word))

    def renew(self) -> None:
        """Look after what is held now: the server has gone, or come back."""
        self._told.put(_Now)

    def close(self) -> None:
        """Let go of everything; idempotent."""
        with self._starting:
            self._closed, thread = True, self._thread
            self._thread = None
        if thread is not None and thread is not threading.current_thread():
            self._told.put(_End)
            thread.join(CLOSING)

    def _run(self) -> None:
        told, due = self._told, time.monotonic() + RENEWED_EVERY
        while True:
            works = _taken(told, max(0.0, due - time.monotonic()))
            self._safely(self._carry_out, [one for one in works if isinstance(one, _Freed | _Wiped)])
            if _End in works:
                self._safely(self._free, self._doubts.all() + [(one.name, one.token) for one in self._keeps.held()])
                return
            if _Now in works or time.monotonic() >= due:
                due = time.monotonic() + RENEWED_EVERY
                self._safely(self._free, self._doubts.all())
                self._safely(self._renew, self._keeps.held())

    def _safely(self, work: Callable[[Any], None], what: Sequence[Any]) -> None:
        """Whatever goes wrong with some, the others must be renewed."""
        try:
            if what:
                work(what)
        except TierUnavailable:
            pass  # the breaker has said so
        except Exception:  # noqa: BLE001  # the next turn must come
            _log.exception("leases could not be looked after")

    def _carry_out(self, works: Iterable[_Freed | _Wiped]) -> None:
        freed = [one for one in works if isinstance(one, _Freed)]
        for one in freed:
            if one.unsure:
                self._doubts.add((one.name, one.token))
        wiped = [command for one in works if isinstance(one, _Wiped)
                 for command in self._plans.wipe(one.names, one.word)]  # fmt: skip
        try:
            if wiped:
                with suppress(TierUnavailable):
                    perform(replies(*wiped), self._conduit)
            if freed:
                self._free([(one.name, one.token) for one in freed])
        except TierUnavailable:
            for one in freed:
                self._doubts.add((one.name, one.token))
            raise
        finally:
            for one in freed:
                self._keeps.freed(one.name, one.token)

    def _free(self, leases: Sequence[Named]) -> None:
        perform(self._plans.free(leases), self._conduit)
        self._doubts.let_go(leases)

    def _renew(self, held: Sequence[Owned]) -> None:
        try:
            answers = perform(self._plans.renew(held), self._conduit)
        except TierUnavailable as error:
            for lease in held:
                lease.unsure |= error.uncertain
            raise
        for lease, ours in zip(held, answers, strict=True):
            if not ours:
                self._keeps.lost(lease)


def _taken(told: SimpleQueue[Any], seconds: float) -> list[Any]:
    """What was said meanwhile; nothing after so many seconds."""
    works: list[Any] = []
    with suppress(Empty):
        works.append(told.get(timeout=seconds))
        while True:
            works.append(told.get_nowait())
    return works
