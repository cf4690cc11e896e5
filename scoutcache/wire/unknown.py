"""What an entry that is no worse for it raises when this process can't read it: its writer knows more, or has a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from scoutcache.errors import SerializationError

if TYPE_CHECKING:
    from scoutcache.entry import Header

__all__ = ["UnknownDictionary", "UnknownType", "Unread", "Unverified"]


class Unread(NamedTuple):
    """What of such an entry can be read all the same: all but the value.

    *coding* and *packing* are the numbers of its serializer and its compression; *payload*, the value as serialized,
    is None where it can't be expanded, or nobody vouches for it.
    """

    header: Header
    coding: int
    packing: int
    payload: bytes | None


class UnknownType(SerializationError):
    """A whole entry whose class, enum member, serializer or time zone isn't known in this process.

    Nothing is wrong with the bytes, and another process may read them: a miss with a warning, not to be removed.
    *unread* is said by who opened a whole entry (`Codec.open`).  *reason* is that of the miss, *remedy* what whoever
    wants to read it can do.
    """

    unread: Unread | None = None
    reason: ClassVar[str] = "unknown_type"
    remedy: ClassVar[str] = "read it in Python, with its module imported or its type registered"


class UnknownDictionary(UnknownType):
    """A whole entry compressed with a zstd dictionary that this process was not given."""


class Unverified(UnknownType):
    """A well-formed entry that is signed with a key this process wasn't given, or unsigned where one is required.

    It is not to be served, nor sealed anew, which would vouch for it; it stays for those that have the key, or none.
    """

    reason = "unverified"
    remedy = (
        "give this process the key in [security] signing_keys; an unsigned entry is replaced when its key is next"
        " computed or set, or removed by scoutcache invalidate"
    )
