"""What an entry tells of itself where no key here can tell who wrote it.

Rule 1: only its form is looked at, by the checks that need no key: what fails them is damaged, whoever wrote it.
Rule 2: nothing of the payload is expanded, decoded or handed on.
"""

from __future__ import annotations

from typing import Final

from scoutcache.entry import Ref, Sealed
from scoutcache.errors import CorruptEntry
from scoutcache.wire import chunks
from scoutcache.wire.chunks import Table
from scoutcache.wire.compression import NAMES
from scoutcache.wire.envelope import UNREADABLE, check, parse_head, read_checked, refuse
from scoutcache.wire.integrity import SIGNATURE, Keyring
from scoutcache.wire.unknown import Unread

__all__ = ["unread"]

_KEYLESS: Final = Keyring({}, None)


def unread(ref: Ref, sealed: Sealed, signer: bytes | None) -> Unread:
    """The entry of that name without its value, by its own word.  Raises `CorruptEntry` for what is no whole entry."""
    head, parts = sealed
    read_checked(head)
    if signer is None:
        _KEYLESS.verify(head, None)
    try:
        fields = parse_head(head[: -_KEYLESS.size if signer is None else -SIGNATURE])
    except UNREADABLE as error:
        refuse(head, error)
    check(head, fields, ref)
    _, _, _, header, serializer, compression, _, _, count, _, payload = fields
    if compression not in NAMES or count != len(parts):
        raise CorruptEntry("the entry is not whole, or compressed in a way that is unknown")
    if count and signer is None:
        chunks.join(Table(payload, count), parts, _KEYLESS)
    return Unread(header, serializer, compression, None)
