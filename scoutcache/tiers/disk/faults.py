"""What SQLite's errors mean for a tier, told apart by result code and never by message."""

from __future__ import annotations

import errno
import sqlite3
from enum import Enum
from typing import Final

__all__ = ["HINTS", "Fault", "fault_of"]


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
    Fault.LOCKED: "see who writes with `fuser`, or give `[disk] timeout` more seconds",
    Fault.FULL: "free some space; the tier goes on by itself then",
    Fault.READ_ONLY: "make the directory writable for this user, or name another one; entries there are still read",
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
