"""Rows by namespace and pattern: listed, counted and removed in batches, so that memory stays flat.

Rule 1: a namespace, and within it the literal beginning of a pattern, is a range of physical keys, and so of the
        index on them; whether a key in the range matches is decided by the one grammar of patterns, on the key the user
        wrote.
Rule 2: no read transaction stays open between two batches: a slow reader of a listing would keep the log from being
        copied, and it would grow without end.
Rule 3: rows are removed by number *and* key, for a number is used again once the highest row is gone.
Rule 4: where the range is much of the table, it is read in the order of the table (on 100,000 entries of 1 KB
        written in random order: 150 ms against 390 ms in the order of keys, which fetches each page anew).
"""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from scoutcache.entry import Listed
from scoutcache.keys import HASHED, physical_prefix, physical_scan_prefix
from scoutcache.patterns import Pattern, escape
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.rows import BYTES, PLAIN, TAG, bounds, header_of, key_bytes
from scoutcache.tiers.disk.space import entry_count

__all__ = ["Range", "listed", "matching", "remove_rows"]

_AT_ONCE = 500


class Range(NamedTuple):
    """The physical keys a listing has to look at: *low* <= key < *high*."""

    low: str
    high: str
    skip: int
    """Characters of the namespace in each of them; 0 when there are several namespaces."""

    @classmethod
    def of(cls, namespace: str | None, pattern: Pattern | None) -> Range:
        """The range of a namespace (None for all) and the literal beginning of a pattern (None for any key)."""
        if namespace is None:
            return cls("", "\U0010ffff", 0)
        prefix = physical_scan_prefix(namespace, pattern.prefix if pattern is not None else "")
        return cls(*bounds(prefix), len(physical_prefix(namespace)))

    @classmethod
    def exactly(cls, namespace: str, pattern: Pattern) -> Range | None:
        """The range that holds what *pattern* matches and nothing else: that of a short prefix and a star."""
        span = cls.of(namespace, pattern)
        whole = span.low == physical_prefix(namespace) + pattern.prefix  # else the prefix reaches into what is hashed
        return span if whole and pattern.text == f"{escape(pattern.prefix)}*" else None


def listed(database: Database, namespace: str | None, pattern: Pattern | None) -> Iterator[Listed]:
    """Entries without their values, expired ones too; rows whose header can't be read are left out."""
    span = Range.of(namespace, pattern)
    every = pattern is None or pattern.matches_all
    batches = _by_number if _is_most(database, span) else _by_key
    for rows in batches(database, span):
        for tag, size, _ in rows:
            header = header_of(tag)
            if header is not None and (every or pattern.matches(header.ref.key)):  # type: ignore[union-attr]  # see `every`
                yield _new(Listed, (header, "disk", size, None))


_new = tuple.__new__
"""Makes a NamedTuple without the Python frame of its own ``__new__``."""

_Row = tuple[object, int, Any]


def _is_most(database: Database, span: Range) -> bool:
    with database.link() as con:
        quarter = entry_count(con) // 4
        sql = "SELECT count(*) FROM (SELECT 1 FROM Cache WHERE key >= ? AND key < ? LIMIT ?)"
        return bool(con.execute(sql, (span.low, span.high, quarter + 1)).fetchone()[0] > quarter)


def _by_key(database: Database, span: Range) -> Iterator[list[_Row]]:
    sql = (f"SELECT {TAG}, size, CAST(key AS BLOB) FROM Cache WHERE key {{}} {BYTES} AND key < ? AND {PLAIN}"
           f" ORDER BY key LIMIT {_AT_ONCE}")  # fmt: skip
    after, compare = span.low.encode(), ">="
    while True:
        with database.link() as con:
            rows = con.execute(sql.format(compare), (after, span.high)).fetchall()
        yield rows
        if len(rows) < _AT_ONCE:
            return
        after, compare = rows[-1][2], ">"


def _by_number(database: Database, span: Range) -> Iterator[list[_Row]]:
    # With the plus the index on keys is not used.  Text is all that lies between two texts, whatever a row has for key.
    sql = (f"SELECT {TAG}, size, rowid FROM Cache WHERE rowid > ? AND +key >= ? AND +key < ? AND {PLAIN}"
           f" ORDER BY rowid LIMIT {_AT_ONCE}")  # fmt: skip
    last = -(1 << 63)
    while True:
        with database.link() as con:
            rows = con.execute(sql, (last, span.low, span.high)).fetchall()
        yield rows
        if len(rows) < _AT_ONCE:
            return
        last = rows[-1][2]


def matching(database: Database, namespace: str, pattern: Pattern, now: float | None = None) -> Iterator[
    list[tuple[int, str]]
]:  # fmt: skip
    """Batches of (number, physical key) of the entries that match; with *now* only those that are not expired."""
    span = Range.of(namespace, pattern)
    fresh = "" if now is None else " AND (expire_time IS NULL OR expire_time > :now)"
    sql = (f"SELECT rowid, key, CASE WHEN instr(key, '{HASHED}') THEN {TAG} END FROM Cache"
           f" WHERE key {{}} CAST(:after AS TEXT) AND key < :high AND raw = 1{fresh}"
           f" ORDER BY key LIMIT {_AT_ONCE}")  # fmt: skip
    after, compare = span.low, ">="
    while True:
        with database.link() as con:
            values = {"after": key_bytes(after), "high": span.high, "now": now}
            rows = con.execute(sql.format(compare), values).fetchall()
        found = [(number, key) for number, key, tag in rows if _matches(pattern, key, tag, span.skip)]
        if found:
            yield found
        if len(rows) < _AT_ONCE:
            return
        after, compare = rows[-1][1], ">"


def _matches(pattern: Pattern, key: str, tag: bytes | None, skip: int) -> bool:
    if tag is None:
        return pattern.matches(key[skip:])
    header = header_of(tag)
    return pattern.matches_all if header is None else pattern.matches(header.ref.key)


def remove_rows(rows: Sequence[tuple[int, str]], con: sqlite3.Connection) -> int:
    """Remove those that are still there."""
    pairs = [(number, key_bytes(key)) for number, key in rows]
    return con.executemany(f"DELETE FROM Cache WHERE rowid = ? AND key = {BYTES}", pairs).rowcount if rows else 0
