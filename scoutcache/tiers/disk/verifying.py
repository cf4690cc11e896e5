"""Looking at everything a store holds: SQLite's own check, then every envelope.

Rule 1: what the columns say of an entry must be what its envelope says: a row that was copied onto another key, or
        whose expiry was moved, is corrupt.
Rule 2: an entry that this process only lacks the means to read (a class, a dictionary) is sound; one that it has no key
        for is counted as unverified, and stays.
"""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from scoutcache.entry import NEVER, Sealed
from scoutcache.keys import physical_key
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.listing import remove_rows
from scoutcache.tiers.disk.removing import Removing
from scoutcache.tiers.disk.rows import FOREIGN, ORPHANED, PLAIN, TAG, VALUE, header_of, key_bytes, read_whole
from scoutcache.tiers.judging import Judged, judge

if TYPE_CHECKING:
    from scoutcache.wire.codec import Codec

__all__ = ["verify"]

_AT_ONCE = 100


def verify(database: Database, removing: Removing, codec: Codec, *, repair: bool) -> dict[str, Any]:
    """See `DiskTier.verify`."""
    with database.link() as con:
        integrity = "; ".join(text for (text,) in con.execute("PRAGMA integrity_check(20)"))
        foreign = con.execute(f"SELECT count(*) FROM Cache WHERE {FOREIGN}").fetchone()[0]
        orphaned = con.execute(f"SELECT count(*) FROM Chunks WHERE {ORPHANED}").fetchone()[0]
    entries, removed, unverified, corrupt = 0, 0, 0, []
    for batch in _batches(database):
        judged = [_judged(database, codec, row) for row in batch]
        bad = [row for row, found in zip(batch, judged, strict=True) if found == "corrupt"]
        unverified += judged.count("unverified")
        entries += len(batch)
        corrupt += [_key_of(row) for row in bad]
        if repair and bad:
            pairs = [(row[0], row[1]) for row in bad]
            removed += removing.batch(partial(remove_rows, pairs))
    if repair and integrity != "ok":
        database.give_up(integrity)
    elif repair:
        removed += removing.where(FOREIGN, ())
        removing.batch(lambda con: con.execute(f"DELETE FROM Chunks WHERE {ORPHANED}").rowcount)
    return {"integrity": integrity, "entries": entries, "corrupt": corrupt, "foreign": foreign, "orphaned": orphaned,
            "unverified": unverified, "removed": removed}  # fmt: skip


_Found = tuple[int, str, object, object, float | None, float, int]


def _batches(database: Database) -> Iterator[list[_Found]]:
    sql = (f"SELECT rowid, key, {VALUE}, {TAG}, expire_time, store_time, access_count FROM Cache"
           f" WHERE rowid > ? AND {PLAIN} AND typeof(key) = 'text' ORDER BY rowid LIMIT {_AT_ONCE}")  # fmt: skip
    last = -(1 << 63)
    while True:
        with database.link() as con:
            rows = con.execute(sql, (last,)).fetchall()
        if rows:
            yield rows
            last = rows[-1][0]
        if len(rows) < _AT_ONCE:
            return


def _key_of(row: _Found) -> str:
    listed = header_of(row[3])
    return key_bytes(row[1]).decode(errors="replace") if listed is None else listed.ref.key


def _judged(database: Database, codec: Codec, row: _Found) -> Judged:
    _, key, head, tag, expires, start, chunks = row
    listed = header_of(tag)
    if listed is None or type(head) is not bytes or physical_key(listed.ref) != key:
        return "corrupt"
    sealed = Sealed(head)
    if chunks:
        with database.link() as con:
            whole = read_whole(con, key, -math.inf)
        if whole is None or whole.head != head:
            return "sound"  # another one by now
        sealed = whole
    header, judged = judge(codec, listed.ref, sealed)
    as_listed = (NEVER if expires is None else expires, start) == (listed.expires, listed.start / 1e9)
    return judged if header == listed and as_listed else "corrupt"
