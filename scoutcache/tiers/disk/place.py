"""The directory of a database: who may own it, what may lie in it, and how a bad file is set aside.

Rules.

- The directory is the user's own and closed to others (0700); what is there belongs to the user as well, is a plain
  file, and has no second name.  Another user's directory is refused, a bad file is set aside.
- Set aside means renamed under a dated name beside the new one, with its log.  The two newest are kept.
- A rollback journal beside a database that keeps a write-ahead log is not ours, and SQLite would obey it: set aside.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.tiers.disk.lock import LOCK_NAME
from scoutcache.tiers.disk.safe import DATABASE
from scoutcache.wording.os_errors import is_read_only
from scoutcache.wording.owners import check_owner

__all__ = ["foreign_file", "prepare", "remove_tree", "set_aside"]

_FILES: Final = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal")

ASIDE: Final = "damaged-"

_KEPT_ASIDE: Final = 2


def prepare(directory: Path) -> bool:
    """Make the directory, or check the one there is; returns whether it can be written.

    Raises `CacheError` for one that isn't the user's own or can't be closed to others.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except (FileExistsError, NotADirectoryError):
        raise CacheError(f"the cache directory {directory} is not a directory",
                         hint="name a folder of its own with --directory or `directory` in the configuration") from None
    except OSError as error:
        raise TierUnavailable("disk", f"{directory} can't be made: {error.strerror}",
                              hint="name another folder with --directory") from error  # fmt: skip
    check_owner(directory, status.st_uid)
    if status.st_mode & 0o077:
        _close_to_others(directory, stat.S_IMODE(status.st_mode))
    return os.access(directory, os.W_OK | os.X_OK)


def _close_to_others(directory: Path, mode: int) -> None:
    ours = (directory / LOCK_NAME).exists() or (directory / DATABASE).exists()
    if not ours and any(directory.iterdir()):
        # It may be a folder that others use for something else.
        raise CacheError(f"the cache directory {directory} is open to others (mode {mode:04o}) and holds other files",
                         hint=f"name a folder of its own{_or_close(directory)}")
    try:
        directory.chmod(0o700 & mode)
    except OSError as error:
        raise CacheError(f"the cache directory {directory} can't be closed to others: {error.strerror}",
                         hint=f"name another folder{_or_close(directory)}") from error


def _or_close(directory: Path) -> str:
    return "; its file system is read-only" if is_read_only(directory) else f", or run `chmod 700 {directory}`"


def foreign_file(directory: Path) -> str | None:
    """Why the files there can't be a database of ours; tightens the mode of those that can."""
    for name in _FILES:
        path = directory / name
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if status.st_nlink == 0:  # it was removed between being found and being looked at
            continue
        if not stat.S_ISREG(status.st_mode):
            return f"{name} is not a plain file"
        if status.st_uid != os.geteuid() or status.st_nlink != 1:
            return f"{name} belongs to another user or has a second hard link"
        if name.endswith("-journal"):
            return f"{name} was not written by scoutcache"
        if status.st_mode & 0o077:
            path.chmod(0o600)
    return None


def set_aside(directory: Path, now: float) -> str:
    """Rename the database and what belongs to it; returns its new name.  The directory's lock is held."""
    stamp = f"{ASIDE}{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    # The database last: until it moves, whoever is killed here leaves something that is set aside again.
    for name in reversed(_FILES):
        with contextlib.suppress(FileNotFoundError):
            (directory / name).rename(directory / f"{stamp}.{name}")
    older = sorted({path.name.split(".")[0] for path in directory.glob(f"{ASIDE}*")})[:-_KEPT_ASIDE]
    for path in directory.glob(f"{ASIDE}*"):
        if path.name.split(".")[0] in older:
            remove_tree(path)
    return f"{stamp}.{DATABASE}"


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder with what is in it; of a link the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
