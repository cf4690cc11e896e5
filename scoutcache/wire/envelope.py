"""The envelope: the one form in which an entry lies in every lower tier.

An entry is a *head*, and for a large value *chunks* beside it.  All integers and floats are big-endian, all text is
UTF-8, all times are seconds since the epoch (UTC) with fractions; an expiry that never comes is +infinity.

The head::

    offset size  field
         0    3  magic "SCE"
         3    1  format version, 1
         4    1  flags: 1 signed, 2 chunked, 4 a cost is given, 8 a provenance is given; the others must be 0
         5    1  serializer: 1 MessagePack, 2 MessagePack with extension types, 3 JSON, 4 JSON with tagged objects,
                 5 pickle, 64-255 custom
         6    1  compression: 0 none, 1 lz4 (block), 2 zstd (frame), 3 gzip
         7    1  length of the key id
         8    4  length H of the header: all from offset 0 up to the body
        12    4  length of the namespace
        16    4  length of the key
        20    4  length of the provenance
        24    4  number of marks
        28    8  start stamp, signed: nanoseconds; of two writers the later start wins
        36    8  created, float64
        44    8  fresh until, float64
        52    8  expires, float64
        60    8  cost, float64 (0 when none is given)
        68    8  zstd dictionary: xxh3-64 of its bytes, 0 for none
        76    8  raw size: bytes of the payload as serialized
        84    8  stored size: bytes of the payload as stored here, all chunks together
        92       key id · namespace · key · provenance, each as long as stated above
                 marks, each: 4 length of the name, 8 version (unsigned), the name
       H-8    8  xxh3-64 of the bytes 0 .. H-8, so that a listing can trust a header without reading the payload
         H       body: the payload; or, when chunked, 16 set id, 4 number of chunks
       end-n  n  integrity of all bytes before it: xxh3-64 (n = 8), or when signed HMAC-SHA256 (n = 32)

A chunk::

         0    3  magic "SCC"
         3    1  format version, 1
         4    1  flags: 1 signed; the others must be 0
         5    1  length of the key id
         6   16  set id, the same in the head and in all chunks of a value
        22    4  index, from 0
        26    4  number of chunks
        30       key id · a part of the payload
       end-n  n  integrity of all bytes before it, as above

Rules.  What is signed holds the namespace and the key, so bytes put under another name fail.  The algorithm follows
from the configuration: where a key is configured an unsigned entry is refused, whatever its flags say.  The key id only
says which of the configured keys to try.  Integrity is checked before anything is parsed, decompressed or decoded.
Nothing is allocated by a length that the bytes at hand do not cover.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn

import xxhash

from scoutcache.entry import Header, Mark, Ref
from scoutcache.errors import CorruptEntry, IntegrityError, SerializationError

__all__ = [
    "CHUNKED", "CHUNK_FIXED", "CHUNK_TABLE", "FIXED", "SIGNED", "Body", "Frame", "chunk_count", "header_length",
    "key_id", "read", "read_checked", "write",
]  # fmt: skip

MAGIC: Final = b"SCE\x01"
"""What a head begins with, the format's version included."""

SIGNED, CHUNKED, COSTED, PROVENANCED = 1, 2, 4, 8
_UNKNOWN_FLAGS: Final = ~(SIGNED | CHUNKED | COSTED | PROVENANCED)
_HEAD: Final = struct.Struct(">4sBBBBIIIIIqddddQQQ")
_MARK: Final = struct.Struct(">IQ")
CHUNK_TABLE: Final = struct.Struct(">16sI")
CHUNK_FIXED: Final = struct.Struct(">4sBB16sII")
FIXED: Final = _HEAD.size
_LENGTH: Final = struct.Struct(">I")
_CHECK: Final = 8
_new: Final = tuple.__new__


class Body(NamedTuple):
    """How the payload is written.  *flags* are `SIGNED` and `CHUNKED`."""

    serializer: int
    compression: int
    dictionary: int
    raw_size: int
    stored_size: int
    flags: int = 0


class Frame(NamedTuple):
    """A head as parsed, without its payload, which begins at the offset *start*."""

    header: Header
    serializer: int
    compression: int
    dictionary: int
    raw_size: int
    stored_size: int
    flags: int
    start: int


# -- writing


def write(header: Header, body: Body, key_id: bytes) -> bytes:
    """The header as bytes, its check included.  Raises `SerializationError` for what the format can't hold."""
    try:
        covered = _write(header, body, key_id)
    except (struct.error, UnicodeEncodeError) as error:
        raise SerializationError(f"the entry's header can't be written: {error}", path="header") from error
    return covered + xxhash.xxh3_64_digest(covered)


def _write(header: Header, body: Body, key_id: bytes) -> bytes:
    serializer, compression, dictionary, raw_size, stored_size, flags = body
    namespace, key = header.ref
    namespace_bytes, key_bytes, provenance = namespace.encode(), key.encode(), b""
    cost = header.cost
    if cost is None:
        cost = 0.0
    else:
        flags |= COSTED
    if header.provenance is not None:
        flags |= PROVENANCED
        provenance = header.provenance.encode()
    marks = _pack_marks(header.marks)
    names = b"".join((key_id, namespace_bytes, key_bytes, provenance, marks))
    fixed = _HEAD.pack(
        MAGIC, flags, serializer, compression, len(key_id), FIXED + len(names) + _CHECK, len(namespace_bytes),
        len(key_bytes), len(provenance), len(header.marks), header.start, header.created, header.fresh_until,
        header.expires, cost, dictionary, raw_size, stored_size,
    )  # fmt: skip
    return fixed + names


@lru_cache(maxsize=256)
def _pack_marks(marks: tuple[Mark, ...]) -> bytes:
    # Entries of a namespace mostly carry the same few marks: 1 µs each is spared.
    parts: list[bytes] = []
    for name, version in marks:
        encoded = name.encode()
        parts += (_MARK.pack(len(encoded), version), encoded)
    return b"".join(parts)


# -- a first look


def header_length(prefix: bytes) -> int:
    """How many bytes the header takes, read from the first twelve of a head.  Raises `CorruptEntry`."""
    if prefix[:4] != MAGIC or len(prefix) < 12:
        raise CorruptEntry("the bytes don't begin like an entry")
    length: int = _LENGTH.unpack_from(prefix, 8)[0]
    return length


def chunk_count(head: bytes) -> int:
    """How many chunks lie beside this head, 0 when the payload is inside.  Raises `CorruptEntry`."""
    length = header_length(head)
    if not head[4] & CHUNKED:
        return 0
    if len(head) < length + CHUNK_TABLE.size:
        raise CorruptEntry("the entry is cut off")
    count: int = CHUNK_TABLE.unpack_from(head, length)[1]
    return count


def key_id(head: bytes) -> bytes | None:
    """Which key a head says it is signed with, None when it isn't signed.  Raises `CorruptEntry`."""
    if len(head) < FIXED or head[:4] != MAGIC:
        raise CorruptEntry("the bytes don't begin like an entry")
    return head[FIXED : FIXED + head[7]] if head[4] & SIGNED else None


# -- reading


def read_checked(head: bytes) -> Frame:
    """Parse a header from a head, or from any beginning of one that holds it whole, by its own check alone.

    Raises `CorruptEntry`.
    """
    length = header_length(head)
    if not FIXED + _CHECK <= length <= len(head):
        raise CorruptEntry("the entry is cut off in its header")
    if xxhash.xxh3_64_digest(head[: length - _CHECK]) != head[length - _CHECK : length]:
        raise CorruptEntry("the entry's header is damaged")
    return read(head, None)


def read(head: bytes, ref: Ref | None) -> Frame:
    """Parse the header of a head whose integrity is known.

    Raises `CorruptEntry`, and `IntegrityError` when a *ref* is given and the entry is another.
    """
    try:
        return _read(head, ref)
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptEntry(f"the entry's header is unreadable: {error}") from error


def _read(head: bytes, ref: Ref | None) -> Frame:
    (magic, flags, serializer, compression, id_size, length, namespace_size, key_size, provenance_size, mark_count,
     start, created, fresh, expires, cost, dictionary, raw_size, stored_size) = _HEAD.unpack_from(head)  # fmt: skip
    namespace_at = FIXED + id_size
    key_at = namespace_at + namespace_size
    provenance_at = key_at + key_size
    marks_at = provenance_at + provenance_size
    if magic != MAGIC or flags & _UNKNOWN_FLAGS or length > len(head) or marks_at > length - _CHECK:
        _refuse(head, flags, length)
    # The cheapest test for NaN, of which a comparison with another time would make nonsense.
    if created != created or fresh != fresh or expires != expires:  # noqa: PLR0124
        raise CorruptEntry("the entry's times are not numbers")
    if ref is None:
        ref = Ref(head[namespace_at:key_at].decode(), head[key_at:provenance_at].decode())
    elif head[namespace_at:key_at] != ref[0].encode() or head[key_at:provenance_at] != ref[1].encode():
        raise IntegrityError("the entry belongs to another key")
    provenance = head[provenance_at:marks_at].decode() if flags & PROVENANCED else None
    marks = _unpack_marks(head[marks_at : length - _CHECK], mark_count)
    # Not Header(…): the Python frame of a NamedTuple's own __new__ costs as much as all the slices above.
    header = _new(
        Header, (ref, start, created, fresh, expires, marks, cost if flags & COSTED else None, provenance)
    )
    return _new(Frame, (header, serializer, compression, dictionary, raw_size, stored_size, flags, length))


def _refuse(head: bytes, flags: int, length: int) -> NoReturn:
    if head[:4] != MAGIC:
        raise CorruptEntry("the bytes don't begin like an entry")
    if flags & _UNKNOWN_FLAGS:
        raise CorruptEntry("the entry has unknown flags")
    if length > len(head):
        raise CorruptEntry("the entry is cut off in its header")
    raise CorruptEntry("the entry's header is shorter than its names")


@lru_cache(maxsize=256)
def _unpack_marks(packed: bytes, count: int) -> tuple[Mark, ...]:
    at, marks = 0, []
    for _ in range(count):
        if at + _MARK.size > len(packed):
            raise CorruptEntry("the entry's header is shorter than its marks")
        length, version = _MARK.unpack_from(packed, at)
        end = at + _MARK.size + length
        if end > len(packed):
            raise CorruptEntry("the entry's header is shorter than its marks")
        marks.append(Mark(packed[at + _MARK.size : end].decode(), version))
        at = end
    if at != len(packed):
        raise CorruptEntry("the entry's header is longer than its marks")
    return tuple(marks)
