"""Which keys were asked for, how often and when last, as this machine's operation log tells it.

Rule 1: names are not kept but their hashes, and no more than `MOST` of them: the longest unused are forgotten first.
Rule 2: the log is sampled, trimmed and this machine's: what it doesn't tell is unknown, and never "not used".
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from xxhash import xxh3_64_intdigest

from scoutcache.entry import Ref
from scoutcache.insight.log.operations import Operations
from scoutcache.oplog.reading import Problems
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS, Line, redacted

__all__ = ["MOST", "Uses"]

MOST: Final = 200_000
"""Keys that are remembered: some 40 MB."""


class Uses:
    """How often each key was found, and when last: ``of(namespace, key)``.

    *redacts* says that the log holds keys as hashes.
    """

    def __init__(self, lines: Iterable[Line] = (), *, redacts: bool = False, most: int = MOST) -> None:
        self._redacts, self._most = redacts, most
        self._counts: dict[int, int] = {}
        self._last: dict[int, float] = {}
        self.began: float | None = None
        """When the first line was written, None without any."""
        for line in lines:
            self._add(line)

    @classmethod
    def read(
        cls, directory: Path, *, redacts: bool = False, problems: Problems | None = None, only: Ref | None = None
    ) -> Self:
        """What the log in *directory* tells, of one key *only* if given; *problems* hears of what could not be read."""
        keys = None if only is None else frozenset({redacted(*only) if redacts else only.key})
        operations = Operations(directory, keys=keys)
        found = cls(operations, redacts=redacts)
        if problems is not None:
            problems.add(operations.problems)
        return found

    def of(self, namespace: str, key: str) -> tuple[int, float | None]:
        """How often *key* was found, and when it was last found or written; None where the log doesn't know."""
        name = _name(namespace, redacted(namespace, key) if self._redacts else key)
        return self._counts.get(name, 0), self._last.get(name)

    def times(self, ref: Ref) -> int | None:
        """How often it was found; None where the log doesn't know the key."""
        times, last = self.of(*ref)
        return None if last is None else times

    def _add(self, line: Line) -> None:
        self.began = line.time if self.began is None else min(self.began, line.time)
        found = line.op in REQUESTS and line.outcome in HIT_OUTCOMES
        if not found and line.op != "set":
            return
        name = _name(line.namespace, line.key)
        if found:
            self._counts[name] = self._counts.get(name, 0) + 1
        self._last[name] = max(self._last.get(name, 0.0), line.time)
        if len(self._last) > self._most:
            self._forget()

    def _forget(self) -> None:
        kept = heapq.nlargest(self._most // 2, self._last, key=lambda name: self._last[name])
        self._last = {name: self._last[name] for name in kept}
        self._counts = {name: self._counts[name] for name in kept if name in self._counts}


def _name(namespace: str, key: str) -> int:
    return xxh3_64_intdigest(f"{len(namespace)}:{namespace}:{key}".encode("utf-8", "replace"))
