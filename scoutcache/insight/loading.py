"""The operation log as columns of numbers: what a table of ten million rows is made of, file by file.

Rule 1: a text is a number into a list of the different ones, -1 for none; each file's own numbers are translated once
        for each different text, never for each row.
Rule 2: a figure is a float, NaN where a record doesn't say.  What no record says takes no room while it is gathered.
Rule 3: rows keep the order of their files and, inside a file, of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from scoutcache.insight.operations import Operations, SealedFile
from scoutcache.oplog.columns import CODED, NUMBERS, names_text
from scoutcache.oplog.reading import LARGEST, LAST_TIME
from scoutcache.oplog.records import Line

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FIGURES", "TEXTS", "Columns", "load"]

FIGURES: Final = ("time", *NUMBERS, "size", "stored")
TEXTS: Final = tuple(name for name in CODED if name not in {"depends_on", "process", "user", "command"})
BATCH: Final = 50_000
_NAMED: Final = frozenset({"tags", "depends_on"})

Codes = npt.NDArray[np.int32]
Figures = npt.NDArray[np.float64]


class Text:
    """The different texts of one column, and the rows as numbers into them."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.parts: list[Codes] = []

    def add(self, codes: Codes, values: Sequence[str | None]) -> None:
        """Rows of a file: *codes* into its own *values* (Rule 1)."""
        known = self.values
        mapped = np.array([-1 if one is None else known.setdefault(one, len(known)) for one in values] + [-1], np.int32)
        self.parts.append(mapped[codes])  # -1, for none, takes the last

    def add_cells(self, cells: Iterable[str | None], count: int) -> None:
        """Rows one by one."""
        known = self.values
        codes = (-1 if cell is None else known.setdefault(cell, len(known)) for cell in cells)
        self.parts.append(np.fromiter(codes, np.int32, count))

    def codes(self) -> Codes:
        """All rows in the smallest numbers that hold them; the parts are let go."""
        parts, self.parts = self.parts, []
        whole: Codes = np.concatenate(parts) if parts else np.empty(0, np.int32)
        return whole.astype(np.min_scalar_type(-max(len(self.values), 1)), copy=False)


class Columns:
    """The columns *wanted* of all files, as they are gathered."""

    def __init__(self, wanted: Iterable[str]) -> None:
        names = set(wanted)
        self.figures: dict[str, list[Figures | int]] = {name: [] for name in FIGURES if name in names}
        """A number stands for so many empty cells (Rule 2)."""
        self.texts: dict[str, Text] = {name: Text() for name in TEXTS if name in names}
        self.rows = 0

    def add_table(self, table: pa.Table) -> None:
        """Rows of a sealed file."""
        self.rows += table.num_rows
        for name, parts in self.figures.items():
            parts.append(_figures(table, name))
        for name, text in self.texts.items():
            if name in table.column_names:
                for chunk in table.column(name).chunks:
                    text.add(*_coded(chunk))
            else:
                text.add(np.full(table.num_rows, -1, np.int32), [])

    def add_lines(self, lines: Sequence[Line]) -> None:
        """Rows of a file of lines."""
        count = len(lines)
        self.rows += count
        for name, parts in self.figures.items():
            cells = [getattr(line, name) for line in lines]
            parts.append(np.array(cells, np.float64) if any(cell is not None for cell in cells) else count)
        for name, text in self.texts.items():
            found: Iterable[Any] = (getattr(line, name) for line in lines)
            text.add_cells(map(names_text, found) if name in _NAMED else found, count)

    def figure(self, name: str) -> Figures:
        """All rows of a column of figures; its parts are let go."""
        parts, self.figures[name] = self.figures[name], []
        whole = np.full(self.rows, np.nan)
        at = 0
        for index, part in enumerate(parts):
            count = part if isinstance(part, int) else len(part)
            if not isinstance(part, int):
                whole[at : at + count] = part
            at += count
            parts[index] = 0
        return whole


def _figures(table: pa.Table, name: str) -> Figures | int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in table.column_names:
        return int(table.num_rows)
    column = table.column(name)
    if column.null_count == table.num_rows:
        return int(table.num_rows)
    if name == "time":
        micros = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        return np.asarray(micros.to_numpy()) / 1e6
    numbers = column.cast(pa.float64())
    found: Figures = pc.fill_null(numbers, np.nan).to_numpy() if numbers.null_count else numbers.to_numpy()
    return found


def _coded(chunk: pa.Array) -> tuple[Codes, list[str | None]]:
    """A chunk as numbers, and what they stand for."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_encode()
    codes = chunk.indices.cast(pa.int32())
    numbers: Codes = pc.fill_null(codes, -1).to_numpy(zero_copy_only=False)
    values: list[str | None] = chunk.dictionary.to_pylist()
    return numbers, values


def load(operations: Operations, wanted: Sequence[str], namespace: str | None = None) -> Columns:
    """The columns *wanted* of the operations (of *namespace*).  What can't be read the operations count."""
    columns = Columns(wanted)
    for file in operations.begin():
        opened = operations.open(file)
        if isinstance(opened, SealedFile):
            with opened:
                for table in opened.tables([*columns.figures, *columns.texts, "time", "namespace"]):
                    columns.add_table(_possible(_of_namespace(table, namespace), operations, opened.path))
        elif opened is not None:
            lines = (line for line in operations.of_lines(opened) if namespace in {None, line.namespace})
            while batch := list(islice(lines, BATCH)):
                columns.add_lines(batch)
    return columns


def _of_namespace(table: pa.Table, namespace: str | None) -> pa.Table:
    if namespace is None or "namespace" not in table.column_names:
        return table
    import pyarrow.compute as pc

    return table.filter(pc.equal(table.column("namespace").cast("string"), namespace))


def _possible(table: pa.Table, operations: Operations, path: Path) -> pa.Table:
    """The rows whose figures an operation can have; the others are told of."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keep = None
    for name in table.column_names:
        if name not in FIGURES or table.column(name).null_count == table.num_rows:
            continue
        column = table.column(name)
        numbers = column.cast(pa.int64()) if name == "time" else column
        most = round(LAST_TIME * 1e6) if name == "time" else LARGEST
        found = pc.min_max(numbers)
        if found["min"].as_py() >= 0 and found["max"].as_py() <= most:
            continue
        within = pc.fill_null(pc.and_(pc.greater_equal(numbers, 0), pc.less_equal(numbers, most)), True)
        keep = within if keep is None else pc.and_(keep, within)
    if keep is None:
        return table
    kept = table.filter(keep)
    operations.problems.of_lines(path, table.num_rows - kept.num_rows, "rows with impossible figures")
    return kept
