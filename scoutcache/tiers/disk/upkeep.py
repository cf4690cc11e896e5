"""What is done to a store besides its calls: expiry, limits, the log's length, the ballast."""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import contextlib
import sqlite3
from typing import Final

from scoutcache.errors import TierUnavailable
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.removing import Removing
from scoutcache.tiers.disk.rows import FOREIGN, ORPHANED
from scoutcache.tiers.disk.space import BATCH, PAGE, delete_expired, delete_oldest, entry_count

__all__ = ["Upkeep"]

_ROUNDS: Final = 50
"""Batches in one call of `maintain`, each its own transaction."""

_VACUUM_PAGES: Final = 512


class Upkeep:
    """Pruning by hand and in the background."""

    def __init__(self, database: Database, removing: Removing) -> None:
        self._database, self._removing = database, removing

    def maintain(self, now: float) -> dict[str, int]:
        """See `DiskTier.maintain`."""
        database = self._database
        database.watch()
        counts = {"expired": 0, "oversize": database.space.take_evicted()}
        if database.read_only:
            return counts
        # Who writes just now does this work as well; waiting for him would only hold up everything else.
        with contextlib.suppress(TierUnavailable):
            counts["expired"] += self._expired(now)
            counts["oversize"] += self._oversize()
            self._give_back()
        database.ballast.load(database.space.max_bytes)
        return counts

    def _expired(self, now: float) -> int:
        removed = 0
        for _ in range(_ROUNDS):
            with self._database.link() as con:
                if con.execute("SELECT 1 FROM Cache WHERE expire_time <= ? LIMIT 1", (now,)).fetchone() is None:
                    break
            removed += self._removing.batch(lambda con: delete_expired(con, now, BATCH), patience=0.0)
        return removed

    def _oversize(self) -> int:
        space, removed = self._database.space, 0
        with self._database.link() as con:
            if not space.over(con):
                return 0
        for _ in range(_ROUNDS):
            removed += self._removing.batch(lambda con: delete_oldest(con, BATCH), patience=0.0)
            with self._database.link() as con:
                if space.well_below(con) or not entry_count(con):
                    break
        return removed

    def _give_back(self) -> None:
        """Copy the log when it is half full, and return free pages when they are over a tenth of the file."""
        log = self._database.path.with_name(f"{self._database.path.name}-wal")
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size > self._database.log_pages() * PAGE // 2:
                with self._database.link() as con:
                    con.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        with self._database.link() as con:
            (pages,), (free,) = (con.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "freelist_count"))
        if free > _VACUUM_PAGES and free * 10 > pages:
            self._removing.batch(_vacuum, patience=0.0)

    def prune(self, now: float, *, older_than: float | None, max_bytes: int | None, dry_run: bool) -> dict[str, int]:
        """See `DiskTier.prune`."""
        counts = {"expired": 0, "older": 0, "oversize": 0, "orphaned": 0}
        conditions: list[tuple[str, str, tuple[float, ...]]] = [("orphaned", FOREIGN, ())]
        conditions.append(("expired", "expire_time <= ?", (now,)))
        if older_than is not None:
            conditions.append(("older", "access_time < ?", (now - older_than,)))
        gone: list[tuple[str, tuple[float, ...]]] = []
        for name, condition, values in conditions:
            if dry_run:
                alone = " AND ".join([f"({condition})", *(f"({before}) IS NOT TRUE" for before, _ in gone)])
                before_values = [value for _, some in gone for value in some]
                counts[name] = self._count(f"SELECT count(*) FROM Cache WHERE {alone}", (*values, *before_values))
                gone.append((condition, values))
            else:
                counts[name] = self._removing.where(f"WHERE {condition}", values)
        counts["orphaned"] += self._orphans(dry_run)
        if max_bytes is not None:
            left = " AND ".join([f"({condition}) IS NOT TRUE" for condition, _ in gone] or ["TRUE"])
            counts["oversize"] = self._shrink(max_bytes, left, [value for _, some in gone for value in some], dry_run)
        return counts

    def _orphans(self, dry_run: bool) -> int:
        if dry_run:
            return self._count(f"SELECT count(*) FROM Chunks WHERE {ORPHANED}", ())
        return self._removing.batch(lambda con: con.execute(f"DELETE FROM Chunks WHERE {ORPHANED}").rowcount)

    def _count(self, sql: str, values: tuple[float, ...]) -> int:
        with self._database.link() as con:
            return int(con.execute(sql, values).fetchone()[0])

    def _shrink(self, max_bytes: int, left: str, values: list[float], dry_run: bool) -> int:
        """Remove what was written longest ago until the rest has *max_bytes* at most."""
        with self._database.link() as con:
            total = con.execute(f"SELECT coalesce(sum(size), 0) FROM Cache WHERE {left}", values).fetchone()[0]
            rows = con.execute(f"SELECT rowid, size FROM Cache WHERE {left} ORDER BY rowid", values)
            excess, removed, last = total - max_bytes, 0, None
            while excess > 0 and (row := rows.fetchone()) is not None:
                last, removed, excess = row[0], removed + 1, excess - row[1]
            rows.close()
        if dry_run or last is None:
            return removed
        return self._removing.where("WHERE rowid <= ?", (last,))


def _vacuum(con: sqlite3.Connection) -> int:
    con.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    return 0
