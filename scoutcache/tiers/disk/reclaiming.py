"""Giving back the space of entries that died by their marks: by a tag, by their namespace, by what they depend on.

Rules.

- Invalidating is one write, so what dies of it stands where it stood until a pass over the table has come by.  A pass
  goes in the order of the table, a thousand rows in each call of `maintain`, and holds no lock to look at them.
- Rows and versions are read from one snapshot.  What is dead in it stays dead, for no version is used twice; so it is
  removed afterwards, in a small transaction, if the entry there is still the same (number, key and start).
- The store counts renewals, and a pass is due when there was one since the last whole pass began: a store where nothing
  is invalidated is not read over and over.  How far a pass has come stands in the store as well, so that the processes
  of a directory do it together, and those that live shortly too.
"""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from scoutcache.entry import Header, Mark, Ref, life_of
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.removing import Removing
from scoutcache.tiers.disk.rows import BYTES, PLAIN, TAG, header_of
from scoutcache.tiers.disk.schema import recorded
from scoutcache.tiers.disk.versions import RENEWALS, found_versions

__all__ = ["Reclaiming"]

_AT_ONCE: Final = 500
"""Rows looked at in one snapshot."""

_LOOKS: Final = 2
"""Snapshots between two transactions, unless there is something to remove before."""

_PATIENCE: Final = 0.05
"""Seconds to wait for who writes just now: where sets never pause, this would otherwise never have its turn."""

_ROUNDS: Final = 3
"""Transactions in one call of `maintain`, as long as each finds something to remove."""

_FOR: Final = "pass_for"
_AT: Final = "pass_at"
_DONE: Final = "passed_for"

_BEGINNING: Final = -(1 << 62)

_Row = tuple[int, bytes, float]


class _Dead(NamedTuple):
    """An entry that died by its marks, and its row."""

    row: _Row
    ref: Ref


class _Seen(NamedTuple):
    """What was found dead, and the number of the last row looked at; None at the end of the table."""

    dead: list[_Dead]
    last: int | None


class Reclaiming:
    """The one pass over a store, done by whoever is there."""

    def __init__(self, database: Database, removing: Removing) -> None:
        self._database, self._removing = database, removing
        self._uncounted = 0
        self.told: Callable[[Sequence[Ref]], object] = lambda _: None
        """Is told which entries `turn` is going to remove: who misses one afterwards would else not know why."""

    def turn(self) -> int:
        """Go on with the pass that is under way, or begin one if it is due; how many rows were removed.

        Raises `TierUnavailable`, also when somebody else writes all the time.
        """
        removed = 0
        for _ in range(_ROUNDS):
            with self._database.link() as con:
                store = recorded(con)
            renewals = store.get(RENEWALS, 0)
            if store.get(_DONE, 0) == renewals:
                break
            seen = self._look(store.get(_AT, _BEGINNING))
            self.told([one.ref for one in seen.dead])
            gone = self._removing.batch(partial(_advance, seen, store), _PATIENCE)
            removed, self._uncounted = removed + gone, self._uncounted + gone
            if not seen.dead or seen.last is None:
                break
        return removed

    def everything(self, *, dry_run: bool) -> int:
        """Make a whole pass; how many rows were removed, or would be.  Raises `TierUnavailable`.

        Counted are those as well that `turn` removed since this was last asked: it may have come a moment before.
        """
        with self._database.link() as con:
            renewals = recorded(con).get(RENEWALS, 0)
        number, at = 0, _BEGINNING
        while True:
            dead, last = self._look(at)
            number += len(dead) if dry_run or not dead else self._removing.batch(partial(_remove, dead))
            if last is None:
                break
            at = last
        if not dry_run:
            self._removing.batch(lambda con: _finish(con, renewals))
            number, self._uncounted = number + self._uncounted, 0
        return number

    def _look(self, last: int) -> _Seen:
        dead: list[_Dead] = []
        for _ in range(_LOOKS):
            with self._database.link() as con:
                con.execute("BEGIN")
                try:
                    rows, found = _dead_after(con, last)
                finally:
                    con.execute("ROLLBACK")
            dead += found
            if len(rows) < _AT_ONCE:
                return _Seen(dead, None)
            last = rows[-1][0]
            if dead:
                break
        return _Seen(dead, last)


def _dead_after(con: sqlite3.Connection, last: int) -> tuple[Sequence[tuple[int, bytes, float, object]], list[_Dead]]:
    sql = (f"SELECT rowid, CAST(key AS BLOB), store_time, {TAG} FROM Cache WHERE rowid > ? AND {PLAIN}"
           f" AND typeof(key) = 'text' ORDER BY rowid LIMIT {_AT_ONCE}")  # fmt: skip
    rows = con.execute(sql, (last,)).fetchall()
    headers = [(row, header) for row in rows if (header := header_of(row[3])) is not None]
    names: dict[str, set[str]] = {}
    for namespace, marks in {(header.ref.namespace, header.marks) for _, header in headers}:
        names.setdefault(namespace, set()).update([mark.name for mark in marks])
    lives: _Lives = {}
    versions = {space: found_versions(con, space, sorted(some)) for space, some in names.items()}
    return rows, [_Dead(row[:3], header.ref) for row, header in headers if _is_dead(header, versions, lives)]


_Lives = dict[tuple[str, tuple[Mark, ...]], bool]


def _is_dead(header: Header, versions: dict[str, dict[str, int]], lives: _Lives) -> bool:
    """Most entries of a batch carry the same marks, and are judged once."""
    namespace = header.ref.namespace
    what = namespace, header.marks
    dead = lives.get(what)
    if dead is None:
        dead = lives[what] = life_of(header.marks, versions[namespace]) == "dead"
    return dead


def _advance(seen: _Seen, store: dict[str, int], con: sqlite3.Connection) -> int:
    """Remove what was seen, and note how far the pass has come, unless another process has come further."""
    removed = _remove(seen.dead, con)
    if recorded(con).get(_AT, _BEGINNING) != store.get(_AT, _BEGINNING):
        return removed
    begun = store.get(_FOR, store.get(RENEWALS, 0))
    if seen.last is None:
        _finish(con, begun)
    else:
        _note(con, {_FOR: begun, _AT: seen.last})
    return removed


def _finish(con: sqlite3.Connection, renewals: int) -> None:
    con.execute("DELETE FROM Store WHERE name IN (?, ?)", (_AT, _FOR))
    _note(con, {_DONE: renewals})


def _remove(dead: Sequence[_Dead], con: sqlite3.Connection) -> int:
    sql = f"DELETE FROM Cache WHERE rowid = ? AND key = {BYTES} AND store_time IS ?"
    return con.executemany(sql, [one.row for one in dead]).rowcount if dead else 0


def _note(con: sqlite3.Connection, values: dict[str, int]) -> None:
    con.executemany("INSERT OR REPLACE INTO Store VALUES (?, ?)", values.items())
