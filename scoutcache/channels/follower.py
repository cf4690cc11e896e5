"""How one process keeps up with the journal: what others announced is applied to what this process holds.

Rule 1: `seen` moves only after everything up to it has been applied.
Rule 2: what this process announced is applied here too, at once.  Of its own writes only what depends on them goes: the
        engine puts those into memory itself, and perhaps beside it, computed from the old values, what depends on them.
Rule 3: a gap drops everything held in memory: a missed message might have named any of it.
Rule 4: what a computation or a read is to note is `noted`: an invalidation that is under way counts as not begun.
Rule 5: *moved* hears -1, which is no position, while hits in memory must not be answered without asking: while a
        replaced journal is opened anew, until whoever looks at its page looks at the new one (`on_reopen`; who keeps
        looking at the old one finds a position there that is never the new one's), and as long as `watched` says.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from scoutcache.coherence.messages import Message
from scoutcache.coherence.opened import Opened
from scoutcache.errors import TierUnavailable

__all__ = ["Channel", "Follower", "Holder"]


_AT_ONCE = 1 << 20
"""Bytes of messages to hold in memory at a time: a process that slept may find many."""


class Holder(Protocol):
    """Something in this process that holds copies of what other processes can change."""

    def apply(self, message: Message) -> None:
        """Drop what *message* names."""

    def drop(self) -> None:
        """Drop everything."""


class Channel(Protocol):
    """Where messages are announced and read; see `scoutcache.channels.journal.Journal`."""

    @property
    def words(self) -> memoryview: ...
    @property
    def index(self) -> int: ...
    def end(self) -> int: ...
    def invalidated(self) -> int: ...
    def settle(self, seen: int, moved: Callable[[int], object]) -> None: ...
    def here(self, seen: int) -> int: ...
    def append(self, message: Message, *, wait: bool = True) -> tuple[int, int]: ...
    def recent(self) -> tuple[list[Message], int]: ...
    def lately(self) -> Sequence[Message]: ...
    def since(self, position: int, most: int | None = None) -> tuple[list[Message] | None, int]: ...
    def trim(self) -> None: ...
    def changing(self) -> contextlib.AbstractContextManager[None]: ...
    def recover(self) -> bool: ...
    def replaced(self) -> bool: ...
    def reopen(self) -> None: ...
    def renew_mutex(self) -> None: ...
    def close(self) -> None: ...


class Follower:
    """Follows *journal* for *holders*; *moved* is told each position that has been applied.

    *watchers* hear of this process's own writes as well, and *settled* of each position before anybody else.
    *watched* says that somebody wants to see each hit.
    """

    def __init__(
        self, journal: Channel, source: str, holders: Sequence[Holder], moved: Callable[[int], None],
        *, watchers: Sequence[Holder] = (), watched: Callable[[], bool] = lambda: False,
        settled: Callable[[int], object] = lambda _: None,
    ) -> None:  # fmt: skip
        self._journal, self.source, self._holders, self._watchers = journal, source, holders, watchers
        self._moved, self._watched, self._settled, self._blind = moved, watched, settled, False
        self.opened = Opened(time.monotonic)
        self._listeners: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
        self.applied: Callable[[int], object] = _nobody
        """Told of each position in the directory's journal (`here`), whoever watches hits."""
        self.of_written: Callable[[Message], Message] = lambda message: message
        """What of another process's write concerns what is held here."""
        self._lock = threading.RLock()
        self._advance(journal.end())
        self.look_back()
        _followers.add(self)

    def look_back(self) -> None:
        """Hear of the invalidations that were under way before this process listened."""
        messages, before = self._journal.recent()
        for message in messages:
            self.opened.apply(message, before)

    def noted(self) -> int:
        """The position to be noted by what is going to look at anything."""
        return self.opened.floor(self.seen) if self.opened else self.seen

    def sync(self) -> None:
        """Apply what was announced since the last time."""
        if self._journal.end() == self.seen:
            return
        with self._lock:
            until = self._journal.end()
            while self._read_on() < until:  # who writes all the time must not keep us here for ever
                pass

    def _read_on(self) -> int:
        messages, end = self._journal.since(self.seen, _AT_ONCE)
        if messages is None:
            self._drop()
            self.look_back()  # what was under way before still is
        else:
            for message in messages:
                self._apply(message)
        self._advance(end)
        return end

    def announce(self, message: Message, *, wait: bool = True) -> None:
        """Tell every process, this one included.  Raises `TierUnavailable`; without *wait* `BlockingIOError`."""
        try:
            positions = self._journal.append(message, wait=wait)
        except TierUnavailable:
            self.unannounced()
            raise
        self.announced(message, *positions)

    def unannounced(self) -> None:
        """Something could not be announced everywhere: the channel may have noted it for this process all the same."""
        self.sync()
        self.say_position()

    def announced(self, message: Message, before: int, after: int) -> None:
        """This process's own *message* alone stands between those positions; it is applied when this returns.

        Where others may stand there, *before* is no position.
        """
        with self._lock:
            if self.seen == before:
                self._apply(message)
                self._advance(after)
            else:
                self.sync()

    def reopen_if_replaced(self) -> bool:
        """Was the directory replaced under this process?  Then everything held in memory is dropped.

        Raises `TierUnavailable` when the new one can't be opened.
        """
        if not self._journal.replaced():
            return False
        with self._lock:
            self._blind = True
            self.say_position()
            self._drop()
        self._journal.reopen()  # which may wait for another process; what is read meanwhile is a gap
        with self._lock:
            end = self._journal.end()
            self._drop()  # also what came while nobody was listening
            for owner, look_anew in list(self._listeners.items()):
                look_anew(owner)
            self._blind = False
            self._advance(end)
        return True

    def on_reopen(self, listener: Callable[[], None]) -> None:
        """Call the method *listener* whenever the journal has been opened anew, as long as its object lives."""
        # Not a WeakMethod: at the interpreter's end, where threads still hold us, its callback says so on stderr.
        method: Any = listener
        self._listeners[method.__self__] = method.__func__

    def here(self) -> int:
        """Up to where in the directory's journal everything has been applied; -1 where there is more."""
        return self._journal.here(self.seen)

    def say_here(self) -> None:
        """Tell *applied* again: what it writes to may have been removed."""
        if (here := self.here()) >= 0:
            self.applied(here)

    def say_position(self) -> None:
        """Tell *moved* again: somebody began or ceased to watch hits."""
        if self._blind or self._watched():
            self._moved(-1)
        else:
            self._journal.settle(self.seen, self._moved)

    def watch(self, watcher: Holder) -> None:
        """Let *watcher* hear of everything as well, this process's own writes included."""
        self._watchers = [*self._watchers, watcher]

    def drop(self) -> None:
        """Drop everything that is held here: it has grown too old."""
        with self._lock:
            self._drop()

    def renew_lock(self) -> None:
        """Called in a forked child."""
        self._journal.renew_mutex()
        self._lock = threading.RLock()

    def _apply(self, message: Message) -> None:
        self.opened.apply(message, self.seen)
        for watcher in self._watchers:
            watcher.apply(message)
        if message.kind == "written":
            message = message.dependents if message.source == self.source else self.of_written(message)
        for holder in self._holders:
            holder.apply(message)

    def _drop(self) -> None:
        self.opened.drop()
        for holder in (*self._watchers, *self._holders):
            holder.drop()

    def _advance(self, end: int) -> None:
        self.seen = end
        self._settled(end)
        self.say_here()
        self.say_position()


def _nobody(_: int) -> None:
    """Where nobody wants to know."""


_followers: weakref.WeakSet[Follower] = weakref.WeakSet()


def _renew_locks() -> None:
    for follower in _followers:
        follower.renew_lock()


os.register_at_fork(after_in_child=_renew_locks)
