"""What the system says of what it could not do."""

from __future__ import annotations

__all__ = ["reason_of"]


def reason_of(error: BaseException) -> str:
    """Why it failed, in the system's words where it has any: those don't name the file, which the caller does.

    >>> reason_of(FileNotFoundError(2, "No such file or directory", "x")), reason_of(EOFError("it ends too early"))
    ('No such file or directory', 'it ends too early')
    """
    return getattr(error, "strerror", None) or str(error)
