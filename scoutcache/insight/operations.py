"""Reading the operation log: every process's lines, whatever a crash or another program left among them.

Rule 1: a line that is torn, too long or no record of ours is skipped and counted; it never ends the reading.
Rule 2: a file that doesn't begin with a ``start`` line is not ours: it is skipped whole and counted.
Rule 3: text comes out as it went in.  Whoever shows it makes it safe (`scoutcache.insight.shown`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from scoutcache.oplog.linelog import FOLDER
from scoutcache.oplog.records import REQUESTS, Line

__all__ = ["Operations", "read_operations"]

LONGEST_LINE: Final = 1 << 20
"""Bytes: a key may have 64 KiB, which JSON may escape into six times as many."""
LAST_TIME: Final = 253_402_300_799.0
"""The end of the year 9999, after which no date is."""
LARGEST: Final = 1e15


@dataclass
class Operations:
    """The operations since *since* (seconds since the epoch), file by file; iterate to read them.

    The counts are complete when the iteration is.
    """

    directory: Path
    since: float | None = None
    needles: tuple[bytes, ...] = ()
    """When given, only lines that hold one of these bytes are looked at."""
    skipped_lines: int = 0
    skipped_files: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """What the writers left out, by reason."""

    def __iter__(self) -> Iterator[Line]:
        self.skipped_lines = self.skipped_files = 0
        self.left_out = Counter()
        for path in self._files():
            try:
                with path.open("rb") as file:
                    yield from self._read(file)
            except FileNotFoundError:  # trimmed meanwhile
                continue

    def _files(self) -> list[Path]:
        folder = self.directory / FOLDER
        if not folder.is_dir():
            return []
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".jsonl") and entry.is_file(follow_symlinks=False):
                    changed = entry.stat(follow_symlinks=False).st_mtime
                    if self.since is None or changed >= self.since:
                        found.append((changed, Path(entry.path)))
        return [path for _, path in sorted(found)]

    def _read(self, file: BinaryIO) -> Iterator[Line]:
        decode = msgspec.json.Decoder(Line).decode
        writer = self._writer_of(file, decode)
        if writer is None:
            return
        while raw := file.readline(LONGEST_LINE):
            if raw == b"\n" or (self.needles and not any(needle in raw for needle in self.needles)):
                continue
            line = _line_of(raw, decode)
            if line is None:
                self.skipped_lines += 1
            elif line.op == "left_out":
                self.left_out[line.reason or "unknown"] += line.count or 0
            elif line.op != "start" and (self.since is None or line.time >= self.since):
                line.process = writer.process
                if line.op not in REQUESTS:  # who changed something is asked; who asked for something is not
                    line.user, line.pid, line.command = writer.user, writer.pid, writer.command
                yield from _single(line) if line.more_ns else (line,)

    def _writer_of(self, file: BinaryIO, decode: Any) -> Line | None:
        """The line that says who writes this file; None when it isn't ours (Rule 2), or has no whole line yet."""
        raw = file.readline(LONGEST_LINE)
        first = _line_of(raw, decode)
        if first is not None and first.op == "start" and first.process:
            return first
        if raw.endswith(b"\n"):
            self.skipped_files += 1
        return None


def _single(line: Line) -> Iterator[Line]:
    """The hits that share a line, each as a record of its own."""
    offsets, line.more_ns = line.more_ns or [], None
    yield line
    for offset in offsets:
        yield msgspec.structs.replace(line, time=line.time + offset / 1e9)


def _line_of(raw: bytes, decode: Any) -> Line | None:
    """The record, None for anything that isn't a whole and possible one."""
    if not raw.endswith(b"\n"):
        return None
    try:
        line: Line = decode(raw)
    except (msgspec.MsgspecError, ValueError):
        return None
    figures = (line.latency_us, line.size, line.factory_s, line.cost, line.count)
    possible = 0 <= line.time <= LAST_TIME and all(figure is None or 0 <= figure <= LARGEST for figure in figures)
    possible = possible and all(0 <= offset <= LARGEST for offset in line.more_ns or ())
    return line if possible else None


def read_operations(directory: Path, since: float | None = None) -> Operations:
    """The operations in the log since *since* (seconds since the epoch), not sorted; an empty log gives none."""
    return Operations(directory, since)
