"""Large values in parts: a head that names a set of chunks, and chunks that know which set they are of.

Rules:
- The set id is made of the payload and how it is cut (or drawn by the caller's dice), so that chunks of two values
  can't be taken for one another, and the same value stored twice gives the same bytes.
- Every chunk is sealed for itself, with set id, index and number inside the seal.
- All chunks or nothing: one that is missing, of another set, doubled or out of order makes the entry corrupt.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from scoutcache.errors import CorruptEntry
from scoutcache.wire.envelope import CHUNK_FIXED, SET_ID, SIGNED
from scoutcache.wire.integrity import Keyring
from scoutcache.wire.unknown import Unverified

__all__ = ["Table", "join", "set_id", "split"]

_MAGIC: Final = b"SCC\x01"


class Table(NamedTuple):
    """What a head says of its chunks: the set's id and their number."""

    name: bytes
    total: int


def set_id(payload: bytes, chunk_size: int) -> bytes:
    """Sixteen bytes that name this payload cut in this way."""
    import hashlib

    return hashlib.blake2b(payload, digest_size=SET_ID, salt=chunk_size.to_bytes(16, "big")).digest()


def split(payload: bytes, chunk_size: int, name: bytes, keyring: Keyring) -> tuple[bytes, ...]:
    """The chunks; each of these has at most *chunk_size* bytes in all."""
    part = chunk_size - CHUNK_FIXED.size - len(keyring.active) - keyring.size
    table = Table(name, -(-len(payload) // part))
    view = memoryview(payload)
    chunks = (_chunk(table, index, view[index * part : (index + 1) * part], keyring) for index in range(table.total))
    return tuple(chunks)


def _chunk(table: Table, index: int, part: memoryview, keyring: Keyring) -> bytes:
    key_id = keyring.active
    fixed = CHUNK_FIXED.pack(_MAGIC, keyring.flag, len(key_id), table.name, index, table.total)
    covered = b"".join((fixed, key_id, part))
    return covered + keyring.tag(covered)


def join(table: Table, chunks: Sequence[bytes], keyring: Keyring) -> bytes:
    """The payload, every chunk of it verified.  Raises `CorruptEntry`."""
    return b"".join(_parts(table, chunks, keyring))


def _parts(table: Table, chunks: Sequence[bytes], keyring: Keyring) -> list[memoryview]:
    if len(table.name) != SET_ID:
        raise CorruptEntry("the entry names its chunks by something else than a set")
    if table.total != len(chunks):
        raise CorruptEntry(f"{len(chunks)} of {table.total} chunks are there")
    return [_part(table, index, chunk, keyring) for index, chunk in enumerate(chunks)]


def _part(table: Table, index: int, chunk: bytes, keyring: Keyring) -> memoryview:
    try:
        magic, flags, key_length, *place = CHUNK_FIXED.unpack_from(chunk)
    except struct.error as error:
        raise CorruptEntry(f"chunk {index} is cut off") from error
    start = CHUNK_FIXED.size + key_length
    if magic != _MAGIC or flags & ~SIGNED or start + keyring.size > len(chunk):
        raise CorruptEntry(f"chunk {index} is not a chunk")
    try:
        keyring.verify(chunk, chunk[CHUNK_FIXED.size : start] if flags else None)
    except Unverified as error:  # the head is known to be ours
        raise CorruptEntry(f"chunk {index} is not signed as the entry is") from error
    if place != [table.name, index, table.total]:
        raise CorruptEntry(f"chunk {index} belongs elsewhere")
    return memoryview(chunk)[start : -keyring.size]
