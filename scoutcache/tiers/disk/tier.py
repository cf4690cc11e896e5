"""The disk tier: `DiskTier`, which hands each call of the protocol to the module that knows how.

Rules.

- A read is one statement over this thread's connection and waits for no writer (the database keeps a write-ahead log).
- A set returns after its commit; concurrent sets of a process share one.  Commits survive a killed process; the last
  ones may be lost with the machine's power (``synchronous = NORMAL``), never the database.
- What can't be done now raises `TierUnavailable`, and nothing else does.
"""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoutcache.entry import Listed, Ref, Row, Sealed, Usage
from scoutcache.errors import TierUnavailable
from scoutcache.keys import physical_key, physical_keys
from scoutcache.patterns import Pattern
from scoutcache.tiers.base import Allow
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.listing import Range, listed, matching, remove_rows
from scoutcache.tiers.disk.removing import Removing
from scoutcache.tiers.disk.rows import AT_ONCE, NO_ENTRY, PLAIN, READ, expired_among, read_one, read_rows, record
from scoutcache.tiers.disk.space import entry_bytes, entry_count
from scoutcache.tiers.disk.upkeep import Upkeep
from scoutcache.tiers.disk.versions import DiskVersions
from scoutcache.tiers.disk.writing import Writer

if TYPE_CHECKING:
    from scoutcache.wire.codec import Codec

__all__ = ["DiskTier"]


_LATE = 1000
"""Expired entries that were met and are remembered, until somebody asks why they were not found."""

_new = tuple.__new__
"""Makes a NamedTuple without the Python frame of its own ``__new__``."""


def _log_warning(message: str) -> None:
    logging.getLogger("scoutcache").warning("%s", message)


class DiskTier:
    """Entries in one SQLite database of diskcache's shape in *directory*, shared by any number of processes.

    *max_bytes* is the limit a new store records; an existing store keeps its own (see `differences`).  *timeout* is how
    many seconds a write waits for another process's lock.  *warn* gets a sentence when the disk is full or a database
    was set aside; *wall* dates the latter.  Raises `CacheError` for a directory that isn't the user's own; a directory
    that can't be opened now is tried again by each call, once a second, and until then each raises `TierUnavailable`.
    """

    name = "disk"
    blocking = True
    warns = True
    """It says itself, once an episode, when it can't answer."""

    def __init__(self, directory: Path, codec: Codec, *, max_bytes: int = 1_000_000_000, timeout: float = 5.0,
                 warn: Callable[[str], None] = _log_warning,
                 wall: Callable[[], float] = time.time) -> None:  # fmt: skip
        self.directory = directory
        self._codec = codec
        self._database = Database(directory, max_bytes, timeout, warn, wall)
        self._writer = Writer(self._database)
        self._removing = Removing(self._database)
        self._upkeep = Upkeep(self._database, self._removing)
        self._late: dict[Ref, str] = {}
        self._losses, self._missed = 0, dict[Ref, None]()
        """How many databases were set aside when keys were last missed for the first time, and those since the last."""
        versions = DiskVersions(self._database, self._removing)
        self.current, self.renew, self.names = versions.current, versions.renew, versions.names
        self.unused_versions, self.forget_versions = versions.unused, versions.forget

    # -- reading

    def ready(self) -> bool:
        """Whether a read by this thread waits for no other process: it has its connection, and nothing is to be opened.

        Without one a read opens it, under the directory's lock, which another process may hold for some seconds.
        """
        return self._database.ready()

    def make_ready(self, thread: threading.Thread) -> None:
        """Let a read by *thread*, which mustn't wait, wait for nobody; this may.  Raises `TierUnavailable`."""
        self._database.make_ready(thread)

    def read(self, ref: Ref, now: float) -> Sealed | None:
        """The entry, or None when it is absent or expired.  Raises `TierUnavailable`."""
        key = physical_key(ref)
        link = self._database.link()
        try:  # `with` and `read_one` do the same, and take a tenth more
            rows = link.cursor.execute(READ, (key, now)).fetchall()
        except sqlite3.DataError:
            return NO_ENTRY
        except sqlite3.Error as error:
            raise link.failed(error) from error
        finally:
            link.leave()
        if not rows:
            with self._database.link() as con:
                self._note_late(con, [ref], [key], now)
            return None
        head, chunks = rows[0]
        if type(head) is bytes and not chunks:
            return _new(Sealed, (head, ()))
        with self._database.link() as con:
            return read_one(con, key, now)

    def read_many(self, refs: Sequence[Ref], now: float) -> dict[Ref, Sealed]:
        """Those that are there: one statement for up to 512 keys.  Raises `TierUnavailable`."""
        keys, found = physical_keys(refs), {}
        with self._database.link() as con:
            for at in range(0, len(keys), AT_ONCE):
                some = keys[at : at + AT_ONCE]
                rows = read_rows(con, some, now)
                for place, head, chunks in rows:
                    if type(head) is bytes and not chunks:
                        found[refs[at + place]] = _new(Sealed, (head, ()))
                    elif (sealed := read_one(con, keys[at + place], now)) is not None:
                        found[refs[at + place]] = sealed
                if len(rows) < len(some):
                    self._note_late(con, refs[at : at + AT_ONCE], some, now)
        return found

    def _note_late(self, con: sqlite3.Connection, refs: Sequence[Ref], keys: Sequence[str], now: float) -> None:
        """Some of *refs* were not found: note which are there all the same, for their time is over.

        Of the others each may have been in a database that was set aside as damaged, where one was, the first time.
        A statement of its own, for the misses: to be told it with what is found would cost each hit a twentieth.
        """
        if len(self._late) >= _LATE:
            self._late.clear()
        for ref in refs if self._late else ():
            self._late.pop(ref, None)
        if self._database.store.losses:
            self._late.update(dict.fromkeys(self._first_missed(refs), "corrupt"))
        self._late.update(dict.fromkeys([refs[place] for place in expired_among(con, keys, now)], "expired"))

    def _first_missed(self, refs: Sequence[Ref]) -> list[Ref]:
        """Those of *refs* that are missed for the first time since a database was set aside; of the first thousand."""
        if self._losses != (losses := self._database.store.losses):
            self._losses = losses
            self._missed.clear()
        found = [ref for ref in refs if ref not in self._missed] if len(self._missed) < _LATE else []
        self._missed.update(dict.fromkeys(found))
        return found

    def why_absent(self, ref: Ref) -> str | None:
        """Why the last read found no entry: ``expired``, ``corrupt``, or None where nothing of it was there."""
        return self._late.get(ref)

    def take_lost(self) -> list[str]:
        """What was wrong with the databases that were set aside since the last call."""
        store = self._database.store
        lost, store.lost = store.lost, []
        return lost

    # -- writing

    def write(self, rows: Sequence[Row], now: float, allow: Allow | None = None) -> int:
        """Store them in one transaction and return how many were taken.

        Not taken are entries that *allow* refuses, older ones than what is there (by start), and those larger than the
        whole limit.  Raises `TierUnavailable`, and where that is because the disk is full what is older is removed,
        as far as there is room for that; what sealing a row raises.
        """
        records = [record(row) for row in rows]
        try:
            return self._writer.write(records, now, allow)
        except TierUnavailable as error:
            self._removing.outdated(records, now, error)
            raise

    def remove(self, refs: Sequence[Ref]) -> int:
        """Remove them and return how many were there.  Raises `TierUnavailable`."""
        return self._removing.keys([physical_key(ref) for ref in refs])

    def remove_each(self, refs: Sequence[Ref]) -> set[Ref]:
        """Remove them and return those that were there.  Raises `TierUnavailable`."""
        keys = [physical_key(ref) for ref in refs]
        there = self._removing.each(keys)
        return {ref for ref, key in zip(refs, keys, strict=True) if key in there}

    def remove_matching(self, namespace: str, pattern: Pattern) -> int:
        """Remove every key that matches and return how many.  Raises `TierUnavailable`."""
        if pattern.matches_all:
            return self.clear(namespace)
        if (span := Range.exactly(namespace, pattern)) is not None:
            return self._removing.span(span)
        # Who asked `allow` before our announcement holds the write lock: once we had it, its row is there to list.
        self._removing.batch(lambda _: None)
        batches = matching(self._database, namespace, pattern)
        return sum(sum(self._removing.parts(rows, remove_rows)) for rows in batches)

    def clear(self, namespace: str | None) -> int:
        """Remove a whole namespace, or everything for None.  Raises `TierUnavailable`."""
        return self._removing.span(None if namespace is None else Range.of(namespace, None))

    # -- listing

    def scan(self, namespace: str | None, pattern: Pattern | None = None) -> Iterator[Listed]:
        """List entries (expired ones too), in no particular order, without reading values.

        Entries written or removed meanwhile may be listed or not.  Raises `TierUnavailable`.
        """
        return listed(self._database, namespace, pattern)

    def count(self, namespace: str | None, pattern: Pattern | None, now: float) -> int:
        """How many unexpired entries match.  Raises `TierUnavailable`."""
        if pattern is not None and not pattern.matches_all:
            if namespace is None:
                return sum(one.header.expires > now for one in self.scan(None, pattern))
            return sum(len(rows) for rows in matching(self._database, namespace, pattern, now))
        span = Range.of(namespace, None)
        sql = (f"SELECT count(*) FROM Cache WHERE key >= ? AND key < ? AND {PLAIN}"
               " AND (expire_time IS NULL OR expire_time > ?)")  # fmt: skip
        with self._database.link() as con:
            return int(con.execute(sql, (span.low, span.high, now)).fetchone()[0])

    # -- upkeep

    def prune(self, now: float, *, older_than: float | None = None, max_bytes: int | None = None,
              dry_run: bool = False) -> dict[str, int]:  # fmt: skip
        """Remove what is expired, created more than *older_than* seconds ago, or too much for *max_bytes*.

        For *max_bytes* what was written longest ago goes first.  Returns the counts of ``expired``, ``older``,
        ``oversize`` and ``orphaned`` (rows that are no entries, chunks without an entry).  Raises `TierUnavailable`.
        """
        return self._upkeep.prune(now, older_than=older_than, max_bytes=max_bytes, dry_run=dry_run)

    def maintain(self, now: float) -> dict[str, int]:
        """What a background thread calls once a second: a few milliseconds of work.

        Notices a replaced directory, removes what is expired or died by its marks, keeps the limit and the log small.
        Returns the counts of entries removed since the last call: ``expired``, ``oversize`` (inside sets too).  Raises
        `TierUnavailable`.
        """
        return self._upkeep.maintain(now)

    def take_left(self) -> dict[str, int]:
        """The same counts of what sets removed since the last call of either, without doing any work."""
        return dict(self._database.store.space.take_left())

    def reclaim(self, *, dry_run: bool = False) -> int:
        """Remove what died by a tag, its namespace or what it depends on; how many.  Raises `TierUnavailable`.

        Those that `maintain` removed since this was last asked are counted too, but not in a dry run.  Judged by the
        versions in this store: only for a cache that has no other authority.
        """
        return self._upkeep.reclaiming.everything(dry_run=dry_run)

    def leave_marks(self) -> None:
        """Judge no marks in `maintain`: another tier is the authority over versions."""
        self._upkeep.judges = False

    def on_reclaim(self, hook: Callable[[Sequence[Ref]], object]) -> None:
        """Tell *hook* of the entries that died by their marks, before `maintain` removes them."""
        self._upkeep.reclaiming.told = hook

    def on_reopen(self, hook: Callable[[], None]) -> None:
        """Call *hook* when another database may stand where the old one stood: what is remembered of that is void."""
        self._database.reopened = hook

    def verify(self, repair: bool = False) -> dict[str, Any]:
        """Check the database and open every envelope; with *repair* remove what is no entry.

        A database that SQLite finds damaged is set aside as a whole by *repair*.
        Returns ``integrity`` (``"ok"`` or what SQLite found), ``entries``, ``corrupt`` (the keys), ``foreign``,
        ``orphaned``, ``unverified`` (how many are signed with a key that isn't here, or unsigned where one is),
        ``removed``.  Raises `TierUnavailable`.
        """
        from scoutcache.tiers.disk.verifying import verify

        return verify(self._database, self._removing, self._codec, repair=repair)

    def usage(self) -> Usage:
        """How full it is: bytes of all heads and chunks, expired entries included.  Raises `TierUnavailable`."""
        with self._database.link() as con:
            return Usage(entry_count(con), entry_bytes(con), None, self._database.store.space.max_bytes)

    @property
    def differences(self) -> list[str]:
        """Where the store's own limits differ from those asked for: one sentence each."""
        return list(self._database.store.differences)

    def change_limit(self, max_bytes: int) -> None:
        """Record another limit in the store; every process goes by it within a second.  Raises `TierUnavailable`."""
        self._upkeep.change_limit(max_bytes)

    def close(self) -> None:
        """Let go of files and connections; idempotent."""
        self._database.close()

