"""The columns of a sealed log: one row is one operation, every column plain, so that any reader of Parquet can use it.

Rule 1: hits that shared a line are rows of their own.  ``time`` is a timestamp in UTC, good to the microsecond; figures
        are what they are in a line; an empty cell is null, but ``key`` and ``namespace``, which are text always.
Rule 2: ``tags`` and ``depends_on`` are JSON lists as text, null for none: a list column is no plain one.
Rule 3: every row says who wrote it (``process``, ``user``, ``pid``, ``command``), which costs nothing: one value, once.
Rule 4: what is no operation stands in the file's metadata under `SIGNATURE`, as JSON: the format, what the writers left
        out, of which share of the keys they wrote, and how many lines were no records.  A Parquet file without it is
        not a log of ours.
Rule 5: every page has its checksum, which is looked at when it is read: damage is told, and never taken for figures.

pyarrow is an extra and is imported inside the functions that need it: it takes 170 MB of a disk, half a second to
import, and 57 MB of memory.  (Twice that where it imports pandas; see `arrays`.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import accumulate, repeat, starmap
from typing import TYPE_CHECKING, Any, Final

import msgspec

from scoutcache.errors import CacheError
from scoutcache.oplog.arrays import column_of
from scoutcache.oplog.records import FORMAT, Line

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = [
    "ALWAYS", "CODED", "COLUMNS", "INTEGERS", "NUMBERS", "SIGNATURE", "LeftOut", "Signature", "can_parquet",
    "first_line", "lines_of", "names_in", "names_text", "open_sealed", "schema", "table_of", "writer",
]  # fmt: skip

SIGNATURE: Final = b"scoutcache.log"
CODED: Final = (
    "op", "key", "namespace", "tier", "outcome", "reason", "codec", "error", "tags", "depends_on", "process", "user",
    "command",
)  # fmt: skip
"""The columns of text, dictionary-encoded."""
NUMBERS: Final = ("latency_us", "codec_us", "keygen_us", "wait_us", "factory_s", "cost", "ttl")
INTEGERS: Final = ("size", "stored", "pid")
COLUMNS: Final = (
    "time", "op", "key", "namespace", "tier", "outcome", "reason", "latency_us", "size", "stored", "codec", "codec_us",
    "keygen_us", "wait_us", "factory_s", "cost", "ttl", "error", "tags", "depends_on", "process", "user", "pid",
    "command",
)  # fmt: skip
LEVEL: Final = 9
"""Of zstd: a tenth smaller than 3, and the sealing of a full file takes a twentieth longer."""

ALWAYS: Final = frozenset({"op", "key", "namespace"})
"""The columns of text without nulls."""
_DELTAS: Final = {"time": "DELTA_BINARY_PACKED"}


class LeftOut(msgspec.Struct):
    """A ``left_out`` line: at *time*, *count* records for *reason*; from then on keys were kept at *rate*."""

    time: float
    reason: str
    count: int
    rate: float | None = None


class Signature(msgspec.Struct):
    """What a sealed file says of itself (Rule 4).

    *skipped* lines were no records; *sample_rate* is the share of keys that all its writers kept, None where none said.
    """

    left_out: list[LeftOut] = msgspec.field(default_factory=list)
    skipped: int = 0
    format: int = FORMAT
    sample_rate: float | None = None

    def note_rate(self, rate: float | None) -> None:
        """A writer kept so many of the keys: what all of them kept is what the lowest rate keeps."""
        self.sample_rate = min((one for one in (self.sample_rate, rate) if one), default=None)

    @classmethod
    def of(cls, metadata: dict[bytes, bytes] | None) -> Signature | None:
        """The one in a file's metadata; None when there is none."""
        try:
            return msgspec.json.decode((metadata or {})[SIGNATURE], type=cls)
        except (KeyError, msgspec.MsgspecError, ValueError):
            return None


def can_parquet() -> bool:
    """Can this installation read and write Parquet?"""
    return find_spec("pyarrow") is not None


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise CacheError("sealed logs in Parquet are read and written with pyarrow, which is not installed",
                         hint="pip install 'scoutcache[parquet]'") from error  # fmt: skip
    return pyarrow.parquet


def schema() -> pa.Schema:
    """The columns with their types; raises `CacheError` without pyarrow."""
    _parquet()
    import pyarrow as pa

    kinds = {
        "time": pa.timestamp("us", tz="UTC"),
        **dict.fromkeys(CODED, pa.string()),
        **dict.fromkeys(NUMBERS, pa.float64()),
        **dict.fromkeys(INTEGERS, pa.int64()),
    }
    return pa.schema([pa.field(name, kinds[name], nullable=name not in ALWAYS | {"time"}) for name in COLUMNS])


def writer(path: Path) -> pq.ParquetWriter:
    """A file to write such tables into; raises `CacheError` without pyarrow."""
    made: pq.ParquetWriter = _parquet().ParquetWriter(
        path, schema(), compression="zstd", compression_level=LEVEL, store_schema=False,
        use_dictionary=[name for name in COLUMNS if name not in _DELTAS], column_encoding=_DELTAS,
        dictionary_pagesize_limit=16 << 20, write_statistics=["time", "op"], write_page_checksum=True,
    )  # fmt: skip
    return made


def open_sealed(path: Path) -> tuple[pq.ParquetFile, Signature] | str:
    """A sealed file opened for reading and what it says of itself, or what is wrong with it.

    Raises FileNotFoundError, and `CacheError` without pyarrow.
    """
    parquet = _parquet()
    import pyarrow as pa

    try:
        about = parquet.read_metadata(path)
        found = _signed(about)
        if isinstance(found, str):
            return found
        leaves = {about.schema.column(at).path for at in range(about.num_columns)}
        # What the file lacks must not be named; nor is a column of lists called as it is.
        texts = [name for name in CODED if name in leaves]
        file = parquet.ParquetFile(path, read_dictionary=texts, metadata=about, page_checksum_verification=True)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"not a whole Parquet file: {first_line(error)}"
    problem = _unlike(file.schema_arrow)
    if problem is None:
        return file, found
    file.close()
    return problem


def _signed(about: pq.FileMetaData) -> Signature | str:
    """What the file says of itself, or why it is no log that this version can read."""
    found = Signature.of(about.metadata)
    if found is None:
        return "not a log of scoutcache: its metadata lacks the signature"
    return found if found.format <= FORMAT else f"written in format {found.format}, this version knows {FORMAT}"


def _unlike(found: pa.Schema) -> str | None:
    """What is wrong with a file's columns; None when they are as ours, be it that some are missing."""
    if not {"time", "op"} <= set(found.names):
        return "not a log of scoutcache: it has no columns time and op"
    if len(set(found.names)) < len(found.names):
        return "not a log of scoutcache: two of its columns have one name"
    for ours in schema():
        if ours.name in found.names and not _reads_as(ours.type, found.field(ours.name).type):
            return f"not a log of scoutcache: its column {ours.name} is of {found.field(ours.name).type}s"
    return None


def _reads_as(ours: pa.DataType, found: pa.DataType) -> bool:
    """Can a column of the type *found* be read as one of *ours*?"""
    import pyarrow.types as kinds

    inner = found.value_type if kinds.is_dictionary(found) else found
    if kinds.is_timestamp(ours):
        return bool(kinds.is_timestamp(inner))
    if kinds.is_null(inner):
        return True
    if kinds.is_string(ours):
        return bool(kinds.is_string(inner))
    return bool(kinds.is_integer(inner) or kinds.is_floating(inner))


def first_line(error: Exception) -> str:
    """The first line of what *error* says; pyarrow's say much."""
    return f"{(str(error).splitlines() or [type(error).__name__])[0]:.200}"


# -- lines to rows


def names_text(names: Sequence[str]) -> str | None:
    """Names as a cell of ``tags`` or ``depends_on``; None for none."""
    return msgspec.json.encode(names).decode() if names else None


def names_in(text: str | None) -> tuple[str, ...]:
    """The names in a cell of ``tags`` or ``depends_on``; none for anything else."""
    if not text:
        return ()
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except (msgspec.MsgspecError, ValueError):
        return ()


def table_of(lines: Sequence[Line]) -> pa.Table:
    """The rows of *lines*, each signed with who wrote it (Rule 1).  Raises `CacheError` without pyarrow."""
    kinds = schema()
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [getattr(line, name) for line in lines] for name in COLUMNS}
    columns["tags"] = [names_text(names) for names in columns["tags"]]
    columns["depends_on"] = [names_text(names) for names in columns["depends_on"]]
    columns["time"] = [round(time * 1e6) for time in columns["time"]]
    whole = kinds.set(0, kinds.field("time").with_type(pa.int64()))
    arrays = [column_of(columns[field.name], field.type) for field in whole]
    return _spread(pa.Table.from_arrays(arrays, schema=whole), lines).cast(kinds)


def _spread(table: pa.Table, lines: Sequence[Line]) -> pa.Table:
    """Each line of several hits as so many rows, the others of which have their times and no latency."""
    if not any(line.more_ns for line in lines):
        return table
    import numpy as np
    import pyarrow as pa

    counts = np.array([1 + len(line.more_ns or ()) for line in lines])
    firsts = np.array([0, *accumulate(counts.tolist())][:-1])
    later = np.zeros(int(counts.sum()), dtype=np.int64)
    for at, line in zip(firsts.tolist(), lines, strict=True):
        if line.more_ns:
            later[at + 1 : at + 1 + len(line.more_ns)] = line.more_ns
    rows = table.take(column_of(np.repeat(np.arange(len(lines)), counts).tolist(), pa.int64()))
    times = np.repeat([line.time for line in lines], counts)
    # As a reader of lines adds them: the first's seconds and the nanoseconds after it.
    exact = np.round((times + later / 1e9) * 1e6).astype(np.int64)
    return rows.set_column(0, table.field("time"), column_of(exact.tolist(), pa.int64()))


# -- rows to lines

_FIELDS: Final[dict[str, Any]] = {
    field.name: None if field.default is msgspec.NODEFAULT else field.default for field in msgspec.structs.fields(Line)
}
"""The fields of a line in their order, and what they are where nobody says."""


def lines_of(table: pa.Table) -> Iterator[Line]:
    """The rows of *table* as lines; columns that it lacks are empty."""
    columns = {name: _values(name, table.column(name)) for name in COLUMNS if name in table.column_names}
    cells = [columns.get(name, repeat(empty, table.num_rows)) for name, empty in _FIELDS.items()]
    return starmap(Line, zip(*cells, strict=True))


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    import pyarrow as pa

    if name == "time":
        micros = column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64()).to_pylist()
        return [math.nan if one is None else one / 1e6 for one in micros]
    found: list[Any] = column.to_pylist()
    if name in {"tags", "depends_on"}:
        return [names_in(text) for text in found]
    if name in ALWAYS:
        return ["" if text is None else text for text in found]
    return found
