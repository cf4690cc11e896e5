"""Sealing: a file of lines that nobody writes any more becomes Parquet, or is packed where there is no pyarrow.

Whatever dies in the middle, nothing is lost and nothing counts twice:

Rule 1: a file's writer holds a lock on it (flock) while it may write.  Who seals holds the same lock, so a file is
        sealed by one process, after its last line; a file of the first format, whose writers held none, when it has
        rested for `RESTED_S`.
Rule 2: the sealed file is written as a hidden draft, synced, given the times of the old one, and renamed; the old one
        is removed after the folder was synced.  Who finds both takes the sealed one (`filing`, Rule 2), and the next to
        hold the lock removes the other.
Rule 3: drafts are removed by who holds the lock of the file they were to become, or after a day.
Rule 4: what is no whole record stays behind and is counted in the sealed file.  A file that isn't ours, or small, or
        all damaged, stays as it is.
Rule 5: beside the calls of an application it is done in small slices with a rest after each, in which they have the
        interpreter: an event loop waits for it after each of its system calls.  With a hundred callers of a server an
        answer took 9.5 ms in the middle while a file was sealed at once, 5.6 in slices, and 4.2 before and after.  Who
        waits for the end of it ends the rests.
Rule 6: a forked child that inherits pyarrow leaves it to others: a thread that it hasn't got may have held locks there,
        or have been importing it, and the child would wait for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from scoutcache.oplog.columns import SIGNATURE, LeftOut, Signature, can_parquet, table_of, writer
from scoutcache.oplog.files import open_private, sync_folder
from scoutcache.oplog.filing import FORMS, LINES, PACKED, PARQUET, LogFile, name_of
from scoutcache.oplog.reading import LineFile, Problems, open_lines
from scoutcache.oplog.records import Line

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SMALLEST", "Sealed", "Sealer", "batches", "clear_drafts", "seal", "sealable", "signed"]

SMALLEST: Final = 64 << 10
"""Bytes of lines that are worth a Parquet file, whose columns' names and places alone take five thousand."""
RESTED_S: Final = 3600.0
DRAFT_S: Final = 86_400.0
BATCH: Final = 50_000
"""Rows that are compressed together."""
SLICE: Final = 500
"""Lines that are made into columns at once, which takes some 3 ms."""
REST_S: Final = 0.005


class Sealed(NamedTuple):
    """What became of a file.  *path* is the sealed one, None where it stays as it is, and *why* says why."""

    source: Path
    path: Path | None
    why: str
    bytes_before: int
    bytes_after: int
    skipped: int = 0


def _at_once() -> None:
    """No rest."""


def seal(path: Path, now: float, *, dry_run: bool = False, smallest: int = SMALLEST,
         rest: Callable[[], object] = _at_once) -> Sealed:  # fmt: skip
    """Seal the file of lines at *path*, unless its writer is at work.  Raises OSError; the file is as it was then.

    With *dry_run* nothing is done, and what would be is told.  *rest* is called after each slice (Rule 5).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Sealed(path, None, "gone", 0, 0)
    try:
        size = os.fstat(fd).st_size
        why = _keeps(path, fd, now, smallest)
        if why is not None:
            return Sealed(path, None, why, size, size)
        return _seal(path, fd, rest, dry_run=dry_run)
    except FileNotFoundError:
        if path.exists():
            raise
        return Sealed(path, None, "gone", 0, 0)  # beyond the log's limits, and removed meanwhile
    finally:
        os.close(fd)  # and with it the lock


def _keeps(path: Path, fd: int, now: float, smallest: int) -> str | None:
    """Why the file stays as it is, None when it is to be sealed; takes the lock (Rule 1)."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "being written"
    except OSError:
        return "can't be locked: the file system knows no locks"
    status = os.fstat(fd)
    try:
        there = path.stat().st_ino == status.st_ino
    except FileNotFoundError:
        there = False
    if not there:
        return "gone"
    return None if _is_superseded(path) else _not_worth_it(path, status, now, smallest)


def _not_worth_it(path: Path, status: os.stat_result, now: float, smallest: int) -> str | None:
    if status.st_size < smallest:
        return "small"
    with open_lines(path) as file:
        first = LineFile(file, path, Problems()).writer
    if first is None:
        return "not ours"
    if first.format is None and not 0 <= status.st_mtime <= now - RESTED_S:
        return "may be written"
    return "packed already" if path.name.endswith(PACKED) and not can_parquet() else None


def _is_superseded(path: Path) -> bool:
    named = name_of(path)
    if named is None:
        return False
    better = FORMS[: FORMS.index(named[1])]
    return any(path.with_name(named[0] + form).exists() for form in better)


def _seal(path: Path, fd: int, rest: Callable[[], object], *, dry_run: bool) -> Sealed:
    status = os.fstat(fd)
    name, _ = name_of(path) or (path.stem, LINES)
    form = PARQUET if can_parquet() else PACKED
    into = path.with_name(name + form)
    if dry_run:
        return Sealed(path, into, "would be sealed", status.st_size, 0)
    _clear_drafts_of(path.parent, name)
    skipped = 0
    if not _is_superseded(path):
        draft = path.with_name(f".{into.name}.{os.urandom(4).hex()}")
        try:
            os.close(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            skipped = _parquet(path, draft, rest) if form == PARQUET else _pack(path, draft)
            _settle(draft, into, status)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    path.unlink(missing_ok=True)
    return Sealed(path, into, "sealed", status.st_size, into.stat().st_size, skipped)


def _settle(draft: Path, into: Path, status: os.stat_result) -> None:
    """Rule 2."""
    fd = os.open(draft, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(fd)
    finally:
        os.close(fd)
    draft.replace(into)
    sync_folder(into.parent)


def _parquet(path: Path, draft: Path, rest: Callable[[], object]) -> int:
    """`_write_parquet`, which leaves no memory to pyarrow's pool and to the C library's till the next file is full."""
    import pyarrow as pa

    try:
        return _write_parquet(path, draft, rest)
    finally:
        pa.default_memory_pool().release_unused()
        _trim()


def _trim() -> None:
    """Have the C library give back what was freed: where it is glibc, which keeps what a thread of its own had used."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _write_parquet(path: Path, draft: Path, rest: Callable[[], object]) -> int:
    """Write the records of *path* as Parquet; how many lines were none."""
    import pyarrow as pa

    problems, signature = Problems(), Signature()
    try:
        with open_lines(path) as file, writer(draft) as out:
            for table in _tables(LineFile(file, path, problems), signature, rest):
                out.write_table(table)
            signature.skipped = problems.lines
            out.add_key_value_metadata(signed(signature))
    except pa.ArrowException as error:
        raise OSError(f"{path} can't be sealed: {error}") from error
    return problems.lines


def _tables(lines: LineFile, signature: Signature, rest: Callable[[], object]) -> Iterator[pa.Table]:
    import pyarrow as pa

    parts: list[pa.Table] = []
    for some in batches(lines, signature, SLICE):
        parts.append(table_of(some))
        rest()
        if len(parts) * SLICE >= BATCH:
            yield pa.concat_tables(parts)
            parts = []
    if parts:
        yield pa.concat_tables(parts)


def signed(signature: Signature) -> dict[bytes, bytes]:
    """*signature* as a file's metadata."""
    return {SIGNATURE: msgspec.json.encode(signature)}


def batches(lines: LineFile, signature: Signature, size: int = BATCH) -> Iterator[list[Line]]:
    """The operations of a file, signed with who wrote them, so many lines at once; *signature* takes what is none."""
    batch: list[Line] = []
    noted: Line | None = None
    for line in lines:
        if line.op == "left_out":
            signature.left_out.append(LeftOut(line.time, line.reason or "unknown", line.count or 0, line.rate))
            continue
        writer_of = lines.writer
        if writer_of is not None:
            if writer_of is not noted:
                noted = writer_of
                signature.note_rate(writer_of.sample_rate)
            line.process, line.user = writer_of.process, writer_of.user
            line.pid, line.command = writer_of.pid, writer_of.command
        batch.append(line)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


LEVEL: Final = 9
"""Of zstd, for packed lines."""


def _pack(path: Path, draft: Path) -> int:
    import zstandard

    with path.open("rb") as source, draft.open("r+b") as target:
        zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).copy_stream(source, target)
    return 0


def _clear_drafts_of(folder: Path, name: str) -> None:
    for form in (PARQUET, PACKED):
        for draft in folder.glob(f".{escape(name)}{form}.*"):
            draft.unlink(missing_ok=True)


def clear_drafts(folder: Path, now: float) -> None:
    """Rule 3, for drafts of files that are gone."""
    for form in (PARQUET, PACKED):
        for draft in folder.glob(f".*{form}.*"):
            with contextlib.suppress(FileNotFoundError):
                if now - draft.stat().st_mtime > DRAFT_S:
                    draft.unlink(missing_ok=True)


class Sealer:
    """Seals files in a thread of its own, one after the other; what it can't seal the next rotation will.

    *tell* is given each OSError.
    """

    def __init__(self, tell: Callable[[OSError], object], wall: Callable[[], float]) -> None:
        self._tell, self._wall = tell, wall
        self._thread: threading.Thread | None = None
        self._hurried = threading.Event()

    def work(self, files: Sequence[Path]) -> None:
        """Seal *files* in the calling thread, at once."""
        self._seal(files, _at_once)

    def _seal(self, files: Sequence[Path], rest: Callable[[], object]) -> None:
        for path in files:
            try:
                seal(path, self._wall(), rest=rest)
            except OSError as error:
                self._tell(error)

    def begin(self, files: Sequence[Path]) -> bool:
        """Seal *files* beside the calls; False when the last ones are still being sealed, or others are to do it."""
        if _inherited.pyarrow:
            return False
        if self._thread is not None and self._thread.is_alive():
            return False
        work = partial(self._seal, files, partial(self._hurried.wait, REST_S))
        self._thread = threading.Thread(target=work, name="scoutcache-seal", daemon=True)
        self._thread.start()
        return True

    def close(self) -> None:
        """Wait for what is being sealed: a second at most for a file of common size."""
        self._hurried.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self.forget()

    def forget(self) -> None:
        """Begin anew: the thread has ended, or doesn't exist, as in a forked child."""
        self._thread, self._hurried = None, threading.Event()


class _Inherited:
    """What this process has from the one that forked it (Rule 6)."""

    pyarrow = False

    def look(self) -> None:
        """In a forked child."""
        self.pyarrow = "pyarrow" in sys.modules


_inherited = _Inherited()
os.register_at_fork(after_in_child=_inherited.look)


def sealable(files: Iterable[LogFile]) -> list[Path]:
    """Which of *files* may be worth sealing, the oldest first."""
    lines = [one for one in files if one.form == LINES or (one.form == PACKED and can_parquet())]
    return [one.path for one in sorted(lines, key=lambda one: one.changed) if one.size >= SMALLEST]
