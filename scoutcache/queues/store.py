"""A queue of writes on disk, in a database of its own, for any number of processes that put and one that takes.

Rules.

- A write is acknowledged when its transaction is committed and synced to the disk.
- One row per key: a later write takes the place of the earlier one, which is never handed out after it.  It stands in
  line where the earlier one stood, so a key that is written all the time is not put off for ever.
- Each write gets a stamp inside its transaction, later than every stamp before, whatever the clock says.  A stamp names
  the write: what was handed out is removed only if no later write has taken its place meanwhile.
- A dead letter with a later write of its key behind it is *superseded*: to write it now would bring old data back.
- Who takes holds a lock of the kernel's on a file beside the database; it ends with the process, however that ends.
- Files are made 0600 in a folder of 0700 and are never links.  A database that is not ours is refused, not obeyed.
- No connection crosses a fork: all are closed before it, and opened again when they are needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import secrets
import sqlite3
import stat
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote

from scoutcache.entry import NEVER, Sealed
from scoutcache.errors import CacheError
from scoutcache.oplog.files import make_folder, open_private

__all__ = ["Buried", "Queue", "Waiting"]

T = TypeVar("T")

_SCHEMA: Final = (
    "CREATE TABLE Clock (last INTEGER NOT NULL)",
    (
        "CREATE TABLE Dead (stamp INTEGER PRIMARY KEY, key TEXT NOT NULL, attempts INTEGER NOT NULL,"
        " died REAL NOT NULL, error TEXT NOT NULL, superseded INTEGER NOT NULL, entry BLOB NOT NULL)"
    ),
    "CREATE INDEX DeadKey ON Dead (key)",
    (
        "CREATE TABLE Pending (key TEXT PRIMARY KEY, place INTEGER NOT NULL, stamp INTEGER NOT NULL,"
        " source TEXT NOT NULL, attempts INTEGER NOT NULL, due REAL NOT NULL, entry BLOB NOT NULL)"
    ),
    "CREATE INDEX PendingPlace ON Pending (place)",
)
_PATIENCE: Final = 30.0
"""Seconds a write waits for those of other processes."""


class Waiting(NamedTuple):
    """A write that is due: *stamp* names it, *attempts* failed already, *source* is the queue object that put it."""

    key: str
    stamp: int
    source: str
    attempts: int
    sealed: Sealed


class Buried(NamedTuple):
    """A write that failed too often; *died* is seconds since the epoch."""

    key: str
    stamp: int
    attempts: int
    died: float
    error: str
    superseded: bool
    sealed: Sealed


class Queue:
    """The queue *name* of *namespace* below *folder*; raises `CacheError` where there can be none."""

    def __init__(self, folder: Path, namespace: str, name: str) -> None:
        self.path = folder / f"{_file_name(namespace, name)}.db"
        self.source = secrets.token_hex(8)
        self._mutex = threading.Lock()
        self._con: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._claim: int | None = None
        self._closed = False
        self._do(lambda _: None)
        _queues.add(self)

    # -- putting

    def put(self, entries: Sequence[tuple[str, Sealed]], stamp: Callable[[], int]) -> list[int]:
        """Keep *entries* in one transaction; their stamps, each at least what *stamp* says.

        When it returns they are on the disk.  Raises `CacheError`, and then nothing is kept.
        """

        def work(con: sqlite3.Connection) -> list[int]:
            last: int = con.execute("SELECT last FROM Clock").fetchone()[0]
            stamps = []
            for key, sealed in entries:
                last = max(last + 1, stamp())
                stamps.append(last)
                con.execute(
                    "INSERT INTO Pending VALUES (?1, ?2, ?2, ?3, 0, 0, ?4) ON CONFLICT (key) DO UPDATE"
                    " SET stamp = ?2, source = ?3, attempts = 0, due = 0, entry = ?4",
                    (key, last, self.source, _packed(sealed)),
                )
            con.execute("UPDATE Clock SET last = ?", (last,))
            return stamps

        return self._do(work)

    def get(self, key: str) -> Sealed | None:
        """What is pending for *key*."""
        sql = "SELECT entry FROM Pending WHERE key = ?"
        found = self._do(lambda con: con.execute(sql, (key,)).fetchone(), write=False)
        return None if found is None else _unpacked(found[0])

    def count(self) -> int:
        """How many writes are pending."""
        return int(self._do(lambda con: con.execute("SELECT count(*) FROM Pending").fetchone()[0], write=False))

    # -- taking

    def claim(self) -> bool:
        """Be the one process that takes; False while another one is, or another queue object of this process."""
        with self._mutex:
            if self._claim is not None and _stands(self._lock_path, os.fstat(self._claim)):
                return True
            self._let_go()
            if self._closed:
                return False
            try:
                fd = open_private(self._lock_path, os.O_RDWR | os.O_CREAT)
            except OSError as error:
                raise CacheError(f"{self._lock_path}: no lock can be made there: {error.strerror}") from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                return False
            self._claim = fd
            return True

    def due(self, now: float, size: Callable[[int], int], longest: float = NEVER) -> list[Waiting]:
        """The writes to hand out together: those that failed equally often, at most ``size(attempts)`` of them.

        What is not due within *longest* seconds is due now: somebody has set the clock back.
        """

        def work(con: sqlite3.Connection) -> list[Waiting]:
            sql = "SELECT attempts FROM Pending WHERE due NOT BETWEEN ? AND ? ORDER BY place LIMIT 1"
            later = math.nextafter(now, NEVER), now + longest
            if (first := con.execute(sql, later).fetchone()) is None:
                return []
            sql = ("SELECT key, stamp, source, attempts, entry FROM Pending WHERE due NOT BETWEEN ? AND ?"
                   " AND attempts = ? ORDER BY place LIMIT ?")  # fmt: skip
            rows = con.execute(sql, (*later, first[0], size(first[0])))
            return [Waiting(key, stamp, source, attempts, _unpacked(entry))
                    for key, stamp, source, attempts, entry in rows]  # fmt: skip

        return self._do(work, write=False)

    def done(self, rows: Iterable[Waiting]) -> None:
        """They arrived."""
        named = [(row.key, row.stamp) for row in rows]

        def work(con: sqlite3.Connection) -> None:
            con.executemany("DELETE FROM Pending WHERE key = ? AND stamp = ?", named)
            con.executemany("UPDATE Dead SET superseded = 1 WHERE key = ? AND stamp < ?", named)

        self._do(work)

    def failed(self, rows: Iterable[tuple[Waiting, float]]) -> None:
        """They didn't; each is to be tried again at its time, seconds since the epoch."""
        sql = "UPDATE Pending SET attempts = attempts + 1, due = ? WHERE key = ? AND stamp = ?"
        named = [(due, row.key, row.stamp) for row, due in rows]
        self._do(lambda con: con.executemany(sql, named))

    def bury(self, rows: Sequence[Waiting], error: str, now: float) -> None:
        """They failed for the last time: keep them as dead letters."""

        def work(con: sqlite3.Connection) -> None:
            for row in rows:
                name = (row.key, row.stamp)
                con.execute("UPDATE Dead SET superseded = 1 WHERE key = ? AND stamp < ?", name)
                con.execute(
                    "INSERT INTO Dead SELECT stamp, key, ?, ?, ?, 0, entry FROM Pending WHERE key = ? AND stamp = ?",
                    (row.attempts + 1, now, error, *name),
                )
                con.execute("DELETE FROM Pending WHERE key = ? AND stamp = ?", name)

        self._do(work)

    # -- dead letters

    def buried(self) -> list[Buried]:
        """The dead letters, oldest first."""
        sql = "SELECT key, stamp, attempts, died, error, superseded, entry FROM Dead ORDER BY stamp"
        rows = self._do(lambda con: con.execute(sql).fetchall(), write=False)
        return [Buried(key, stamp, attempts, died, error, bool(superseded), _unpacked(entry))
                for key, stamp, attempts, died, error, superseded, entry in rows]  # fmt: skip

    def revive(self, keys: Sequence[str] | None) -> int:
        """Put dead letters (of *keys*, or all) back in line, but for the superseded; how many."""

        def work(con: sqlite3.Connection) -> int:
            revived = 0
            for stamp, key in con.execute("SELECT stamp, key FROM Dead WHERE superseded = 0 ORDER BY stamp").fetchall():
                if keys is None or key in keys:
                    revived += con.execute(
                        "INSERT INTO Pending SELECT key, stamp, stamp, ?, 0, 0, entry FROM Dead WHERE stamp = ?"
                        " ON CONFLICT (key) DO NOTHING",
                        (self.source, stamp),
                    ).rowcount
            con.execute("DELETE FROM Dead WHERE stamp IN (SELECT stamp FROM Pending)")
            return revived

        return self._do(work)

    def discard(self, keys: Sequence[str] | None) -> int:
        """Throw dead letters (of *keys*, or all) away; how many."""

        def work(con: sqlite3.Connection) -> int:
            if keys is None:
                return con.execute("DELETE FROM Dead").rowcount
            return sum(con.execute("DELETE FROM Dead WHERE key = ?", (key,)).rowcount for key in keys)

        return self._do(work)

    def close(self) -> None:
        """Let go of the database and of the claim; idempotent."""
        with self._mutex:
            self._closed = True
            self._disconnect()
            self._let_go()

    # -- the database

    @property
    def _lock_path(self) -> Path:
        return self.path.with_suffix(".lock")

    def _do(self, work: Callable[[sqlite3.Connection], T], *, write: bool = True) -> T:
        """Do *work* in a transaction.  Raises `CacheError`."""
        with self._mutex:
            try:
                con = self._connected()
                con.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    result = work(con)
                    con.execute("COMMIT")
                except BaseException:
                    if con.in_transaction:
                        con.execute("ROLLBACK")
                    raise
                return result
            except (sqlite3.Error, OSError) as error:
                self._disconnect()
                raise CacheError(
                    f"the queue {self.path} can't be used: {error}", hint="what it acknowledged before is kept"
                ) from error

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise CacheError("the queue is closed", hint="open the cache again")
        if self._con is not None and _stands(self.path, self._inode):
            return self._con
        self._disconnect()
        self._con = self._open()
        return self._con

    def _open(self) -> sqlite3.Connection:
        make_folder(self.path.parent)
        _refuse_foreign(self.path)
        con = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            # FULL: an acknowledged write survives a power cut as well.
            con.executescript("PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON;"
                              "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")  # fmt: skip
            con.execute("BEGIN IMMEDIATE")
            _prepare(con, self.path)
            con.execute("COMMIT")
        except BaseException:
            con.close()
            raise
        status = self.path.lstat()
        self._inode = status.st_dev, status.st_ino
        return con

    def _disconnect(self) -> None:
        con, self._con = self._con, None
        if con is not None:
            con.close()

    def _let_go(self) -> None:
        fd, self._claim = self._claim, None
        if fd is not None:
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    # -- forks

    def before_fork(self) -> None:
        """Nobody is in the middle of anything, and no connection is open."""
        self._mutex.acquire()
        self._disconnect()

    def after_fork(self, *, child: bool) -> None:
        """Go on; in the child the claim is its parent's."""
        if child:
            self.source = secrets.token_hex(8)
            fd, self._claim = self._claim, None
            if fd is not None:
                os.close(fd)  # without unlocking, which would unlock the parent's
        self._mutex.release()


def _file_name(namespace: str, name: str) -> str:
    """Readable, and different for any two queues."""
    shown = f"{quote(namespace, safe='')[:60]}.{quote(name, safe='')[:60]}"
    return f"{shown}.{hashlib.sha256(f'{len(namespace)}:{namespace}:{name}'.encode()).hexdigest()[:12]}"


def _stands(path: Path, status: os.stat_result | tuple[int, int]) -> bool:
    """Is the file at *path* still that one?  A removed cache directory takes its queues along."""
    identity = (status.st_dev, status.st_ino) if isinstance(status, os.stat_result) else status
    try:
        there = path.lstat()
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == identity


def _refuse_foreign(path: Path) -> None:
    """Make the file where there is none; refuse one that is a link, somebody else's or open to others."""
    try:
        os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise CacheError(f"{path} is a link, or not this user's own file", hint="remove it") from None
        if status.st_mode & 0o077:
            path.chmod(0o600)


def _prepare(con: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty database; compare those there are."""
    found = {sql for (sql,) in con.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if not found:
        for statement in _SCHEMA:
            con.execute(statement)
        con.execute("INSERT INTO Clock VALUES (0)")
    elif found != set(_SCHEMA):
        raise CacheError(f"{path} is no queue of this version", hint="move it away, or use the version that made it")


def _packed(sealed: Sealed) -> bytes:
    parts = (sealed.head, *sealed.chunks)
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _unpacked(blob: bytes) -> Sealed:
    """What `_packed` packed; of bytes that it didn't write, some entry that is not sound."""
    parts, at = [], 0
    while at < len(blob):
        end = at + 8 + int.from_bytes(blob[at : at + 8], "big")
        parts.append(blob[at + 8 : end])
        at = end
    return Sealed(parts[0] if parts else b"", tuple(parts[1:]))


_queues: weakref.WeakSet[Queue] = weakref.WeakSet()
_forking: list[Queue] = []


def _before_fork() -> None:
    for queue in list(_queues):
        queue.before_fork()
        _forking.append(queue)


def _after_fork(*, child: bool) -> None:
    while _forking:
        _forking.pop().after_fork(child=child)


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(child=False),
    after_in_child=lambda: _after_fork(child=True),
)
