"""What SQLite's errors mean for a tier, told apart by result code and never by message."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from enum import Enum
from pathlib import Path
from typing import Final

__all__ = ["HINTS", "Fault", "fault_in", "fault_of"]


class Fault(Enum):
    """Why the database can't do what was asked."""

    LOCKED = "another process holds the write lock"
    FULL = "the disk is full"
    READ_ONLY = "the directory or the database is read-only"
    DAMAGED = "the database is damaged"
    GONE = "the database can't be opened or read"
    CLOSED = "it is closed"
    OTHER = "the database refused"


HINTS: Final = {
    Fault.LOCKED: "find the writer with `fuser`, or raise `[disk] timeout`",
    Fault.FULL: "free some space there, or use another directory; the tier then resumes by itself",
    Fault.READ_ONLY: "make the directory writable for this user (remount a read-only file system), "
    "or use another one; entries there are still read",
    Fault.DAMAGED: "nothing to do: the file is set aside, and the next call opens a new one",
    Fault.GONE: "check that the directory exists, that it is yours, and that files can be opened (`ulimit -n`)",
}

_BY_CODE = {
    sqlite3.SQLITE_BUSY: Fault.LOCKED,
    sqlite3.SQLITE_LOCKED: Fault.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Fault.LOCKED,  # a race for the write-ahead log that was lost too often
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_PERM: Fault.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.DAMAGED,
    sqlite3.SQLITE_CANTOPEN: Fault.GONE,
    sqlite3.SQLITE_IOERR: Fault.GONE,
}

_MOVED = sqlite3.SQLITE_READONLY_DBMOVED
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


LEAST_ROOM: Final = 256 << 10
"""Bytes under which SQLite can't map the index of its log, which it calls an I/O error and not a full disk."""


def fault_in(directory: Path, error: sqlite3.Error | OSError) -> Fault:
    """Which of them *error* is, met by a database in *directory*: on a full disk one can't be opened."""
    fault = fault_of(error)
    return Fault.FULL if fault is Fault.GONE and _is_full(directory) else fault


def _is_full(directory: Path) -> bool:
    """Is there too little room for a database in *directory*, or where it would be made?"""
    try:
        return shutil.disk_usage(next(one for one in (directory, *directory.parents) if one.exists())).free < LEAST_ROOM
    except OSError:
        return False


def fault_of(error: sqlite3.Error | OSError) -> Fault:
    """Which of them *error* is."""
    if isinstance(error, OSError):
        if error.errno in _NO_SPACE:
            return Fault.FULL
        return Fault.READ_ONLY if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} else Fault.GONE
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the module itself, before SQLite was asked
        return Fault.CLOSED if isinstance(error, sqlite3.ProgrammingError) else Fault.OTHER
    return Fault.GONE if code == _MOVED else _BY_CODE.get(code & 0xFF, Fault.OTHER)
