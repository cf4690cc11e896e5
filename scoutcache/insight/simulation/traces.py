"""Reading a trace file: CSV with the header ``timestamp,key,size``, plain or gzip, whatever its size.

Rule 1: the whole file is checked.  What is no row of three, a time, a key and a size, ends the reading with the name of
        the file and the number of the line.
Rule 2: rows are taken apart by the thousand, not one by one: a block of lines whose commas and line ends are where they
        should be is split at once.  Quotes, other columns, carriage returns and errors take the slow way, line by line.
Rule 3: a key has the size it was first seen with, as in the reference figures.
Rule 4: no more than *limit* requests are kept.  When more come, keys are left out, half of them at a time and by their
        hash, so that all requests of a key stay or go (SHARDS, Waldspurger et al., FAST 2015).
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from scoutcache.errors import ConfigError
from scoutcache.insight.simulation.requests import Requests
from scoutcache.oplog.records import place_of
from scoutcache.wording.os_errors import reason_of

__all__ = ["LIMIT", "read_requests"]

LIMIT: Final = 5_000_000
"""Requests that are simulated one and all; beyond it keys are sampled."""
_BLOCK: Final = 1 << 16
"""Bytes taken apart at a time: so few that all their cells stay in the processor's caches, twice as fast as by 8 MB."""
_HEADER: Final = (b"timestamp", b"key", b"size")
_LONGEST: Final = 1 << 20
_DIGITS: Final = 18
_NO_SEPARATOR: Final = bytes(set(range(256)) - {ord(","), ord("\n")})


class _Rows(NamedTuple):
    keys: list[bytes]
    sizes: Sequence[int | bytes]
    """Numbers, or digits that `int` makes one of: most are never asked for, by rule 3."""


def read_requests(path: Path, limit: int = LIMIT) -> Requests:
    """The requests of the trace at *path*, at most about *limit* of them.

    Raises `ConfigError` naming the file and the line that is no row, or that there is none.
    """
    kept = _Kept(limit)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for rows in _blocks(path, file):
                kept.add(rows)
    except (OSError, EOFError, zlib.error) as problem:
        raise ConfigError(f"{path}: can't be read: {reason_of(problem)}") from problem
    if not kept.keys:
        raise ConfigError(f"{path}: the trace has no rows", hint="a row is a time, a key and a size in bytes")
    return Requests(kept.keys, [size or 1 for size in kept.sizes], [], rate=kept.rate)


class _Kept:
    """Requests read so far, with keys as numbers."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.rate = 1.0
        self.keys: list[int] = []
        self.sizes: list[int] = []
        self._numbers: defaultdict[bytes, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__

    def add(self, rows: _Rows) -> None:
        """Take these as well, as far as their keys are kept."""
        names, sizes = rows
        if self.rate < 1:
            among = {name for name in set(names) if place_of(name) < self.rate}
            pairs = [pair for pair in zip(names, sizes, strict=True) if pair[0] in among]
            names, sizes = [name for name, _ in pairs], [size for _, size in pairs]
        known = len(self._numbers)
        numbers = list(map(self._numbers.__getitem__, names))
        at = -1
        for name in reversed(list(islice(reversed(self._numbers), len(self._numbers) - known))):
            at = names.index(name, at + 1)  # numbers are given in the order in which keys appear
            self.sizes.append(int(sizes[at]))
        self.keys += numbers
        while len(self.keys) > self._limit and len(self._numbers) > 1:
            self._halve()

    def _halve(self) -> None:
        self.rate /= 2
        old, sizes = list(self._numbers), self.sizes
        stay = [number for number, name in enumerate(old) if place_of(name) < self.rate]
        renamed = dict(zip(stay, range(len(stay)), strict=True))
        self.keys = [renamed[key] for key in self.keys if key in renamed]
        self.sizes = [sizes[number] for number in stay]
        self._numbers.clear()
        self._numbers.update({old[number]: at for number, at in renamed.items()})


def _blocks(path: Path, file: BinaryIO | gzip.GzipFile) -> Iterator[_Rows]:
    header = file.readline(_LONGEST).removeprefix(b"\xef\xbb\xbf")
    names = [name.strip() for name in header.rstrip(b"\r\n").split(b",")]
    if not set(_HEADER) <= set(names):
        found = f"the first line is {header[:60]!a}" if header else "it is empty"
        raise ConfigError(f"{path}: not a trace: {found}", hint="expected the header timestamp,key,size")
    if tuple(names) != _HEADER:
        yield from _slowly(path, file, names, 1)
        return
    line, rest = 1, b""
    while block := file.read(_BLOCK):
        whole, end, rest = (rest + block).rpartition(b"\n")
        if not end and len(rest) > _LONGEST:
            raise ConfigError(f"{path}, line {line + 1}: longer than {_LONGEST} bytes")
        if whole:
            rows = _at_once(whole + b"\n")
            if rows is None:
                yield from _slowly(path, io.BytesIO(whole + b"\n"), names, line)
            else:
                yield rows
            line += whole.count(b"\n") + 1
    if rest.strip():
        yield from _slowly(path, io.BytesIO(rest), names, line)


def _at_once(block: bytes) -> _Rows | None:
    """The rows of whole lines; None where one isn't of the plainest form."""
    if b'"' in block or b"\r" in block or block.translate(None, _NO_SEPARATOR) != b",,\n" * block.count(b"\n"):
        return None
    cells = block.replace(b"\n", b",").split(b",")
    times, keys, sizes = cells[0:-1:3], cells[1::3], cells[2::3]
    if not (all(times) and all(keys) and all(sizes)):
        return None
    return _Rows(keys, sizes) if _are_digits(sizes) and (_are_digits(times) or _are_numbers(times)) else None


def _are_digits(cells: list[bytes]) -> bool:
    return b"".join(cells).isdigit() and max(map(len, cells)) <= _DIGITS


def _are_numbers(cells: list[bytes]) -> bool:
    if b"_" in b"".join(cells):  # Python's numbers may have underscores, which a time has not
        return False
    try:
        return isfinite(sum(map(float, cells)))
    except ValueError:
        return False


def _slowly(path: Path, file: BinaryIO | gzip.GzipFile, names: list[bytes], before: int) -> Iterator[_Rows]:
    """The same, line by line; *before* is the number of lines before the first."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        yield from _checked(path, csv.reader(text), names, before)
    finally:
        text.detach()  # who opened the file closes it


def _checked(path: Path, reader: Any, names: list[bytes], before: int) -> Iterator[_Rows]:
    time_at, key_at, size_at = (names.index(name) for name in _HEADER)
    keys: list[bytes] = []
    sizes: list[int] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if problem := _problem(cells, len(names), time_at, key_at, size_at):
                raise _bad(path, before + reader.line_num, problem)
            keys.append(cells[key_at].encode("utf-8", "surrogateescape"))
            sizes.append(int(cells[size_at]))
            if len(keys) >= _LONGEST:
                yield _Rows(keys, sizes)
                keys, sizes = [], []
    except csv.Error as error:
        raise _bad(path, before + reader.line_num, str(error)) from error
    yield _Rows(keys, sizes)


def _problem(cells: list[str], columns: int, time_at: int, key_at: int, size_at: int) -> str:
    """What is wrong with a row, empty when nothing is."""
    if len(cells) != columns:
        return f"{len(cells)} columns, expected {columns}"
    try:
        if "_" in cells[time_at] or not isfinite(float(cells[time_at])):
            return f"{cells[time_at]!a} is no time"
    except ValueError:
        return f"{cells[time_at][:40]!a} is no time"
    size = cells[size_at].strip()
    if not size.isdecimal() or len(size) > _DIGITS:
        return f"{size[:40]!a} is no size in bytes"
    return "" if cells[key_at] else "the key is empty"


def _bad(path: Path, line: int, problem: str) -> ConfigError:
    return ConfigError(f"{path}, line {line}: {problem}", hint="a row is a time, a key and a size in bytes")
