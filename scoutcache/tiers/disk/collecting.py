"""Which tag versions no entry carries any more, so that their rows can go.

Rules.

- The versions are read first and the entries after them, a batch at a time, so memory stays flat: at most 50,000 names
  are looked for in one pass over the table.
- What is found unused may be carried by an entry that was written since, or that only the memory of some process holds.
  So forgetting a version is an invalidation like any other, announced before and after: processes drop what they
  remember of it, computations that read it are not kept, and what carries it dies once: a miss, never a wrong answer.
- A version is forgotten only if it is still the one that was found: who renewed it meanwhile uses it.
- Never forgotten are the marks of whole namespaces, and whether a namespace has dependencies: there are few of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Final

from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.listing import listed
from scoutcache.tiers.versions import stays

__all__ = ["forget", "unused"]

_AT_ONCE: Final = 50_000


def unused(database: Database) -> Iterator[dict[tuple[str, str], int]]:
    """Batches of versions, by namespace and name, that no entry carries.  Raises `TierUnavailable`."""
    sql = ("SELECT namespace, name, version FROM Versions WHERE (namespace, name) > (?, ?)"
           " ORDER BY namespace, name LIMIT ?")  # fmt: skip
    after = "", ""
    while True:
        with database.link() as con:
            rows = con.execute(sql, (*after, _AT_ONCE)).fetchall()
        names = {(space, name): version for space, name, version in rows if not stays(name)}
        for entry in listed(database, None, None) if names else ():
            for mark in entry.header.marks:
                names.pop((entry.header.ref.namespace, mark.name), None)
        yield names
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1][:2]


def forget(namespace: str, versions: Mapping[str, int], con: sqlite3.Connection) -> int:
    """Remove those of *versions* that are still the current ones; how many."""
    rows = [(namespace, name, version) for name, version in versions.items()]
    return con.executemany("DELETE FROM Versions WHERE namespace = ? AND name = ? AND version = ?", rows).rowcount
