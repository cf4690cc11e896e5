"""Reading the counters of a cache: of living processes, of dead ones, and of the folded past, each exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

import msgspec

from scoutcache.oplog.files import is_claimed, shared, was_locked
from scoutcache.oplog.fold import COUNTERS, MINUTES_KEPT_H, ROLLED, Kept, number_of, read_kept, set_aside
from scoutcache.oplog.process import PROCS, Segment, read_segment
from scoutcache.oplog.records import AHEAD
from scoutcache.oplog.tally import Counted, Spread, Tally, first_minute_of

__all__ = ["Counts", "counted_from", "read_counts"]


@dataclass
class Counts:
    """What was counted from *first_minute* to *last_minute*, and the segments of processes that live now."""

    first_minute: int | None
    last_minute: int | None = None
    tally: Tally = field(default_factory=Tally)
    alive: list[Segment] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    """Files that are not ours, or damaged; those of the time in question that a fold set aside for that too."""
    ahead: int | None = None
    """The latest minute of what was left out because it is dated after *last_minute*."""

    def takes(self, minutes: Iterable[int]) -> set[int]:
        """Those of *minutes* that count."""
        first, last = self.first_minute or 0, inf if self.last_minute is None else self.last_minute
        found = {minute for minute in minutes if minute >= first}
        if (latest := max(found, default=0)) > last:
            self.ahead = max(latest, self.ahead or 0)
        return {minute for minute in found if minute <= last}

    def takes_all(self, minutes: range) -> bool:
        """Does every one of them count?"""
        first, last = self.first_minute, self.last_minute
        return (first is None or first <= minutes[0]) and (last is None or minutes[-1] <= last)


def read_counts(directory: Path | None, *, since: float | None, now: float, extra: Sequence[Segment] = (),
                ended: Sequence[Segment] = (), by_minute: bool = False) -> Counts:  # fmt: skip
    """Everything counted since *since* (seconds since the epoch; None for all that is kept).

    Times older than a day and two hours are kept by the hour, so *since* moves to the beginning of its hour there.
    What is dated further ahead of *now* than `AHEAD` is in no time that begins with *since*, but in all that is kept.
    *extra* are segments of living processes from elsewhere than the files, which count instead of what is in a file of
    that id; so do those in *ended*, whose processes are gone or have begun another.  Without *by_minute* all counters
    stand at the first minute of any, which is many times faster.
    """
    first, last = (None, None) if since is None else (_first_minute(since, now), int((now + AHEAD) // 60))
    known = {one.id for one in (*extra, *ended)}
    found, files, segments = _read(directory, partial(Counts, first, last), known, by_minute=by_minute)
    reading = _Reading(found)
    reading.add_folded(files)
    reading.add([*segments, *extra, *ended])
    at = None if by_minute else first_minute_of(reading.counted, reading.spreads)
    found.tally.merge(reading.counted, reading.spreads, at=at)
    found.alive += extra
    return found


def _read(directory: Path | None, empty: Callable[[], Counts], known: set[str], *,
          by_minute: bool) -> tuple[Counts, list[tuple[Path, Kept]], list[Segment]]:  # fmt: skip
    """Every file, all as they were at one moment."""
    if directory is None:
        return empty(), [], []
    for _ in range(2):
        found = empty()
        with shared(directory / COUNTERS) as held:
            files = _folded(directory / COUNTERS, found, by_minute=by_minute)
            segments, found.alive = _segments(directory / PROCS, known, found)
        if held or not was_locked(directory / COUNTERS):
            break  # else the first fold ever began meanwhile: read again, under its lock
    return found, files, segments


def counted_from(since: float, now: float) -> float:
    """When the first minute (or hour, of what is older) begins that counts since *since*: there the log begins too."""
    return _first_minute(since, now) * 60.0


def _first_minute(since: float, now: float) -> int:
    minute = int(since // 60)
    by_hour = since < (now // 3600 - MINUTES_KEPT_H) * 3600
    return minute - minute % 60 if by_hour else minute


def _minutes_of(path: Path) -> range | None:
    """The minutes that a file is about; None for another program's."""
    number = number_of(path)
    length = 60 if path.name.startswith("h") else 1440
    return None if number is None else range(number * length, (number + 1) * length)


def _folded(folder: Path, found: Counts, *, by_minute: bool) -> list[tuple[Path, Kept]]:
    """The files about the time in question, only their sums where that holds all of a file and they are enough."""
    files, first = [], found.first_minute or 0
    for path in folder.glob("[hd]*.json") if folder.is_dir() else ():
        minutes = _minutes_of(path)
        if minutes is None or minutes[-1] < first:
            continue
        kept = read_kept(path, parts=by_minute or not found.takes_all(minutes))
        if kept is None:
            found.unread.append(path)
        else:
            files.append((path, kept))
    found.unread += [path for path in set_aside(folder) if _is_of(path, first)]
    return files


def _is_of(path: Path, first: int) -> bool:
    """Is a file that was set aside about minutes from *first* on?"""
    minutes = _minutes_of(path.with_suffix(""))
    return minutes is not None and minutes[-1] >= first


def _segments(procs: Path, known: set[str], found: Counts) -> tuple[list[Segment], list[Segment]]:
    """All segments, and those of them whose process lives."""
    segments, alive = [], []
    for path in procs.glob("*.json") if procs.is_dir() else ():
        if path.stem in known or path.name.startswith("."):
            continue
        segment = read_segment(path)
        if segment is None or segment.id != path.stem:
            found.unread.append(path)
            continue
        segments.append(segment)
        if is_claimed(path.with_suffix(".lock")):
            alive.append(segment)
    return segments, alive


class _Reading:
    """Gathers what was read, leaving out what was read already in another file."""

    def __init__(self, found: Counts) -> None:
        self._found = found
        self._applied: set[str] = set()
        self.counted: list[Counted] = []
        self.spreads: list[Spread] = []

    def add_folded(self, files: Sequence[tuple[Path, Kept]]) -> None:
        """Add the files, but no hour that its day holds already (a roll-up that died before its last step)."""
        self._applied = {name for _, kept in files for name in kept.applied}
        for path, kept in files:
            if f"{ROLLED}{kept.id}@{path.stem[1:]}" not in self._applied:
                self._add_file(path, kept)

    def _add_file(self, path: Path, kept: Kept) -> None:
        if kept.parts is None:
            self.counted += kept.whole.counted
            self.spreads += kept.whole.spreads
            return
        try:
            rows = kept.rows()
        except (msgspec.MsgspecError, ValueError):
            self._found.unread.append(path)
            return
        self._add(rows.counted, rows.spreads)

    def add(self, segments: Iterable[Segment]) -> None:
        """Add segments, but no hour of one that was folded already."""
        for segment in segments:
            self._add(segment.counted, segment.spreads, segment.id)

    def _add(self, counted: Sequence[Counted], spreads: Sequence[Spread], id: str | None = None) -> None:
        """Add the rows of minutes that count, but for those of the hours of segment *id* that were folded already."""
        wanted = self._found.takes({row.minute for row in counted} | {row.minute for row in spreads})
        if id is not None:
            wanted = {minute for minute in wanted if f"{id}@{minute // 60}" not in self._applied}
        self.counted += [row for row in counted if row.minute in wanted]
        self.spreads += [row for row in spreads if row.minute in wanted]
