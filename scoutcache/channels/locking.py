"""A lock between processes that the kernel lets go of when its holder dies, however it dies.

A lock with a time to live would hold up the next run for hours after a crash, or end while its holder still works.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from scoutcache.errors import LockTimeout, TierUnavailable
from scoutcache.oplog.files import make_folder, open_private

__all__ = ["held"]

_POLL: Final = 0.1
_GRACE: Final = 0.05
"""Waited in any case: whoever only looks whether the lock is held holds it for an instant."""


@contextmanager
def held(path: Path, timeout: float = 0.0, *, clock: Callable[[], float] = monotonic,
         wait: Callable[[float], object] = sleep) -> Iterator[None]:  # fmt: skip
    """Hold the lock file *path* (made where it isn't, with its folder) for the time of the block.

    Raises `LockTimeout`, naming the holder's process where it is known, when somebody else holds it for longer than
    *timeout* seconds, and `CacheError` where no such file can be made.
    """
    handle = _open(path)
    try:
        end = clock() + max(timeout, _GRACE)
        while not _try(handle):
            if (left := end - clock()) <= 0:
                still = f" still, after {timeout:g} s" if timeout else ""
                raise LockTimeout(f"another run is at work{still}: {_holder(handle)} has the lock {path}",
                                  hint="--lock-timeout 60 waits up to 60 seconds for it")  # fmt: skip
            wait(min(_POLL, left))
        with suppress(OSError):  # a full disk: then nobody is told who holds it, and it is held all the same
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            # By name, not by closing alone: a child that was forked meanwhile holds the same open file.
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        make_folder(path.parent)
        # The file stays after the run: whoever removes it could remove the one that somebody else has just locked.
        return open_private(path, os.O_RDWR | os.O_CREAT)
    except OSError as problem:
        raise TierUnavailable("disk", f"{path}: no lock can be made there: {problem.strerror}") from problem


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(handle: int) -> str:
    text = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
    return f"process {text}" if text.isdigit() else "another process"
