"""The index of one namespace: which entries may answer a query, by the nearness of what they were asked.

Rule 1: it names candidates.  Whoever asks reads the entry of each through the cache, and serves it only if it is there:
        nothing in the index can bring back what was removed, invalidated, expired, or belongs to another tenant.
Rule 2: scopes never meet: each has an index of its own, found by the digest of the scope, which is also part of the
        keys that it names.
Rule 3: a row comes before its entry and goes after it, so no entry is ever without a row: what a killed process left
        is rows without entries, which `unsettled` names at the next opening.
Rule 4: a candidate without an entry is passed over for `PASSED` seconds: the tier that has it may only have been away.
        Only while its row's state is the same: the entry of one that was pending may have been written since.
Rule 5: vectors of two models have nothing to say to each other: an index made by another embedder is refused.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.errors import CacheError
from scoutcache.semantic.embedding import PROBE, Encoding
from scoutcache.semantic.nearest import Scope
from scoutcache.semantic.rows import DEAD, LIVE, PENDING, REMOVING, Rows

if TYPE_CHECKING:
    from scoutcache.semantic.embedding import Vectors

__all__ = ["PASSED", "Candidate", "Index", "Place"]

PASSED: Final = 30.0

_PROBED: Final = 64
"""Components of the probe's vector that are kept."""

_SAME_MODEL: Final = 1e-3


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


class Index:
    """The index in *folder*, with vectors by *encoding*.  Safe to share between threads and processes."""

    def __init__(self, folder: Path, encoding: Encoding, kind: str, now: Callable[[], float]) -> None:
        self._folder, self._encoding, self._kind, self._now = folder, encoding, kind, now
        self.rows = Rows(folder)
        self._checked: str | None = None
        self._generation: str | None = None
        self.renew()

    def renew(self) -> None:
        """Called in a forked child."""
        self._lock = threading.RLock()
        self._scopes: dict[bytes, Scope] = {}
        self._latest: dict[Place, int] = {}
        self._listed = 0
        self._passed: dict[int, tuple[int, float]] = {}
        self._building: set[bytes] = set()
        self.rows.renew()

    # -- keeping up

    def _follow(self) -> None:
        """See what other processes did; inside the lock."""
        self.rows.refresh()
        generation = None if self.rows.about is None else self.rows.about.generation
        if generation != self._generation:
            self._scopes, self._latest, self._listed, self._passed = {}, {}, 0, {}
            self._generation, self._building = generation, set()
        if self.rows.about is not None and self._checked != self.rows.about.generation:
            self._check_model()

    def _check_model(self) -> None:
        about = self.rows.about
        assert about is not None
        probe = self._probe()
        if about.dim != len(self._encoding.one(PROBE)) or any(
            abs(one - other) > _SAME_MODEL for one, other in zip(about.probe, probe, strict=False)
        ):
            raise CacheError(
                f"the semantic index was made by the embedder {about.model}, and the one in use is "
                f"{self._encoding.name}: their vectors have nothing to say to each other",
                hint="scoutcache semantic rebuild embeds the stored queries anew; or name the old model again",
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
    def _writing(self) -> Iterator[None]:
        with self._lock, self.rows.locked():
            self._follow()
            if self.rows.about is None:
                self.rows.create(self._encoding.name, self._probe(), len(self._encoding.one(PROBE)))
                self._follow()
            yield

    # -- asking

    def near(self, vector: Vectors, scope: bytes, count: int) -> list[Candidate]:
        """The *count* nearest entries of *scope*, nearest first.  Raises `CacheError` for another model's index."""
        with self._lock:
            self._follow()
            if self.rows.about is None:
                return []
            found, rows = self._scope(scope).search(vector, count, self._is_passed_over), self.rows
            return [
                Candidate(Place(scope, rows.ident(row)), row, similarity, int(rows.states[row]))
                for row, similarity in found
            ]

    def _scope(self, digest: bytes) -> Scope:
        found = self._scopes.get(digest)
        if found is None:
            found = self._scopes[digest] = Scope(self.rows, digest, self._folder, self._kind)
        else:
            found.follow()
        if found.wants_graph and digest not in self._building:
            self._building.add(digest)
            builder = threading.Thread(target=self._build, args=(digest, found), name="scoutcache-graph", daemon=True)
            builder.start()
        return found

    def _build(self, digest: bytes, scope: Scope) -> None:
        try:
            scope.build_graph()
        except OSError:
            return  # a full disk, or a folder that is gone: comparing all rows is slower, and right
        with self._lock:
            if self._scopes.get(digest) is scope:
                scope.load_graph()
                self._building.discard(digest)  # else it is tried again when the index is opened anew

    def settle_graphs(self) -> None:
        """Wait until no graph is being built; for measurements."""
        for thread in threading.enumerate():
            if thread.name == "scoutcache-graph":
                thread.join()

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
            self._passed[candidate.row] = candidate.state, self._now() + PASSED
        if gone:
            with self._writing():
                row = candidate.row
                same = row < self.rows.count and Place(self.rows.scope(row), self.rows.ident(row)) == candidate.place
                if same and self.rows.states[row] == LIVE:
                    self.rows.set_state([row], DEAD)

    # -- changing

    def adding(self, place: Place, vector: Vectors) -> bool:
        """An entry is about to be written at *place*; True when its row is."""
        with self._writing():
            old = self._list().get(place)
            self.rows.append(place.scope, place.ident, vector, PENDING)
            if old is not None:
                self.rows.set_state([old], DEAD)
        return True

    def added(self, place: Place, vector: Vectors) -> None:
        """The entry at *place* was written.  Whoever removed it meanwhile may have removed the row alone."""
        with self._writing():
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
                self.rows.set_state([latest[place] for place in places if place in latest], REMOVING)

    def removed(self, places: Sequence[Place]) -> None:
        """The entries at *places* were removed; what was added since is another row."""
        if self._has_rows():
            with self._writing():
                latest = self._list()
                rows = [latest[place] for place in places if place in latest]
                self.rows.set_state([row for row in rows if self.rows.states[row] == REMOVING], DEAD)

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

        Whatever embedder made the old ones, and whatever the file holds: it may be damaged.
        """
        with self._lock, self.rows.locked(anew=True):
            probe, dim = self._probe(), len(self._encoding.one(PROBE))
            table = self.rows.table([(*place, vector) for place, vector in entries], dim)
            self.rows.rewrite((), self._encoding.name, probe, dim, table)
            self._follow()

    def about(self) -> dict[str, Any]:
        """What it holds, for people."""
        with self._lock:
            self._follow()
            found, there = self.rows.about, self.places()
            return {
                "indexed": len(there), "scopes": len({place.scope for place in there}), "bytes": self.rows.size,
                "model": None if found is None else found.model, "dim": None if found is None else found.dim,
            }  # fmt: skip

    def amend(self, missing: Sequence[tuple[Place, Any]], ghosts: Mapping[Place, int]) -> None:
        """Add entries that the index lacks, and take out rows that have none, unless they are others by now."""
        with self._writing():
            for place, vector in missing:
                if place not in self._list():
                    self.rows.append(place.scope, place.ident, vector, LIVE)
            latest = self._list()
            rows = [row for place, row in ghosts.items() if latest.get(place) == row]
            self.rows.set_state([row for row in rows if self.rows.states[row] == LIVE], DEAD)
