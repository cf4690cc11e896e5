"""What an entry is as a row, and the statements that read and write rows.

Every row written has ``raw = 1``, ``mode = 1`` and no *filename*.  Reading looks at none of them but takes the bytes in
*value* and nothing else, so what a foreign row says of itself has no effect: to the codec it is a corrupt entry.
Listings leave such rows out, `verify` counts them, `prune` removes them.
"""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from scoutcache.entry import NEVER, Header, Row, Sealed
from scoutcache.keys import physical_key
from scoutcache.tiers.disk.safe import LONGEST
from scoutcache.tiers.disk.stamps import WINS

__all__ = [
    "AT_ONCE", "BYTES", "DELETE_OLDER", "FOREIGN", "NO_ENTRY", "ORPHANED", "PLAIN", "READ", "TAG", "UPSERT", "VALUE",
    "Record", "bounds", "expired_among", "header_of", "key_bytes", "read_one", "read_rows", "read_whole", "record",
]  # fmt: skip

PLAIN: Final = "raw = 1 AND mode = 1 AND filename IS NULL"

FOREIGN: Final = "(raw IS NOT 1 OR mode IS NOT 1 OR filename IS NOT NULL OR typeof(key) != 'text')"

BYTES: Final = "CAST(? AS TEXT)"
"""The place of a key bound as `key_bytes`: a foreign one may be no UTF-8, and Python binds no such text."""

VALUE: Final = f"CASE WHEN length(value) <= {LONGEST} THEN value END"
"""The value, NULL for one that is longer than any of ours: where many rows are read, one must not spoil the rest."""

TAG: Final = f"CASE WHEN length(tag) <= {LONGEST} THEN tag END"
"""The same for the header kept for listings."""

ORPHANED: Final = "NOT EXISTS (SELECT 1 FROM Cache WHERE Cache.rowid = Chunks.owner)"

_FRESH: Final = "(expire_time IS NULL OR expire_time > ?)"

READ: Final = f"SELECT value, access_count FROM Cache WHERE key = ? AND raw = 1 AND {_FRESH}"

_READ_CHUNKS: Final = (
    "SELECT Chunks.data FROM Cache JOIN Chunks ON Chunks.owner = Cache.rowid WHERE Cache.key = ? AND Cache.raw = 1"
    " ORDER BY Chunks.n"
)

DELETE_OLDER: Final = "DELETE FROM Cache WHERE key = ? AND raw = 1 AND (store_time <= ? OR store_time > ?)"
"""Parameters: the key, the start of what could not replace it, and the `horizon`."""

UPSERT: Final = (
    "INSERT INTO Cache (key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value)"
    " VALUES (?, 1, ?, ?, ?, ?, ?, ?, 1, NULL, ?)"
    # The row keeps its number: with a new one for each write, rows would stand in the order in which they are to be
    # pruned, but a set would write 7 pages and not 3 (plain diskcache: 5).
    " ON CONFLICT (key, raw) DO UPDATE SET"
    " store_time = excluded.store_time, expire_time = excluded.expire_time, access_time = excluded.access_time,"
    " access_count = excluded.access_count, tag = excluded.tag, size = excluded.size, mode = 1, filename = NULL,"
    " value = excluded.value"
    f" WHERE {WINS} OR Cache.mode IS NOT 1 OR Cache.filename IS NOT NULL"
    " OR typeof(Cache.store_time) != 'real'"
)

AT_ONCE: Final = 512
"""Keys that one statement reads."""


class Record(NamedTuple):
    """An entry about to be written: the parameters of `UPSERT`, and what goes into ``Chunks``."""

    header: Header
    values: tuple[object, ...]
    chunks: tuple[bytes, ...]
    size: int
    renews: str | None
    replaces: bool


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Header).decode


def record(row: Row) -> Record:
    """The row as it is stored; sealing happens here, before any lock is taken."""
    header, sealed = row.header, row.sealed
    size = sealed.size
    expires = None if header.expires == NEVER else header.expires
    values = (physical_key(header.ref), header.start / 1e9, expires, header.created, len(sealed.chunks), _pack(header),
              size, sealed.head)  # fmt: skip
    return Record(header, values, sealed.chunks, size, row.renews, row.replaces)


def key_bytes(key: str) -> bytes:
    """A physical key as a database gave it, for binding it again."""
    return key.encode(errors="surrogateescape")


def header_of(tag: object) -> Header | None:
    """The header kept beside an entry for listings; None for bytes that are none."""
    if type(tag) is not bytes:
        return None
    try:
        return _unpack(tag)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_rows(con: sqlite3.Connection, keys: Sequence[str], now: float) -> list[tuple[int, object, int]]:
    """Which of at most `AT_ONCE` keys are there and not expired: place in *keys*, value and number of chunks.

    The place and not the key, which would have to be copied, hashed and looked up again: a third of the whole.
    """
    try:
        return _looked_up(con, "place, value, access_count", keys, _FRESH, now)
    except sqlite3.DataError:  # one is longer than any of ours, and must not spoil the rest
        return _looked_up(con, f"place, {VALUE}, access_count", keys, _FRESH, now)


def expired_among(con: sqlite3.Connection, keys: Sequence[str], now: float) -> list[int]:
    """The places in *keys*, at most `AT_ONCE`, of those that are there and expired."""
    return [place for (place,) in _looked_up(con, "place", keys, "expire_time <= ?", now)]


def _looked_up(con: sqlite3.Connection, columns: str, keys: Sequence[str], when: str, now: float) -> list[Any]:
    places = 1 << (len(keys) - 1).bit_length()
    return con.execute(_looking_up(columns, places, when), (*keys, *(None,) * (places - len(keys)), now)).fetchall()


@cache
def _looking_up(columns: str, places: int, when: str) -> str:
    """The statement for so many keys.

    Sizes are powers of two, so that few statements are ever compiled; the rest is filled up with NULL, which is no key.
    A join with a list of rows, for ``IN`` would first put the keys into a table of its own and sort them.
    """
    wanted = ",".join(f"({place},?)" for place in range(places))
    return (f"WITH wanted (place, key) AS (VALUES {wanted})"
            f" SELECT {columns} FROM wanted CROSS JOIN Cache ON Cache.key = wanted.key AND raw = 1 WHERE {when}")


def bounds(prefix: str) -> tuple[str, str]:
    """The half-open range of texts that begin with *prefix*, in SQLite's order, which is that of code points."""
    last = ord(prefix[-1]) + 1
    if last > 0x10FFFF:
        return prefix, bounds(prefix[:-1])[1]
    return prefix, prefix[:-1] + chr(0xE000 if 0xD800 <= last < 0xE000 else last)


def read_one(con: sqlite3.Connection, key: str, now: float) -> Sealed | None:
    """An entry.  What can't be one is handed up as no bytes at all, which no codec takes for an entry."""
    try:
        row = con.execute(READ, (key, now)).fetchone()
        if row is None:
            return None
        head, chunks = row
        if chunks:
            return read_whole(con, key, now)
    except sqlite3.DataError:  # longer than any of ours
        return NO_ENTRY
    return Sealed(head) if type(head) is bytes else NO_ENTRY


NO_ENTRY: Final = Sealed(b"")
"""What is handed up for a row that can't be an entry."""


def read_whole(con: sqlite3.Connection, key: str, now: float) -> Sealed | None:
    """An entry and its chunks from one snapshot."""
    con.execute("BEGIN")
    try:
        row = con.execute(READ, (key, now)).fetchone()
        chunks = con.execute(_READ_CHUNKS, (key,)).fetchall() if row is not None else []
    finally:
        con.execute("ROLLBACK")
    if row is None:
        return None
    if type(row[0]) is not bytes:
        return NO_ENTRY
    return Sealed(row[0], tuple([chunk for (chunk,) in chunks if type(chunk) is bytes]))
