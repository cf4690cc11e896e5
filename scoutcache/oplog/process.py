"""What one process publishes of itself: a claim that it lives, and its counters and tier sizes, rewritten every second.

A process owns ``procs/<random>.lock`` (held while it lives) and ``procs/<random>.json`` (a `Segment`, replaced whole).
After `SEGMENT_SECONDS` or `SEGMENT_ROWS` it writes the segment a last time, lets the claim go and begins another, so
that what is rewritten every second stays small; whoever finds a segment without a claim folds it (`fold`), which is how
the counters of a killed process survive too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from scoutcache.entry import Usage
from scoutcache.oplog.files import Claim, make_folder, replace
from scoutcache.oplog.tally import Counted, Spread, Tally, check_rows

__all__ = ["PROCS", "SEGMENT_ROWS", "SEGMENT_SECONDS", "ProcessFile", "Segment", "Sizes", "read_segment"]

PROCS: Final = "procs"
SEGMENT_SECONDS: Final = 600.0
SEGMENT_ROWS: Final = 5_000
ATTEMPTS: Final = 4


class Sizes(msgspec.Struct, array_like=True):
    """A tier's `Usage` in a file."""

    entries: int | None = None
    size_bytes: int | None = None
    max_entries: int | None = None
    max_bytes: int | None = None


class Segment(msgspec.Struct):
    """Some minutes of one process.  *tiers* holds, in the order they are asked, the sizes this process knows."""

    id: str
    process: str
    started: float
    written: float
    tiers: dict[str, Sizes | None]
    counted: list[Counted]
    spreads: list[Spread]
    format: Literal["scoutcache-counters-1"] = "scoutcache-counters-1"

    @classmethod
    def of(cls, tally: Tally, *, id: str, process: str, started: float, written: float,
           usages: Mapping[str, Usage | None]) -> Segment:  # fmt: skip
        """What *tally* holds, as a file."""
        tiers = {name: None if usage is None else Sizes(*usage) for name, usage in usages.items()}
        return cls(id, process, started, written, tiers, tally.counted(), tally.spread_rows())


def read_segment(path: Path) -> Segment | None:
    """The segment at *path*, None when it isn't one (another program's file, or a damaged one)."""
    try:
        segment = msgspec.json.decode(path.read_bytes(), type=Segment)
        check_rows(segment.counted, segment.spreads)
    except (FileNotFoundError, IsADirectoryError, msgspec.MsgspecError, ValueError):
        return None
    return segment


class ProcessFile:
    """The process's present segment on disk.  Nothing is made before the first `write`.  Not thread-safe."""

    def __init__(self, directory: Path, token: Callable[[], str]) -> None:
        self._folder = directory / PROCS
        self._token = token
        self._claim: Claim | None = None
        self.id = token()

    @property
    def path(self) -> Path:
        """Where the segment is written."""
        return self._folder / f"{self.id}.json"

    def write(self, segment: Segment) -> None:
        """Replace the file, under the present name.  Raises OSError; the old file stands then."""
        if self._claim is not None and not self._claim.still_there():
            self._claim.release()
            self._claim = None
        if self._claim is None:
            make_folder(self._folder)
            self._claim = self._claimed()
        segment.id = self.id
        replace(self.path, msgspec.json.encode(segment))

    def _claimed(self) -> Claim:
        """Claim the present name, or another: a folder at work may take a claim half made for one left behind."""
        for _ in range(ATTEMPTS):
            with contextlib.suppress(FileExistsError, FileNotFoundError, BlockingIOError):
                return Claim(self._folder / f"{self.id}.lock")
            self.id = self._token()
        return Claim(self._folder / f"{self.id}.lock")

    def release(self) -> None:
        """Let the present segment go, to be folded, and take a new name."""
        if self._claim is not None:
            with contextlib.suppress(OSError):
                self._claim.release()
        self._claim, self.id = None, self._token()

    def forget(self) -> None:
        """In a forked child: the segment is the parent's, ours has another name."""
        if self._claim is not None:
            self._claim.forget()
        self._claim, self.id = None, self._token()
