"""Tag versions: the authority of a cache that has no shared tier, and what a process remembers of any authority.

Rule 1: versions are random and never reused, so a marker that was lost revives nothing.  Their low bits count the
        times that what carries them was marked stale (`scoutcache.entry.SOFT_BITS`).
Rule 2: a remembered version is dropped when a message names it.  One read from the authority is remembered only if
        nothing that may renew it was announced between noting the position and having the answer; where others write
        all the time something always is.  Of an implicit tag, which any change of its key renews, nothing at all.
Rule 3: that a version does *not* exist is remembered only of `DEPENDED_MARK`, whose maker announces it; of any other
        name another process may make one and tell nobody.
        Nor while such an invalidation is under way: the authority's answer may be the one that is about to change.
Rule 4: where everything that carries a mark is at hand, what nothing carries needs no version: it is forgotten now and
        then.  One that was forgotten while its first entry was on its way is found again by that entry, or whoever
        writes what the entry depends on would believe that nothing does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, Protocol

from scoutcache.coherence.messages import Message
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, STAND_INS, VERSION_MARK, Mark, softened
from scoutcache.tiers.base import Versions
from scoutcache.tiers.stand_ins import StandIns

__all__ = ["LocalVersions", "RememberedVersions", "stays"]

_ABSENT: Final = -1
"""Remembered in place of a version: there is none.  Versions are not negative."""


_FEW: Final = 1000
"""Versions that need not be looked through for what could go."""


def stays(name: str) -> bool:
    """Does a version stay though no entry carries it?  Of these there are few."""
    return name in {NAMESPACE_MARK, DEPENDED_MARK} or name.startswith(VERSION_MARK)


class Marked(Protocol):
    """Something that carries marks."""

    @property
    def marks(self) -> Iterable[Mark]: ...


class LocalVersions:
    """The authority inside one process; *random_version* gives a fresh number each time.

    *carried* is everything there is, by namespace and the name of each mark it carries (Rule 4); None: it isn't known.
    """

    def __init__(
        self, random_version: Callable[[], int], carried: Mapping[tuple[str, str], Iterable[Marked]] | None = None
    ) -> None:
        self._random, self._carried = random_version, carried
        self._versions: dict[tuple[str, str], int] = {}
        self._most = _FEW

    def __len__(self) -> int:
        return len(self._versions)

    def _find(self, pair: tuple[str, str]) -> int | None:
        version = self._versions.get(pair)
        if version is not None or not self._carried:
            return version
        marks = [mark for one in list(self._carried.get(pair, ())) for mark in one.marks]
        return next((self._versions.setdefault(pair, version) for name, version in marks if name == pair[1]), None)

    def _forget(self, carried: Mapping[tuple[str, str], Iterable[Marked]]) -> None:
        """Rule 4; a namespace's own, and that keys in it are depended on, nothing needs to carry."""
        for pair in list(self._versions):
            if pair not in carried and pair[1] not in (NAMESPACE_MARK, DEPENDED_MARK):
                self._versions.pop(pair, None)
        self._most = 2 * len(self._versions) + _FEW

    def current(self, namespace: str, names: Sequence[str], *, create: bool = False) -> dict[str, int]:
        """See `Versions`."""
        answer = {name: version for name in names if (version := self._find((namespace, name))) is not None}
        if create and len(answer) < len(names):
            if self._carried is not None and len(self._versions) > self._most:
                self._forget(self._carried)
            for name in names:
                if name not in answer:
                    answer[name] = self._versions.setdefault((namespace, name), self._random())
        return answer

    def names(self, namespace: str, prefix: str) -> list[str]:
        """See `Versions`."""
        pairs = {**self._versions, **dict.fromkeys(self._carried or ())}
        return [name for space, name in pairs if space == namespace and name.startswith(prefix)]

    def renew(self, namespace: str, names: Sequence[str], *, soft: bool = False) -> None:
        """See `Versions`."""
        for name in names:
            old = self._find((namespace, name))
            if not soft:
                self._versions[namespace, name] = self._random()
            elif old is not None:
                self._versions[namespace, name] = softened(old)


class RememberedVersions:
    """An authority and what this process remembers of it, at most *capacity* versions.

    *end* and *since* are the channel's (`scoutcache.channels.follower.Channel`).  *carried* is what it has in memory,
    by namespace and the name of each mark: what came there while the authority could not be asked carries marks that
    nobody has told a version of.
    """

    def __init__(
        self, authority: Versions, end: Callable[[], int],
        since: Callable[[int], tuple[Sequence[Message] | None, int]], capacity: int = 100_000,
        carried: Mapping[tuple[str, str], object] | None = None,
    ) -> None:  # fmt: skip
        self._authority, self._end, self._since, self.capacity = authority, end, since, capacity
        self._carried = {} if carried is None else carried
        self._known: dict[tuple[str, str], int] = {}
        self.under_way: Callable[[], Sequence[Message]] = tuple
        """The invalidations that have not ended, as far as this process has heard."""
        self.stand_ins = StandIns(capacity)
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
            return known.get((namespace, name)) == version or self._stands_in(namespace, name, version)
        if all([known.get((namespace, name)) == version for name, version in marks]):  # noqa: C419  # a list is faster here
            return True
        return all(
            known.get((namespace, name)) == version or self._stands_in(namespace, name, version)
            for name, version in marks
        )

    def _stands_in(self, namespace: str, name: str, version: int) -> bool:
        return version >= STAND_INS and version == self.stand_ins.of(namespace, name)

    def without_authority(self, namespace: str, names: Sequence[str]) -> dict[str, int] | None:
        """What this machine's processes go by while nobody can be asked; None where that isn't all of *names*."""
        answer = dict[str, int]()
        for name in names:
            version = self._known.get((namespace, name)) or self.stand_ins.of(namespace, name)
            if version is None or version == _ABSENT:
                return None
            answer[name] = version
        return answer

    def current(self, namespace: str, names: Sequence[str], *, create: bool = False) -> dict[str, int]:
        """See `Versions`; raises what the authority raises."""
        answer = self.remembered(namespace, names)
        if answer is not None and not (create and len(answer) < len(names)):
            return answer
        begun = self.begun()
        answer = self._authority.current(namespace, names, create=create)
        self.keep(begun, namespace, names, answer)
        return answer

    def answers(self, namespace: str, names: Sequence[str], *, create: bool = False) -> bool:
        """Is it known without asking the authority?"""
        answer = self.remembered(namespace, names)
        return answer is not None and not (create and len(answer) < len(names))

    def remembered_names(self, namespace: str, prefix: str) -> list[str]:
        """The names that begin with *prefix* and something carries, as far as this process knows without asking."""
        pairs = {**self._known, **dict.fromkeys(self._carried)}
        return [name for space, name in pairs if space == namespace and name.startswith(prefix)]

    def is_remembered(self, namespace: str, name: str) -> bool:
        """Is it one of those?"""
        return (namespace, name) in self._known or (namespace, name) in self._carried

    def begun(self) -> int:
        """To be noted before the authority is asked, for `keep`."""
        return self._end()

    def keep(self, begun: int, namespace: str, names: Sequence[str], answer: Mapping[str, int]) -> None:
        """Remember the authority's *answer*, unless it may have been renewed since it was asked (Rule 2)."""
        with self._lock:
            if self._is_certain(begun, namespace, names):
                if len(self._known) > self.capacity:
                    self._known.clear()
                self._known.update({(namespace, name): version for name, version in answer.items()})
                if DEPENDED_MARK in names and DEPENDED_MARK not in answer:
                    self._known[namespace, DEPENDED_MARK] = _ABSENT

    def _is_certain(self, begun: int, namespace: str, names: Sequence[str]) -> bool:
        messages: Sequence[Message] | None = () if self._end() == begun else self._since(begun)[0]
        if messages is None:  # some are gone
            return False
        messages = [*messages, *self.under_way()]
        if messages and any(name.startswith(KEY_MARK) for name in names):
            return False
        return not any(_may_renew(message, namespace, names) for message in messages)

    def known(self) -> dict[str, dict[str, int]]:
        """All that is remembered, by namespace and name, for `take_over`."""
        with self._lock:
            pairs = list(self._known.items())
        spaces: dict[str, dict[str, int]] = {}
        for (namespace, name), version in pairs:
            spaces.setdefault(namespace, {})[name] = version
        return spaces

    def take_over(
        self, known: Mapping[str, Mapping[str, int]], since: Callable[[], Sequence[Message] | None]
    ) -> None:
        """Remember what another process knew, unless one of the messages *since* then renewed it; None: some are gone.

        Of more than there is room for only some.  They are asked for while none that comes after them is applied.
        """
        with self._lock:
            messages = since()
            if messages is None:
                return
            taken = {(space, name): version for space, names in known.items() for name, version in names.items()}
            for message in messages:
                _forget_renewed(taken, message)
            news = ((pair, version) for pair, version in taken.items() if pair not in self._known)
            self._known = {**dict(islice(news, max(0, self.capacity - len(self._known)))), **self._known}

    def names(self, namespace: str, prefix: str) -> list[str]:
        """See `Versions`; asks the authority each time."""
        return self._authority.names(namespace, prefix)

    def renew(self, namespace: str, names: Sequence[str], *, soft: bool = False) -> None:
        """See `Versions`."""
        self._authority.renew(namespace, names, soft=soft)
        self.forget(namespace, names)

    def forget(self, namespace: str, names: Sequence[str]) -> None:
        """They were renewed."""
        with self._lock:
            _forget(self._known, namespace, names)

    def apply(self, message: Message) -> None:
        """Forget what *message* renewed."""
        with self._lock:
            _forget_renewed(self._known, message)
            self.stand_ins.apply(message)

    def share(
        self, token: bytes, renewed: Iterable[tuple[str, str]], since: Callable[[], Sequence[Message] | None]
    ) -> None:
        """Go by the stand-ins of *token* as another process does; *since* as for `take_over`."""
        with self._lock:
            messages = since()
            if messages is None:
                return
            self.stand_ins.share(token, renewed)
            for message in messages:
                self.stand_ins.apply(message)

    def renew_lock(self) -> None:
        """Called in a forked child."""
        self._lock = threading.Lock()

    def drop(self) -> None:
        """Forget everything: a message was missed."""
        with self._lock:
            self._known.clear()
            self.stand_ins.drop()


def _forget(known: dict[tuple[str, str], int], namespace: str, names: Iterable[str]) -> None:
    for name in names:
        known.pop((namespace, name), None)


def _forget_renewed(known: dict[tuple[str, str], int], message: Message) -> None:
    """Take what *message* renewed out of *known*."""
    namespace = message.namespace
    if message.is_unresolved:
        _forget(known, namespace, [name for space, name in known if space == namespace and message.may_end(name)])
    if message.kind == "mark":
        _forget(known, namespace, message.names)
    elif message.kind == "namespace":
        _forget(known, namespace, [NAMESPACE_MARK])
    elif message.owed:
        _forget(known, namespace, message.unrenewed)


def _may_renew(message: Message, namespace: str, names: Sequence[str]) -> bool:
    """Does *message* tell of new versions of one of *names*, which are no implicit tags?"""
    if message.namespace != namespace:
        return False
    if message.kind == "namespace":
        return NAMESPACE_MARK in names
    return message.kind == "mark" and not set(message.names).isdisjoint(names)
