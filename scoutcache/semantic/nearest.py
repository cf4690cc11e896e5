"""The nearest rows of one scope, by FAISS: exact while they are few, a graph (HNSW) once they are many.

Rule 1: below `EXACT` rows every vector is compared (up to `FEW` by numpy: FAISS takes 0.06 s to load).  Above, a graph
        over the rows that there were when it was built is asked, and those that came since are compared.  Dead rows are
        passed over; the graph is built anew when a tenth of the rows came or died since.
Rule 2: a graph is built beside the calls, once per machine (a lock), put in place by a rename and mapped by every
        process; until it is there all rows are compared.  It belongs to one generation of the rows' file.
Rule 3: similarity is the inner product of unit vectors, the cosine: 1 is the same, and there is no other scale.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.errors import CacheError
from scoutcache.semantic.rows import LIVE, PENDING, Rows

if TYPE_CHECKING:
    from scoutcache.semantic.embedding import Vectors

__all__ = ["EXACT", "FEW", "Near", "Scope", "Scopes", "load_faiss"]

FEW: Final = 1_000
EXACT: Final = 20_000

_LINKS: Final = 20
_BUILT: Final = 120
_SEARCHED: Final = 128
"""How many neighbours a vector keeps, and how many are looked at when one is put in, and when one is asked for.

Of 3,000 queries of 100,000 vectors the nearest is found in 99.8 % (with 16 links, built with 100: 99.5 %, in the same
time; searched with 96: 99.7 %).
"""

_MUCH: Final = 0.1


class Near(NamedTuple):
    """A row near to a query."""

    row: int
    similarity: float


def load_faiss() -> Any:
    """The library; raises `CacheError` where it isn't installed."""
    try:
        import faiss
    except ImportError as error:
        raise CacheError(f"the semantic cache needs faiss: {error}",
                         hint="pip install 'scoutcache[semantic]'") from error  # fmt: skip
    return faiss


class _Compared:
    """Vectors that are all compared with a query, by numpy or by FAISS (rule 1)."""

    def __init__(self, dim: int) -> None:
        import numpy as np

        self._rows, self._vectors = np.empty(0, np.int64), np.empty((0, dim), np.float32)
        self._index: Any = None

    def __len__(self) -> int:
        return len(self._rows) if self._index is None else int(self._index.ntotal)

    def add(self, rows: Any, vectors: Vectors) -> None:
        """Compare *vectors* too, which are those of *rows*."""
        import numpy as np

        if self._index is not None:
            self._index.add_with_ids(np.ascontiguousarray(vectors), rows)
            return
        self._rows, self._vectors = np.concatenate([self._rows, rows]), np.concatenate([self._vectors, vectors])
        if len(self._rows) > FEW:
            faiss = load_faiss()
            index = faiss.IndexIDMap(faiss.IndexFlatIP(self._vectors.shape[1]))
            index.add_with_ids(self._vectors, self._rows)
            self._index, self._rows, self._vectors = index, self._rows[:0], self._vectors[:0]

    def search(self, vector: Vectors, count: int) -> list[Near]:
        """The *count* nearest, in no order."""
        import numpy as np

        if self._index is not None:
            return _search(self._index, vector, count)
        similar = np.einsum("ij,j->i", self._vectors, vector)  # a product of matrices would wake threads
        best = np.argsort(-similar)[:count]
        return [Near(int(self._rows[at]), float(similar[at])) for at in best]


def _search(index: Any, vector: Vectors, count: int) -> list[Near]:
    load_faiss().omp_set_num_threads(1)  # of this thread
    similar, rows = index.search(vector.reshape(1, -1), min(count, index.ntotal))
    return [Near(int(row), float(one)) for row, one in zip(rows[0], similar[0], strict=True) if row >= 0]


class Scope:
    """The rows of one scope; the caller holds a lock around its calls."""

    def __init__(self, rows: Rows, digest: bytes, folder: Path, kind: str) -> None:
        self._rows, self._digest, self._kind = rows, digest, kind
        self._graph_file = folder / f"graph-{digest.hex()}"
        if kind == "hnsw":
            load_faiss()  # of which the thread that builds couldn't say that it is missing
        assert rows.about is not None
        self._dim, self._generation = rows.about.dim, rows.about.generation
        self._graph: Any = None
        self._covered = 0
        """The rows before this one are in the graph."""
        self.load_graph()

    def load_graph(self) -> None:
        """Take over a graph that was built for these rows, if there is one; compare what it doesn't cover."""
        self._graph, self._covered = self._read_graph() if self._kind != "flat" else (None, 0)
        self._flat = _Compared(self._dim)
        self._next = self._covered
        self.follow()

    def _read_graph(self) -> tuple[Any, int]:
        about = _about(self._graph_file)
        if about is None or about["generation"] != self._generation or about["covered"] > self._rows.count:
            return None, 0
        faiss = load_faiss()
        try:
            return faiss.read_index(str(about["file"]), faiss.IO_FLAG_MMAP_IFC), about["covered"]
        except RuntimeError:  # replaced since, or damaged: it is built anew
            return None, 0

    def follow(self) -> None:
        """Take in the rows that were appended since."""
        new = self._rows.of_scope(self._digest, self._next)
        self._next = self._rows.count
        if len(new):
            self._flat.add(new, self._rows.vectors[new])

    def __len__(self) -> int:
        return len(self._flat) + (0 if self._graph is None else int(self._graph.ntotal))

    def search(self, vector: Vectors, count: int, passed_over: Callable[[int], bool]) -> list[Near]:
        """The *count* nearest that are alive and not *passed_over*, nearest first."""
        wanted = count + 4
        while True:
            found = self._candidates(vector, wanted)
            states = self._rows.states
            alive = [one for one in found if states[one.row] in {PENDING, LIVE} and not passed_over(one.row)]
            if len(alive) >= count or wanted >= len(self):
                return alive[:count]
            wanted *= 4

    def _candidates(self, vector: Vectors, count: int) -> list[Near]:
        found = self._flat.search(vector, count) if len(self._flat) else []
        if self._graph is not None and self._graph.ntotal:
            found += _search(self._graph, vector, count)
        return sorted(found, key=lambda one: -one.similarity)

    @property
    def wants_graph(self) -> bool:
        """Is it time to build a graph?"""
        if self._kind == "flat":
            return False
        size = len(self)
        if self._graph is None:
            return size >= (1 if self._kind == "hnsw" else EXACT)
        return len(self._flat) > max(_MUCH * size, 1000)

    def build_graph(self) -> None:
        """Build a graph over the rows that there are and put it in place, unless another process has just done it.

        It needs no lock of the caller's: rows are only appended.  Raises `OSError`.
        """
        before = self._covered
        fd = os.open(f"{self._graph_file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # waits for the process that is at it
            if self._read_graph()[1] <= before:
                self._build()
        finally:
            os.close(fd)

    def _build(self) -> None:
        import numpy as np

        faiss, covered = load_faiss(), self._rows.count
        rows = self._rows.of_scope(self._digest)
        faiss.omp_set_num_threads(1)
        inner = faiss.IndexHNSWFlat(self._dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction, inner.hnsw.efSearch = _BUILT, _SEARCHED
        index = faiss.IndexIDMap(inner)
        for at in range(0, len(rows), 1000):
            part = rows[at : at + 1000]
            index.add_with_ids(np.ascontiguousarray(self._rows.vectors[part]), part.astype(np.int64))
        file = self._graph_file.with_name(f"{self._graph_file.name}.{secrets.token_hex(4)}")
        before = _about(self._graph_file)
        faiss.write_index(index, str(file))
        file.chmod(0o600)
        _put(self._graph_file, {"generation": self._generation, "covered": covered, "file": file.name})
        if before is not None:
            before["file"].unlink(missing_ok=True)  # who has it mapped keeps it


class Scopes:
    """The scopes of one index, whose graphs are built beside the calls (rule 2).

    *lock* is the index's: callers hold it, and what was built is taken over inside it.
    """

    def __init__(self, rows: Rows, folder: Path, kind: str, lock: AbstractContextManager[Any]) -> None:
        self._rows, self._folder, self._kind, self._lock = rows, folder, kind, lock
        self._found: dict[bytes, Scope] = {}
        self._building: set[bytes] = set()

    def forget(self) -> None:
        """The rows are others now."""
        self._found, self._building = {}, set()

    def of(self, digest: bytes) -> Scope:
        """The scope with *digest* as its rows are now."""
        found = self._found.get(digest)
        if found is None:
            found = self._found[digest] = Scope(self._rows, digest, self._folder, self._kind)
        else:
            found.follow()
        if found.wants_graph and digest not in self._building:
            self._building.add(digest)
            threading.Thread(target=self._build, args=(digest, found), name=_BUILDER, daemon=True).start()
        return found

    def _build(self, digest: bytes, scope: Scope) -> None:
        try:
            scope.build_graph()
        except (OSError, IndexError):
            return  # a full disk, a folder that is gone, other rows by now: comparing all rows is slower, and right
        with self._lock:
            if self._found.get(digest) is scope:
                scope.load_graph()
                self._building.discard(digest)  # else it is tried again when the index is opened anew

    def settle(self) -> None:
        """Wait until no graph is being built in this process."""
        for thread in threading.enumerate():
            if thread.name == _BUILDER:
                thread.join()


_BUILDER: Final = "scoutcache-graph"


def _put(file: Path, fields: dict[str, Any]) -> None:
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    draft.write_text(json.dumps(fields), encoding="utf-8")
    draft.replace(file)


def _about(file: Path) -> dict[str, Any] | None:
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        name = str(fields["file"])
        if "/" in name:
            return None
        return {"generation": fields["generation"], "covered": int(fields["covered"]), "file": file.with_name(name)}
    except (OSError, ValueError, KeyError, TypeError):
        return None
