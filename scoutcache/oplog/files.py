"""Private files that several processes share: made 0600 in folders of 0700 whatever the umask, replaced whole, locked.

Two kinds of lock, for two purposes:

- `exclusive` / `shared` on a folder is a POSIX record lock under a mutex of this process.  A record lock is not
  inherited by a forked child, so a child that outlives its parent can't keep it; the mutex is there because closing
  *any* descriptor of the file would release a record lock that another thread holds.
- `Claim` says that a process lives.  It is an flock, which belongs to the open file: opening and closing the same file
  elsewhere in the process does no harm, and the system releases it when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Claim", "exclusive", "is_claimed", "make_folder", "open_private", "put", "replace", "shared", "sync_folder",
           "to_replace", "was_locked"]  # fmt: skip

_mutex = threading.Lock()


def _renew_mutex() -> None:
    global _mutex
    _mutex = threading.Lock()


os.register_at_fork(after_in_child=_renew_mutex)


def make_folder(path: Path) -> None:
    """Make *path* and what is missing above it, readable by the owner alone."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        path.chmod(0o700)  # a strict umask may have taken even the owner's rights


def open_private(path: Path, flags: int) -> int:
    """Open *path*, making it when *flags* say so, as a file of the owner's alone; never through a symbolic link."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if flags & os.O_CREAT:
        try:
            os.fchmod(fd, 0o600)
        except BaseException:
            os.close(fd)
            raise
    return fd


def replace(path: Path, content: bytes, *, durable: bool = False, mode: int | None = 0o600) -> None:
    """Put *content* at *path* in one step: a reader sees the old bytes or the new, a killed writer leaves the old.

    *durable* waits until it would survive a power cut, which a fold needs before it removes what it folded.  *mode* is
    for what another user is to read; None gives what the umask leaves, as for any file of the user's own.
    """
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    fd = os.open(draft, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666) if mode is None else open_private(draft, flags)
    try:
        try:
            _write_all(fd, content)
            if mode not in {None, 0o600}:
                os.fchmod(fd, mode)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def put(path: Path, content: bytes, *, durable: bool = False, mode: int | None = 0o600) -> None:
    """Put *content* where somebody asked for it: into a device or a FIFO, else by `replace`, behind links."""
    file = to_replace(path)
    if file is None:
        path.write_bytes(content)
    else:
        replace(file, content, durable=durable, mode=mode)


def to_replace(path: Path) -> Path | None:
    """The file to replace when *path* is written, which is where links lead; None for what can only be written into.

    Raises OSError where that can't be found out.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return None
    return Path(os.path.realpath(path))


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(path: Path) -> None:
    """Wait until the names in *path* would survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def exclusive(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold *folder* against every other holder; yields False when *wait* is off and somebody else has it."""
    with _mutex:
        fd = open_private(folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            held = _try_lock(fd) if not wait else fcntl.lockf(fd, fcntl.LOCK_EX) is None
            yield held
        finally:
            os.close(fd)  # which releases the lock


def _try_lock(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[bool]:
    """Keep writers out of *folder* while reading it.

    Yields False where there was no lock to take: a folder that had no writer yet but may have had one before the
    reading ended (look at `was_locked` then), or one that we may not lock.
    """
    with _mutex:
        try:
            fd = open_private(folder / "lock", os.O_RDONLY)
        except OSError:
            yield False
            return
        try:
            with contextlib.suppress(OSError):  # a file system without locks: read as it is
                fcntl.lockf(fd, fcntl.LOCK_SH)
            yield True
        finally:
            os.close(fd)


def was_locked(folder: Path) -> bool:
    """Did *folder* ever have a writer?"""
    return (folder / "lock").exists()


class Claim:
    """A lock file that this process holds for as long as it lives.  Raises OSError when it can't be made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._verify()
        except BaseException:
            os.close(self._fd)
            raise

    def _verify(self) -> None:
        if not self.still_there():
            raise FileNotFoundError(f"{self._path} was removed while it was being made")

    def still_there(self) -> bool:
        """False when the file was removed or replaced, as when somebody deletes the whole folder."""
        try:
            return self._path.stat().st_ino == os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go, in this process and in every forked copy of it."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)

    def forget(self) -> None:
        """Close the descriptor that a fork brought along; the parent's claim stands."""
        os.close(self._fd)


def is_claimed(path: Path) -> bool:
    """Does a living process hold the claim at *path*?  Yes where it can't be looked at, for want of descriptors say."""
    try:
        fd = open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno != errno.ELOOP  # a link is nobody's claim
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
