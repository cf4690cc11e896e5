"""Room for connections to one server: as many at a time as are allowed, and no more than it takes.

Rule 1: who finds no room waits as long as for an answer.  Room that is given back goes to who has waited longest:
        whoever calls again and again would take it from the others for good.  (Nor does a queue do: in Python 3.11 a
        `SimpleQueue.get` whose item was taken as its time was over waits on without an end.)
Rule 2: a server that takes no more connections is no server that is away for who has some: from then on there is room
        for those, and who wants one waits for one of them.  A second later one more is tried.
Rule 3: the lock may be taken again by a signal's handler that asks the server; what that takes it has given back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from scoutcache.server.faults import Fault, Kind, unavailable

__all__ = ["Room"]

_NARROW: Final = 1.0
"""Seconds between two attempts to have one more than the server took."""


class Room:
    """Room for *most* connections; who finds none waits for *patience* seconds.  *now* is monotonic seconds."""

    def __init__(self, most: int, patience: float, now: Callable[[], float]) -> None:
        self._most, self._patience, self._now = most, patience, now
        self._lock = threading.RLock()
        self._size = self._free = most
        self._waiting: deque[threading.Lock] = deque()
        """A lock for each who waits, held until there is room for him; there is none free then."""
        self._narrowed = 0.0

    def free(self) -> int:
        """For how many there is room now."""
        return self._free

    def enter(self) -> bool:
        """Take room for one; `leave` must follow.  Was it waited for?  Raises `TierUnavailable`."""
        with self._lock:
            if self._free:
                self._free -= 1
                return False
            if self._size < self._most and self._is_widened():
                return False
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        self._wait(turn)
        return True

    def leave(self) -> None:
        """Give it back."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1

    def _is_widened(self) -> bool:
        """Was there made room for one more, after less (Rule 2)?"""
        if self._now() - self._narrowed < _NARROW:
            return False
        self._size, self._narrowed = self._size + 1, self._now()
        return True

    def _wait(self, turn: threading.Lock) -> None:
        try:
            has_room = turn.acquire(timeout=self._patience)
        except BaseException:  # interrupted, perhaps after it was given room
            if not self._withdrawn(turn):
                self.leave()
            raise
        if not has_room and self._withdrawn(turn):
            reason = f"all {self._size} connections are in use"
            if self._size < self._most:
                reason += ", and the server accepts no more"
            raise unavailable(Fault(Kind.POOL, reason, None, away=False))

    def _withdrawn(self, turn: threading.Lock) -> bool:
        """Give up waiting; False where there is room by now."""
        with self._lock:
            if turn not in self._waiting:
                return False
            self._waiting.remove(turn)
            return True

    def narrow(self, idle: int) -> bool:
        """The server took no connection of who has entered, beside *idle* ones: is there room for any?

        Then he has left, and may enter again.
        """
        with self._lock:
            used = self._size - self._free - 1
            left = min(idle, self._free)
            is_room = used + left > 0
            if is_room:
                self._free, self._size, self._narrowed = left, used + left, self._now()
            return is_room
