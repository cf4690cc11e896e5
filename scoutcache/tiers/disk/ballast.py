"""A file that only takes space, so that there is some to free on a full disk: SQLite can't delete without writing."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

__all__ = ["Ballast", "ballast_bytes"]

NAME: Final = "disk.ballast"

_LARGEST: Final = 1 << 20
_SMALLEST: Final = 1 << 18
"""Half of it goes when a database is opened, for the index of its log (32 KiB for each 4,096 pages); a deletion changes
some fifteen pages, be it of one row, and the counters of whoever deletes take some too."""
_USEFUL: Final = 1 << 17
_LEAST: Final = 1 << 12


def ballast_bytes(max_bytes: int) -> int:
    """How large the ballast of a store is: 1 MiB, a 64th of a limit under 64 MiB, but 256 KiB at least."""
    return min(_LARGEST, max(_SMALLEST, max_bytes // 64))


class Ballast:
    """The ballast of a directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME

    def drop(self) -> bool:
        """Free its space; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def size(self) -> int:
        """How many bytes there are of it."""
        try:
            return self._path.lstat().st_size
        except OSError:
            return 0

    def restore(self, size: int) -> None:
        """Take back what is left of *size* bytes that were dropped: others had them no more than before."""
        with contextlib.suppress(OSError):
            disk = os.statvfs(self._path.parent)
            left = min(size, disk.f_bavail * disk.f_frsize)
            if left >= _LEAST and not self.size():
                try:
                    self._write(left)
                except OSError:
                    self.drop()

    def halve(self) -> bool:
        """Free half of its space, for what isn't yet a deletion; whether there was any."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:  # somebody's else, under the ballast's name
                return False
            half = status.st_size // 2
            os.truncate(descriptor, half)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return half >= _LEAST

    def has_room(self) -> bool:
        """Whether the disk has room for much more than the ballast."""
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= 2 * _LARGEST

    def load(self, max_bytes: int) -> bool:
        """Make it again, of a quarter of what the disk has to spare at most; whether it stands now."""
        wanted, there = ballast_bytes(max_bytes), self.size()
        if there >= wanted:
            return True
        try:
            disk = os.statvfs(self._path.parent)
            size = min(wanted, (disk.f_bavail * disk.f_frsize + there) // 4)
            if size < max(_USEFUL, min(wanted, 2 * there)):
                return there >= _USEFUL
            self.drop()
            self._write(size)
        except OSError:
            self.drop()
            return False
        return True

    def _write(self, size: int) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Written and not only allocated: a copy-on-write or compressing file system would keep nothing of zeros.
            if os.write(descriptor, os.urandom(size)) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
