"""Reading the counters of a cache: of living processes, of dead ones, and of the folded past, each exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import msgspec

from scoutcache.oplog.files import is_claimed, shared, was_locked
from scoutcache.oplog.fold import COUNTERS, MINUTES_KEPT_H, ROLLED, Kept, Rows, number_of, read_kept
from scoutcache.oplog.process import PROCS, Segment, read_segment
from scoutcache.oplog.records import AHEAD
from scoutcache.oplog.tally import Tally

__all__ = ["Counts", "read_counts"]


@dataclass
class Counts:
    """What was counted since *first_minute*, and the segments of processes that live now."""

    first_minute: int | None
    tally: Tally = field(default_factory=Tally)
    alive: list[Segment] = field(default_factory=list)
    skipped: int = 0
    """Files that are not ours, or damaged."""
    last_minute: int | None = None
    ahead: int | None = None
    """The latest minute of what was left out because it is dated after *last_minute*."""


def read_counts(directory: Path | None, *, since: float | None, now: float, extra: Sequence[Segment] = (),
                ended: Sequence[Segment] = (), by_minute: bool = False) -> Counts:  # fmt: skip
    """Everything counted since *since* (seconds since the epoch; None for all that is kept).

    Times older than a day and two hours are kept by the hour, so *since* moves to the beginning of its hour there.
    What is dated further ahead of *now* than `AHEAD` is in no time that begins with *since*, but in all that is kept.
    *extra* are segments of living processes from elsewhere than the files, which count instead of what is in a file of
    that id; so do those in *ended*, whose processes are gone or have begun another.  Without *by_minute* the counters
    of a folded file may all stand at its first minute, which is many times faster.
    """
    first_minute = None if since is None else _first_minute(since, now)
    known = {one.id for one in (*extra, *ended)}
    found, files, segments = _read(directory, first_minute, known)
    found.last_minute = None if since is None else int((now + AHEAD) // 60)
    reading = _Reading(found)
    reading.add_folded(files, by_minute=by_minute)
    reading.add([*segments, *extra, *ended])
    found.alive += extra
    return found


def _read(directory: Path | None, first_minute: int | None,
          known: set[str]) -> tuple[Counts, list[tuple[Path, Kept]], list[Segment]]:  # fmt: skip
    """Every file, all as they were at one moment."""
    if directory is None:
        return Counts(first_minute), [], []
    for _ in range(2):
        found = Counts(first_minute)
        with shared(directory / COUNTERS) as held:
            files = _folded(directory / COUNTERS, found)
            segments, found.alive = _segments(directory / PROCS, known, found)
        if held or not was_locked(directory / COUNTERS):
            break  # else the first fold ever began meanwhile: read again, under its lock
    return found, files, segments


def _first_minute(since: float, now: float) -> int:
    minute = int(since // 60)
    by_hour = since < (now // 3600 - MINUTES_KEPT_H) * 3600
    return minute - minute % 60 if by_hour else minute


def _minutes_of(path: Path) -> range | None:
    """The minutes that a file is about; None for another program's."""
    number = number_of(path)
    length = 60 if path.name.startswith("h") else 1440
    return None if number is None else range(number * length, (number + 1) * length)


def _folded(folder: Path, found: Counts) -> list[tuple[Path, Kept]]:
    """The files about the time in question."""
    files = []
    for path in folder.glob("[hd]*.json") if folder.is_dir() else ():
        minutes = _minutes_of(path)
        if minutes is None or (found.first_minute is not None and minutes[-1] < found.first_minute):
            continue
        kept = read_kept(path)
        if kept is None:
            found.skipped += 1
        else:
            files.append((path, kept))
    return files


def _segments(procs: Path, known: set[str], found: Counts) -> tuple[list[Segment], list[Segment]]:
    """All segments, and those of them whose process lives."""
    segments, alive = [], []
    for path in procs.glob("*.json") if procs.is_dir() else ():
        if path.stem in known or path.name.startswith("."):
            continue
        segment = read_segment(path)
        if segment is None or segment.id != path.stem:
            found.skipped += 1
            continue
        segments.append(segment)
        if is_claimed(path.with_suffix(".lock")):
            alive.append(segment)
    return segments, alive


class _Reading:
    """Adds what was read, leaving out what was read already in another file."""

    def __init__(self, found: Counts) -> None:
        self._found = found
        self._applied: set[str] = set()

    def add_folded(self, files: Sequence[tuple[Path, Kept]], *, by_minute: bool) -> None:
        """Add the files, but no hour that its day holds already (a roll-up that died before its last step)."""
        self._applied = {name for _, kept in files for name in kept.applied}
        for path, kept in files:
            if f"{ROLLED}{kept.id}@{path.stem[1:]}" not in self._applied:
                self._add_file(path, kept, by_minute=by_minute)

    def _add_file(self, path: Path, kept: Kept, *, by_minute: bool) -> None:
        minutes = _minutes_of(path)
        if minutes is not None and not by_minute and self._is_within(minutes):
            self._merge(kept.whole)
            return
        try:
            self._merge(kept.rows())
        except (msgspec.MsgspecError, ValueError):
            self._found.skipped += 1

    def _is_within(self, minutes: range) -> bool:
        first, last = self._found.first_minute, self._found.last_minute
        return (first is None or first <= minutes[0]) and (last is None or minutes[-1] <= last)

    def add(self, segments: Iterable[Segment]) -> None:
        """Add segments, but no hour of one that was folded already."""
        for segment in segments:
            self._merge(segment, segment.id)

    def _merge(self, source: Rows | Segment, id: str | None = None) -> None:
        found, applied = self._found, self._applied
        first, last = found.first_minute or 0, inf if found.last_minute is None else found.last_minute

        def wanted(minute: int) -> bool:
            if minute > last:
                found.ahead = max(minute, found.ahead or 0)
                return False
            return minute >= first and (id is None or f"{id}@{minute // 60}" not in applied)

        self._found.tally.merge(
            (row for row in source.counted if wanted(row.minute)),
            (row for row in source.spreads if wanted(row.minute)),
        )
