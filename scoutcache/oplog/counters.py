"""The counters of one process: a tally in memory, written as one segment after another (`process`).

Rule 1: a segment's tally leaves memory only after it was written for the last time.
Rule 2: whoever adds to `tally`, or reads it, holds `lock`; what writes files is called without it, by one thread at a
        time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from scoutcache.entry import Usage
from scoutcache.oplog.fold import fold
from scoutcache.oplog.lived import Lived
from scoutcache.oplog.process import SEGMENT_ROWS, SEGMENT_SECONDS, ProcessFile, Segment
from scoutcache.oplog.tally import Tally

__all__ = ["Counters"]


class Counters:
    """What *process* counted; kept in memory alone where *directory* is None.

    *wall* gives seconds since the epoch, *token* a new random name each time; *share* is given each segment as it was
    written, or as it would have been.  What others wrote and left is kept for *max_age* seconds.
    """

    def __init__(self, directory: Path | None, process: str, *, max_age: float | None, wall: Callable[[], float],
                 token: Callable[[], str], share: Callable[[Segment], None]) -> None:  # fmt: skip
        self._directory, self._process, self._max_age = directory, process, max_age
        self._wall, self._share = wall, share
        self._file = None if directory is None else ProcessFile(directory, token)
        self.lock = threading.Lock()
        self.tally = Tally()
        self.changed = True
        self._parting = Tally()
        """Is being written for the last time."""
        self._lived = Lived()
        self._usages: dict[str, Usage | None] = {}
        self._started = wall()

    @property
    def minute(self) -> int:
        """The minutes since the epoch."""
        return int(self._wall() // 60)

    def left_out(self, reason: str, times: int) -> None:
        """So many records came not into the log; the lock is held."""
        self.tally.add(self.minute, "", "", "", "log", "left_out", reason, times=times)
        self.changed = True

    def segment(self) -> Segment:
        """The counters that are not folded yet; the lock is held."""
        return self._segment(self.tally)

    def lived(self, since_minute: int | None) -> Tally:
        """What was counted by the minute since *since_minute*, or all of it, summed; the lock is held."""
        return self._lived.with_([self._parting, self.tally], since_minute)

    def measured(self, usages: Mapping[str, Usage | None]) -> None:
        """These are the sizes of the tiers, in the order they are asked."""
        if self._usages != dict(usages):
            with self.lock:
                self._usages, self.changed = dict(usages), True

    def write(self) -> None:
        """Write what changed, and begin another segment when it is time.  Raises OSError."""
        if self._file is None:
            return
        with self.lock:
            due = self._wall() - self._started > SEGMENT_SECONDS or len(self.tally.counters) > SEGMENT_ROWS
            segment = self._segment(self.tally) if self.changed else None
            self.changed = False
        try:
            if segment is not None:
                self._put(self._file, segment)
        except OSError:
            self.changed = True
            self._keep_small()
            raise
        if due:
            self._next_segment(self._file)

    def close(self) -> None:
        """Write a last time, and let go of the file.  Raises OSError.  What is counted afterwards is a new segment."""
        if self._file is not None:
            self._next_segment(self._file, closing=True)

    def forget(self) -> None:
        """In a forked child: the segment is the parent's.  Raises OSError."""
        if self._file is not None:
            self._file.forget()

    def _put(self, file: ProcessFile, segment: Segment) -> None:
        """Write it, which may give it another id, and hand it on whether it could be written or not."""
        try:
            file.write(segment)
        finally:
            self._share(segment)

    def _segment(self, tally: Tally) -> Segment:
        name = self._file.id if self._file else self._process
        return Segment.of(tally, id=name, process=self._process, started=self._started, written=self._wall(),
                          usages=self._usages)  # fmt: skip

    def _next_segment(self, file: ProcessFile, *, closing: bool = False) -> None:
        """Write what there is a last time (Rule 1), begin another segment, and fold what nobody owns."""
        with self.lock:
            last = self._parting = self.tally
            self.tally = Tally()
        if not last and not closing:
            self._started, self._parting = self._wall(), Tally()
            return
        try:
            if last:
                self._put(file, self._segment(last))
        except OSError:
            with self.lock:
                self.tally.take_in(last)
                self._parting = Tally()
            raise
        with self.lock:
            self._lived.keep(last, self.minute)
            self._parting = Tally()
        file.release()
        self._started, self.changed = self._wall(), True
        if self._directory is not None:
            fold(self._directory, self._wall(), max_age=self._max_age)

    def _keep_small(self) -> None:
        """While nothing can be written, sum old minutes into hours, so that memory holds years of them."""
        with self.lock:
            if len(self.tally.counters) > SEGMENT_ROWS:
                self.tally = self.tally.coarsened(self.minute)
