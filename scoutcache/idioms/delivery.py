"""Words of write-behind: how writes are delivered, and a write that wasn't."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from scoutcache.errors import CacheError, InvalidTTL
from scoutcache.ttl import parse_duration

__all__ = ["Batch", "DeadLetter", "Delivery"]

Batch = list[tuple[str, Any]]


class DeadLetter(NamedTuple):
    """A write that the writer refused too often.

    *value* is `MISSING` where it can't be read any more.  A *superseded* one has a later write of its key behind it,
    and isn't retried.
    """

    key: str
    value: Any
    attempts: int
    error: str
    died_at: datetime
    superseded: bool


class Delivery(NamedTuple):
    """How writes are delivered: the arguments of `Cache.behind`.  Times are seconds."""

    writer: Callable[[Batch], Any]
    batch_size: int
    interval: float
    name: str
    attempts: int
    backoff: float
    max_backoff: float
    drain_timeout: float

    @classmethod
    def of(cls, writer: Any, batch_size: int, name: str, attempts: int, **times: object) -> Delivery:
        """The same as the caller wrote it.  Raises `CacheError` and `InvalidTTL`."""
        if not callable(writer):
            raise CacheError(f"writer is a function of a list of (key, value), not {writer!r:.80}")
        if not isinstance(name, str) or not name:
            raise CacheError("the name of a queue is a text that is not empty")
        for what, number in (("batch_size", batch_size), ("attempts", attempts)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise CacheError(f"{what} is a whole number of 1 or more, not {number!r:.80}")
        seconds = {what: _seconds(what, given) for what, given in times.items()}
        if seconds.get("interval") == 0:
            raise CacheError("interval is a time in seconds, of more than 0")
        return cls(writer, batch_size, name=name, attempts=attempts, **seconds)

    def size(self, attempts: int) -> int:
        """How many writes share a list that failed so often."""
        return 1 if attempts >= self.attempts - 1 > 0 else max(1, self.batch_size >> attempts)

    def pause(self, attempts: int) -> float:
        """Seconds until the next try, a random part of them less so that many don't come back at once."""
        most = min(self.max_backoff, self.backoff * 2.0 ** min(attempts, 60))
        return most * random.uniform(0.5, 1.0)  # noqa: S311  # no secret


def _seconds(what: str, given: object) -> float:
    try:
        return parse_duration(given)
    except InvalidTTL as error:
        raise InvalidTTL(f"{what} is a time in seconds: {error}") from None
