"""The index of one namespace: which entries may answer a query, by the nearness of what they were asked.

Rule 1: it names candidates.  Whoever asks reads the entry of each through the cache, and serves it only if it is there:
        nothing in the index can bring back what was removed, invalidated, expired, or belongs to another tenant.
Rule 2: scopes never meet: each has an index of its own, found by the digest of the scope, which is also part of the
        keys that it names.
Rule 3: a row comes before its entry and goes after it, so no entry is ever without a row: what a killed process left
        is rows without entries, which `unsettled` names at the next opening.
Rule 4: a candidate without an entry is passed over for `PASSED` seconds: the tier that has it may only have been away.
        Only while its row's state is the same: the entry of one that was pending may have been written since.
        One that was made from the entries lacks what others wrote meanwhile until it was compared with them: a mark in
        the folder says so, put there with it, for whoever opens it after a death in between.
Rule 5: vectors of two models have nothing to say to each other: where vectors are compared or added, an index made by
        another embedder is refused.  Taking out and looking around need no model, and load none.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.errors import CacheError
from scoutcache.semantic.compacting import Compactor
from scoutcache.semantic.embedding import Encoding
from scoutcache.semantic.identity import PROBE, SAME
from scoutcache.semantic.in_memory import MemoryRows
from scoutcache.semantic.nearest import Scopes
from scoutcache.semantic.rows import DEAD, LIVE, PENDING, REMOVING, Rows

if TYPE_CHECKING:
    from scoutcache.semantic.embedding import Vectors

__all__ = ["PASSED", "Candidate", "Index", "Place"]

PASSED: Final = 30.0

_MANY: Final = 1000
_PROBED: Final = 64
"""Components of the probe's vector that are kept."""


class Place(NamedTuple):
    """Where an entry is in the index: the digests of its scope and of its query."""

    scope: bytes
    ident: bytes


class Candidate(NamedTuple):
    """An entry that may answer."""

    place: Place
    row: int
    similarity: float
    state: int
    generation: str
    """Of the file in which the row has this number."""
    here: bool = False
    """Its entry stands in memory alone."""


class Index:
    """The index in *folder*, with vectors by *encoding*.  Safe to share between threads and processes.

    Without a folder it lies in this process's memory, and every vector is compared (`scoutcache.semantic.in_memory`).
    """

    def __init__(self, folder: Path | None, encoding: Encoding, kind: str, now: Callable[[], float]) -> None:
        self._encoding, self._now, self.in_memory = encoding, now, folder is None
        self._folder, self._kind = folder or Path(os.devnull), "flat" if folder is None else kind
        self.rows = MemoryRows() if folder is None else Rows(folder)
        self._checked: str | None = None
        self._compared = 0
        self._generation: str | None = None
        self.renew()

    def renew(self) -> None:
        """Called in a forked child."""
        self._lock = threading.RLock()
        self._scopes = Scopes(self.rows, self._folder, self._kind, self._lock)
        self._compactor = Compactor(self.rows, None if self.in_memory else self._folder)
        self._latest: dict[Place, int] = {}
        self._listed = 0
        self._passed: dict[int, tuple[int, float]] = {}
        self._going: dict[Place, tuple[str | None, int | None]] = {}
        """The rows of what is being removed here, and the generation in which they have these numbers."""
        self.rows.renew()

    # -- keeping up

    def _follow(self, *, vectors: bool = False) -> None:
        """See what other processes did, and with *vectors* whose these are; inside the lock."""
        self.rows.refresh()
        generation = None if self.rows.about is None else self.rows.about.generation
        if generation != self._generation:
            self._generation, self._latest, self._listed, self._passed = generation, {}, 0, {}
            self._scopes.forget()
            self._compactor.consider()
        if vectors and self.rows.about is not None and self._checked != self.rows.about.generation:
            self._check_model()

    def _check_model(self) -> None:
        about = self.rows.about
        assert about is not None
        probe = self._probe()
        if about.dim != len(self._encoding.one(PROBE)) or any(
            abs(one - other) > SAME for one, other in zip(about.probe, probe, strict=False)
        ):
            other = "another one of that name, with other weights" if about.model == self._encoding.name else (
                self._encoding.name
            )
            raise CacheError(
                f"the semantic index was made by the embedder {about.model}, and the one in use is "
                f"{other}: their vectors can't be compared",
                hint="scoutcache semantic rebuild embeds the stored queries again; or configure the old model",
            )
        self._checked = about.generation

    def _probe(self) -> list[float]:
        return [float(one) for one in self._encoding.one(PROBE)[:_PROBED]]

    def _list(self) -> dict[Place, int]:
        """The latest row of each place; inside the lock."""
        if self._listed < self.rows.count:
            states = self.rows.states
            for row in range(self._listed, self.rows.count):
                if states[row] != DEAD:
                    self._latest[Place(self.rows.scope(row), self.rows.ident(row))] = row
            self._listed = self.rows.count
        return self._latest

    @contextlib.contextmanager
    def _writing(self, *, vectors: bool = False) -> Iterator[None]:
        with self._lock, self.rows.locked():
            self._follow(vectors=vectors)
            if self.rows.about is None:
                self.rows.create(self._encoding.name, self._probe(), len(self._encoding.one(PROBE)))
                self._follow()
            yield
            self._compactor.after_change()

    def settle_compacting(self) -> None:
        """Wait until the file isn't being written anew; for tests and measurements."""
        self._compactor.settle()

    def settle_graphs(self) -> None:
        """Wait until no graph is being built; for measurements."""
        self._scopes.settle()

    # -- asking

    def near(self, vector: Vectors, scope: bytes, count: int) -> list[Candidate]:
        """The *count* nearest entries of *scope*, nearest first.  Raises `CacheError` for another model's index."""
        with self._lock:
            self._follow(vectors=True)
            if self.rows.about is None:
                return []
            found, rows = self._scopes.of(scope).search(vector, count, self._is_passed_over), self.rows
            generation = self.rows.about.generation
            return [
                Candidate(Place(scope, rows.ident(row)), row, similarity, int(rows.states[row]), generation)
                for row, similarity in found
            ]

    def _is_passed_over(self, row: int) -> bool:
        if row not in self._passed:
            return False
        state, until = self._passed[row]
        if self.rows.states[row] == state and until > self._now():
            return True
        del self._passed[row]
        return False

    def pass_over(self, candidate: Candidate, *, gone: bool) -> None:
        """There was no entry for *candidate*; *gone* says that there will be none again."""
        with self._lock:
            self._follow()
            if candidate.generation == self._generation:
                self._passed[candidate.row] = candidate.state, self._now() + PASSED
        if gone:
            with self._writing():
                if candidate.generation == self._generation and self.rows.states[candidate.row] == LIVE:
                    self.rows.set_state([candidate.row], DEAD)

    # -- changing

    def adding(self, place: Place, vector: Vectors) -> bool:
        """An entry is about to be written at *place*; True when its row is."""
        with self._writing(vectors=True):
            old = self._list().get(place)
            self.rows.append(place.scope, place.ident, vector, PENDING)
            if old is not None:
                self.rows.set_state([old], DEAD)
        return True

    def added(self, place: Place, vector: Vectors) -> None:
        """The entry at *place* was written.  Whoever removed it meanwhile may have removed the row alone."""
        with self._writing(vectors=True):
            row = self._list().get(place)
            if row is not None and self.rows.states[row] in {PENDING, LIVE}:
                self.rows.set_state([row], LIVE)
            else:
                self.rows.append(place.scope, place.ident, vector, LIVE)

    def removing(self, places: Sequence[Place]) -> None:
        """The entries at *places* are about to be removed."""
        if self._has_rows():
            with self._writing():
                latest = self._list()
                going = {place: latest.get(place) for place in places}
                self.rows.set_state([row for row in going.values() if row is not None], REMOVING)
                self._going.update({place: (self._generation, row) for place, row in going.items()})

    def removed(self, places: Sequence[Place]) -> list[Place]:
        """The entries at *places* were removed; what was added since is another row.

        Who opened the index meanwhile may have found an entry still there, and have called its row live.  Where the
        file was replaced meanwhile nobody can tell the rows apart: such places are `unsettled`, and returned.
        """
        if not self._has_rows():
            return []
        with self._writing():
            latest, states, unsure = self._list(), self.rows.states, []
            for place in places:
                generation, removing = self._going.pop(place, (None, None))
                row = latest.get(place)
                if row is None or states[row] == DEAD:
                    continue
                if states[row] == REMOVING or (generation, removing) == (self._generation, row):
                    self.rows.set_state([row], DEAD)
                elif states[row] == LIVE and generation != self._generation:
                    self.rows.set_state([row], PENDING)
                    unsure.append(place)
            return unsure

    def removing_all(self) -> None:
        """All entries are about to be removed."""
        if self._has_rows():
            with self._writing():
                self.rows.set_state([int(row) for row in self.rows.alive()], REMOVING)

    def removed_all(self) -> None:
        """All entries were removed; what was added since stays."""
        if self._has_rows():
            with self._writing():
                about, states = self.rows.about, self.rows.states
                assert about is not None
                keep = [int(row) for row in self.rows.alive() if states[row] != REMOVING]
                self.rows.rewrite(keep, about.model, about.probe, about.dim)
                self._follow()

    def exists(self) -> bool:
        """Is there an index yet?"""
        with self._lock:
            self._follow()
            return self.rows.about is not None

    def _has_rows(self) -> bool:
        with self._lock:
            self.rows.refresh()
            return self.rows.count > 0

    # -- mending

    def unsettled(self) -> list[Place]:
        """Where a process was in the middle of something, or died there."""
        with self._lock:
            self._follow()
            return [Place(self.rows.scope(row), self.rows.ident(row)) for row in self.rows.unsettled()]

    def settle(self, there: dict[Place, bool]) -> None:
        """Say of places that were `unsettled` whether they have an entry."""
        with self._writing():
            latest = self._list()
            for place, has_entry in there.items():
                row = latest.get(place)
                if row is not None and self.rows.states[row] in {PENDING, REMOVING}:
                    self.rows.set_state([row], LIVE if has_entry else DEAD)

    def places(self) -> dict[Place, tuple[int, int]]:
        """Everything that is in the index, with its row and the state of that."""
        with self._lock:
            self._follow()
            states = self.rows.states.tolist() if self.rows.count else ()
            return {place: (row, states[row]) for place, row in self._list().items() if states[row] != DEAD}

    def replace(self, entries: Sequence[tuple[Place, Any]]) -> None:
        """Let the index hold exactly *entries* with their vectors.

        Whatever embedder made the old ones, and whatever the file holds: it may be damaged.  What is being removed
        stays so: who removes it may die before he comes to the new row.
        """
        with self._lock, self.rows.locked(anew=True):
            probe, dim = self._probe(), len(self._encoding.one(PROBE))
            table, going = self.rows.table([(*place, vector) for place, vector in entries], dim), self._removed_now()
            table["state"][[at for at, (place, _) in enumerate(entries) if place in going]] = REMOVING
            self._mark()
            self.rows.rewrite((), self._encoding.name, probe, dim, table)
            self._follow()

    def _removed_now(self) -> set[Place]:
        """What processes are removing, as far as the file tells."""
        try:
            self.rows.refresh()
        except (CacheError, OSError, ValueError):
            return set()
        rows = [row for row in self.rows.unsettled() if self.rows.states[row] == REMOVING]
        return {Place(self.rows.scope(row), self.rows.ident(row)) for row in rows}

    @property
    def _mark_file(self) -> Path:
        return self._folder / "uncompared"

    def _mark(self) -> str | None:
        """Note that rows are missing, inside the lock; its name."""
        if self.in_memory:
            return None
        mark = secrets.token_hex(8)
        self._mark_file.write_text(mark)
        return mark

    def uncompared(self) -> str | None:
        """The mark which says that the index was not compared with the entries; None without one."""
        try:
            return None if self.in_memory else self._mark_file.read_text()
        except FileNotFoundError:
            return None

    def was_compared(self, mark: str) -> None:
        """Entries and index were compared since *mark* was seen."""
        with self._lock, self.rows.locked():
            if self.uncompared() == mark:
                self._mark_file.unlink()

    def about(self) -> dict[str, Any]:
        """What it holds, for people."""
        with self._lock:
            self._follow()
            found, there = self.rows.about, self.places()
            return {
                "indexed": len(there), "scopes": len({place.scope for place in there}), "bytes": self.rows.size,
                "model": None if found is None else found.model, "dim": None if found is None else found.dim,
            }  # fmt: skip

    @property
    def seen(self) -> str | None:
        """The generation that was seen last."""
        return self._generation

    def generation(self) -> str | None:
        """What holds as long as rows keep their numbers."""
        with self._lock:
            self._follow()
            return self._generation

    def is_due_to_be_compared(self) -> bool:
        """Are its rows many, and twice those that were alive when it was last compared with the entries?

        Entries expire and are evicted without telling the index.
        """
        with self._lock:
            due = self.rows.count > max(_MANY, 2 * self._compared)
            if due:
                self._compared = self.rows.count
            return due

    def amend(
        self, missing: Sequence[tuple[Place, Any]], ghosts: Mapping[Place, int], generation: str | None = None
    ) -> None:
        """Add entries that the index lacks, and take out rows that have none, unless they are others by now.

        The numbers of *ghosts* are those of *generation*.
        """
        with self._writing(vectors=bool(missing)):
            mark = self._mark() if missing and self.uncompared() is None else None
            for place, vector in missing:
                if place not in self._list():
                    self.rows.append(place.scope, place.ident, vector, LIVE)
            if mark is not None:
                self._mark_file.unlink(missing_ok=True)
            latest = self._list()
            same = generation == self._generation
            rows = [row for place, row in ghosts.items() if same and latest.get(place) == row]
            self.rows.set_state([row for row in rows if self.rows.states[row] == LIVE], DEAD)
            if same:
                self._compared = len(self.rows.alive())
