"""diskcache with its dangerous half taken out: rows of raw text and bytes, connections of a known shape, no file names.

Rules.

- Whatever stands in a row, nothing is unpickled and no path of it is followed: the only keys are text, the only values
  bytes inside the row.  Anything else raises.  (diskcache itself runs code for ``mode = 4`` and ``raw = 0``, and reads
  or deletes whatever file a row names.)
- Settings of the database are never obeyed: it is compared with a reference before it gets here, and each connection
  is set up from constants.
- A connection belongs to one thread.  It may be closed by another one only while it is idle, and closes itself
  otherwise as soon as it is.
- No connection crosses a fork, which SQLite forbids: all are closed before it, and opened again on both sides.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import quote

import diskcache

from scoutcache.tiers.disk.faults import Fault, fault_of
from scoutcache.tiers.disk.stamps import began_no_earlier

__all__ = ["DATABASE", "LONGEST", "Access", "Link", "RawDisk", "SafeCache", "connect"]

DATABASE: Final = diskcache.core.DBNAME

LONGEST: Final = 64 << 20
"""Bytes of the longest text or blob a row may hold: a row that claims more is an error and not a memory bomb."""

BUSY_MS: Final = 100
"""How long one statement waits for a lock; writers ask again until their own time is over, readers don't."""

_FORK_PATIENCE: Final = 1.0


class RawDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Rows hold text keys and bytes; everything else that diskcache could put in or take out of one is refused."""

    def put(self, key: object) -> tuple[str, bool]:
        """The key as it is stored."""
        return (key, True) if type(key) is str else _refuse("a key that isn't text")

    def get(self, key: object, raw: object) -> str:
        """The key of a row."""
        return key if type(key) is str and raw == 1 else _refuse("a row whose key isn't plain text")

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, bytes]:  # noqa: ARG002
        """The value as it is stored: inside the row."""
        if type(value) is not bytes or read:
            _refuse("a value that isn't bytes")
        return len(value), diskcache.core.MODE_RAW, None, value

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        """The value of a row."""
        if mode != diskcache.core.MODE_RAW or filename is not None or type(value) is not bytes or read:
            _refuse("a row whose value isn't plain bytes")
        return value

    def filename(self, key: object = None, value: object = None) -> NoReturn:  # noqa: ARG002
        """No value is ever a file."""
        _refuse("a value in a file")

    def remove(self, file_path: object) -> None:
        """Rows name no files."""
        if file_path is not None:
            _refuse("a file named by a row")


def _refuse(what: str) -> NoReturn:
    raise ValueError(f"the disk tier handles no such thing: {what}")


class Access(NamedTuple):
    """How connections to one database are made."""

    path: Path
    mode: str
    """``rw``, ``ro``, or ``ro&immutable=1`` where not even a lock can be written."""
    log_pages: int
    """Pages the write-ahead log may hold before a commit copies them into the database."""


def connect(access: Access, patience: float) -> sqlite3.Connection:
    """A connection that obeys nothing the database says; it never creates one.

    Whoever opens a database first recovers it, whoever closes it last copies its log, and both lock it for a moment:
    that is waited for, *patience* seconds at most.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return _connect(access)
        except sqlite3.OperationalError as error:
            if fault_of(error) is not Fault.LOCKED or time.monotonic() >= deadline:
                raise


def _connect(access: Access) -> sqlite3.Connection:
    con = sqlite3.connect(f"file:{quote(str(access.path))}?mode={access.mode}", uri=True, timeout=BUSY_MS / 1000,
                          isolation_level=None, check_same_thread=False)  # fmt: skip
    # Text that is no UTF-8 is not ours, but must not end a listing; whoever binds it again encodes it the same way.
    con.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    try:
        con.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        con.executescript(
            "PRAGMA trusted_schema = OFF;"
            "PRAGMA mmap_size = 0;"  # a database cut short under a mapping is a SIGBUS
            "PRAGMA cell_size_check = ON;"
            "PRAGMA temp_store = MEMORY;"
            "PRAGMA secure_delete = OFF;"  # some builds write zeros over all that is deleted
            "PRAGMA cache_size = -32768;"
            "PRAGMA synchronous = NORMAL;"
            f"PRAGMA wal_autocheckpoint = {access.log_pages};"
            f"PRAGMA journal_size_limit = {access.log_pages * 4096};"
        )
        con.create_function(began_no_earlier.__name__, 2, began_no_earlier, deterministic=True)
        con.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # the log is opened here, under the caller's lock
    except BaseException:
        con.close()
        raise
    return con


class Link:
    """One thread's connection.  `with link as con:` says when it is done, and translates what SQLite raises."""

    __slots__ = ("_closing", "closed", "con", "cursor", "depth", "owner", "thread")

    def __init__(self, con: sqlite3.Connection, owner: SafeCache, thread: threading.Thread) -> None:
        self.con, self.owner = con, owner
        self.cursor = con.cursor()
        """For statements that are fetched whole at once: a tenth faster than a new cursor for each."""
        self.thread = thread
        self.depth = 0
        self.closed = False
        """It was idle, and somebody closed it: who had it in hand by then, and only now begins, must see that."""
        self._closing = threading.Lock()

    def __enter__(self) -> sqlite3.Connection:
        return self.con

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.leave()
        if error is not None and isinstance(error, sqlite3.Error):
            raise self.failed(error) from error

    def failed(self, error: sqlite3.Error) -> Exception:
        """What to raise for it."""
        return self.owner.failed(self.owner, error)

    def leave(self) -> None:
        """This thread is done with it; what was to be closed meanwhile is closed now."""
        self.depth -= 1
        if self.owner.shut and not self.depth:
            self.close()

    def close(self) -> None:
        """Close it; returns when that is done, also where another thread has begun it."""
        with self._closing:
            self.closed = True
            self.con.close()

    def idle(self) -> bool:
        """Whether nobody else can be using it."""
        return not self.depth


class SafeCache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """diskcache's Cache over `RawDisk`, with connections that other threads and forks can't hurt.

    The constructor is diskcache's own and writes a new database; `attach` opens one that was compared already, without
    writing a byte, so that a full or read-only disk can still be read.
    """

    shut: bool = False
    access: Access
    failed: Callable[[SafeCache, sqlite3.Error], Exception]
    gate: threading.Lock
    inode: tuple[int, int]
    _guard: Callable[[], contextlib.AbstractContextManager[None]]
    _links: set[Link]
    _offers: dict[threading.Thread, Link]
    local: threading.local
    _mutex: threading.Lock

    @classmethod
    def attach(cls, access: Access, patience: float, settings: dict[str, Any],
               guard: Callable[[], contextlib.AbstractContextManager[None]],
               failed: Callable[[SafeCache, sqlite3.Error], Exception]) -> SafeCache:  # fmt: skip
        """The cache of a database that is known to be sound.

        *guard* is held while a connection is made; *failed* makes the error to raise of one that SQLite raised.
        """
        cache: SafeCache = cls.__new__(cls)
        cache._directory, cache._timeout, cache._txn_id = str(access.path.parent), patience, None
        cache._disk = RawDisk(cache._directory)
        cache.__dict__.update(settings)
        cache.access, cache.failed, cache._guard = access, failed, guard
        cache.local, cache._links, cache._mutex = threading.local(), set(), threading.Lock()
        cache.gate, cache._offers = threading.Lock(), {}
        status = access.path.stat()
        cache.inode = status.st_dev, status.st_ino
        with _registry:
            _attached.add(cache)
        return cache

    @property
    def _con(self) -> sqlite3.Connection:
        if "access" not in vars(self):  # a new database, made by diskcache's constructor
            return super()._con  # type: ignore[no-any-return]  # diskcache has no types
        return self.link().con

    def link(self) -> Link:
        """This thread's link, made at its first use."""
        try:
            return self.local.link  # type: ignore[no-any-return]  # threading.local has no types
        except AttributeError:
            return self._new_link()

    def _new_link(self) -> Link:
        with self.gate, self._guard():
            link = self.local.link = self._linked(threading.current_thread())
        self.sweep()
        return link

    def _linked(self, thread: threading.Thread) -> Link:
        link = Link(connect(self.access, self._timeout), self, thread)
        with self._mutex:
            self._links.add(link)
        return link

    def has_link(self) -> bool:
        """Whether this thread has its link, or was made one by `link_for`; waits for nobody."""
        if "link" in self.local.__dict__:
            return True
        here = threading.current_thread()
        if here not in self._offers or not self.gate.acquire(blocking=False):
            return False
        try:
            link = self._offers.pop(here, None)
            if link is not None:
                self.local.link = link
            return link is not None
        finally:
            self.gate.release()

    def link_for(self, thread: threading.Thread) -> None:
        """Make the link of another thread, one that mustn't wait; it takes it when it asks `has_link`."""
        with self.gate, self._guard():
            if thread not in self._offers:
                self._offers[thread] = self._linked(thread)
        self.sweep()

    def sweep(self) -> None:
        """Close what ended threads left.  The main thread runs exit handlers when it counts as ended."""
        main = threading.main_thread()
        with self.gate:  # who forks waits: a child would find SQLite's own locks held that closing takes
            with self._mutex:
                ended = [link for link in self._links if link.thread is not main and not link.thread.is_alive()]
                self._links.difference_update(ended)
            for link in ended:
                self._offers.pop(link.thread, None)
                link.close()

    def retire(self) -> None:
        """Close every connection that is idle; the others close themselves."""
        if "access" not in vars(self):
            super().close()
            return
        self.shut = True
        with self._mutex:
            links, self._links = self._links, set()
        for link in links:
            if link.idle():
                link.close()

    close = retire

    def before_fork(self) -> None:
        """Close all connections; those that stay busy for a second are left to the parent."""
        self.gate.acquire()
        self.shut = True
        here, deadline = threading.current_thread(), time.monotonic() + _FORK_PATIENCE
        with self._mutex:
            links = [link for link in self._links if link.thread is not here or link.idle()]
        while not all(link.idle() for link in links) and time.monotonic() < deadline:
            time.sleep(0.001)
        with self._mutex:
            idle = [link for link in self._links if link.idle()]
            self._links, self.local = self._links.difference(idle), threading.local()
        for link in idle:
            link.close()
        self._offers.clear()

    def after_fork(self) -> None:
        """Go on, in the parent and in the child."""
        self.shut = False
        self.gate.release()

    def after_fork_in_child(self) -> None:
        """The same, where no other thread is left; connections still open are the parent's, and not even closed."""
        self._mutex = threading.Lock()
        _leaked.extend(self._links)
        self._links = set()
        self.shut = False
        gate, self.gate = self.gate, threading.Lock()
        gate.release()  # a thread that this child has started already may wait there


_registry = threading.Lock()
_attached: weakref.WeakSet[SafeCache] = weakref.WeakSet()
_forking: list[SafeCache] = []
_leaked: list[Link] = []


def _before_fork() -> None:
    _registry.acquire()  # until after the fork, so that the child doesn't find it held by a thread it hasn't got
    _forking[:] = [cache for cache in _attached if not cache.shut]
    for cache in _forking:
        cache.before_fork()


def _after_fork(step: Callable[[SafeCache], None]) -> None:
    for cache in _forking:
        step(cache)
    _forking.clear()
    _registry.release()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(SafeCache.after_fork),
    after_in_child=lambda: _after_fork(SafeCache.after_fork_in_child),
)
