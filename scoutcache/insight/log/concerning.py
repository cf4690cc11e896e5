"""The lines of the log about a few keys, with the invalidations of their namespace, in the order of time.

Rule 1: of hits in a row only the last says something of what became of the entry, so the others of sealed files are
        left out before a line is made of them: a key may have been hit a million times.  The last hits of all stay,
        for whoever wants to see them.
Rule 2: nothing else is left out, nor a hit that says the tags of its key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from scoutcache.insight.log.operations import Operations, SealedFile
from scoutcache.oplog.records import REQUESTS, Line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Mask = npt.NDArray[np.bool_]

__all__ = ["lines_about"]

COLUMNS: Final = (
    "time", "op", "key", "namespace", "tier", "outcome", "reason", "latency_us", "wait_us", "factory_s", "ttl", "error",
    "tags", "depends_on", "process", "user", "pid", "command",
)  # fmt: skip
"""What of a sealed line is read: the bytes and the money are nobody's here, and most of the file."""


def lines_about(operations: Operations, namespace: str, asked: frozenset[str], hits: int) -> list[Line]:
    """What *operations* gives of its keys in *namespace*, in the order of time.

    Of keys that are not *asked* about the hits are left out, of those that are the last *hits* stay at least.
    """
    parts = list(_parts(operations, namespace, asked))
    # Where nothing is sealed there is nothing to gain, and numpy takes a tenth of a second to import.
    keep = iter(()) if all(isinstance(one, list) for one in parts) else _telling(parts, hits)
    found = (line for one in parts for line in (one if isinstance(one, list) else one.lines(next(keep))))
    return sorted((line for line in found if line.namespace == namespace), key=lambda line: line.time)


class _Rows:
    """Rows of a sealed file, and which of them are hits that say no more than that."""

    def __init__(self, file: SealedFile, table: pa.Table, plain: Mask) -> None:
        self._file, self._table, self.plain = file, table, plain

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """When each was, as its line says."""
        import numpy as np

        from scoutcache.insight.log.operations import micros

        return np.asarray(micros(self._table).to_numpy()) / 1e6

    def lines(self, keep: Mask) -> Iterator[Line]:
        """Those to *keep*."""
        import pyarrow as pa

        return self._file.lines_in(self._table.filter(pa.array(keep)))


def _parts(operations: Operations, namespace: str, asked: frozenset[str]) -> Iterator[list[Line] | _Rows]:
    """What the files hold, each by its row groups or its lines."""
    for file in operations.begin():
        opened = operations.open(file)
        if isinstance(opened, SealedFile):
            with opened:
                for table in opened.tables(COLUMNS):
                    if table.num_rows:
                        yield _rows(opened, table, namespace, asked)
        elif opened is not None:
            yield list(operations.of_lines(opened))


def _rows(file: SealedFile, table: pa.Table, namespace: str, asked: frozenset[str]) -> _Rows:
    import numpy as np
    import pyarrow as pa

    from scoutcache.insight.log.loading import of_namespace, possible

    table = possible(of_namespace(table, namespace), file.operations, file.path)
    for at, name in enumerate(table.column_names):
        if pa.types.is_dictionary(table.schema.field(name).type):  # which has the texts of all other rows, too
            table = table.set_column(at, name, table.column(name).cast(pa.string()))
    plain, own = _says(table, "op", REQUESTS) & _says(table, "outcome", {"hit"}), _says(table, "key", asked)
    if "tags" in table.column_names:
        plain &= np.asarray(table.column("tags").is_null())
    others = plain & ~own
    return _Rows(file, table.filter(pa.array(~others)), plain[~others])


def _says(table: pa.Table, name: str, words: frozenset[str] | set[str]) -> Mask:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in table.column_names:
        return np.zeros(table.num_rows, "bool")
    found = pc.is_in(table.column(name), pa.array(sorted(words), pa.string()))
    return np.asarray(found.to_numpy())


def _telling(parts: Sequence[list[Line] | _Rows], hits: int) -> Iterator[Mask]:
    """For each of the sealed *parts* which of its rows stay (Rule 1)."""
    import numpy as np

    times = [[line.time for line in one] if isinstance(one, list) else one.times for one in parts]
    plain = np.concatenate([np.zeros(len(one), "bool") if isinstance(one, list) else one.plain for one in parts])
    order = np.argsort(np.concatenate(times), kind="stable")
    there = np.flatnonzero(plain[order])
    repeated = there[np.append(plain[order][1:], False)[there]]
    if hits:
        repeated = np.setdiff1d(repeated, there[-hits:], assume_unique=True)
    keep = np.ones(len(plain), "bool")
    keep[order[repeated]] = False
    masks = np.split(keep, np.cumsum([len(one) for one in times]))
    return (mask for one, mask in zip(parts, masks, strict=False) if not isinstance(one, list))
