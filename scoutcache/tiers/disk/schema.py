"""The one shape a database may have: diskcache 5.6.3's own tables, and four things of ours.

Rules.

- A database is compared with this module before anything else of it is read: every table, index and trigger by the
  text that made it, every setting by its value.  One object or setting more, less or different, and it is not used: a
  trigger or a view runs whatever its author wanted, and diskcache obeys settings.
- A new database is made whole in a folder of its own and then renamed into place, so one killed half-way never stands
  there.
- ``Cache``: *key* is the physical key, *value* the head of the envelope, *raw* and *mode* are 1 and *filename* is NULL
  always; *access_count* is the number of chunks, *access_time* when the entry was created, *store_time* its start,
  *tag* its header in MessagePack, *size* the bytes of head and chunks.
- ``Chunks``: the rest of a large value.  Triggers delete chunks in the transaction that deletes or replaces their row.
- ``Versions``: tag versions.  ``Store``: format and limits.
"""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import os
import secrets
import sqlite3
from pathlib import Path
from typing import Any, Final

from scoutcache.tiers.disk.place import remove_tree
from scoutcache.tiers.disk.safe import DATABASE, RawDisk, SafeCache

__all__ = ["FORMAT", "SETTINGS", "create", "difference", "recorded"]

FORMAT: Final = 1

SETTINGS: Final[dict[str, Any]] = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "none",
    "size_limit": 1 << 30,  # diskcache's own, which nothing here reads
    "cull_limit": 0,
    "sqlite_auto_vacuum": 2,
    "sqlite_cache_size": 8192,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 1,
    "disk_min_file_size": 1 << 62,  # so that even diskcache itself would write no file
    "disk_pickle_protocol": 4,
}

_COUNTERS: Final = frozenset({"count", "size", "hits", "misses"})

_OURS: Final = {
    ("table", "Chunks"):
        "CREATE TABLE Chunks (owner INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (owner, n))",
    ("trigger", "Chunks_delete"):
        "CREATE TRIGGER Chunks_delete AFTER DELETE ON Cache FOR EACH ROW WHEN OLD.access_count > 0"
        " BEGIN DELETE FROM Chunks WHERE owner = OLD.rowid; END",
    ("trigger", "Chunks_update"):
        "CREATE TRIGGER Chunks_update AFTER UPDATE ON Cache FOR EACH ROW WHEN OLD.access_count > 0"
        " BEGIN DELETE FROM Chunks WHERE owner = OLD.rowid; END",
    ("table", "Versions"):
        "CREATE TABLE Versions (namespace TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,"
        " PRIMARY KEY (namespace, name)) WITHOUT ROWID",
    ("table", "Store"):
        "CREATE TABLE Store (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID",
}  # fmt: skip


def _counting(name: str, event: str, change: str) -> str:
    return (f"CREATE TRIGGER Settings_{name}_{event} AFTER {event.upper()} ON Cache FOR EACH ROW BEGIN"
            f' UPDATE Settings SET value = value {change} WHERE key = "{name}"; END')  # fmt: skip


_REFERENCE: Final[dict[tuple[str, str], str | None]] = {
    ("table", "Settings"): "CREATE TABLE Settings ( key TEXT NOT NULL UNIQUE, value)",
    ("index", "sqlite_autoindex_Settings_1"): None,
    ("table", "Cache"):
        "CREATE TABLE Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL,"
        " access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0,"
        " filename TEXT, value BLOB)",
    ("index", "Cache_key_raw"): "CREATE UNIQUE INDEX Cache_key_raw ON Cache(key, raw)",
    ("index", "Cache_expire_time"): "CREATE INDEX Cache_expire_time ON Cache (expire_time)",
    ("trigger", "Settings_count_insert"): _counting("count", "insert", "+ 1"),
    ("trigger", "Settings_count_delete"): _counting("count", "delete", "- 1"),
    ("trigger", "Settings_size_insert"): _counting("size", "insert", "+ NEW.size"),
    ("trigger", "Settings_size_update"): _counting("size", "update", "+ NEW.size - OLD.size"),
    ("trigger", "Settings_size_delete"): _counting("size", "delete", "- OLD.size"),
    ("index", "sqlite_autoindex_Chunks_1"): None,
    **_OURS,
}  # fmt: skip


def create(directory: Path, limits: dict[str, int]) -> None:
    """Make a new database in *directory*, where none may stand; the directory's lock is held."""
    for stale in directory.glob(".new-*"):  # of a process killed here
        remove_tree(stale)
    workshop = directory / f".new-{secrets.token_hex(8)}"
    workshop.mkdir(mode=0o700)
    try:
        # Made by us and empty, which is a valid database: log and index of SQLite's take the mode 0600 from it, and the
        # umask of the process, which belongs to all its threads, is left alone.
        os.close(os.open(workshop / DATABASE, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        cache = SafeCache(workshop, disk=RawDisk, **SETTINGS)
        try:
            con = cache._con
            con.execute("BEGIN IMMEDIATE")
            for statement in _OURS.values():
                con.execute(statement)
            con.executemany("INSERT INTO Store VALUES (?, ?)", [("format", FORMAT), *limits.items()])
            con.execute("COMMIT")
        finally:
            cache.close()
        (workshop / DATABASE).rename(directory / DATABASE)
    finally:
        remove_tree(workshop)


def difference(con: sqlite3.Connection, *, immutable: bool = False) -> str | None:
    """What is not as it must be, None when all is; raises what SQLite raises for a damaged file.

    *immutable*: the connection was told that nobody writes, and so sees no log.
    """
    found = {(kind, name): sql for kind, name, sql in con.execute("SELECT type, name, sql FROM sqlite_master")}
    if not found:
        return "it is empty"
    for what in sorted(found.keys() | _REFERENCE.keys()):
        if what not in found or what not in _REFERENCE or found[what] != _REFERENCE[what]:
            return f"its {what[0]} {what[1]!r:.60} is {'missing' if what not in found else 'not one of ours'}"
    settings = dict(con.execute("SELECT key, value FROM Settings").fetchall())
    for name in settings.keys() | SETTINGS.keys() | _COUNTERS:
        value = settings.get(name)
        wanted = SETTINGS.get(name)
        if type(value) is not int if name in _COUNTERS else type(value) is not type(wanted) or value != wanted:
            return f"its setting {name!r:.60} is not what this tier writes"
    return _unfit(con, immutable)


def _unfit(con: sqlite3.Connection, immutable: bool) -> str | None:
    if not immutable and con.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        return "it keeps no write-ahead log"
    if con.execute("PRAGMA encoding").fetchone() != ("UTF-8",):
        return "its texts are not UTF-8"
    (last,) = con.execute("SELECT max(rowid) FROM Cache").fetchone()
    return "its row numbers are used up" if last is not None and last >= 1 << 62 else None


def recorded(con: sqlite3.Connection) -> dict[str, int]:
    """What the store says of itself: *format*, *max_bytes*."""
    return {name: value for name, value in con.execute("SELECT name, value FROM Store") if type(value) is int}
