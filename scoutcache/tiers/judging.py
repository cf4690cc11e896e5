"""What ``verify`` says of one entry, the same in every tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scoutcache.errors import CorruptEntry
from scoutcache.wire.unknown import UnknownType, Unverified

if TYPE_CHECKING:
    from scoutcache.entry import Header, Ref, Sealed
    from scoutcache.wire.codec import Codec

__all__ = ["Judged", "judge"]

Judged = Literal["sound", "unverified", "corrupt"]
"""Unverified is what no key of this process can tell; what only lacks a class or a dictionary here is sound."""


def judge(codec: Codec, ref: Ref, sealed: Sealed) -> tuple[Header | None, Judged]:
    """The header of the entry of that name, None where the bytes are none, and what they are."""
    try:
        return codec.open(ref, sealed).header, "sound"
    except CorruptEntry:
        return None, "corrupt"
    except UnknownType as error:
        return codec.header(ref, sealed.head), "unverified" if isinstance(error, Unverified) else "sound"
