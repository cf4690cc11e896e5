"""The journal by which the processes of one machine tell each other what died, with no server.

A directory holds `head` (a mapped page of words: magic, end, base, invalidated) and `journal.<base>` (length- and
checksum-framed messages).  `end` counts every byte ever announced, so it is a *position*: a reader whose own position
differs has something to read, and comparing costs one load from shared memory.  `invalidated` is the position after
the last message that was an invalidation: what a writer compares, so that busy writers don't disturb slow ones.

Rule 1: `end` moves only after the bytes it covers are in the file.  What lies beyond `end` is the torn append of a
        writer that died, and the next writer writes over it.
Rule 2: whoever finds its position older than `base` missed messages for good, and must drop its memory tier.
Rule 3: writers hold the lock; readers hold nothing, and look at `base` again after reading.
Rule 4: the lock excludes threads (a mutex, renewed after fork) and processes (a POSIX record lock, which belongs to a
        process and is not inherited).  An flock on a shared descriptor excludes neither threads nor forked workers.
        All journals of a process over one directory share one lock: a record lock doesn't exclude its own process,
        and closing any descriptor of the file gives it up.
Rule 5: the head page is allocated, not sparse: a full disk is an error here and not a SIGBUS at the first store.
        A directory that was replaced under a live process shows in the inode: reopen, and drop the memory tier.
Rule 6: positions begin at the time in nanoseconds, which no journal outruns: a position of one that was replaced is
        older than `base` of the new one, so whoever noted it finds that it missed something.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scoutcache.coherence.messages import Message, decode, encode
from scoutcache.errors import CorruptEntry, TierUnavailable

__all__ = ["END", "INVALIDATED", "Journal"]

PATIENCE: Final = 5.0
"""Seconds to wait for the lock: who holds it needs microseconds, unless it is stopped."""

_POLL: Final = 0.002

MAGIC, END, BASE, INVALIDATED = range(4)
"""The words of the head page."""

_FORMAT: Final = 0x53434F5554303032
_FRAME: Final = struct.Struct("<II")  # length, crc32 of the payload
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class Journal:
    """The journal in *directory*, started over when it holds more than *limit* bytes (default 64 MB).

    Raises `TierUnavailable` when the directory can't be written (full, read-only, another user's).
    """

    index = END
    """The word of `words` that a hit in memory compares."""

    def __init__(self, directory: Path, limit: int = 64 << 20) -> None:
        self.directory, self._limit = directory, limit
        self._fd = self._open_base = -1
        self._lock: _Lock | None = None
        self.reopen()

    def reopen(self) -> None:
        """Open what the directory holds now, after it was `replaced`; raises `TierUnavailable`.

        `words` is then another object: whoever kept the old one sees nothing any more.
        """
        self.close()
        try:
            self.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # `mode` is for the last part only
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._lock = _lock_of(self.directory / "lock")
            self.words = self._map_head()
        except BlockingIOError as error:
            raise TierUnavailable("journal", f"another process has locked it for {PATIENCE:g} s") from error
        except OSError as error:
            raise TierUnavailable("journal", f"{self.directory}: {error.strerror}") from error

    def _map_head(self) -> memoryview:
        head = os.open(self.directory / "head", _OPEN, 0o600)
        try:
            with self._exclusive():
                os.posix_fallocate(head, 0, mmap.PAGESIZE)  # Rule 5
                self._map = mmap.mmap(head, mmap.PAGESIZE)
                words = memoryview(self._map).cast("Q")
                if words[MAGIC] != _FORMAT:
                    words[END] = words[BASE] = words[INVALIDATED] = time.time_ns()  # Rule 6
                    words[MAGIC] = _FORMAT
            self._inode = os.fstat(head).st_ino
        finally:
            os.close(head)
        return words

    def renew_mutex(self) -> None:
        """Called in a forked child: the thread that held the old one doesn't exist here."""
        if self._lock is not None:
            self._lock.mutex = threading.Lock()

    @contextlib.contextmanager
    def _exclusive(self, *, wait: bool = True) -> Iterator[None]:
        lock = self._lock
        if lock is None:
            raise ValueError("the journal is closed")
        mutex, until = lock.mutex, time.monotonic() + (PATIENCE if wait else 0)
        if not mutex.acquire(timeout=PATIENCE) if wait else not mutex.acquire(blocking=False):
            raise BlockingIOError
        try:
            _lock_by(lock.fd, until)
            try:
                yield
            finally:
                fcntl.lockf(lock.fd, fcntl.LOCK_UN)
        finally:
            mutex.release()

    def end(self) -> int:
        """The position after the last message."""
        return self.words[END]

    def invalidated(self) -> int:
        """The position after the last invalidation."""
        return self.words[INVALIDATED]

    def replaced(self) -> bool:
        """Has the directory been removed or replaced?  Ask about once a second, not on a hit."""
        try:
            return (self.directory / "head").stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def append(self, message: Message, *, wait: bool = True) -> tuple[int, int]:
        """Announce *message*; return the positions before and after it.

        Without *wait*, a lock somebody else holds raises `BlockingIOError` at once: an event loop then asks a thread.

        What can't be announced must not pass unnoticed: when the file can't be written, `base` rises, so that every
        process drops its memory tier, and `TierUnavailable` is raised only if not even that is possible.
        """
        payload = encode(message)
        frame = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            with self._exclusive(wait=wait):
                end = self.words[END]
                try:
                    after = self._write(end, frame)
                except OSError:
                    after = end + len(frame)  # a gap, and everybody behind it
                    self.words[BASE] = after
                # In this order: who sees that something was invalidated must find the message within `end`.
                self.words[END] = after
                if message.is_invalidation:
                    self.words[INVALIDATED] = after
                return end, after
        except BlockingIOError:
            if wait:
                raise TierUnavailable("journal", f"another process has locked it for {PATIENCE:g} s") from None
            raise
        except (OSError, ValueError) as error:
            raise TierUnavailable("journal", f"{self.directory}: {error}") from error

    def _write(self, end: int, frame: bytes) -> int:
        base = self.words[BASE]
        if end - base > self._limit:
            old, base = self._file(base), end
            os.close(os.open(self._file(base), _OPEN, 0o600))
            self.words[BASE] = base
            old.unlink(missing_ok=True)
        # Over whatever a dead writer left there (Rule 1): nobody reads beyond `end`.
        if os.pwrite(self._writable(base), frame, end - base) != len(frame):
            raise OSError("short write")
        return end + len(frame)

    def _writable(self, base: int) -> int:
        """A descriptor of the file that begins at *base*, kept open because opening costs as much as writing."""
        if self._open_base != base:
            self._close_file()
            self._fd = os.open(self._file(base), _OPEN, 0o600)
            self._open_base = base
        return self._fd

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._open_base = -1

    def since(self, position: int) -> tuple[list[Message] | None, int]:
        """The messages after *position*, and the new position; None for them when some are gone or unreadable."""
        while True:
            end, base = self.words[END], self.words[BASE]
            if position < base or position > end:
                return None, end
            if position == end:
                return [], end
            try:
                fd = os.open(self._file(base), os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                if self.words[BASE] == base:
                    return None, end  # not started over between the two loads: gone
                continue
            try:
                data = os.pread(fd, end - position, position - base)
            finally:
                os.close(fd)
            if self.words[BASE] != base:
                continue  # Rule 3
            return (_unframe(data) if len(data) == end - position else None), end

    def _file(self, base: int) -> Path:
        return self.directory / f"journal.{base}"

    def close(self) -> None:
        """Let go of the files; the page stays mapped for whoever still looks at it.  Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with lock.mutex:  # or a thread that is writing would find its descriptor gone, or somebody else's
                self._close_file()


def _unframe(data: bytes) -> list[Message] | None:
    messages, at = [], 0
    while at < len(data):
        if at + _FRAME.size > len(data):
            return None
        size, crc = _FRAME.unpack_from(data, at)
        payload = data[at + _FRAME.size : at + _FRAME.size + size]
        if len(payload) != size or zlib.crc32(payload) != crc:
            return None
        try:
            messages.append(decode(payload))
        except CorruptEntry:
            return None
        at += _FRAME.size + size
    return messages


def _lock_by(fd: int, until: float) -> None:
    """Lock *fd* for this process by *until*, monotonic; raises `BlockingIOError`.  The kernel has no such wait."""
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX lets a system say either
            if time.monotonic() >= until:
                raise BlockingIOError from None
            time.sleep(_POLL)
        else:
            return


class _Lock:
    """Who may write: one for all journals of this process over one file (Rule 4); closed with the last of them."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.mutex = threading.Lock()
        weakref.finalize(self, os.close, fd)


_locks: weakref.WeakValueDictionary[tuple[int, int], _Lock] = weakref.WeakValueDictionary()
_finding = threading.Lock()


def _lock_of(path: Path) -> _Lock:
    with _finding:
        # Asked by name: opening the file only to see which it is would give up the lock when it is closed again.
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if (found := _locks.get((status.st_dev, status.st_ino))) is not None:
                return found
        lock = _Lock(os.open(path, _OPEN, 0o600))
        status = os.fstat(lock.fd)
        _locks[status.st_dev, status.st_ino] = lock
        return lock


def _renew_finding() -> None:
    global _finding
    _finding = threading.Lock()


os.register_at_fork(after_in_child=_renew_finding)
