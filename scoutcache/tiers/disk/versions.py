"""Tag versions, kept in the database of the entries that carry them."""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from scoutcache.entry import softened
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.removing import Removing

__all__ = ["RENEWALS", "DiskVersions", "found_versions", "renew"]

RENEWALS: Final = "renewals"
"""The name in ``Store`` of the number of times that something was renewed, so that entries may have died."""

_AT_ONCE = 500


class DiskVersions:
    """The authority over tag versions of a cache without a server; see `scoutcache.tiers.base.Versions`.

    A renewal removes entries, so it is done as their removal is, also on a full disk.
    """

    def __init__(self, database: Database, removing: Removing) -> None:
        self._database, self._removing = database, removing

    def current(self, namespace: str, names: Sequence[str], *, create: bool = False) -> dict[str, int]:
        """The versions there are; with *create* those missing are made.  Raises `TierUnavailable`."""
        with self._database.link() as con:
            found = found_versions(con, namespace, names)
        missing = [name for name in names if name not in found] if create else ()
        if not missing:
            return found

        def make(con: sqlite3.Connection) -> dict[str, int]:
            # Another process may have made one meanwhile: its version stands.
            con.executemany("INSERT OR IGNORE INTO Versions VALUES (?, ?, ?)", _fresh(namespace, missing))
            return found_versions(con, namespace, missing)

        return found | self._database.transact(make)

    def names(self, namespace: str, prefix: str) -> list[str]:
        """The names that begin with *prefix* and have a version.  Raises `TierUnavailable`."""
        with self._database.link() as con:
            # A range, and not a function of the name: to those a name ends at its first NUL.
            sql = "SELECT name FROM Versions WHERE namespace = ? AND name >= ? AND name < ?"
            return [name for (name,) in con.execute(sql, (namespace, prefix, f"{prefix}\U0010ffff"))]

    def renew(self, namespace: str, names: Sequence[str], *, soft: bool = False) -> None:
        """Give each name a new version, in one transaction.  Raises `TierUnavailable`."""
        if not names:
            return
        if soft:
            self._removing.batch(lambda con: _soften(con, namespace, names))
            return
        self._removing.batch(lambda con: renew(con, namespace, names))

    def unused(self) -> Iterator[dict[tuple[str, str], int]]:
        """Batches of versions, by namespace and name, that no entry here carries.  Raises `TierUnavailable`."""
        from scoutcache.tiers.disk.collecting import unused

        return unused(self._database)

    def forget(self, namespace: str, versions: Mapping[str, int]) -> int:
        """Remove those that are still the current ones; how many.  Raises `TierUnavailable`.

        Announce it before and after, as if they were renewed: others remember them.
        """
        from scoutcache.tiers.disk.collecting import forget

        return self._removing.batch(partial(forget, namespace, versions))


def renew(con: sqlite3.Connection, namespace: str, names: Sequence[str]) -> None:
    """Give each name a new version, in the transaction that is under way."""
    sql = ("INSERT INTO Versions VALUES (?, ?, ?)"
           " ON CONFLICT (namespace, name) DO UPDATE SET version = excluded.version")  # fmt: skip
    con.executemany(sql, _fresh(namespace, names))
    sql = "INSERT INTO Store VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
    con.execute(sql, (RENEWALS,))


def found_versions(con: sqlite3.Connection, namespace: str, names: Sequence[str]) -> dict[str, int]:
    """The versions there are of *names*."""
    found: dict[str, int] = {}
    for at in range(0, len(names), _AT_ONCE):
        some = names[at : at + _AT_ONCE]
        found.update(
            con.execute(
                f"SELECT name, version FROM Versions WHERE namespace = ? AND name IN ({','.join('?' * len(some))})",
                (namespace, *some),
            )
        )
    return found


def _soften(con: sqlite3.Connection, namespace: str, names: Sequence[str]) -> None:
    con.executemany(
        "UPDATE Versions SET version = ? WHERE namespace = ? AND name = ?",
        [(softened(version), namespace, name) for name, version in found_versions(con, namespace, names).items()],
    )


def _fresh(namespace: str, names: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    return ((namespace, name, secrets.randbits(63)) for name in names)
