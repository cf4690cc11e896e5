"""Where the counters of processes that ended come to rest: files per hour, later per day, each segment counted once.

``counters/h<hour>.json`` holds the minutes of one hour (hours since the epoch), ``counters/d<day>.json`` the hours of a
day older than `MINUTES_KEPT_H`.  Whoever folds holds the folder (`exclusive`); whoever reads shares it, so a segment is
seen either where it was written or where it was folded, never twice and never not.

Exactly once, whatever dies in the middle:

Rule 1: every file names what was added to it (``applied``) and is replaced whole, so adding and naming are one step.
        A name is a segment and the hour it touched, for a segment that spans hours goes into several files.
Rule 2: what was added is removed only after the file that names it is safe on disk.  A fold that died in between is
        finished by the next, which finds the name and only removes.
Rule 3: a name is dropped when its segment is gone; segments have random names, so none comes back.
Rule 4: every file also holds its sums (`Kept.whole`), in a first line of their own: a reader whose period holds the
        whole file reads that line, 20 rows and not 1,200 (statistics over three months: a twelfth of the time).
Rule 5: minutes of an hour that is already summed by the day go to the day.  Rolling an hour up is the same step: the
        day's file takes its figures, its names and its own random id, then the hour's file is removed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self, TypeVar

import msgspec

from scoutcache.oplog.files import exclusive, make_folder, open_private, replace
from scoutcache.oplog.process import PROCS, Segment, read_segment
from scoutcache.oplog.tally import Counted, Spread, Tally, check_rows

__all__ = ["COUNTERS", "Kept", "fold", "number_of", "read_kept", "set_aside"]

COUNTERS: Final = "counters"
ASIDE: Final = ".unreadable"
"""Ends the name of a file that could not be read when something was to be added to it."""
MINUTES_KEPT_H: Final = 26
"""Minutes are kept for a day and two hours, so that the last 24 hours are exact to the minute."""
ROWS_KEPT: Final = 20_000
"""A file with more rows than this is summed: by hour, then over its rarer prefixes."""


ROLLED: Final = "rolled:"
"""Begins the name of an hour's file in its day's ``applied``."""

_Row = TypeVar("_Row", Counted, Spread)


class Rows(msgspec.Struct):
    """Counters and histograms."""

    counted: list[Counted]
    spreads: list[Spread]

    @classmethod
    def of(cls, tally: Tally) -> Rows:
        """What *tally* holds."""
        return cls(tally.counted(), tally.spread_rows())


class _Head(msgspec.Struct):
    """The first line of a file.  *length* is how many bytes follow it."""

    id: str
    applied: list[str]
    whole: Rows
    length: int
    format: Literal["scoutcache-folded-2"] = "scoutcache-folded-2"


@dataclass(slots=True)
class Kept:
    """A file of folded counters: *whole* sums what *parts* holds by the minute or the hour, and is all that was read
    where *parts* is None.
    """

    id: str
    applied: list[str]
    whole: Rows
    parts: bytes | None

    @classmethod
    def of(cls, name: str, applied: list[str], tally: Tally) -> Kept:
        """A file with what *tally* holds."""
        return cls(name, applied, Rows.of(tally.summed()), msgspec.json.encode(Rows.of(tally)))

    @property
    def content(self) -> bytes:
        """What is written."""
        assert self.parts is not None
        head = _Head(self.id, self.applied, self.whole, len(self.parts))
        return b"\n".join((msgspec.json.encode(head), self.parts))

    def rows(self) -> Rows:
        """The single counters.  Raises `msgspec.MsgspecError` and `ValueError` for damaged ones."""
        assert self.parts is not None
        rows = msgspec.json.decode(self.parts, type=Rows)
        check_rows(rows.counted, rows.spreads)
        return rows

    def has(self, segment: str, hour: int) -> bool:
        """Was that hour of that segment added here?"""
        return f"{segment}@{hour}" in self.applied


def read_kept(path: Path, *, parts: bool = True) -> Kept | None:
    """The file at *path*, its sums alone without *parts*; None when it isn't there or isn't one."""
    try:
        with path.open("rb") as file:
            head = msgspec.json.decode(file.readline(), type=_Head)
            check_rows(head.whole.counted, head.whole.spreads)
            if os.fstat(file.fileno()).st_size != file.tell() + head.length:
                return None
            return Kept(head.id, head.applied, head.whole, file.read() if parts else None)
    except (FileNotFoundError, IsADirectoryError, msgspec.MsgspecError, ValueError):
        return None


def set_aside(folder: Path) -> list[Path]:
    """The files in *folder* that could not be read when they were folded."""
    return sorted(folder.glob(f"*{ASIDE}"))


def number_of(path: Path) -> int | None:
    """The hour or day of a file, None when its name isn't one of ours."""
    text = path.stem[1:]
    return int(text) if text.isascii() and text.isdigit() else None


def fold(directory: Path, now: float, *, max_age: float | None = None) -> int:
    """Fold the segments that no living process owns, roll old hours up, drop what is older than *max_age* seconds.

    Returns how many segments went.  When another process is folding, that is enough, and 0 is returned.  Raises OSError
    when the folder can't be written to; nothing is lost then.
    """
    folder = directory / COUNTERS
    make_folder(folder)
    with exclusive(folder, wait=False) as held:
        if not held:
            return 0
        _clean_drafts(folder)
        _roll_up(folder, int(now // 3600) - MINUTES_KEPT_H)
        with _Orphans(directory / PROCS) as orphans:
            _Ledger(folder, directory / PROCS, int(now // 3600) - MINUTES_KEPT_H).add(orphans.segments)
            orphans.remove()
        if max_age is not None:
            _drop_before(folder, now - max_age)
        return len(orphans.segments)


class _Orphans:
    """The segments whose process is gone, held so that nobody takes one for alive or removes it at the same time."""

    def __init__(self, procs: Path) -> None:
        self._procs = procs
        self._fds: dict[str, int] = {}
        self.segments: list[Segment] = []

    def __enter__(self) -> Self:
        try:
            for name in _names(self._procs):
                self._adopt(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds.values():
            fcntl.flock(fd, fcntl.LOCK_UN)  # a child forked meanwhile has a copy, and must not keep the lock
            os.close(fd)

    def _adopt(self, name: str) -> None:
        fd = open_private(self._procs / f"{name}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return
        self._fds[name] = fd
        path = self._procs / f"{name}.json"
        segment = read_segment(path) if path.exists() else None
        if segment is not None and segment.id == name:
            self.segments.append(segment)
        elif path.exists():
            path.replace(path.with_suffix(ASIDE))

    def remove(self) -> None:
        """Remove them all: the counters first, so that a lock without counters is all that a crash can leave."""
        for name in self._fds:
            (self._procs / f"{name}.json").unlink(missing_ok=True)
            (self._procs / f"{name}.lock").unlink(missing_ok=True)


def _names(procs: Path) -> set[str]:
    if not procs.is_dir():
        return set()
    with os.scandir(procs) as entries:
        files = [Path(entry.name) for entry in entries if entry.is_file(follow_symlinks=False)]
    return {file.stem for file in files if file.suffix in {".json", ".lock"} and not file.name.startswith(".")}


class _Ledger:
    """Adds segments to the files of their hours and days, each file written once."""

    def __init__(self, folder: Path, procs: Path, first_hour: int) -> None:
        self._folder = folder
        self._procs = procs
        self._first_hour = first_hour

    def add(self, segments: Iterable[Segment]) -> None:
        """Add every segment to every file it belongs to (Rule 1)."""
        shares: dict[str, list[tuple[Segment, int]]] = {}
        for segment in segments:
            for hour in _hours_of(segment):
                name = f"h{hour}" if hour >= self._first_hour else f"d{hour // 24}"
                shares.setdefault(name, []).append((segment, hour))
        for name, parts in shares.items():
            self._add_to(self._folder / f"{name}.json", parts)

    def _add_to(self, path: Path, parts: list[tuple[Segment, int]]) -> None:
        kept, tally = _open_kept(path)
        new = [(segment, hour) for segment, hour in parts if not kept.has(segment.id, hour)]
        if not new:
            return
        for segment, hour in new:
            tally.merge(_of_hour(segment.counted, hour), _of_hour(segment.spreads, hour))
        applied = [name for name in kept.applied if self._still_needed(name)]
        _write(path, kept.id, [*applied, *(f"{segment.id}@{hour}" for segment, hour in new)], tally)

    def _still_needed(self, name: str) -> bool:
        """Rule 3."""
        owner, _, hour = name.partition("@")
        source = self._folder / f"h{hour}.json" if owner.startswith(ROLLED) else self._procs / f"{owner}.json"
        return source.exists()


def _hours_of(segment: Segment) -> set[int]:
    return {row.minute // 60 for row in segment.counted} | {row.minute // 60 for row in segment.spreads}


def _of_hour(rows: Iterable[_Row], hour: int) -> Iterator[_Row]:
    return (row for row in rows if row.minute // 60 == hour)


def _open_kept(path: Path) -> tuple[Kept, Tally]:
    """The file to add to.  One that can't be read is set aside under another name, not written over."""
    kept = read_kept(path)
    tally = None if kept is None else _tally_of(kept)
    if kept is not None and tally is not None:
        return kept, tally
    if path.exists():
        path.replace(path.with_name(f"{path.name}{ASIDE}"))
    return Kept.of(os.urandom(8).hex(), [], Tally()), Tally()


def _tally_of(kept: Kept) -> Tally | None:
    """Its single counters; None when they are damaged."""
    tally = Tally()
    try:
        rows = kept.rows()
        tally.merge(rows.counted, rows.spreads)
    except (msgspec.MsgspecError, ValueError):
        return None
    return tally


def _write(path: Path, name: str, applied: list[str], tally: Tally) -> None:
    if path.name.startswith("d"):
        tally = tally.coarsened()
    if len(tally.counters) > ROWS_KEPT:
        tally = tally.coarsened().without_rare_prefixes()
    replace(path, Kept.of(name, applied, tally).content, durable=True)


def _roll_up(folder: Path, first_hour: int) -> None:
    """Rule 5."""
    for path in sorted(folder.glob("h*.json")):
        hour = number_of(path)
        if hour is None or hour >= first_hour:
            continue
        kept, minutes = _open_kept(path)
        into = folder / f"d{hour // 24}.json"
        day, tally = _open_kept(into)
        if not day.has(ROLLED + kept.id, hour):
            tally.take_in(minutes)
            _write(into, day.id, [*day.applied, *kept.applied, f"{ROLLED}{kept.id}@{hour}"], tally)
        path.unlink(missing_ok=True)


def _drop_before(folder: Path, oldest: float) -> None:
    for path in folder.glob("[hd]*.json"):
        number = number_of(path)
        seconds = 3600 if path.name.startswith("h") else 86_400
        if number is not None and (number + 1) * seconds < oldest:
            path.unlink(missing_ok=True)


def _clean_drafts(folder: Path) -> None:
    """Remove what a writer that died left half-written; holding the folder, there is no other writer."""
    for path in folder.glob(".*.json.*"):
        path.unlink(missing_ok=True)
