"""What the system says of what it could not do."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_read_only", "reason_of"]


def reason_of(error: BaseException) -> str:
    """Why it failed, in the system's words where it has any: those don't name the file, which the caller does.

    >>> reason_of(FileNotFoundError(2, "No such file or directory", "x")), reason_of(EOFError("it ends too early"))
    ('No such file or directory', 'it ends too early')
    """
    return getattr(error, "strerror", None) or str(error)


def is_read_only(place: Path) -> bool:
    """Does *place* lie on a file system that takes no changes, whatever the modes say?"""
    try:
        return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    except OSError:
        return False
