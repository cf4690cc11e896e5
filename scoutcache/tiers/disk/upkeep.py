"""What is done to a store besides its calls: expiry, limits, the log's length, the ballast."""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

from scoutcache.errors import TierUnavailable
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.reclaiming import Reclaiming
from scoutcache.tiers.disk.removing import Removing
from scoutcache.tiers.disk.rows import FOREIGN, ORPHANED
from scoutcache.tiers.disk.space import BATCH, PAGE, batch_for, delete_expired, delete_oldest, entry_count

__all__ = ["Upkeep"]

_ROUNDS: Final = 50
"""Batches in one call of `maintain`, each its own transaction."""

_VACUUM_PAGES: Final = 2048
"""Pages returned to the disk in one call of `maintain`."""


class Upkeep:
    """Pruning by hand and in the background."""

    def __init__(self, database: Database, removing: Removing) -> None:
        self._database, self._removing = database, removing
        self.reclaiming = Reclaiming(database, removing)
        self.judges = True
        """Whether marks are judged by the versions in this store."""

    def maintain(self, now: float) -> dict[str, int]:
        """See `DiskTier.maintain`."""
        database = self._database
        database.watch()
        counts = {"expired": 0, "oversize": 0, **database.store.space.take_left()}
        database.follow_limit()
        if database.store.read_only:
            return counts
        # Who writes just now does this work as well; waiting for him would only hold up everything else.
        with contextlib.suppress(TierUnavailable):
            self._expired(now, counts)
            self._oversize(counts)
            if self.judges:
                self.reclaiming.turn()
            self._give_back()
        database.store.ballast.load(database.store.space.max_bytes)
        return counts

    def _expired(self, now: float, counts: dict[str, int]) -> None:
        for _ in range(_ROUNDS):
            with self._database.link() as con:
                if con.execute("SELECT 1 FROM Cache WHERE expire_time <= ? LIMIT 1", (now,)).fetchone() is None:
                    break
            counts["expired"] += self._removing.batch(lambda con: delete_expired(con, now, BATCH), patience=0.0)

    def _oversize(self, counts: dict[str, int]) -> None:
        space = self._database.store.space
        with self._database.link() as con:
            if not space.over(con):
                return
        step = space.max_bytes // 100
        for _ in range(_ROUNDS):
            counts["oversize"] += self._removing.batch(
                lambda con: delete_oldest(con, batch_for(con, step)), patience=0.0
            )  # fmt: skip
            with self._database.link() as con:
                if space.well_below(con) or not entry_count(con):
                    break

    def _give_back(self) -> None:
        """Copy the log when it is a quarter full, and return free pages."""
        database = self._database
        log = database.store.path.with_name(f"{database.store.path.name}-wal")
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size > database.store.log_pages * PAGE // 4:
                with database.link() as con:
                    con.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._removing.give_back(_VACUUM_PAGES)

    def prune(self, now: float, *, older_than: float | None, max_bytes: int | None, dry_run: bool) -> dict[str, int]:
        """See `DiskTier.prune`."""
        conditions: list[_Condition] = [("orphaned", FOREIGN, ()), ("expired", "expire_time <= ?", (now,))]
        if older_than is not None:
            conditions.append(("older", "access_time < ?", (now - older_than,)))
        counts = {"expired": 0, "older": 0, "oversize": 0, "orphaned": 0}
        for at, (name, condition, values) in enumerate(conditions):
            if dry_run:
                counts[name] = self._count(*_left(conditions[:at], condition, values))
            else:
                counts[name] = self._removing.where(condition, values)
        counts["orphaned"] += self._orphans(dry_run)
        if max_bytes is not None:
            # Without a dry run nothing that the conditions find is left, and they do no harm.
            counts["oversize"] = self._shrink(max_bytes, conditions, dry_run)
        if not dry_run:
            self._removing.give_back()
        return counts

    def change_limit(self, max_bytes: int) -> None:
        """Record another limit in the store; this process goes by it at once, others within a second."""
        sql = "UPDATE Store SET value = ? WHERE name = 'max_bytes'"
        self._removing.batch(lambda con: con.execute(sql, (max_bytes,)))
        self._database.store.go_by(max_bytes)

    def _orphans(self, dry_run: bool) -> int:
        if dry_run:
            with self._database.link() as con:
                return int(con.execute(f"SELECT count(*) FROM Chunks WHERE {ORPHANED}").fetchone()[0])
        return self._removing.batch(lambda con: con.execute(f"DELETE FROM Chunks WHERE {ORPHANED}").rowcount)

    def _count(self, where: str, values: Sequence[float]) -> int:
        with self._database.link() as con:
            return int(con.execute(f"SELECT count(*) FROM Cache WHERE {where}", values).fetchone()[0])

    def _shrink(self, max_bytes: int, conditions: Sequence[_Condition], dry_run: bool) -> int:
        """Remove what was written longest ago until the rest has *max_bytes* at most."""
        where, values = _left(conditions, "TRUE", ())
        with self._database.link() as con:
            excess = con.execute(f"SELECT coalesce(sum(size), 0) FROM Cache WHERE {where}", values).fetchone()[0]
            excess -= max_bytes
            rows = con.execute(f"SELECT store_time, rowid, size FROM Cache WHERE {where} ORDER BY 1, 2", values)
            removed, last = 0, None
            while excess > 0 and (row := rows.fetchone()) is not None:
                removed, last, excess = removed + 1, row[:2], excess - row[2]
            rows.close()
        if dry_run or last is None:
            return removed
        return self._removing.where("(store_time, rowid) <= (?, ?)", last)


_Condition = tuple[str, str, tuple[float, ...]]


def _left(before: Sequence[_Condition], condition: str, values: Sequence[float]) -> tuple[str, list[float]]:
    """What *condition* finds among the rows that none of those *before* does."""
    parts = [condition, *(f"({earlier}) IS NOT TRUE" for _, earlier, _ in before)]
    return " AND ".join(parts), [*values, *(value for _, _, some in before for value in some)]
