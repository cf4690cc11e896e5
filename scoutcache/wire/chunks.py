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

from scoutcache.errors import CorruptEntry
from scoutcache.wire.envelope import CHUNK_FIXED, CHUNK_TABLE, SIGNED, Frame
from scoutcache.wire.integrity import Keyring

__all__ = ["join", "resign", "set_id", "split"]

_MAGIC, _VERSION = b"SCC", 1


def set_id(payload: bytes, chunk_size: int) -> bytes:
    """Sixteen bytes that name this payload cut in this way."""
    import hashlib

    return hashlib.blake2b(payload, digest_size=16, salt=chunk_size.to_bytes(16, "big")).digest()


def split(payload: bytes, chunk_size: int, name: bytes, keyring: Keyring) -> tuple[bytes, tuple[bytes, ...]]:
    """The body of the head, and the chunks; each of these has at most *chunk_size* bytes in all."""
    part = max(1, chunk_size - CHUNK_FIXED.size - len((keyring.active or "").encode()) - keyring.size)
    count = -(-len(payload) // part)
    view = memoryview(payload)
    chunks = (_chunk(name, index, count, view[index * part : (index + 1) * part], keyring) for index in range(count))
    return CHUNK_TABLE.pack(name, count), tuple(chunks)


def _chunk(name: bytes, index: int, count: int, part: memoryview, keyring: Keyring) -> bytes:
    key_id = (keyring.active or "").encode()
    flags = SIGNED if keyring.signs else 0
    covered = b"".join((CHUNK_FIXED.pack(_MAGIC, _VERSION, flags, len(key_id), name, index, count), key_id, part))
    return covered + keyring.tag(covered)


def join(frame: Frame, head: bytes, chunks: Sequence[bytes], keyring: Keyring) -> bytes:
    """The payload, every chunk of it verified.  Raises `CorruptEntry`."""
    name, count = table(frame, head, keyring)
    if count != len(chunks):
        raise CorruptEntry(f"{len(chunks)} of {count} chunks are there")
    parts = [_part(chunk, name, index, count, keyring) for index, chunk in enumerate(chunks)]
    if sum(map(len, parts)) != frame.stored_size:
        raise CorruptEntry("the chunks have another size than the entry says")
    return b"".join(parts)


def table(frame: Frame, head: bytes, keyring: Keyring) -> tuple[bytes, int]:
    """The set id and the number of chunks, from a verified head."""
    if len(head) - frame.body - keyring.size != CHUNK_TABLE.size:
        raise CorruptEntry("the entry's table of chunks has the wrong size")
    name, count = CHUNK_TABLE.unpack_from(head, frame.body)
    return name, count


def _part(chunk: bytes, name: bytes, index: int, count: int, keyring: Keyring) -> memoryview:
    try:
        magic, version, flags, key_length, *place = CHUNK_FIXED.unpack_from(chunk)
        start = CHUNK_FIXED.size + key_length
        key_id = chunk[CHUNK_FIXED.size : start].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptEntry(f"chunk {index} is unreadable: {error}") from error
    if (magic, version) != (_MAGIC, _VERSION) or flags & ~SIGNED or start + keyring.size > len(chunk):
        raise CorruptEntry(f"chunk {index} is not a chunk")
    keyring.verify(chunk, signed=bool(flags & SIGNED), key_id=key_id)
    if place != [name, index, count]:
        raise CorruptEntry(f"chunk {index} belongs elsewhere")
    return memoryview(chunk)[start : -keyring.size]


def resign(frame: Frame, head: bytes, chunks: Sequence[bytes], keyring: Keyring) -> tuple[bytes, ...]:
    """The same chunks, verified, and signed with the active key where another had signed them."""
    name, count = table(frame, head, keyring)
    join(frame, head, chunks, keyring)
    if frame.key_id == (keyring.active or ""):
        return tuple(chunks)
    return tuple(
        _chunk(name, index, count, _part(chunk, name, index, count, keyring), keyring)
        for index, chunk in enumerate(chunks)
    )
