"""How much a database holds, how much it may, and what goes first when it is too much.

Rules.

- What counts is the larger of the entries' bytes (their heads and chunks) and the database's pages in use, which hold
  keys, indexes and versions too.  A database always has its first 256 KiB of pages; below that only entries count.
- A commit never leaves more than the limit: whoever writes looks before committing, and removes in the same
  transaction.
- A write removes what it needs and a sixteenth of the limit at most beyond, so that not every write has to, and never
  rows of its own transaction.  What doesn't fit though all others were gone is not taken, and nothing goes for it.
- From 5 MB up a directory takes at most 1.1 times its limit: what the log (3 % of the limit, 16 MiB at most), the
  ballast (a 64th, 256 KiB to 1 MiB) and the pages changed by one transaction (a ninth, 1 MB at most: evicting a hundred
  small rows changes three pages for each) leave of that is the database's, if it is less than the limit.  What is
  written in one call of more than a sixteenth of the limit stands in the log, and in the database before older entries
  are gone from there: the directory grows by about three times its bytes, until the next write.
- `maintain`, called in the background, brings it below the limit itself, to 97 % of it, in small transactions.
- Removed are: what is expired; then what was written longest ago, found without an index for it.  A hand goes over the
  table in the order in which keys first came (rows keep their number when they are written again).  It removes a row
  unless that was written again lately, later than the row in the middle of the table, and then moves it to the end; of
  each batch at least the older half is removed, so that the work is bounded.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final

from scoutcache.tiers.disk.ballast import ballast_bytes
from scoutcache.tiers.disk.rows import Record

__all__ = [
    "BATCH", "LEAST_LOG", "PAGE", "Space", "TooMuch", "batch_for", "delete_expired", "delete_oldest", "entry_bytes",
    "entry_count",
]  # fmt: skip

PAGE: Final = 4096
_FLOOR: Final = (256 << 10) // PAGE

BATCH: Final = 128
"""Rows looked at in one step: about 3 ms of the write lock."""

LEAST_LOG: Final = 64
"""Pages."""

_INDEX_OF_LOG: Final = 32 << 10

_CHANGED: Final = 1_000_000

_ROOM: Final = 256 << 10
"""Bytes a write makes room for beyond its own, so that not every write has to."""

_BOUNDED: Final = 5_000_000
"""From this limit up a directory takes at most 1.1 times of it; below, what stands beside the database would leave it
too little of that."""


class TooMuch(Exception):
    """Records that don't fit into the store, even if nothing but their transaction were there."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records


class Space:
    """The limit of a store and what its entries take; `check` is asked inside each write."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.log_pages = min(4096, max(LEAST_LOG, max_bytes * 3 // 100 // PAGE))
        """Pages the write-ahead log may hold before a commit copies them into the database.

        Copying costs a set that does it milliseconds (two calls of fsync), and less per set the longer the log is;
        `maintain` mostly does it before.
        """
        beside = self.log_pages * PAGE + ballast_bytes(max_bytes) + _INDEX_OF_LOG + min(_CHANGED, max_bytes // 9)
        most = max_bytes if max_bytes < _BOUNDED else min(max_bytes, max_bytes * 11 // 10 - beside)
        self._in_pages = max(_FLOOR * PAGE, most)
        """Bytes of pages the database may use."""
        self._most_pages = self._in_pages // PAGE
        self._left: deque[Counter[str]] = deque()

    def check(self, con: sqlite3.Connection, records: Sequence[Record], now: float) -> Counter[str]:
        """Make the transaction under way fit, after *records* went into it; what was removed for it, by reason.

        Raises `TooMuch`: then the transaction must be tried again without some of them.
        """
        removed: Counter[str] = Counter()
        (pages,) = con.execute("PRAGMA page_count").fetchone()
        # Pages hold whatever entries hold, so where they are few enough the entries are too, but for the floor.
        if pages <= self._most_pages and (self._most_pages > _FLOOR or entry_bytes(con) <= self.max_bytes):
            return removed
        written = sum([one.size for one in records])
        room = max(min(2 * written, self.max_bytes // 16), min(_ROOM, self.max_bytes // 256))
        hand = None
        while (excess := self._excess(con, room)) > 0:
            if expired := delete_expired(con, now, BATCH):
                removed["expired"] += expired
                continue
            hand = hand or _Hand(_numbers(con, records))
            if (evicted := hand.move(con, batch_for(con, excess // 2))) is None:
                break
            removed["oversize"] += evicted
        self._refuse(con, records)
        return removed

    def _refuse(self, con: sqlite3.Connection, records: Sequence[Record]) -> None:
        """Raise `TooMuch` for the last of *records*, which can't stay, now that nothing else is there."""
        if (excess := self._excess(con, 0)) <= 0:
            return
        refused = 0
        while excess > 0 and refused < len(records):
            refused += 1
            excess -= records[-refused].size
        raise TooMuch(records[-refused:])

    def _excess(self, con: sqlite3.Connection, room: int) -> int:
        """Bytes that are too much if *room* is to be left; of entries or of pages, whichever is more."""
        pages = used_pages(con) * PAGE - max(_FLOOR * PAGE, self._in_pages - room)
        return max(entry_bytes(con) - self.max_bytes, pages)

    def over(self, con: sqlite3.Connection) -> bool:
        """Whether there is more than the limit says."""
        return entry_bytes(con) > self.max_bytes or used_pages(con) > self._most_pages

    def well_below(self, con: sqlite3.Connection) -> bool:
        """Whether enough was removed for a while."""
        if entry_bytes(con) > self.max_bytes * 97 // 100:
            return False
        return used_pages(con) <= max(_FLOOR, self._most_pages * 97 // 100)

    def left(self, removed: Counter[str]) -> None:
        """What a write *removed* has been committed."""
        self._left.append(removed)

    def take_left(self) -> Counter[str]:
        """How many were removed inside writes since this was last asked, by reason."""
        left: Counter[str] = Counter()
        while self._left:  # one at a time, since writers go on
            left += self._left.popleft()
        return left

    def resized(self, max_bytes: int) -> Space:
        """Another limit; what wasn't asked for yet goes along."""
        space = Space(max_bytes)
        space._left = self._left
        return space


def entry_bytes(con: sqlite3.Connection) -> int:
    """Bytes of all heads and chunks, which diskcache's triggers sum up."""
    return int(con.execute("SELECT value FROM Settings WHERE key = 'size'").fetchone()[0])


def entry_count(con: sqlite3.Connection) -> int:
    """Entries, expired ones too."""
    return int(con.execute("SELECT value FROM Settings WHERE key = 'count'").fetchone()[0])


def batch_for(con: sqlite3.Connection, room: int) -> int:
    """How many rows to look at for *room* bytes: not a hundred where each has megabytes."""
    return max(2, min(BATCH, 1 + 2 * room * entry_count(con) // max(1, entry_bytes(con))))


def used_pages(con: sqlite3.Connection) -> int:
    """Pages that hold something."""
    (pages,), (free,) = (con.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "freelist_count"))
    return int(pages) - int(free)


def delete_expired(con: sqlite3.Connection, now: float, most: int) -> int:
    """Remove some of what is expired, the longest expired first."""
    return con.execute(
        "DELETE FROM Cache WHERE rowid IN"
        " (SELECT rowid FROM Cache WHERE expire_time <= ? ORDER BY expire_time LIMIT ?)", (now, most),
    ).rowcount  # fmt: skip


def delete_oldest(con: sqlite3.Connection, most: int) -> int:
    """Move the hand over up to *most* rows; returns how many were removed."""
    return _Hand().move(con, most) or 0


def _numbers(con: sqlite3.Connection, records: Sequence[Record]) -> frozenset[int]:
    """The numbers of the rows that *records* became."""
    sql = "SELECT rowid FROM Cache WHERE key = ? AND raw = 1"
    return frozenset([number for one in records for (number,) in con.execute(sql, one.values[:1])])


class _Hand:
    """Goes over the table once, and passes over the rows *kept*."""

    def __init__(self, kept: AbstractSet[int] = frozenset()) -> None:
        self._kept, self._at = kept, -(1 << 63)

    def move(self, con: sqlite3.Connection, most: int) -> int | None:
        """Go over up to *most* rows; how many were removed, None at the end of the table."""
        found = con.execute("SELECT store_time, rowid FROM Cache WHERE rowid > ? ORDER BY rowid", (self._at,))
        rows = list(islice((row for row in found if row[1] not in self._kept), most))
        found.close()
        if not rows:
            return None
        self._at = rows[-1][1]
        return _remove_old(con, rows)


def _remove_old(con: sqlite3.Connection, rows: Collection[tuple[float, int]]) -> int:
    """Remove *rows*, or move those that were written again lately to the end of the table; how many were removed."""
    (middle,) = con.execute(
        "SELECT store_time FROM Cache WHERE rowid >= (SELECT (min(rowid) + max(rowid)) / 2 FROM Cache) LIMIT 1"
    ).fetchone()
    rows = sorted(rows)
    half = (len(rows) + 1) // 2
    kept = [(number,) for time, number in rows[half:] if time > middle]
    gone = [(number,) for _, number in rows[: len(rows) - len(kept)]]
    con.executemany("DELETE FROM Cache WHERE rowid = ?", gone)
    # Chunks go by the number of their row: a row that has some is removed all the same.
    gone_too = con.executemany("DELETE FROM Cache WHERE rowid = ? AND access_count > 0", kept).rowcount if kept else 0
    con.executemany("UPDATE Cache SET rowid = (SELECT max(rowid) + 1 FROM Cache) WHERE rowid = ?", kept)
    return len(gone) + gone_too
