"""Tag versions: the authority of a cache that has no shared tier, and what a process remembers of any authority.

Rule 1: versions are random and never reused, so a marker that was lost revives nothing.  Their low bits count the
        times that what carries them was marked stale (`scoutcache.entry.SOFT_BITS`).
Rule 2: a remembered version is dropped when a message names it.  One read from the authority is remembered only if
        nothing was announced between noting the position and having the answer.
Rule 3: that a version does *not* exist is remembered only of `DEPENDED_MARK`, whose maker announces it; of any other
        name another process may make one and tell nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from scoutcache.coherence.messages import Message
from scoutcache.entry import DEPENDED_MARK, NAMESPACE_MARK, Mark, softened
from scoutcache.tiers.base import Versions

__all__ = ["LocalVersions", "RememberedVersions"]

_ABSENT: Final = -1
"""Remembered in place of a version: there is none.  Versions are not negative."""


class LocalVersions:
    """The authority inside one process; *random_version* gives a fresh number each time."""

    def __init__(self, random_version: Callable[[], int]) -> None:
        self._random = random_version
        self._versions: dict[tuple[str, str], int] = {}

    def current(self, namespace: str, names: Sequence[str], *, create: bool = False) -> dict[str, int]:
        """See `Versions`."""
        if create:
            return {name: self._versions.setdefault((namespace, name), self._random()) for name in names}
        versions = ((name, self._versions.get((namespace, name))) for name in names)
        return {name: version for name, version in versions if version is not None}

    def names(self, namespace: str, prefix: str) -> list[str]:
        """See `Versions`."""
        return [name for space, name in list(self._versions) if space == namespace and name.startswith(prefix)]

    def renew(self, namespace: str, names: Sequence[str], *, soft: bool = False) -> None:
        """See `Versions`."""
        for name in names:
            old = self._versions.get((namespace, name))
            if not soft:
                self._versions[namespace, name] = self._random()
            elif old is not None:
                self._versions[namespace, name] = softened(old)


class RememberedVersions:
    """An authority and what this process remembers of it, at most *capacity* versions."""

    def __init__(self, authority: Versions, end: Callable[[], int], capacity: int = 100_000) -> None:
        self._authority, self._end, self._capacity = authority, end, capacity
        self._known: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def remembered(self, namespace: str, names: Sequence[str]) -> dict[str, int] | None:
        """The answer of `current` if this process knows all of it without asking, else None."""
        answer = {}
        for name in names:
            version = self._known.get((namespace, name))
            if version is None:
                return None
            if version != _ABSENT:
                answer[name] = version
        return answer

    def are_current(self, namespace: str, marks: Sequence[Mark]) -> bool:
        """Are all *marks* remembered, and current?"""
        known = self._known
        if len(marks) == 1:  # the namespace's alone: most entries
            ((name, version),) = marks
            return known.get((namespace, name)) == version
        return all([known.get((namespace, name)) == version for name, version in marks])  # noqa: C419  # a list is faster here

    def current(self, namespace: str, names: Sequence[str], *, create: bool = False) -> dict[str, int]:
        """See `Versions`; raises what the authority raises."""
        answer = self.remembered(namespace, names)
        if answer is not None and not (create and len(answer) < len(names)):
            return answer
        before = self._end()
        answer = self._authority.current(namespace, names, create=create)
        with self._lock:
            if self._end() == before:
                if len(self._known) > self._capacity:
                    self._known.clear()
                self._known.update({(namespace, name): version for name, version in answer.items()})
                if DEPENDED_MARK in names and DEPENDED_MARK not in answer:
                    self._known[namespace, DEPENDED_MARK] = _ABSENT
        return answer

    def names(self, namespace: str, prefix: str) -> list[str]:
        """See `Versions`; asks the authority each time."""
        return self._authority.names(namespace, prefix)

    def renew(self, namespace: str, names: Sequence[str], *, soft: bool = False) -> None:
        """See `Versions`."""
        self._authority.renew(namespace, names, soft=soft)
        self._forget(namespace, names)

    def _forget(self, namespace: str, names: Sequence[str]) -> None:
        with self._lock:
            for name in names:
                self._known.pop((namespace, name), None)

    def apply(self, message: Message) -> None:
        """Forget what *message* renewed."""
        if message.kind == "mark":
            self._forget(message.namespace, message.names)
        elif message.kind == "namespace":
            self._forget(message.namespace, [NAMESPACE_MARK])

    def renew_lock(self) -> None:
        """Called in a forked child."""
        self._lock = threading.Lock()

    def drop(self) -> None:
        """Forget everything: a message was missed."""
        with self._lock:
            self._known.clear()
