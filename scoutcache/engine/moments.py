"""What running computations were told while they ran, so that keeping their results means reading no journal.

A computation of a minute, beside another process's 2,000 sets a second, would otherwise find megabytes to read when it
is done, inside the write and with the store's lock held.  The follower feeds this as it applies messages.

Rule 1: nothing is lost between "registered" and "listening": messages that were applied, while the position that was
        said to be applied is still the one before them, are heard by whoever begins in between.  (`_settled` is one
        object, replaced as a whole: the position, how many invalidations it covers, and what was written since.)
Rule 2: invalidations are kept as long as a computation runs that began before them, because its factory may name tags
        at its end.  Of writes only those count that name a key a running computation said it would look at.
Rule 3: what isn't sure is a gap, and a gap means: read the journal itself, or don't keep the result.
        What a cache writes that shares nothing is not announced; it is noted here by itself (`wrote_here`).
Rule 4: an invalidation that was under way when a computation began counts as one that came after it.
Rule 5: the messages come one after the other, under the follower's lock; computations begin and end in any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from scoutcache.coherence.messages import Message
from scoutcache.entry import Ref

__all__ = ["Heard", "Here", "Known", "Moments", "Noted", "Told"]


_FEW: Final = 1000
"""Invalidations that need not be looked through for what could go."""


_MANY: Final = 50_000
"""Keys written in a cache that shares nothing, while computations run, before they are forgotten."""


class Told(NamedTuple):
    """Everything announced from the beginning of a computation up to *end* that may concern it."""

    end: int
    invalidations: list[Message]
    written: dict[Ref, set[str]]
    """By whom each of the keys it looks at was written."""
    changed: set[Ref]
    """Which of them got another value."""


class _Settled(NamedTuple):
    """Up to position *end* everything was applied, among it *invalidations* in all; *written* came since."""

    end: int
    invalidations: int
    written: list[Message]


class Heard:
    """What one computation, which looks at *refs*, has been told; it began at position *end*."""

    __slots__ = ("_before", "_first", "_moments", "_open", "changed", "end", "gap", "refs", "sources", "written")

    def __init__(self, moments: Moments, refs: frozenset[Ref]) -> None:
        self._moments, self.refs = moments, refs
        self.sources: Sequence[str] = ()
        """The marks of what it depends on, as that stood when it began: what ends one of them ends its result."""
        self.gap = False
        self.written: dict[Ref, set[str]] = {}
        self.changed: set[Ref] = set()
        self.end = self._first = 0
        self._open: list[Message] = []
        self._before = moments.count_here

    def begin(self, settled: _Settled) -> None:
        """It begins where *settled* says, and hears of what was applied since."""
        self.end, self._first = settled.end, settled.invalidations
        self._open = self._moments.opened()
        for message in settled.written:
            self.wrote(message)

    def wrote(self, message: Message) -> None:
        """A write that may name one of its keys."""
        for key in message.names:
            ref = Ref(message.namespace, key)
            if ref in self.refs:
                self.written.setdefault(ref, set()).add(message.source)
                if key not in message.same:
                    self.changed.add(ref)

    def wrote_here(self, refs: Iterable[Ref]) -> bool:
        """Were any of *refs* written by this process since it began, without an announcement?"""
        return self._moments.wrote_since(refs, self._before)

    def told(self) -> Told | None:
        """What it was told; None where something was missed (Rule 3)."""
        end = self._moments.settled.end  # first, so that what follows covers it
        messages = self._moments.since(self._first)
        if self.gap or messages is None:
            return None
        return Told(end, self._open + messages, dict(self.written), set(self.changed))


class Noted:
    """A moment at which invalidations are *under_way*, for what is computed from nothing: it hears nothing more.

    To count from before them all would take what others ended meanwhile for later than it.
    """

    __slots__ = ("_under_way", "end")

    refs: Final = None
    sources: Final = ()

    def __init__(self, end: int, under_way: list[Message]) -> None:
        self.end, self._under_way = end, under_way

    def told(self) -> Told:
        """What is under way names what it names (Rule 4); what comes after is to be read."""
        return Told(self.end, list(self._under_way), {}, set())

    def wrote_here(self, _: Iterable[Ref]) -> bool:
        """A cache that shares nothing has no invalidations under way."""
        return False


Known = Heard | Noted
"""What is known of what came after a moment."""


class Here(NamedTuple):
    """A moment that messages are counted from: the position that was applied, and what was under way then, if any."""

    end: int
    noted: Noted | None = None


class Moments:
    """The running computations of a cache; *lock* is a mutex."""

    def __init__(self, lock: AbstractContextManager[Any], end: int = 0) -> None:
        self._lock = lock
        self.opened: Callable[[], list[Message]] = list
        """The invalidations that are under way (Rule 4)."""
        self._running: dict[int, Heard] = {}
        self._awaited: dict[Ref, int] = {}
        """How many running computations look at each key."""
        self._log: tuple[int, list[Message]] = 0, []
        """Invalidations, and how many came before them."""
        self._kept = _FEW
        self._here: dict[Ref, int] = {}
        """When, by count, a key was written without an announcement; whatever was before *here_from* is forgotten."""
        self._here_from = self.count_here = 0
        self.settled = _Settled(end, 0, [])

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, refs: Iterable[Ref]) -> Heard:
        """A computation begins that looks at *refs*; `end` must follow."""
        heard = Heard(self, frozenset(refs))
        with self._lock:
            self._running[id(heard)] = heard
            for ref in heard.refs:
                self._awaited[ref] = self._awaited.get(ref, 0) + 1
        heard.begin(self.settled)  # only now (Rule 1)
        return heard

    def noted(self) -> Noted | None:
        """This moment, where it takes more than a position to say what came after it."""
        end = self.settled.end  # first: what ends in between is read after it
        under_way = self.opened()
        return Noted(end, under_way) if under_way else None

    def end(self, heard: Heard) -> None:
        """The computation is over."""
        with self._lock:
            if self._running.pop(id(heard), None) is None:
                return  # in a forked child
            for ref in heard.refs:
                if self._awaited[ref] == 1:
                    del self._awaited[ref]
                else:
                    self._awaited[ref] -= 1
            if not self._running and self._here:
                self._here, self._here_from = {}, self.count_here

    def since(self, first: int) -> list[Message] | None:
        """The invalidations after the first *first* ones; None when they aren't all there."""
        before, log = self._log
        return log[first - before :] if first >= before else None

    def _wrote(self, message: Message) -> None:
        if not self._awaited:
            return
        if any(Ref(message.namespace, key) in self._awaited for key in message.names):
            for heard in list(self._running.values()):
                heard.wrote(message)

    def wrote_here(self, refs: Iterable[Ref]) -> None:
        """A write that is not announced, because nobody shares this cache."""
        if not self._running:
            return
        with self._lock:
            if len(self._here) > _MANY:
                self._here, self._here_from = {}, self.count_here + 1
            self.count_here += 1
            self._here.update(dict.fromkeys(refs, self.count_here))

    def wrote_since(self, refs: Iterable[Ref], count: int) -> bool:
        """Were any of *refs* written after *count* such writes, or is that forgotten?"""
        here = self._here
        return count < self._here_from or any([here.get(ref, 0) > count for ref in refs])  # noqa: C419  # faster

    # -- fed by the follower

    def apply(self, message: Message) -> None:
        """*message* is being applied."""
        if message.is_invalidation:
            self._log[1].append(message)
        else:
            self.settled.written.append(message)
            self._wrote(message)

    def applied(self, end: int) -> None:
        """Everything up to *end* has been applied."""
        self._forget()
        before, log = self._log
        self.settled = _Settled(end, before + len(log), [])

    def _forget(self) -> None:
        """Let go of what no running computation may need; a rare one that begins just now finds a gap."""
        before, log = self._log
        if not self._running:
            if log:
                self._log = before + len(log), []
        elif len(log) > 2 * self._kept:
            first = max(before, min([heard._first for heard in list(self._running.values())], default=before))
            self._log = first, log[first - before :]
            self._kept = max(_FEW, len(self._log[1]))

    def drop(self) -> None:
        """A message was missed."""
        for heard in list(self._running.values()):
            heard.gap = True

    def restart(self, lock: AbstractContextManager[Any]) -> None:
        """In a forked child: the parent's computations don't run here."""
        self._lock = lock
        self._running, self._awaited = {}, {}
