"""A rate limit: at most so many turns per second, evenly spaced, over all threads and tasks that share it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from scoutcache.errors import ConfigError

__all__ = ["Pace"]


class Pace:
    """Gives out turns.  *rate* None: no limit.  Raises `ConfigError` for a rate that isn't above 0."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = monotonic) -> None:
        if rate is not None and not 0 < rate < float("inf"):
            raise ConfigError(f"rate: expected more than 0 per second, not {rate}")
        self._step = 1 / rate if rate else 0.0
        self._clock = clock
        self._next = clock()
        self._lock = threading.Lock()

    def wait(self) -> float:
        """The seconds that the caller has to wait for its turn, which is now taken."""
        if not self._step:
            return 0.0
        with self._lock:
            now = self._clock()
            # Turns that nobody took are gone: after a pause there is no burst.
            turn = max(self._next, now)
            self._next = turn + self._step
            return turn - now
