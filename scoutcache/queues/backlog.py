"""What stands in the queues of a cache, for whoever looks from outside: nothing is made, claimed or changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from scoutcache.oplog.files import is_claimed

__all__ = ["Backlog", "backlogs"]

_PATIENCE: Final = 1.0
"""Seconds; in WAL mode a reader waits for nobody but whoever opens or closes the database."""


class Backlog(NamedTuple):
    """One queue, by the namespace that it is of and its name, each cut where it is long."""

    queue: str
    waiting: int
    """Writes that have not reached their source."""
    since: float | None
    """When the one that waits for longest was put; seconds since the epoch."""
    tried: int
    """How many of them failed before."""
    is_delivered: bool
    """Is there a process that takes from it?  One that would in the moment of this look tries again soon."""
    dead: int
    """Writes that failed too often and were not superseded."""
    error: str | None
    """Why the last of those did."""


def backlogs(folder: Path) -> Iterator[Backlog]:
    """Those of the queues below *folder*, by name.  Raises `OSError`, naming the file, where one can't be read."""
    for path in sorted(folder.glob("*.db")):
        try:
            with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_PATIENCE)) as con:
                yield _look(path, con)
        except sqlite3.Error as error:
            raise OSError(None, str(error), str(path)) from error


def _look(path: Path, con: sqlite3.Connection) -> Backlog:
    waiting, place, tried = con.execute(
        "SELECT count(*), min(place), count(*) FILTER (WHERE attempts > 0) FROM Pending"
    ).fetchone()
    (dead,) = con.execute("SELECT count(*) FROM Dead WHERE superseded = 0").fetchone()
    last = con.execute("SELECT error FROM Dead WHERE superseded = 0 ORDER BY died DESC LIMIT 1").fetchone()
    named, _, _ = path.stem.rpartition(".")  # what follows is a digest
    return Backlog(unquote(named, errors="replace"), waiting, None if place is None else place / 1e9, tried,
                   is_claimed(path.with_suffix(".lock")), dead, None if last is None else last[0])  # fmt: skip
