"""A log in another form: Parquet, JSON Lines or CSV, out of files of any of the log's own forms.

Rule 1: the new file is written whole or not at all.
Rule 2: JSON Lines are a log again: a ``start`` line wherever another process begins, one line for each operation.
Rule 3: CSV is made safe for spreadsheets (`scoutcache.insight.shown`), with times in ISO 8601; it is for people.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from scoutcache.errors import CacheError
from scoutcache.insight.log.operations import Operations, SealedFile
from scoutcache.insight.shown import as_cell
from scoutcache.oplog.columns import (
    ALWAYS,
    COLUMNS,
    LeftOut,
    Signature,
    lines_of,
    names_text,
    schema,
    table_of,
    writer,
)
from scoutcache.oplog.reading import LineFile, open_lines, single
from scoutcache.oplog.records import FORMAT, Line
from scoutcache.oplog.sealing import batches, signed

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TARGETS", "Converted", "convert"]

TARGETS: Final = (".parquet", ".jsonl", ".csv")
_WHO: Final = ("process", "user", "pid", "command", "sample_rate")


class Converted(NamedTuple):
    """How many operations were written, and how many bytes they take."""

    rows: int
    bytes: int


def convert(operations: Operations, into: Path) -> Converted:
    """Write what *operations* reads as *into*, whose name says the form.

    Raises `CacheError` for another form, or where a source would be written over, and OSError.
    """
    write = {".parquet": _to_parquet, ".jsonl": _to_lines, ".csv": _to_csv}.get(into.suffix)
    if write is None:
        raise CacheError(f"{into.name!r} doesn't say in its name what to write",
                         hint=f"end it in one of {', '.join(TARGETS)}")  # fmt: skip
    files = operations.begin()
    target = Path(os.path.realpath(into))
    if any(Path(os.path.realpath(file.path)) == target for file in files):
        raise CacheError(f"{str(into)!r} is one of the files to be read", hint="name another one")
    operations.files = files
    draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        rows = write(operations, draft)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return Converted(rows, target.stat().st_size)


class _Part(NamedTuple):
    """Some operations: of a sealed file, or of a file of lines."""

    table: Any = None
    batch: Sequence[Line] = ()
    rate: float | None = None
    """The share of keys that its writers kept, as far as they say."""

    def lines(self) -> Iterator[Line]:
        """Each operation by itself."""
        if self.table is not None:
            yield from lines_of(self.table)
        for line in self.batch:
            yield from single(line)


def _parts(operations: Operations, signature: Signature) -> Iterator[_Part]:
    for file in operations.begin():
        opened = operations.open(file)
        if isinstance(opened, SealedFile):
            with opened:
                signature.left_out += opened.signature.left_out
                signature.note_rate(opened.signature.sample_rate)
                yield from (_Part(table=table, rate=opened.signature.sample_rate) for table in opened.tables())
        elif opened is not None:
            own = Signature()
            with open_lines(opened) as stream:
                for batch in batches(LineFile(stream, opened, operations.problems), own):
                    kept = [line for line in batch if operations.takes(line)]
                    yield _Part(batch=kept, rate=own.sample_rate)
            signature.left_out += own.left_out
            signature.note_rate(own.sample_rate)
            operations.left_out.update({one.reason: one.count for one in own.left_out})
    signature.skipped = operations.problems.lines


def _to_parquet(operations: Operations, draft: Path) -> int:
    signature, rows = Signature(), 0
    with writer(draft) as out:
        for part in _parts(operations, signature):
            table = table_of(part.batch) if part.table is None else _conformed(part.table)
            out.write_table(table)
            rows += table.num_rows
        out.add_key_value_metadata(signed(signature))
    return rows


def _conformed(table: pa.Table) -> pa.Table:
    """*table* with the columns of this version."""
    import pyarrow as pa

    kinds = schema()
    found = []
    for field in kinds:
        there = field.name in table.column_names
        cells = table.column(field.name).cast(field.type) if there else pa.nulls(table.num_rows, field.type)
        found.append(cells.fill_null("") if field.name in ALWAYS else cells)
    return pa.table(found, schema=kinds)


def _to_lines(operations: Operations, draft: Path) -> int:
    signature, rows, encoder = Signature(), 0, msgspec.json.Encoder()
    who: tuple[Any, ...] | None = None
    with draft.open("wb") as out:
        for part in _parts(operations, signature):
            lines: list[Line] = []
            for line in part.lines():
                own = line.process or "unknown", line.user, line.pid, line.command, part.rate
                if own != who:
                    who = own
                    lines.append(_start(line.time, who))
                lines.append(msgspec.structs.replace(line, process=None, user=None, pid=None, command=None))
                rows += 1
            out.write(encoder.encode_lines(lines))
        left = [_left_out(one) for one in signature.left_out]
        if who is None:
            left.insert(0, _start(0.0, ("unknown", None, None, None, None)))
        out.write(encoder.encode_lines(left))
    return rows


def _start(time: float, who: tuple[Any, ...]) -> Line:
    return Line(time, "start", format=FORMAT, **dict(zip(_WHO, who, strict=True)))


def _left_out(one: LeftOut) -> Line:
    return Line(one.time, "left_out", reason=one.reason, count=one.count, rate=one.rate)


def _to_csv(operations: Operations, draft: Path) -> int:
    rows = 0
    with draft.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(COLUMNS)
        for part in _parts(operations, Signature()):
            for line in part.lines():
                table.writerow([as_cell(_cell(line, name)) for name in COLUMNS])
                rows += 1
    return rows


def _cell(line: Line, name: str) -> Any:
    value = getattr(line, name)
    if name == "time":
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="microseconds")
    return names_text(value) if name in {"tags", "depends_on"} else value
