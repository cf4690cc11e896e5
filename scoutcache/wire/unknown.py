"""What a sound entry raises when this process can't read it: it was written by one that knows more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scoutcache.errors import SerializationError

if TYPE_CHECKING:
    from scoutcache.entry import Header

__all__ = ["UnknownDictionary", "UnknownType", "Unread"]


class Unread(NamedTuple):
    """What of such an entry can be read all the same: all but the value.

    *coding* and *packing* are the numbers of its serializer and its compression; *payload*, the value as serialized,
    is None where it can't be expanded.
    """

    header: Header
    coding: int
    packing: int
    payload: bytes | None


class UnknownType(SerializationError):
    """A whole entry whose class, enum member, serializer or time zone isn't known in this process.

    Nothing is wrong with the bytes, and another process may read them: a miss with a warning, not to be removed.
    *unread* is said by who opened a whole entry (`Codec.open`).
    """

    unread: Unread | None = None


class UnknownDictionary(UnknownType):
    """A whole entry compressed with a zstd dictionary that this process was not given."""
