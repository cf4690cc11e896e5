"""One file of lines, read: who wrote it, its records, and what in it is none.

Rule 1: a line that is torn, too long or no record of ours is skipped and counted; it never ends the reading.
Rule 2: a file that doesn't begin with a ``start`` line is not ours, and one of a later format isn't understood: it is
        skipped whole.
Rule 3: a ``start`` line further down says that another process wrote what follows: converted logs hold several.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from scoutcache.oplog.filing import PACKED
from scoutcache.oplog.records import FORMAT, REQUESTS, Line

__all__ = ["LARGEST", "LAST_TIME", "LineFile", "Problem", "Problems", "is_possible", "open_lines", "single"]

LONGEST_LINE: Final = 1 << 20
"""Bytes: a key may have 64 KiB, which JSON may escape into six times as many."""
LAST_TIME: Final = 253_402_300_799.0
"""The end of the year 9999, after which no date is."""
LARGEST: Final = 1e15
PROBLEMS_KEPT: Final = 100
"""So many problems are named; all are counted."""
UNPACKED_AT_ONCE: Final = 1 << 10
"""Bytes of a packed file, which may be 32,000 times as many unpacked."""
NO_RECORD: Final = "no record of the log"
TORN: Final = "torn: its writer was interrupted, or is still writing it"


class Problem(NamedTuple):
    """What is wrong with a file, or with one *line* of it (counted from 1; None: with the file as a whole)."""

    path: Path
    line: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.path}{'' if self.line is None else f', line {self.line}'}: {self.what}"


class Problems:
    """What could not be read: the first `PROBLEMS_KEPT` named, all counted.

    *count* is of problems, one of which may be of many *lines*.  *ahead* is the latest time of what was left out of a
    period because it is dated after its end, which is now; that is no problem of the log's but of a clock's.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.named: list[Problem] = []
        self.count = self.lines = self.files = 0
        self.ahead: float | None = None

    def add(self, others: Problems) -> None:
        """Take in what another reading met."""
        self.named += others.named[: PROBLEMS_KEPT - len(self.named)]
        self.count += others.count
        self.lines += others.lines
        self.files += others.files
        self.dated(others.ahead)

    def dated(self, time: float | None) -> None:
        """Something was left out because it is dated *time*."""
        if time is not None and (self.ahead is None or time > self.ahead):
            self.ahead = time

    def of_line(self, path: Path, number: int, what: str) -> None:
        """A line that is no record."""
        self.lines += 1
        self._name(Problem(path, number, what))

    def of_lines(self, path: Path, count: int, what: str) -> None:
        """Lines that were none when the file was sealed."""
        self.lines += count
        self._name(Problem(path, None, what))

    def of_file(self, path: Path, what: str) -> None:
        """A file that is skipped whole."""
        self.files += 1
        self._name(Problem(path, None, what))

    def _name(self, problem: Problem) -> None:
        self.count += 1
        if len(self.named) < PROBLEMS_KEPT:
            self.named.append(problem)


def open_lines(path: Path) -> BinaryIO:
    """A file of lines, packed or not, opened for reading.  Raises OSError."""
    if not path.name.endswith(PACKED):
        return path.open("rb")
    return io.BufferedReader(_Unpacked(path), 1 << 16)


class _Unpacked(io.RawIOBase):
    """A packed file as what was packed.  Raises EOFError where it ends too early, which zstandard's own doesn't."""

    def __init__(self, path: Path) -> None:
        import zstandard

        self._new = zstandard.ZstdDecompressor().decompressobj
        self._file = path.open("rb")
        self._frame = self._new()
        self._rest = memoryview(b"")
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            if self._frame.eof:
                read = self._frame.unused_data
                self._frame, self._begun = self._new(), False
            else:
                read = b""
            read = read or self._file.read(UNPACKED_AT_ONCE)
            if not read:
                if self._begun:
                    raise EOFError("it ends before its end")
                return 0
            self._begun = True
            self._rest = memoryview(self._frame.decompress(read))
        taken = min(len(buffer), len(self._rest))
        buffer[:taken], self._rest = self._rest[:taken], self._rest[taken:]
        return taken

    def close(self) -> None:
        self._file.close()
        super().close()


class LineFile:
    """The records of one file; iterate once.  *needles*: only lines that hold one of these bytes are looked at.
    *before*: so many lines of it were read before those that *file* gives after its first.

    Each record has the fields of its line; ``start`` lines are told by `writer`, who wrote the record given last.
    """

    def __init__(
        self, file: BinaryIO, path: Path, problems: Problems, needles: Sequence[bytes] = (), *, before: int = 0
    ) -> None:
        self._file, self._path, self._problems, self._needles = file, path, problems, needles
        self._decode = msgspec.json.Decoder(Line).decode
        self._damage = _damage(path)
        self.number = 0
        """The line that was read last."""
        self.writer = self._first()
        self.number = max(self.number, before)

    def __iter__(self) -> Iterator[Line]:
        if self.writer is None:
            return
        for raw in self._rest():
            if raw == b"\n":
                continue
            if self._needles and not self._concerns(raw):
                continue
            line = self._record(raw)
            if line is None:
                self._problems.of_line(self._path, self.number, NO_RECORD if raw.endswith(b"\n") else TORN)
            elif line.op != "start":
                yield line
            elif line.process:
                self.writer = line

    def _concerns(self, raw: bytes) -> bool:
        """Is the line to be looked at?  What has not the ends of a record is, for it is told of."""
        if not raw.startswith(b"{") or not raw.endswith(b"}\n"):
            return True
        for needle in self._needles:  # any() takes thrice as long, for millions of lines
            if needle in raw:
                return True
        return b'"op":"start"' in raw

    def signed(self, line: Line) -> Line:
        """*line* with who wrote it: the process always; who asked for something is not asked, who changed it is."""
        if (writer := self.writer) is not None:
            line.process = writer.process
            if line.op not in REQUESTS:
                line.user, line.pid, line.command = writer.user, writer.pid, writer.command
        return line

    def _rest(self) -> Iterator[bytes]:
        """The lines, an overlong one as its beginning."""
        while raw := self._read():
            self.number += 1
            part = raw
            while len(part) == LONGEST_LINE and not part.endswith(b"\n"):
                part = self._read()
            yield raw if part is raw or not part.endswith(b"\n") else raw + b"\n"

    def _read(self) -> bytes:
        """A line; a packed file that ends too early, or is damaged, ends here."""
        try:
            return self._file.readline(LONGEST_LINE)
        except self._damage as error:
            self._problems.of_file(self._path, f"damaged after line {self.number}: {error}")
            return b""

    def _record(self, raw: bytes) -> Line | None:
        """The record, None for anything that isn't a whole and possible one."""
        if not raw.endswith(b"\n"):
            return None
        try:
            line: Line = self._decode(raw)
        except (msgspec.MsgspecError, ValueError):
            return None
        return line if is_possible(line) else None

    def _first(self) -> Line | None:
        """The line that says who writes this file; None when it isn't ours (Rule 2), or has no whole line yet."""
        raw = self._read()
        self.number = 1
        first = self._record(raw)
        if first is None or first.op != "start" or not first.process:
            if raw.endswith(b"\n") or len(raw) == LONGEST_LINE:
                self._problems.of_file(self._path, "not a log of scoutcache: it doesn't begin with a start line")
            elif raw:
                self._problems.of_line(self._path, 1, TORN)
            return None
        if (first.format or 1) > FORMAT:
            self._problems.of_file(self._path, f"written in format {first.format}, this version knows {FORMAT}")
            return None
        return first


def _damage(path: Path) -> tuple[type[Exception], ...]:
    """What reading a damaged file raises, beside OSError."""
    if not path.name.endswith(PACKED):
        return ()
    import zstandard

    return zstandard.ZstdError, EOFError


def is_possible(line: Line) -> bool:
    """Are the figures of *line* such as an operation can have?"""
    if not 0 <= line.time <= LAST_TIME or (line.more_ns and not 0 <= min(line.more_ns) <= max(line.more_ns) <= LARGEST):
        return False
    if line.sample_rate is not None and not 0 <= line.sample_rate <= 1:
        return False
    for figure in (line.latency_us, line.size, line.factory_s, line.cost, line.count, line.stored, line.codec_us,
                   line.keygen_us, line.wait_us):  # fmt: skip
        if figure is not None and not 0 <= figure <= LARGEST:
            return False
    return True


def single(line: Line) -> Iterator[Line]:
    """The hits that share a line, each as a record of its own."""
    offsets, line.more_ns = line.more_ns or [], None
    yield line
    for offset in offsets:
        yield msgspec.structs.replace(line, time=line.time + offset / 1e9)
