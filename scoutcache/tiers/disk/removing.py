"""Removing rows in small transactions, also on a full disk."""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from scoutcache.errors import TierUnavailable
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.faults import Fault, fault_in
from scoutcache.tiers.disk.listing import Range
from scoutcache.tiers.disk.rows import BYTES, DELETE_OLDER, Record
from scoutcache.tiers.disk.space import PAGE
from scoutcache.tiers.disk.stamps import horizon

__all__ = ["Removing"]

T = TypeVar("T")
Item = TypeVar("Item")

_AT_ONCE: Final = 500
_MOST_AT_ONCE: Final = 10_000
_LONG: Final = 0.1
"""Seconds of the write lock that a batch may take: the next one is larger when there is time left.

Rows lie scattered, and pages that several batches change are written by each: 10,000 of a million rows in 20 batches
took 2.3 times as long as one statement.
"""

_VACUUM_PAGES: Final = 256
_GIVEN_BACK: Final = 1 << 14
"""Pages that clearing one namespace gives back; pages of others have to be moved for it, and `maintain` goes on."""


class _Removed(NamedTuple):
    """What one batch did: how many rows, whether there are more, and the number of the last."""

    rows: int
    more: bool
    last: int


_Step = Callable[[int, int, sqlite3.Connection], _Removed]
"""Removes up to that many rows beyond that number."""


class Removing:
    """Deletions, each batch a transaction of its own.

    SQLite writes to its log before it frees anything, so on a full disk a deletion fails too.  Then the ballast is
    given up meanwhile, the log emptied, and the batch tried again; what can be done in parts goes on with a tenth of
    a batch, emptying the log each time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def batch(self, work: Callable[[sqlite3.Connection], T], patience: float | None = None) -> T:
        """Do *work* in a transaction; returns what it returns.  Raises `TierUnavailable`."""
        try:
            return self._database.transact(work, patience)
        except TierUnavailable as error:
            if not self._is_full(error):
                raise
        with self._database.freed():
            try:
                return self._database.transact(work, patience)
            except TierUnavailable as error:
                if not self._is_full(error):
                    raise
            self._empty_log()
            return self._database.transact(work, patience)

    def _is_full(self, error: TierUnavailable) -> bool:
        cause = error.__cause__
        return isinstance(cause, sqlite3.Error) and fault_in(self._database.store.directory, cause) is Fault.FULL

    def outdated(self, records: Sequence[Record], now: float, error: TierUnavailable) -> None:
        """Remove what is older than *records*, which a full disk couldn't take as *error* says: other processes go on
        to read it until it has gone.  What can't be removed either its caller knows of.
        """
        with contextlib.suppress(TierUnavailable):
            if self._is_full(error) and (there := self._there(records)):
                for _ in self.parts(there, partial(_remove_older, horizon(now))):
                    pass

    def _there(self, records: Sequence[Record]) -> list[Record]:
        """Those of which there is something: for the others no ballast is given up."""
        sql = "SELECT 1 FROM Cache WHERE key = ? AND raw = 1"
        with self._database.link() as con:
            return [one for one in records if con.execute(sql, one.values[:1]).fetchone() is not None]

    def keys(self, keys: Sequence[str]) -> int:
        """Remove entries by physical key."""
        return sum(self.parts(keys, _remove_keys))

    def each(self, keys: Sequence[str]) -> set[str]:
        """Remove entries by physical key; those that were there."""
        return set().union(*self.parts(keys, _remove_each))

    def parts(self, items: Sequence[Item], work: Callable[[Sequence[Item], sqlite3.Connection], T]) -> Iterator[T]:
        """Do *work* with some of *items* after the other, each a transaction; what each returns."""
        at, size = 0, _AT_ONCE
        while at < len(items):
            some = items[at : at + size]
            try:
                done = self.batch(partial(work, some))
            except TierUnavailable as error:
                size = self._smaller(len(some), error)
                continue
            at += len(some)
            if size < _AT_ONCE:
                self._empty_log()
            yield done

    def span(self, span: Range | None) -> int:
        """Remove a range of keys, or every row for None."""
        if span is not None:
            removed = self._all(partial(_step_in_range, span))
            self.give_back(_GIVEN_BACK)
            return removed
        removed = self.where("TRUE", ())
        self.batch(lambda con: con.execute("DELETE FROM Chunks").rowcount)
        self.give_back()
        return removed

    def where(self, condition: str, values: Sequence[object]) -> int:
        """Remove the rows that a condition of ours finds."""
        return self._all(partial(_step_in_table, condition, values))

    def _all(self, step: _Step) -> int:
        removed, size, last = 0, _AT_ONCE, -(1 << 63)
        while True:
            started = time.monotonic()
            try:
                done = self.batch(partial(step, size, last))
            except TierUnavailable as error:
                size = self._smaller(size, error)
                continue
            removed, last = removed + done.rows, done.last
            if not done.more:
                return removed
            if size < _AT_ONCE:
                self._empty_log()
            else:
                size = min(size * _larger(time.monotonic() - started), _MOST_AT_ONCE)

    def _smaller(self, size: int, error: TierUnavailable) -> int:
        """How much to do at once after so much failed, the log being empty again; raises *error* where less won't help.
        """
        if not self._is_full(error) or size <= 1:
            raise error
        self._empty_log()
        return max(1, size // 10)

    def give_back(self, most: int = 1 << 20) -> None:
        """Return free pages to the disk, a mebibyte at a time, until at most a tenth of the file is free.

        Pages are moved for that, which needs room in the log: on a full disk a few at a time, or none.
        """
        pages = _VACUUM_PAGES
        while most > 0:
            try:
                if not self._database.alone(partial(_vacuum, pages)):
                    return
            except TierUnavailable as error:
                if not self._is_full(error):
                    raise
                if pages == 1:
                    return  # what was asked for is done, and `maintain` goes on
                pages = max(1, pages // 16)
                self._empty_log()
                continue
            most -= pages
            if pages < _VACUUM_PAGES:
                self._empty_log()
                pages *= 2

    def _empty_log(self) -> None:
        """Copy the write-ahead log into the database and cut it, as far as readers and the disk allow.

        Not where the database would have to grow more than it can: that would take the room it was to make.
        """
        store = self._database.store
        with contextlib.suppress(TierUnavailable, OSError), self._database.link() as con:
            (pages,) = con.execute("PRAGMA page_count").fetchone()
            if pages * PAGE - store.path.stat().st_size <= shutil.disk_usage(store.directory).free:
                # Where this fails, what it was for fails in its turn, and says so.
                con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _larger(taken: float) -> int:
    """How many times as large the next batch may be after one that took so many seconds."""
    return 4 if taken < _LONG / 4 else 2 if taken < _LONG / 2 else 1


def _remove_keys(keys: Sequence[str], con: sqlite3.Connection) -> int:
    return con.executemany("DELETE FROM Cache WHERE key = ? AND raw = 1", [(key,) for key in keys]).rowcount


def _remove_older(latest: float, records: Sequence[Record], con: sqlite3.Connection) -> None:
    con.executemany(DELETE_OLDER, [(one.values[0], one.header.start / 1e9, latest) for one in records])


def _remove_each(keys: Sequence[str], con: sqlite3.Connection) -> set[str]:
    return {key for key in keys if con.execute("DELETE FROM Cache WHERE key = ? AND raw = 1", (key,)).rowcount}


def _step_in_range(span: Range, size: int, last: int, con: sqlite3.Connection) -> _Removed:
    """The first of them by key, in one range: finding each by its number would take a fifth longer."""
    edge = con.execute("SELECT CAST(key AS BLOB) FROM Cache WHERE key >= ? AND key < ? ORDER BY key LIMIT 1 OFFSET ?",
                       (span.low, span.high, size)).fetchone()  # fmt: skip
    sql = f"DELETE FROM Cache WHERE key >= ? AND key < {BYTES}"
    rows = con.execute(sql, (span.low, span.high.encode() if edge is None else edge[0])).rowcount
    return _Removed(rows, edge is not None, last)


def _step_in_table(condition: str, values: Sequence[object], size: int, last: int,
                   con: sqlite3.Connection) -> _Removed:  # fmt: skip
    """In the order of the table, so that each row is looked at once in all."""
    sql = f"SELECT rowid FROM Cache WHERE rowid > ? AND ({condition}) ORDER BY rowid LIMIT ?"
    found = con.execute(sql, (last, *values, size)).fetchall()
    con.executemany("DELETE FROM Cache WHERE rowid = ?", found)
    return _Removed(len(found), len(found) == size, found[-1][0] if found else last)


def _vacuum(most: int, con: sqlite3.Connection) -> bool:
    """Return so many pages if over a tenth is free, and a mebibyte at least; whether there was as much."""
    (pages,), (free,) = (con.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "freelist_count"))
    if free < _VACUUM_PAGES or free * 10 < pages:
        return False
    # It gives back one page for each step, and `execute` takes one step of a statement without columns.
    con.executescript(f"PRAGMA incremental_vacuum({most})")
    return True
