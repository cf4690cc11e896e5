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
_SMALLEST: Final = 1 << 16
_LEAST: Final = 1 << 12


def ballast_bytes(max_bytes: int) -> int:
    """How large the ballast of a store is: 1 MiB, or a 64th of a limit under 64 MiB."""
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
        """Make it again, if the disk has four times as much to spare; whether it stands now."""
        size = ballast_bytes(max_bytes)
        with contextlib.suppress(FileNotFoundError):
            if self._path.lstat().st_size >= size:
                return True
        try:
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < 4 * size:
                return False
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
