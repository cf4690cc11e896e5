"""Removing rows in small transactions, also on a full disk."""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial

from scoutcache.errors import TierUnavailable
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.faults import Fault, fault_of
from scoutcache.tiers.disk.listing import Range

__all__ = ["Removing"]

_AT_ONCE = 500


class Removing:
    """Deletions, each batch a transaction of its own.

    SQLite writes to its log before it frees anything, so on a full disk a deletion fails too.  Then the ballast is
    given up, the log copied, and the batch tried again; clearing goes on with a tenth of a batch, copying the log each
    time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def batch(self, work: Callable[[sqlite3.Connection], int], patience: float | None = None) -> int:
        """Do *work* in a transaction; returns what it returns.  Raises `TierUnavailable`."""
        try:
            return self._once(work, patience)
        except TierUnavailable as error:
            if not _is_full(error):
                raise
            self._database.freeing()
            self.copy_log()
        return self._once(work, patience)

    def keys(self, keys: Sequence[str]) -> int:
        """Remove entries by physical key."""
        removed = 0
        for at in range(0, len(keys), _AT_ONCE):
            some = [(key,) for key in keys[at : at + _AT_ONCE]]
            removed += self.batch(partial(_remove_keys, some))
        return removed

    def span(self, span: Range | None) -> int:
        """Remove a range of keys, or every row for None."""
        where, bounds = ("", ()) if span is None else ("WHERE key >= ? AND key < ?", (span.low, span.high))
        removed = self.where(where, bounds)
        if span is None:
            self.batch(lambda con: con.execute("DELETE FROM Chunks").rowcount)
        return removed

    def where(self, where: str, values: Sequence[object]) -> int:
        """Remove the rows that a condition of ours finds, in batches."""
        sql = f"DELETE FROM Cache WHERE rowid IN (SELECT rowid FROM Cache {where} LIMIT ?)"
        removed, size = 0, _AT_ONCE
        while True:
            try:
                some = self.batch(partial(_execute, sql, (*values, size)))
            except TierUnavailable as error:
                if not _is_full(error) or size == 1:
                    raise
                size = max(1, size // 10)
                self.copy_log()
                continue
            removed += some
            if some < size:
                return removed
            if size < _AT_ONCE:
                self.copy_log()

    def copy_log(self) -> None:
        """Copy the write-ahead log into the database and cut it, as far as readers allow."""
        with self._database.link() as con:
            con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _once(self, work: Callable[[sqlite3.Connection], int], patience: float | None) -> int:
        with self._database.transaction(patience) as con:
            return work(con)


def _remove_keys(keys: Sequence[tuple[str]], con: sqlite3.Connection) -> int:
    return con.executemany("DELETE FROM Cache WHERE key = ? AND raw = 1", keys).rowcount


def _execute(sql: str, values: Sequence[object], con: sqlite3.Connection) -> int:
    return con.execute(sql, values).rowcount


def _is_full(error: TierUnavailable) -> bool:
    return isinstance(error.__cause__, sqlite3.Error) and fault_of(error.__cause__) is Fault.FULL
