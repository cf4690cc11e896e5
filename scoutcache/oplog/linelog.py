"""The log as it is written: JSON Lines per process, sampled, capped, rotated by size and kept within size and age.

What is written, in this order of importance:

Rule 1: a key is kept or left out as a whole (`kept_at`), so that distances between its uses survive sampling.
        Invalidations are always kept: each is logged with its reason, and the file says the user and the process.
Rule 2: a second's budget is `max_records_per_s` lines (two seconds' worth may come at once).  Everything but memory
        hits goes first, since `explain` and `report` live by it; memory hits, of which those of one key share a line,
        get what is left, thinned by key (Rule 1) to the largest rate 2^-n that fits.
Rule 3: what is left out is counted by reason (``sampled``, ``rate``, ``overflow``, ``unwritable``), and all but what
        the user asked for (``sampled``) is also said by a line ``{"op": "left_out", "reason": …, "count": …}``.
Rule 4: one write per batch, whole lines; a write cut short (full disk) is ended by a newline before the next one, so
        that it costs one line.
Rule 5: the writer holds a lock on its file while it may write to it; a full file is let go, to be sealed (`sealing`).
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from scoutcache.oplog.files import make_folder, open_private
from scoutcache.oplog.filing import FOLDER, LINES, find_files, trim
from scoutcache.oplog.hits import Gathered, Hit, HitLine, HitsLine, gather, hit_lines, how_many, thin
from scoutcache.oplog.records import FORMAT, Event, Line, kept_at, names_no_key, redacted
from scoutcache.oplog.sealing import clear_drafts, sealable
from scoutcache.oplog.who import this_process

__all__ = ["FOLDER", "LineLog", "LogLimits"]

FILES_KEPT: Final = 8
"""A file is rotated at this fraction of the log's size, so that trimming removes an eighth and not everything."""
LARGEST_FILE: Final = 16 << 20
"""Bytes after which a file is rotated whatever the log's size: so much is sealed in a second."""
TRIM_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """How much is logged.  *sample_rate* 0-1, *max_age* in seconds, *max_bytes* for the log of all processes."""

    sample_rate: float = 1.0
    max_records_per_s: float | None = 5000
    max_bytes: int | None = 100_000_000
    max_age: float | None = 30 * 86_400.0
    redact_keys: bool = False


class LineLog:
    """Appends events to this process's file.  Nothing is made before the first line.  Not thread-safe.

    *price* says what an event's call cost, by the counters' rule, so that what is computed from lines agrees with them.
    """

    def __init__(self, directory: Path, limits: LogLimits, *, token: Callable[[], str], process: str,
                 price: Callable[[Event], float | None] = attrgetter("cost")) -> None:  # fmt: skip
        self._folder = directory / FOLDER
        self._limits = limits
        self._token = token
        self._process = process
        self._price = price
        self._fd: int | None = None
        self._path = self._folder
        self._written = 0
        self._torn = False
        self._budget = 0.0
        self._filled_at: float | None = None
        self._trimmed_at: float | None = None
        self.full: list[Path] = []
        """Files to be sealed: the own full ones, and those that others left."""
        self._encoder = msgspec.json.Encoder()

    def write(self, events: Iterable[Event], hits: Sequence[Hit], *, offset_ns: int, now: float) -> Counter[str]:
        """Append a batch and return how many were left out, by reason.

        *offset_ns* added to a monotonic time gives the time since the epoch.  A folder that can't be written to raises
        OSError; what was in the batch is lost then, and the caller counts it.
        """
        left_out: Counter[str] = Counter()
        budget = self._refill(now)
        lines = [self._line(event, offset_ns) for event in self._sampled(events, left_out)]
        if len(lines) > budget:
            lines.sort(key=lambda line: line.op != "invalidate")  # who did that is asked long after
            left_out["rate"] += len(lines) - int(budget)
            del lines[int(budget) :]
        gathered, rate = self._thinned(gather(hits), int(budget) - len(lines), left_out)
        self._budget -= len(lines) + len(gathered)
        if left_out["rate"]:
            lines.append(self._left_out(now, "rate", left_out["rate"], rate))
        shown = redacted if self._limits.redact_keys else None
        found = [*lines, *hit_lines(gathered, offset_ns, shown)]
        if found:
            self._append(self._encoded(found), now)
        return left_out

    def say_left_out(self, now: float, reason: str, count: int) -> None:
        """Write a line about records that never came as far as this."""
        self._append(self._encoder.encode_lines([self._left_out(now, reason, count, None)]), now)

    def close(self) -> None:
        """Close the file; the next line opens another."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    def _refill(self, now: float) -> float:
        cap = self._limits.max_records_per_s
        if not cap:
            self._budget = float("inf")
        elif self._filled_at is None:
            self._budget = 2 * cap
        else:
            self._budget = min(2 * cap, self._budget + cap * max(0.0, now - self._filled_at))
        self._filled_at = now
        return max(0.0, self._budget) if cap else float(1 << 62)

    def _sampled(self, events: Iterable[Event], left_out: Counter[str]) -> list[Event]:
        events, rate = list(events), self._limits.sample_rate
        if rate >= 1.0:
            return events
        kept = [
            event
            for event in events
            if not event.key or event.kind == "invalidate" or self._kept_at(event.namespace, event.key) < rate
        ]
        left_out["sampled"] += len(events) - len(kept)
        return kept

    def _kept_at(self, namespace: str, key: str) -> float:
        return kept_at(redacted(namespace, key) if self._limits.redact_keys else key)

    def _thinned(self, hits: Gathered, room: int, left_out: Counter[str]) -> tuple[Gathered, float]:
        rate = self._limits.sample_rate
        if rate >= 1.0 and len(hits) <= room:
            return hits, rate
        asked = kept = thin(hits, self._kept_at, rate)
        left_out["sampled"] += how_many(hits) - how_many(asked)
        while len(kept) > room:
            rate = rate / 2 if rate > 1e-6 else 0.0
            kept = thin(kept, self._kept_at, rate)
        left_out["rate"] += how_many(asked) - how_many(kept)
        return kept, rate

    def _left_out(self, now: float, reason: str, count: int, rate: float | None) -> Line:
        return Line(now, "left_out", reason=reason, count=count, rate=rate)

    def _line(self, event: Event, offset_ns: int) -> Line:
        (kind, namespace, key, tier, outcome, reason, began, ended, size, error, _, factory_s, tags, depends_on,
         ttl, stored, codec, codec_us, keygen_us, wait_us) = event  # fmt: skip
        cost = self._price(event)
        if self._limits.redact_keys:
            named = kind != "invalidate" or not (tags or names_no_key(key))
            key = redacted(namespace, key) if key and named else key
            depends_on = tuple([redacted(namespace, one) for one in depends_on])
            error = error and error.partition(":")[0]  # a message may quote the key
        return Line(
            (offset_ns + began) / 1e9, kind, key, namespace, tier or None, outcome, reason or None,
            (ended - began) / 1000, size, factory_s, cost, error, () if kind == "invalidate" else tags,
            depends_on=depends_on,
            ttl=ttl if ttl is not None and math.isfinite(ttl) else None,
            stored=stored, codec=codec, codec_us=codec_us, keygen_us=keygen_us, wait_us=wait_us,
        )  # fmt: skip

    def _encoded(self, lines: list[Line | HitLine | HitsLine]) -> bytes:
        try:
            return self._encoder.encode_lines(lines)
        except UnicodeEncodeError:  # a lone surrogate, which JSON in UTF-8 can't hold
            return self._encoder.encode_lines([_printable(line) for line in lines])

    def _append(self, lines: bytes, now: float) -> None:
        """Write whole lines to the present file, or to a new one when there is none or it is full."""
        if not self._is_open():
            self._open(now)
        self._put(lines)
        assert self._fd is not None
        os.utime(self._fd, (now, now))  # ages and readers go by the clock we were given
        self._keep_within(now)

    def _put(self, lines: bytes) -> None:
        assert self._fd is not None
        if self._torn:
            lines = b"\n" + lines
        self._torn = True
        done = 0
        while done < len(lines):
            done += os.write(self._fd, memoryview(lines)[done:])
        self._torn = False
        self._written += len(lines)

    def _is_open(self) -> bool:
        if self._fd is None:
            return False
        try:
            same = self._path.stat().st_ino == os.fstat(self._fd).st_ino
        except FileNotFoundError:
            same = False
        if not same:  # trimmed by another process, or the folder was replaced
            self.close()
        return same

    def _open(self, now: float) -> None:
        make_folder(self._folder)
        self._path = self._folder / f"{self._token()}{LINES}"
        self._fd = open_private(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        with contextlib.suppress(OSError):  # without locks a file is never sealed
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._written, self._torn = 0, False
        who = this_process()
        signed = Line(now, "start", process=self._process, user=who.user, pid=who.pid, command=who.command,
                      format=FORMAT, sample_rate=self._limits.sample_rate)  # fmt: skip
        self._put(self._encoder.encode_lines([signed]))

    def _keep_within(self, now: float) -> None:
        limit = self._limits.max_bytes
        full = self._written > (LARGEST_FILE if limit is None else min(LARGEST_FILE, limit // FILES_KEPT))
        if full:
            self.close()
            self.full.append(self._path)
        if full or self._trimmed_at is None or not 0 <= now - self._trimmed_at < TRIM_EVERY_S:
            self._trimmed_at = now
            trim(self._folder, now, max_bytes=limit, max_age=self._limits.max_age)
            clear_drafts(self._folder, now)
            self.full += [path for path in sealable(find_files(self._folder)) if path not in self.full]


def _replaced(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _printable(line: Line | HitLine | HitsLine) -> Line | HitLine | HitsLine:
    texts = {name: value for name in line.__struct_fields__ if isinstance(value := getattr(line, name), str)}
    cleaned: dict[str, Any] = {name: _replaced(value) for name, value in texts.items()}
    if isinstance(line, Line):
        cleaned["tags"] = tuple(map(_replaced, line.tags))
        cleaned["depends_on"] = tuple(map(_replaced, line.depends_on))
    return msgspec.structs.replace(line, **cleaned)

