"""The database file of a directory: made, compared and opened, and set aside where it is damaged.

Rules.

- Opening, comparing and setting aside happen under the directory's lock (`lock.opening`), connecting too.
- A database found damaged is set aside by whoever opens it next, once for all that found it so.
- The limit that a store records applies, in every process; where the configuration says another, that is a difference.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scoutcache.errors import TierUnavailable
from scoutcache.tiers.disk import schema
from scoutcache.tiers.disk.ballast import Ballast
from scoutcache.tiers.disk.faults import HINTS, Fault, fault_in, fault_of
from scoutcache.tiers.disk.lock import opening
from scoutcache.tiers.disk.place import foreign_file, prepare, set_aside
from scoutcache.tiers.disk.safe import DATABASE, Access, SafeCache, connect
from scoutcache.tiers.disk.space import LEAST_LOG, PAGE, Space

__all__ = ["Store"]

Failed = Callable[[SafeCache, sqlite3.Error], Exception]
"""Says what to raise for an error that an open database meets."""

_OPENING_PATIENCE: Final = 30.0
_LARGEST_LIMIT: Final = 1 << 60


class Store:
    """What stands in *directory*; *max_bytes* is what a new database records as its limit.

    Statements wait for *timeout* seconds, opening longer.  *warn* hears of a database that is set aside, under a name
    with the time by *wall*.
    """

    def __init__(self, directory: Path, max_bytes: int, timeout: float,
                 warn: Callable[[str], None], wall: Callable[[], float]) -> None:  # fmt: skip
        self.directory, self.path = directory, directory / DATABASE
        self.space = Space(max_bytes)
        self.differences: list[str] = []
        self.read_only = False
        self.ballast = Ballast(directory)
        self._asked, self._timeout, self._warn, self._wall = max_bytes, timeout, warn, wall
        self._damaged: tuple[tuple[int, int], str] | None = None
        """The inode of a database that was found damaged, and what was wrong with it."""
        self.lost: list[str] = []
        """What was wrong with those that were set aside, until somebody is told."""
        self.losses = 0

    def open(self, failed: Failed) -> SafeCache:
        """The database that stands there now, or a new one.

        Raises `CacheError`, `sqlite3.Error` or `OSError` where it can't be had.
        """
        self.read_only = not prepare(self.directory)
        if self.read_only:
            return self._open_read_only(failed)
        while True:
            try:
                return self._open_under_lock(failed)
            except (sqlite3.Error, OSError) as error:
                # Not all of it: whoever closes a database copies its log, and would take what a deletion needs.
                if fault_in(self.directory, error) is not Fault.FULL or not self.ballast.halve():
                    raise

    @property
    def log_pages(self) -> int:
        """Pages the write-ahead log may hold: of a small file system a 64th.

        What stands in the log of pages that the database hasn't yet has to be copied there before the log can be cut:
        on a full disk the ballast must be enough for that.
        """
        try:
            disk = os.statvfs(self.directory)
        except OSError:
            return self.space.log_pages
        return min(self.space.log_pages, max(LEAST_LOG, disk.f_blocks * disk.f_frsize // 64 // PAGE))

    def is_there(self, cache: SafeCache) -> bool:
        """Whether the file that stands there is still the one that is open."""
        return self._inode() == cache.inode

    def found_damaged(self, cache: SafeCache, reason: str) -> None:
        """Whoever opens it next sets it aside."""
        self._damaged = cache.inode, reason

    def go_by(self, max_bytes: int) -> None:
        """Go by the limit that was asked for and has just been recorded."""
        self.space, self._asked, self.differences = self.space.resized(max_bytes), max_bytes, []

    def follow(self, con: sqlite3.Connection) -> str | None:
        """Go by what the store records; what is wrong with that, None when nothing is.

        Raises `TierUnavailable` for a format that this version doesn't know.
        """
        recorded = schema.recorded(con)
        form, limit = recorded.get("format", 0), recorded.get("max_bytes", 0)
        if form > schema.FORMAT:
            raise TierUnavailable("disk", f"{self.path} has format {form}; this version knows {schema.FORMAT}",
                                  hint="upgrade scoutcache, or name another directory")
        if form != schema.FORMAT or not 0 < limit < _LARGEST_LIMIT:
            return "it doesn't record its format and limits"
        if limit != self.space.max_bytes:
            self.space = self.space.resized(limit)
        self.differences = []
        if limit != self._asked:
            self.differences.append(f"max_bytes: the store in {self.directory} was made with {limit}, the configuration"
                                    f" says {self._asked}; the store's limit applies")  # fmt: skip
        return None

    def _open_under_lock(self, failed: Failed) -> SafeCache:
        access = Access(self.path, "rw", self.log_pages)
        with opening(self.directory, max(self._timeout, _OPENING_PATIENCE)):
            for _ in range(2):
                reason = foreign_file(self.directory) or self._known_damage()
                if reason is None and not self.path.exists():
                    schema.create(self.directory, {"max_bytes": self._asked})
                    self.ballast.load(self._asked)
                reason = reason or self._compare(access)
                if reason is None:
                    return self._attach(access, failed)
                self._put_aside(reason)
        raise TierUnavailable("disk", f"{self.path} was damaged when it was created", hint="check the disk itself")

    def _open_read_only(self, failed: Failed) -> SafeCache:
        """Where nothing can be written, not even a lock: with SQLite's locks if it can have them, else without."""
        log = self.path.with_name(f"{DATABASE}-wal")
        access = Access(self.path, "ro", self.space.log_pages)
        if (reason := foreign_file(self.directory)) is None:
            try:
                reason = self._compare(access)
            except sqlite3.OperationalError:
                if log.exists() and log.stat().st_size:
                    raise
                access = access._replace(mode="ro&immutable=1")
                reason = self._compare(access)
        if reason is not None:
            raise TierUnavailable("disk", f"{self.path} can't be used: {reason}", hint=HINTS[Fault.READ_ONLY])
        return self._attach(access, failed)

    def _compare(self, access: Access) -> str | None:
        """What is wrong with the database, None when nothing is; takes over its limits."""
        try:
            con = connect(access, _OPENING_PATIENCE)
        except sqlite3.DatabaseError as error:
            return _damage(error)
        try:
            return schema.difference(con, immutable="immutable" in access.mode) or self.follow(con)
        except sqlite3.DatabaseError as error:
            return _damage(error)
        finally:
            con.close()

    def _attach(self, access: Access, failed: Failed) -> SafeCache:
        patience = self._timeout

        def guard() -> contextlib.AbstractContextManager[None]:
            return contextlib.nullcontext() if access.mode != "rw" else opening(self.directory, patience)

        access = access._replace(log_pages=self.log_pages)
        return SafeCache.attach(access, patience, schema.SETTINGS, guard, failed)

    def _known_damage(self) -> str | None:
        """What was found wrong with the file that stands there, None for another one; the directory's lock is held."""
        damaged, self._damaged = self._damaged, None
        return damaged[1] if damaged is not None and self._inode() == damaged[0] else None

    def _put_aside(self, reason: str) -> None:
        name = set_aside(self.directory, self._wall())
        self.lost.append(reason)
        self.losses += 1
        self._warn(f"the database in {self.directory} can't be used ({reason}); it was set aside as {name} and a new"
                   " one takes its place")  # fmt: skip

    def _inode(self) -> tuple[int, int] | None:
        try:
            status = self.path.lstat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def _damage(error: sqlite3.DatabaseError) -> str:
    if fault_of(error) is not Fault.DAMAGED:
        raise error
    return str(error)
