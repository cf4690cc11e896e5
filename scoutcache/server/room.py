"""Room for connections to one server: as many at a time as are allowed, and no more than it takes.

Rule 1: who finds no room waits as long as for an answer.  (A queue holds the room: threading's semaphores are written
        in Python.)
Rule 2: a server that takes no more connections is no server that is away for who has some: from then on there is room
        for those, and who wants one waits for one of them.  A second later one more is tried.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from scoutcache.server.faults import Fault, Kind, unavailable

__all__ = ["Room"]

_NARROW: Final = 1.0
"""Seconds between two attempts to have one more than the server took."""


class Room:
    """Room for *most* connections; who finds none waits for *patience* seconds.  *now* is monotonic seconds."""

    def __init__(self, most: int, patience: float, now: Callable[[], float]) -> None:
        self._most, self._patience, self._now = most, patience, now
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(most):
            self._free.put(None)
        self._size, self._narrowed, self._lock = most, 0.0, threading.Lock()

    def free(self) -> int:
        """For how many there is room now."""
        return self._free.qsize()

    def enter(self) -> None:
        """Take room for one; `leave` must follow.  Raises `TierUnavailable`."""
        try:
            self._free.get_nowait()
        except Empty:
            if not self._is_widened():
                self._wait()

    def leave(self) -> None:
        """Give it back."""
        self._free.put(None)

    def _is_widened(self) -> bool:
        """Was there made room for one more, after less (Rule 2)?"""
        if self._size == self._most:
            return False
        with self._lock:
            if self._size == self._most or self._now() - self._narrowed < _NARROW:
                return False
            self._size, self._narrowed = self._size + 1, self._now()
            return True

    def _wait(self) -> None:
        try:
            self._free.get(timeout=self._patience)
        except Empty:
            reason = f"all {self._size} connections are in use"
            if self._size < self._most:
                reason += ", and the server takes no more"
            raise unavailable(Fault(Kind.POOL, reason, None, away=False)) from None

    def narrow(self, idle: int) -> bool:
        """The server took no connection of who has entered, beside *idle* ones: is there room for any?

        Then he has left, and may enter again.
        """
        with self._lock:
            free = self._take_all()
            used = self._size - free - 1
            left = min(idle, free)
            is_room = used + left > 0
            for _ in range(left if is_room else free):
                self._free.put(None)
            if is_room:
                self._size, self._narrowed = used + left, self._now()
            return is_room

    def _take_all(self) -> int:
        taken = 0
        with suppress(Empty):
            while True:
                self._free.get_nowait()
                taken += 1
        return taken
