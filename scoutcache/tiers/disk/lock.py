"""The lock under which a directory's database is created, compared and set aside.

Rule 1: it excludes threads by a mutex and processes by a POSIX record lock, which belongs to a process, is not
        inherited by a fork, and dies with its holder.
Rule 2: a process lets go of a record lock as soon as it closes *any* descriptor of the file, so there is one
        descriptor for each lock file in a process, shared by whoever waits, closed when nobody does.
Rule 3: what was locked is the file that stands there now: after waiting, the inode is compared.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from scoutcache.errors import TierUnavailable

__all__ = ["LOCK_NAME", "opening"]

LOCK_NAME = "disk.lock"

_WAIT = 0.002
"""Seconds between two tries; a plain blocking lock could wait for ever on a holder that is stopped."""


class _Shared:
    """The one descriptor of a lock file, its mutex, and how many are using or awaiting it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.mutex = threading.Lock()
        self.users = 0


_table: dict[tuple[int, int], _Shared] = {}
_table_mutex = threading.Lock()


def _renew_after_fork() -> None:
    """Threads that held or awaited anything don't exist in the child, and record locks are not inherited."""
    global _table_mutex
    _table_mutex = threading.Lock()
    for shared in _table.values():
        os.close(shared.descriptor)
    _table.clear()


os.register_at_fork(after_in_child=_renew_after_fork)


@contextlib.contextmanager
def opening(directory: Path, patience: float) -> Iterator[None]:
    """Hold the directory's lock; raises `TierUnavailable` after *patience* seconds."""
    path, deadline = directory / LOCK_NAME, time.monotonic() + patience
    while True:
        with _using(path) as shared:
            if not shared.mutex.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise _held(path)
            try:
                _lock(shared.descriptor, path, deadline)
                try:
                    if _same(shared.descriptor, path):
                        yield
                        return
                finally:
                    fcntl.lockf(shared.descriptor, fcntl.LOCK_UN)
            finally:
                shared.mutex.release()


@contextlib.contextmanager
def _using(path: Path) -> Iterator[_Shared]:
    with _table_mutex:
        identity, shared = _find(path)
        shared.users += 1
    try:
        yield shared
    finally:
        with _table_mutex:
            shared.users -= 1
            if not shared.users and _table.get(identity) is shared:
                del _table[identity]
                os.close(shared.descriptor)


def _find(path: Path) -> tuple[tuple[int, int], _Shared]:
    """The shared descriptor of the file that stands at *path*, which is made where there is none."""
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            path.unlink()  # a link or a pipe; the directory is ours, so nobody loses what he put there rightly
        elif (shared := _table.get((found.st_dev, found.st_ino))) is not None:
            return (found.st_dev, found.st_ino), shared
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    made = os.fstat(descriptor)
    identity = made.st_dev, made.st_ino
    shared = _table[identity] = _Shared(descriptor)
    return identity, shared


def _lock(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EAGAIN}:
                raise
        if time.monotonic() > deadline:
            raise _held(path)
        time.sleep(_WAIT)


def _same(descriptor: int, path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


def _held(path: Path) -> TierUnavailable:
    return TierUnavailable("disk", f"another process is opening {path.parent} and does not finish",
                           hint=f"see who holds {path.name}: `fuser {path}`")  # fmt: skip
