"""The operation log as columns of numbers: what a table of ten million rows is made of, file by file.

Rule 1: a text is a number into a list of the different ones, -1 for none; each file's own numbers are translated once
        for each different text, never for each row.
Rule 2: a figure is a float, NaN where a record doesn't say.  What no record says takes no room while it is gathered.
Rule 3: rows keep the order of their files and, inside a file, of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from scoutcache.insight.log.operations import Operations, SealedFile, micros
from scoutcache.oplog.columns import ALWAYS, CODED, NUMBERS, names_text
from scoutcache.oplog.reading import LARGEST, LAST_TIME
from scoutcache.oplog.records import Line

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FIGURES", "TEXTS", "Columns", "load", "of_namespace", "possible"]

FIGURES: Final = ("time", *NUMBERS, "size", "stored")
TEXTS: Final = tuple(name for name in CODED if name not in {"depends_on", "process", "user", "command"})
BATCH: Final = 50_000
_NAMED: Final = frozenset({"tags", "depends_on"})

Figures = npt.NDArray[np.float64]


class Growing:
    """An array that grows at its end, in place.  Pages that nothing was written to take no memory."""

    def __init__(self, kind: npt.DTypeLike) -> None:
        self._cells = np.empty(0, kind)
        self.count = 0

    def room(self, count: int, most: int) -> Any:
        """The next *count* cells, to be written; they hold numbers up to *most* in magnitude, if integers."""
        kind, end = self._cells.dtype, self.count + count
        if kind.kind == "i" and most > np.iinfo(kind).max:
            self._cells = self._cells.astype(np.min_scalar_type(-most))
        if end > len(self._cells):
            self._cells.resize(max(end, 2 * len(self._cells)), refcheck=False)
        self.count = end
        return self._cells[end - count : end]

    def cells(self) -> Any:
        """All of them."""
        return self._cells[: self.count]


class Figure:
    """A column of figures, NaN for none; until there is one it is nothing but a number of rows (Rule 2)."""

    def __init__(self) -> None:
        self._empty = 0
        self._cells: Growing | None = None

    def add(self, cells: Figures | None, count: int) -> None:
        """So many rows; None when all are empty."""
        if cells is None and self._cells is None:
            self._empty += count
            return
        if self._cells is None:
            self._cells = Growing(np.float64)
            self._cells.room(self._empty, 0)[:] = np.nan
        self._cells.room(count, 0)[:] = np.nan if cells is None else cells

    def result(self) -> Figures:
        """All rows; without any figure an array that takes no room."""
        found: Figures = np.broadcast_to(np.float64(np.nan), (self._empty,))
        return found if self._cells is None else self._cells.cells()


class Text:
    """The different texts of a column, and the rows as numbers into them, -1 for none (Rule 1)."""

    def __init__(self) -> None:
        self._known: dict[str | None, int] = {None: -1}
        self._codes = Growing(np.int8)

    def add(self, chunk: pa.DictionaryArray) -> None:
        """Rows of a sealed file."""
        texts = chunk.dictionary.to_pylist()
        self._learn(texts)
        own = np.array([*map(self._known.__getitem__, texts), -1], np.int32)  # -1, for none, takes the last
        self._codes.room(len(chunk), len(self._known))[:] = own[_numbers(chunk)]

    def add_cells(self, cells: Sequence[str | None]) -> None:
        """Rows one by one."""
        self._learn(set(cells))
        codes = np.fromiter(map(self._known.__getitem__, cells), np.int32, len(cells))
        self._codes.room(len(cells), len(self._known))[:] = codes

    def _learn(self, texts: Iterable[str | None]) -> None:
        known = self._known
        for text in texts:
            if text not in known:
                known[text] = len(known) - 1

    def result(self) -> tuple[Any, Any]:
        """All rows in small numbers, and the different texts."""
        return self._codes.cells(), np.array(list(self._known)[1:], dtype=object)


class Keys(Text):
    """The same for a column of very many texts: what is the same in different files pyarrow finds, at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._sealed: list[tuple[int, int, pa.StringArray]] = []
        """From which row to which the numbers are into which texts; the other rows' are into `_known`."""

    def add(self, chunk: pa.DictionaryArray) -> None:
        began = self._codes.count
        self._codes.room(len(chunk), max(len(chunk.dictionary), 1 << 16))[:] = _numbers(chunk)
        self._sealed.append((began, self._codes.count, chunk.dictionary))

    def result(self) -> tuple[Any, Any]:
        if not self._sealed:
            return super().result()
        import pyarrow as pa

        own = pa.array(list(self._known)[1:], pa.string())
        lists = [own, *(texts for _, _, texts in self._sealed)]
        encoded = pa.chunked_array(lists, pa.string()).dictionary_encode()
        parts = [chunk.indices.to_numpy() for chunk in encoded.chunks]
        dictionary = encoded.chunk(0).dictionary if parts else own
        # Lists without any text leave no part behind.
        places = np.split(np.concatenate([*parts, np.empty(0, np.int32)]), np.cumsum([*map(len, lists)])[:-1])
        codes, last = self._codes.cells(), 0
        for (began, ended, _), into in zip(self._sealed, places[1:], strict=True):
            self._translate(codes[last:began], places[0])
            self._translate(codes[began:ended], into)
            last = ended
        self._translate(codes[last:], places[0])
        self._sealed.clear()
        del encoded, parts, lists
        _let_go()
        return codes, dictionary

    def _translate(self, codes: Any, into: Any) -> None:
        codes[:] = np.append(into, -1)[codes]


def _numbers(chunk: pa.DictionaryArray) -> Any:
    import pyarrow.compute as pc

    indices = chunk.indices
    return (pc.fill_null(indices, -1) if indices.null_count else indices).to_numpy()


class Columns:
    """The columns *wanted* of all files, as they are gathered."""

    def __init__(self, wanted: Iterable[str]) -> None:
        names = set(wanted)
        self.figures: dict[str, Figure] = {name: Figure() for name in FIGURES if name in names}
        self.texts: dict[str, Text] = {name: Keys() if name == "key" else Text() for name in TEXTS if name in names}
        self.rows = 0

    def add_table(self, table: pa.Table) -> None:
        """Rows of a sealed file."""
        self.rows += table.num_rows
        for name, figure in self.figures.items():
            figure.add(_figures(table, name), table.num_rows)
        for name, text in self.texts.items():
            if name not in table.column_names:
                text.add_cells(["" if name in ALWAYS else None] * table.num_rows)
                continue
            for chunk in table.column(name).chunks:
                text.add(_encoded(chunk, filled=name in ALWAYS))

    def add_lines(self, lines: Sequence[Line]) -> None:
        """Rows of a file of lines."""
        count = len(lines)
        self.rows += count
        for name, figure in self.figures.items():
            cells = list(map(attrgetter(name), lines))
            figure.add(None if cells.count(None) == count else np.array(cells, np.float64), count)
        for name, text in self.texts.items():
            found: list[Any] = list(map(attrgetter(name), lines))
            text.add_cells(_as_text(found) if name in _NAMED else found)


def _encoded(chunk: pa.Array, *, filled: bool) -> pa.DictionaryArray:
    """The texts of *chunk* as numbers into the different ones; empty ones for nulls where *filled*."""
    import pyarrow as pa

    filled = filled and chunk.null_count > 0
    if pa.types.is_dictionary(chunk.type) and not filled:
        return chunk
    texts = chunk.cast(pa.string())
    return (texts.fill_null("") if filled else texts).dictionary_encode()


def _as_text(cells: Sequence[tuple[str, ...]]) -> list[str | None]:
    texts = {names: names_text(names) for names in set(cells)}
    return list(map(texts.__getitem__, cells))


def _figures(table: pa.Table, name: str) -> Figures | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(name) if name in table.column_names else None
    if column is None or column.null_count == table.num_rows:
        return None
    if name == "time":
        return np.asarray(column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64()).to_numpy()) / 1e6
    numbers = column.cast(pa.float64())
    found: Figures = (pc.fill_null(numbers, np.nan) if numbers.null_count else numbers).to_numpy()
    return found


def load(operations: Operations, wanted: Sequence[str], namespace: str | None = None) -> Columns:
    """The columns *wanted* of the operations (of *namespace*).  What can't be read the operations count."""
    columns = Columns(wanted)
    for file in operations.begin():
        opened = operations.open(file)
        if isinstance(opened, SealedFile):
            with opened:
                for table in opened.tables([*columns.figures, *columns.texts, "time", "namespace"]):
                    columns.add_table(possible(of_namespace(table, namespace), operations, opened.path))
            _let_go()
        elif opened is not None:
            lines = (line for line in operations.of_lines(opened) if namespace in {None, line.namespace})
            while batch := list(islice(lines, BATCH)):
                columns.add_lines(batch)
    return columns


def _let_go() -> None:
    """Give back to the system what pyarrow's pool holds in reserve."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def of_namespace(table: pa.Table, namespace: str | None) -> pa.Table:
    """The rows of *namespace*, or all."""
    if namespace is None or "namespace" not in table.column_names:
        return table
    import pyarrow.compute as pc

    return table.filter(pc.equal(table.column("namespace").cast("string"), namespace))


def possible(table: pa.Table, operations: Operations, path: Path) -> pa.Table:
    """The rows whose figures an operation can have; the others are told of."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keep = None
    for name in table.column_names:
        timed = name == "time"
        if name not in FIGURES or (table.column(name).null_count == table.num_rows and not timed):
            continue
        numbers = micros(table) if timed else table.column(name)
        # An integer is compared with an integer: not every one is a float.
        whole = pa.types.is_integer(numbers.type)
        most = round(LAST_TIME * 1e6) if timed else int(LARGEST) if whole else LARGEST
        found = pc.min_max(numbers)
        if not (timed and numbers.null_count) and found["min"].as_py() >= 0 and found["max"].as_py() <= most:
            continue
        within = pc.fill_null(pc.and_(pc.greater_equal(numbers, 0), pc.less_equal(numbers, most)), not timed)
        keep = within if keep is None else pc.and_(keep, within)
    if keep is None:
        return table
    kept = table.filter(keep)
    operations.problems.of_lines(path, table.num_rows - kept.num_rows, "rows with impossible figures")
    return kept
