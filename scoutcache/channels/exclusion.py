"""Who may write to a journal, and who is in the middle of a change: locks that the kernel gives up for the dead.

POSIX record locks, which belong to a process and are not inherited by its children.  An flock on a shared descriptor
would exclude neither threads nor forked workers.

Rule 1: all journals of a process over one directory share one `Exclusion`: a record lock doesn't exclude its own
        process, and closing any descriptor of the file gives it up.
Rule 2: byte 0 is the journal's; whoever writes holds it, and a mutex against the threads of its own process.
Rule 3: byte 1 + n is slot n's.  A process that changes things takes one and keeps it as long as it lives, so a slot
        that can be locked belongs to nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["OPEN", "PATIENCE", "SLOTS", "Exclusion", "exclusion_of"]

PATIENCE: Final = 5.0
"""Seconds to wait for the lock: who holds it needs microseconds, unless it is stopped."""

SLOTS: Final = 256
"""How many processes can have one at a time."""

OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)

_POLL: Final = 0.002


class Exclusion:
    """The locks of this process on one file; given up with the last journal that uses them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.fds = [fd]
        self.renew()
        # Not at the interpreter's end: the application's own handlers run after that, and may still announce something.
        weakref.finalize(self, _close, self.fds).atexit = False

    def renew(self) -> None:
        """Called in a forked child: the threads that held the mutexes don't exist here, and no lock was inherited."""
        self.mutex = threading.Lock()
        self.counting = threading.Lock()
        """Held while a slot is taken, counted in, or looked at; the other one may be taken inside it."""
        self.slot: int | None = None
        """This process's."""
        self.unsaid: list[contextlib.AbstractContextManager[None]] = []
        """Changes that could not be announced: they are in progress until there is a gap."""

    @contextlib.contextmanager
    def held(self, *, wait: bool = True) -> Iterator[None]:
        """The right to write; raises `BlockingIOError` after `PATIENCE`, or at once without *wait*."""
        mutex, until = self.mutex, time.monotonic() + (PATIENCE if wait else 0)
        if not mutex.acquire(timeout=PATIENCE) if wait else not mutex.acquire(blocking=False):
            raise BlockingIOError
        try:
            self._lock_by(until)
            try:
                yield
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, 0)
        finally:
            mutex.release()

    def _lock_by(self, until: float) -> None:
        """Lock byte 0 by *until*, monotonic: the kernel has no such wait."""
        while not self._try(0):
            if time.monotonic() >= until:
                raise BlockingIOError
            time.sleep(_POLL)

    def _try(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):  # POSIX lets a system say either
            return False
        return True

    def take_slot(self, slot: int) -> bool:
        """Is *slot* nobody's?  Then it is locked."""
        return self._try(1 + slot)

    def leave_slot(self, slot: int) -> None:
        """Unlock *slot*."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, 1 + slot)


_known: weakref.WeakValueDictionary[tuple[int, int], Exclusion] = weakref.WeakValueDictionary()
_finding = threading.RLock()  # an Exclusion may be collected while another one is looked for


def _close(fds: list[int]) -> None:
    """An `Exclusion` has ended; one that was made for the same file meanwhile would lose its locks (Rule 1)."""
    with _finding:
        status = os.fstat(fds[0])
        if (newer := _known.get((status.st_dev, status.st_ino))) is not None:
            newer.fds += fds
            return
        for fd in fds:
            os.close(fd)


def exclusion_of(path: Path) -> Exclusion:
    """This process's locks on the file at *path*, which is made if it isn't there."""
    with _finding:
        # Asked by name: opening the file only to see which it is would give up the lock when it is closed again.
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if (found := _known.get((status.st_dev, status.st_ino))) is not None:
                return found
        fd = os.open(path, OPEN, 0o600)
        exclusion = Exclusion(fd)
        status = os.fstat(fd)
        _known[status.st_dev, status.st_ino] = exclusion
        return exclusion


def _after_fork() -> None:
    global _finding
    _finding = threading.RLock()
    for exclusion in list(_known.values()):
        exclusion.renew()


os.register_at_fork(after_in_child=_after_fork)
