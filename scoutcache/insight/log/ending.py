"""The end of the log: its last operations, and those that are written while one looks.

Rule 1: a line counts when its end is written.  What is read of a file is noted, so that nothing comes twice.
Rule 2: a file that is sealed while one follows it is read to its end where it was: `Tail` holds it open.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Self

from scoutcache.insight.log.operations import Operations, SealedFile
from scoutcache.oplog.filing import LINES, LogFile
from scoutcache.oplog.reading import TORN, LineFile, single
from scoutcache.oplog.records import Line

__all__ = ["Tail"]

HELD: Final = 100
"""Files of lines that are held open, the newest."""
MARGIN_S: Final = 1.0
"""By so much the time of a file may lie before the times in it, for clocks and file systems round."""


@dataclass(slots=True)
class _Place:
    """How far a file of lines was read."""

    file: BinaryIO | None = None
    start: bytes = b""
    offset: int = 0
    lines: int = 0


@dataclass
class Tail:
    """The end of the log that *operations* reads, as far as *wanted* says of a record that it is asked for."""

    operations: Operations
    wanted: Callable[[Line], bool]
    _places: dict[str, _Place] = field(default_factory=dict)
    _sealed: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._places.values():
            if place.file is not None:
                place.file.close()

    def last(self, count: int) -> list[Line]:
        """The last *count* operations, the oldest first."""
        found: list[tuple[float, int, Line]] = []
        number = 0
        for at, file in enumerate(reversed(self.operations.begin())):
            if not count or (len(found) == count and file.changed + MARGIN_S < found[0][0]):
                self._pass_over(file)
                continue
            for line in self._new(file, hold=at < HELD, last=True):
                number += 1
                entry = line.time, number, line
                if len(found) < count:
                    heapq.heappush(found, entry)
                elif entry > found[0]:
                    heapq.heapreplace(found, entry)
        return [line for _, _, line in sorted(found)]

    def more(self) -> list[Line]:
        """What was written since, in the order of time."""
        before = self.operations.problems
        files = self.operations.begin()
        self.operations.problems = before
        found = [line for file in files for line in self._new(file, hold=True, last=False)]
        return sorted(found, key=lambda line: line.time)

    def _new(self, file: LogFile, *, hold: bool, last: bool) -> Iterator[Line]:
        place = self._places.get(file.name)
        if file.form == LINES or (place is not None and place.file is not None):
            lines = self._read_on(file, hold=hold, last=last)
        elif file.name in self._sealed or place is not None:
            return
        else:
            lines = self.operations.of_file(file)
        if file.form != LINES:
            self._sealed.add(file.name)
        yield from (line for line in lines if self.wanted(line))

    def _read_on(self, file: LogFile, *, hold: bool, last: bool) -> Iterator[Line]:
        """The whole lines of *file* that were not read before."""
        place = self._places.setdefault(file.name, _Place())
        if place.file is None and place.offset >= file.size > 0:
            return
        try:
            stream = place.file or file.path.open("rb")
        except FileNotFoundError:
            opened = self.operations.open(file)  # sealed since it was found, or gone
            if isinstance(opened, SealedFile):
                self._sealed.add(file.name)
                with opened:
                    yield from opened.lines()
            return
        place.file = stream if hold else None
        try:
            stream.seek(place.offset)
            read = stream.read()
            yield from self._of(file.path, place, read, last=last)
        finally:
            if not hold or file.form != LINES:
                stream.close()
                place.file = None

    def _of(self, path: Path, place: _Place, read: bytes, *, last: bool) -> Iterator[Line]:
        whole, torn = read[: (end := read.rfind(b"\n") + 1)], read[end:]
        problems = self.operations.problems
        if whole:
            lines = LineFile(io.BytesIO(place.start + whole), path, problems, before=place.lines)
            if not place.offset:
                place.start = whole[: whole.index(b"\n") + 1]
            place.offset += len(whole)
            place.lines += whole.count(b"\n")
            for line in lines:
                if self.operations.takes(line):
                    yield from single(lines.signed(line))
        if torn and last:
            problems.of_line(path, place.lines + 1, TORN)

    def _pass_over(self, file: LogFile) -> None:
        """*file* holds nothing that is asked for yet."""
        if file.form != LINES:
            self._sealed.add(file.name)
            return
        place = self._places.setdefault(file.name, _Place())
        try:
            with file.path.open("rb") as stream:
                place.start = stream.readline()
                read = stream.read()
        except FileNotFoundError:
            return
        end = read.rfind(b"\n") + 1
        place.offset, place.lines = len(place.start) + end, 1 + read.count(b"\n")
