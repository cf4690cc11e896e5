"""The one place that prints data: rows and records, as a table, JSON, JSON Lines or CSV.

Rules:

1. Data goes to stdout, everything else to stderr.
2. ``json`` is one object: ``schema_version``, then the fields, lists under their noun.  ``jsonl`` rows are bare.  Both
   hold raw bytes and seconds, and null for what is unknown or not finite.
3. ``csv`` is safe to open in a spreadsheet and loses nothing: a text that a spreadsheet would take for a formula, and
   one that begins with an apostrophe, gets one apostrophe before it.  Whoever reads it takes one leading apostrophe
   off each cell that has one.  A list is its items with commas between; where that would be ambiguous it is JSON.
4. ``table`` on a terminal is a table for people (`render`); elsewhere plain text with raw figures, never
   cut, whatever the width: a listing one line each with tabs and no header, for other programs; anything else in
   aligned columns, with nothing in them that a terminal would obey.
5. Listings stream: a row is printed when it comes, whatever the format.
"""

from __future__ import annotations

import json
import math
import os
import select
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from itertools import chain, islice
from typing import Any, Final, TextIO

from scoutcache.cli.errors import CommandError
from scoutcache.cli.printing import text
from scoutcache.insight.shown import begins_formula
from scoutcache.wording.os_errors import reason_of

SCHEMA_VERSION: Final = 1
FORMATS: Final = ("table", "json", "jsonl", "csv")
PAGE: Final = 500
"""How many rows of a listing a terminal's table is laid out for at once."""

_WIDE: Final = 8
"""A single row of more columns reads better downwards."""

_PADDED: Final = 60
"""How far a column off a terminal is padded at most."""

Row = Mapping[str, Any]


def is_terminal(stream: TextIO) -> bool:
    """Whether *stream* is a terminal that can do more than print."""
    return stream.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


_AS_IT_IS: Final = (str, bool, int, type(None))


def jsonable(value: Any) -> Any:
    """*value* in the types of JSON; what is not finite is null, times are ISO 8601 in UTC."""
    if isinstance(value, Enum):
        return jsonable(value.value)
    if isinstance(value, _AS_IT_IS):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): jsonable(inner) for name, inner in value.items()}
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    return _from_far(value)


def _from_far(value: Any) -> Any:
    """The rarer types: sequences and sets as lists, bytes in base64, the rest as pydantic writes them."""
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return [jsonable(inner) for inner in value]
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="null")


def _unwritten(error: OSError) -> Exception:
    """What to raise where the output takes nothing: a reader that has gone is known by its class."""
    if isinstance(error, BrokenPipeError):
        return error
    return CommandError(f"can't write to standard output: {reason_of(error)}")


class _Counted:
    """Rows on their way through, counted."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


class Output:
    """Prints what a command found, in the format that was asked for."""

    def __init__(
        self, form: str = "table", *, quiet: bool = False, color: bool = True, stream: TextIO | None = None
    ) -> None:
        self.form = form
        self.quiet = quiet
        self._stream = stream
        self._color = color and not os.environ.get("NO_COLOR")

    @property
    def stream(self) -> TextIO:
        """Where data goes."""
        return self._stream or sys.stdout

    @property
    def on_terminal(self) -> bool:
        """Whether people are looking, so that what acts on terminals must be escaped."""
        return self.stream.isatty()

    @property
    def fancy(self) -> bool:
        """Whether a table may be drawn."""
        return self.form == "table" and is_terminal(self.stream)

    @property
    def color(self) -> bool:
        """Whether colours may be used."""
        return self._color and is_terminal(self.stream)

    # -- the three things there are to print

    def listing(self, noun: str, rows: Iterable[Row], columns: Sequence[str]) -> int:
        """Rows, each printed as it comes; gives how many there were."""
        counted = _Counted(rows)
        if self.form == "json":
            self._listing_json(noun, counted, columns)
        elif self.form == "jsonl":
            for row in counted:
                self.write(f"{self.encode(_picked(row, columns))}\n")
        elif self.form == "csv":
            self._csv(counted, columns)
        else:
            self._listing_table(counted, columns)
        return counted.count

    def rows(self, noun: str, rows: Iterable[Row], columns: Sequence[str] = (), **also: Any) -> None:
        """A few rows under their *noun*, and what belongs to all of them."""
        self.record({noun: list(rows), **also}, main=noun, columns=columns)

    def record(self, fields: Row, *, main: str | None = None, columns: Sequence[str] = ()) -> None:
        """One object.  *main* names the list in it that is its rows, for the formats that have only rows."""
        if self.form == "json":
            self._json({"schema_version": SCHEMA_VERSION, **fields})
        elif self.form == "jsonl":
            for row in fields[main] if main else [fields]:
                self._json(row, indent=None)
        elif self.form == "csv":
            self._csv(fields[main] if main else [fields], columns)
        else:
            self._sections(fields, main, columns)

    def section(self, title: str, rows: Sequence[Row], columns: Sequence[str] = (), note: str = "") -> None:
        """A titled table of a longer text for people; formats for machines don't come here."""
        self.write(f"\n{title}\n")
        if not rows:
            self.write("  nothing\n")
        elif len(rows) == 1 and len(columns) > _WIDE:
            self._sections(rows[0], None, ())
        elif self.fancy:
            from scoutcache.cli.printing import render

            render.table(self, rows, columns)
        else:
            self._aligned(rows, columns)
        if note:
            self.write(f"  ({note})\n")

    def write(self, shown: str) -> None:
        """Text as it is."""
        try:
            self.stream.write(shown)
        except OSError as error:
            raise _unwritten(error) from error

    def line(self, shown: str) -> None:
        """A line for people, in tables only: the other formats hold data and nothing else."""
        if self.form == "table":
            self.write(f"{text.visible(shown)}\n")

    def flush(self) -> None:
        """Have everything written; a reader that has gone is noticed here at the latest."""
        try:
            self.stream.flush()
        except OSError as error:
            raise _unwritten(error) from error

    def is_deserted(self) -> bool:
        """Whether who read the other end of a pipe has gone: told without writing to it."""
        try:
            asked = select.poll()
            asked.register(self.stream.fileno(), 0)
        except (OSError, ValueError):  # no file at all
            return False
        return any(event & select.POLLERR for _, event in asked.poll(0))

    # -- formats

    def encode(self, value: Any, indent: int | None = None) -> str:
        """*value* as JSON text that this stream may show."""
        encoded = json.dumps(jsonable(value), ensure_ascii=self._is_narrow, allow_nan=False, indent=indent)
        encoded = encoded.encode("utf-8", "backslashreplace").decode()
        return text.visible_json(encoded) if self.on_terminal else encoded

    @property
    def _is_narrow(self) -> bool:
        """Does the stream lack characters?  What stands for them elsewhere (`prepare_streams`) is no JSON."""
        return not (self.stream.encoding or "utf-8").lower().startswith("utf")

    def _json(self, value: Any, indent: int | None = 2) -> None:
        self.write(f"{self.encode(value, indent)}\n")

    def csv_rows(self, rows: Iterable[Row], *, header: bool) -> None:
        """Rows of a longer table, with or without the header that stands above the first of them."""
        self._csv(rows, (), header=header)

    def _csv(self, rows: Iterable[Row], columns: Sequence[str], *, header: bool = True) -> None:
        import csv

        rows, columns = _with_columns(rows, columns)
        writer = csv.writer(self.stream, lineterminator="\n")
        if header:
            writer.writerow(columns)
        for row in rows:
            writer.writerow([self._csv_cell(row.get(column)) for column in columns])

    def _csv_cell(self, value: Any) -> Any:
        value = jsonable(value)
        if isinstance(value, list) and all(map(_stands_alone, value)):
            value = ",".join(value)
        elif isinstance(value, list | dict):
            value = json.dumps(value, ensure_ascii=self._is_narrow)
        if not isinstance(value, str):
            return str(value).lower() if isinstance(value, bool) else value
        safe = f"'{value}" if begins_formula(value) else value
        return text.visible(safe) if self.on_terminal else safe

    def _sections(self, fields: Row, main: str | None, columns: Sequence[str]) -> None:
        """The fields of an object, then each list of rows in it under its name."""
        lists = {name: value for name, value in fields.items() if _is_rows(value) or name == main}
        single = {name: value for name, value in fields.items() if name not in lists}
        if self.fancy:
            from scoutcache.cli.printing import render

            render.sections(self, single, lists, main, columns)
            return
        if main is not None:
            self._aligned(lists.pop(main), columns)
        self._pairs(single)
        for name, rows in lists.items():
            self.write(f"\n{text.label(name)}\n")
            self._aligned(rows, ())

    def _pairs(self, fields: Row) -> None:
        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            self.write(f"{name:{width}}  {self._cell(name, value)}\n")

    def _aligned(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        found, columns = _with_columns(rows, columns)
        cells = [tuple(columns), *(tuple(self._cell(name, row.get(name)) for name in columns) for row in found)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        widths = [min(width, _PADDED) for width in widths]  # one long value is no reason to pad all the others
        for row in cells if len(cells) > 1 else ():
            self.write("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")

    def _cell(self, name: str, value: Any) -> str:
        """A cell with nothing in it that a terminal would obey: piped text is read by people too, in mails and logs."""
        return text.visible(self._datum(name, value))

    def _datum(self, name: str, value: Any) -> str:
        """A cell of a listing, which off a terminal other programs take as it is."""
        # A time that never ends has a name for people, and none in JSON.
        value = value if isinstance(value, float) else jsonable(value)
        return text.human(name, value) if self.on_terminal else text.plain(value)

    # -- listings

    def _listing_json(self, noun: str, rows: _Counted, columns: Sequence[str]) -> None:
        self.write(f'{{\n  "schema_version": {SCHEMA_VERSION},\n  {json.dumps(noun)}: [')
        for row in rows:
            self.write(f"{',' if rows.count > 1 else ''}\n    {self.encode(_picked(row, columns))}")
        self.write("\n  ]\n}\n" if rows.count else "]\n}\n")

    def _listing_table(self, rows: _Counted, columns: Sequence[str]) -> None:
        if not self.fancy:
            for row in rows:
                self.write("\t".join(self._datum(name, row.get(name)) for name in columns) + "\n")
            return
        from scoutcache.cli.printing import render

        waiting = iter(rows)
        while page := list(islice(waiting, PAGE)):
            render.table(self, page, columns, header=rows.count == len(page))


def _stands_alone(item: Any) -> bool:
    """Whether a list can hold it between commas, and be told from JSON."""
    return isinstance(item, str) and bool(item) and "," not in item and item[0] not in '["'


def _picked(row: Row, columns: Sequence[str]) -> Row:
    return {name: row.get(name) for name in columns} if columns else row


def _is_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _with_columns(rows: Iterable[Row], columns: Sequence[str]) -> tuple[Iterable[Row], Sequence[str]]:
    """The rows and the columns to show of them: those asked for, else those of the first row."""
    if columns:
        return rows, columns
    waiting = iter(rows)
    first = list(islice(waiting, 1))
    return chain(first, waiting), tuple(first[0]) if first else ()
