"""What a sound entry raises when this process can't read it: it was written by one that knows more."""

from __future__ import annotations

from scoutcache.errors import SerializationError

__all__ = ["UnknownDictionary", "UnknownType"]


class UnknownType(SerializationError):
    """A whole entry whose class, enum member, serializer or time zone isn't known in this process.

    Nothing is wrong with the bytes, and another process may read them: a miss with a warning, not to be removed.
    """


class UnknownDictionary(UnknownType):
    """A whole entry compressed with a zstd dictionary that this process was not given."""
