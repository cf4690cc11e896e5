"""The database of a directory while a process uses it: given to threads, reopened, its failures named.

Rules.

- Opening, and setting aside what is damaged, is the store's (`store.Store`).  A thread that is `ready` does none of it:
  its statements wait for nobody.
- A database found damaged is let go of; the call that found it fails with `TierUnavailable`, the next one works.
- A directory that was removed or replaced shows in the inode, which `watch` compares: the database is opened anew.
- What can't be opened now is tried again after a second, so the tier heals by itself.
- Writers of one process queue at a mutex, those of different processes at SQLite's write lock; each waits no longer
  than *timeout* seconds in all.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.tiers.disk.faults import HINTS, Fault, fault_in, fault_of
from scoutcache.tiers.disk.safe import Link, SafeCache
from scoutcache.tiers.disk.store import Store

__all__ = ["Database"]

T = TypeVar("T")

_RETRY_AFTER: Final = 1.0


class Database:
    """One directory's database, for all threads of a process; *max_bytes* is what a new one records as its limit."""

    def __init__(self, directory: Path, max_bytes: int, timeout: float,
                 warn: Callable[[str], None], wall: Callable[[], float]) -> None:  # fmt: skip
        self.store = Store(directory, max_bytes, timeout, warn, wall)
        self.timeout, self.warn = timeout, warn
        self.writing = threading.Lock()
        self.after_fork: list[Callable[[], None]] = []
        """Called in the child of a fork, where no other thread is left."""
        self.reopened: Callable[[], None] = lambda: None
        """Called when another database may stand where the one stood that was read until now."""
        self._opening = threading.Lock()
        self._changing = threading.Lock()
        """Held while `_cache` is compared or set and never longer: who lets go of a cache waits for nobody."""
        self._cache: SafeCache | None = None
        self._closed = self._full = False
        self._retry_at, self._down = 0.0, TierUnavailable("disk", "it was never opened")
        _databases.add(self)
        try:
            self._cache = self.store.open(self._failed)
        except (TierUnavailable, sqlite3.Error, OSError) as error:
            # A disk that is full or locked now may not be so in a second: only what never heals raises here.
            self._stay_down(error)
            self.warn(f"{self._down}; continuing without it until it can be opened")

    # -- connections

    def ready(self) -> bool:
        """Whether this thread has a connection to the database that stands there, as far as is known."""
        cache = self._cache
        return cache is not None and not cache.shut and ("link" in cache.local.__dict__ or cache.has_link())

    def make_ready(self, thread: threading.Thread) -> None:
        """Give another thread, which mustn't wait, its connection.  Raises `TierUnavailable`."""
        cache = self._cache if self._cache is not None else self._reopen()
        try:
            cache.link_for(thread)
        except (sqlite3.Error, OSError) as error:
            raise self._failed(cache, error) from error

    def link(self) -> Link:
        """This thread's connection, marked as busy until its ``with`` block ends."""
        cache = self._cache
        if cache is not None and (link := cache.local.__dict__.get("link")) is not None:
            link.depth += 1
            if not (cache.shut or link.closed):
                return link  # type: ignore[no-any-return]  # threading.local has no types
            link.leave()
        return self._new_link()

    def _new_link(self) -> Link:
        while True:
            cache = self._cache
            if cache is None:
                cache = self._reopen()
            try:
                link = cache.link()
            except (sqlite3.Error, OSError) as error:
                raise self._failed(cache, error) from error
            link.depth += 1
            if not (cache.shut or link.closed):
                return link
            link.leave()
            with cache.gate:  # a fork is under way, or went by, or this one was just replaced
                continue

    def transact(self, work: Callable[[sqlite3.Connection], T], patience: float | None = None) -> T:
        """Do *work* in a write transaction; returns what it returns, rolls back for whatever it raises.

        Raises `TierUnavailable` after *patience* seconds (default: the database's timeout).
        """
        patience = self.timeout if patience is None else patience
        deadline = time.monotonic() + patience
        if not self.writing.acquire(timeout=patience):
            raise self.unavailable(Fault.LOCKED)
        try:
            return self.transact_alone(work, deadline)
        finally:
            self.writing.release()

    def transact_alone(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        """The same for a thread that holds `writing` already."""
        if self.store.read_only:
            raise self.unavailable(Fault.READ_ONLY)
        with self.link() as con:
            try:
                con.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                _begin_by(con, deadline, error)
            try:
                result = work(con)
                con.execute("COMMIT")
            except BaseException:
                _roll_back(con)
                raise
        if self._full and self.store.ballast.has_room():
            self._full = False
        return result

    def alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do *work*, which makes its own transactions, while no other thread of this process writes."""
        if not self.writing.acquire(timeout=self.timeout):
            raise self.unavailable(Fault.LOCKED)
        try:
            with self.link() as con:
                return work(con)
        finally:
            self.writing.release()

    def follow_limit(self) -> None:
        """Go by the limit that the store records now: another process may have changed it."""
        with self.link() as con:
            self.store.follow(con)

    @contextlib.contextmanager
    def freed(self) -> Iterator[None]:
        """Without the ballast while it is entered, so that a full disk can take a deletion, and no set takes the rest.
        """
        ballast = self.store.ballast
        size = ballast.size()
        ballast.drop()
        try:
            yield
        finally:
            ballast.restore(size)

    def close(self) -> None:
        """Close every connection that is idle; busy ones close when their call ends."""
        with self._changing:
            self._closed = True
            cache, self._cache = self._cache, None
        if cache is not None:
            cache.retire()

    # -- opening

    def watch(self) -> bool:
        """Compare the inode, and open anew when the directory or the file was replaced; whether it was."""
        cache = self._cache
        if cache is None:
            self._reopen()
            return True
        if self.store.is_there(cache) and not (self.store.read_only and os.access(self.store.directory, os.W_OK)):
            cache.sweep()
            return False
        self._let_go(cache)
        self._reopen()
        return True

    def _reopen(self) -> SafeCache:
        if self._closed:
            raise self.unavailable(Fault.CLOSED)
        with self._opening:
            if self._cache is not None:
                return self._cache
            if time.monotonic() < self._retry_at:
                raise TierUnavailable("disk", self._down.reason, hint=self._down.hint)
            try:
                cache = self.store.open(self._failed)
            except (CacheError, sqlite3.Error, OSError) as error:
                raise self._stay_down(error) from error
            if not self._use(cache):
                cache.retire()
                raise self.unavailable(Fault.CLOSED)
            self.reopened()
            return cache

    def _use(self, cache: SafeCache) -> bool:
        """Use it from now on, unless this was closed while it was opened."""
        with self._changing:
            if self._closed:
                return False
            self._cache = cache
            return True

    def _stay_down(self, error: CacheError | sqlite3.Error | OSError) -> TierUnavailable:
        """Remember why it can't be opened; another try is made in a second."""
        if isinstance(error, TierUnavailable):
            self._down = error
        elif isinstance(error, CacheError):
            self._down = TierUnavailable("disk", str(error), hint=error.hint)
        else:
            self._down = self.unavailable(fault_in(self.store.directory, error), error)
        self._retry_at = time.monotonic() + _RETRY_AFTER
        return TierUnavailable("disk", self._down.reason, hint=self._down.hint)

    # -- failures

    def _failed(self, cache: SafeCache, error: sqlite3.Error | OSError) -> TierUnavailable:
        """What to raise for *error*, after doing what it calls for."""
        fault = fault_of(error)
        if fault is Fault.DAMAGED:
            self.store.found_damaged(cache, str(error))
            self._let_go(cache)
        elif fault is Fault.GONE and not self.store.is_there(cache):  # else it may be a want of descriptors only
            self._let_go(cache)
        elif fault is Fault.FULL and not self._full:
            self._full = True
            self.warn(f"the disk of {self.store.directory} is full: nothing is stored there until there is space again")
        return self.unavailable(fault_in(self.store.directory, error), error)

    def unavailable(self, fault: Fault, error: Exception | None = None) -> TierUnavailable:
        """What to raise for a fault."""
        if fault is Fault.FULL:
            return TierUnavailable("disk", f"{fault.value}: {self.store.directory}", hint=HINTS[fault])
        plain = fault in {Fault.LOCKED, Fault.READ_ONLY, Fault.CLOSED} or error is None
        return TierUnavailable("disk", fault.value if plain else f"{fault.value}: {error}", hint=HINTS.get(fault))

    def give_up(self, reason: str) -> None:
        """Set this database aside and begin a new one."""
        if (cache := self._cache) is not None:
            self.store.found_damaged(cache, reason)
            self._let_go(cache)
            self._reopen()

    def _let_go(self, cache: SafeCache) -> None:
        with self._changing:
            if self._cache is cache:
                self._cache = None
        cache.retire()

    def _after_fork_in_child(self) -> None:
        self.writing, self._opening, self._changing = threading.Lock(), threading.Lock(), threading.Lock()
        self.store.space.take_left()  # the parent tells of it
        for forget in self.after_fork:
            forget()


def _begin_by(con: sqlite3.Connection, deadline: float, error: sqlite3.OperationalError) -> None:
    """Take the write lock: a statement waits for a moment only, so it is asked again until the deadline."""
    while fault_of(error) is Fault.LOCKED and time.monotonic() < deadline:
        try:
            con.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as another:
            error = another
    raise error


def _roll_back(con: sqlite3.Connection) -> None:
    if con.in_transaction:
        # SQLite rolls back by itself when this fails; what went wrong first is what the caller must hear.
        with contextlib.suppress(sqlite3.Error):
            con.execute("ROLLBACK")


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for database in _databases:
        database._after_fork_in_child()


os.register_at_fork(after_in_child=_renew_after_fork)
