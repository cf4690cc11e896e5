"""How much a database holds, how much it may, and what goes first when it is too much.

Rules.

- What counts is the larger of the entries' bytes (their heads and chunks) and the database's pages in use, which hold
  keys, indexes and versions too.  A database always has its first 256 KiB of pages; below that only entries count.
- A commit never leaves more than 1.03 times the limit: whoever writes looks before committing, and removes in the same
  transaction.  With the log (3 % of the limit, 8 MiB at most) and the ballast (a 64th, 1 MiB at most) a directory stays
  within 1.1 times its limit from 4 MB up.  Until it is copied, a single large value stands in the log as well.
- `tidy`, called in the background, brings it below the limit itself, to 97 % of it, in small transactions.
- Removed are: what is expired; then what was written longest ago.  Rows are numbered in the order of their last write,
  so that takes no index.
"""

from __future__ import annotations

import sqlite3
from typing import Final

__all__ = ["Space", "delete_expired", "delete_oldest"]

PAGE: Final = 4096
_FLOOR: Final = (256 << 10) // PAGE

BATCH: Final = 128
"""Rows removed at once: about 3 ms of the write lock."""


class Space:
    """The limit of a store and what its entries take; `check` is asked inside each write."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.most_bytes = max_bytes * 103 // 100
        self.most_pages = max(_FLOOR, self.most_bytes // PAGE)
        self.evicted = 0
        """Entries removed for want of space since the last `take_evicted`."""

    def check(self, con: sqlite3.Connection, written: int, now: float) -> None:
        """Make the transaction under way fit, after *written* bytes went into it."""
        (pages,) = con.execute("PRAGMA page_count").fetchone()
        # Pages hold whatever entries hold, so where they are few enough the entries are too, but for the floor.
        if pages <= self.most_pages and (self.most_pages > _FLOOR or entry_bytes(con) <= self.most_bytes):
            return
        room = max(2 * written, self.max_bytes // 256)
        while self._exceeds(con, room):
            removed = delete_expired(con, now, BATCH)
            if not removed:
                removed = delete_oldest(con, BATCH if entry_count(con) > 4 * BATCH else 1)
                self.evicted += removed
            if not removed:
                break
        if pages > self.most_pages:
            con.execute(f"PRAGMA incremental_vacuum({pages - self.most_pages})").fetchall()

    def _exceeds(self, con: sqlite3.Connection, room: int) -> bool:
        if entry_bytes(con) > self.most_bytes:
            return True
        return used_pages(con) * PAGE > max(_FLOOR * PAGE, self.most_bytes - room)

    def over(self, con: sqlite3.Connection) -> bool:
        """Whether there is more than the limit says."""
        return entry_bytes(con) > self.max_bytes or used_pages(con) > max(_FLOOR, self.max_bytes // PAGE)

    def well_below(self, con: sqlite3.Connection) -> bool:
        """Whether enough was removed for a while."""
        enough = self.max_bytes * 97 // 100
        return entry_bytes(con) <= enough and used_pages(con) <= max(_FLOOR, enough // PAGE)

    def take_evicted(self) -> int:
        """How many were removed inside writes since this was last asked."""
        evicted, self.evicted = self.evicted, 0
        return evicted


def entry_bytes(con: sqlite3.Connection) -> int:
    """Bytes of all heads and chunks, which diskcache's triggers sum up."""
    return int(con.execute("SELECT value FROM Settings WHERE key = 'size'").fetchone()[0])


def entry_count(con: sqlite3.Connection) -> int:
    """Entries, expired ones too."""
    return int(con.execute("SELECT value FROM Settings WHERE key = 'count'").fetchone()[0])


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
    """Remove some of what was written longest ago."""
    return con.execute(
        "DELETE FROM Cache WHERE rowid IN (SELECT rowid FROM Cache ORDER BY rowid LIMIT ?)", (most,)
    ).rowcount
