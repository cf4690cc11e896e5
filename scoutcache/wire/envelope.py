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
says which of the configured keys to try.  Integrity is checked before anything is decompressed or decoded.  Nothing is
allocated by a length that the bytes at hand do not cover.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import xxhash

from scoutcache.entry import Header, Mark, Ref
from scoutcache.errors import CorruptEntry, SerializationError

__all__ = [
    "CHUNKED", "CHUNK_FIXED", "CHUNK_TABLE", "FIXED", "SIGNED", "Frame", "chunk_count", "header_length", "read",
    "write",
]  # fmt: skip

VERSION: Final = 1
SIGNED, CHUNKED, COSTED, PROVENANCED = 1, 2, 4, 8
_KNOWN_FLAGS: Final = SIGNED | CHUNKED | COSTED | PROVENANCED
_HEAD: Final = struct.Struct(">3sBBBBBIIIIIqddddQQQ")
_MARK: Final = struct.Struct(">IQ")
CHUNK_TABLE: Final = struct.Struct(">16sI")
CHUNK_FIXED: Final = struct.Struct(">3sBBB16sII")
FIXED: Final = _HEAD.size
_LENGTH: Final = struct.Struct(">I")
_CHECK: Final = 8


class Frame(NamedTuple):
    """A head without its payload.  *body* is the offset where that begins; 0 when not yet written."""

    header: Header
    serializer: int
    compression: int
    raw_size: int
    stored_size: int
    dictionary: int = 0
    key_id: str = ""
    signed: bool = False
    chunked: bool = False
    body: int = 0


def write(frame: Frame) -> bytes:
    """The header as bytes, its check included.  Raises `SerializationError` for what the format can't hold."""
    try:
        return _write(frame)
    except (struct.error, UnicodeEncodeError) as error:
        raise SerializationError(f"the entry's header can't be written: {error}", path="header") from error


def _write(frame: Frame) -> bytes:
    header = frame.header
    texts = [frame.key_id.encode(), header.ref[0].encode(), header.ref[1].encode(), (header.provenance or "").encode()]
    key_id, namespace, key, provenance = map(len, texts)
    for name, version in header.marks:
        encoded = name.encode()
        texts += (_MARK.pack(len(encoded), version), encoded)
    rest = b"".join(texts)
    fixed = _HEAD.pack(
        b"SCE", VERSION, _flags(frame), frame.serializer, frame.compression, key_id, FIXED + len(rest) + _CHECK,
        namespace, key, provenance, len(header.marks), header.start, header.created, header.fresh_until,
        header.expires, header.cost or 0.0, frame.dictionary, frame.raw_size, frame.stored_size,
    )  # fmt: skip
    covered = fixed + rest
    return covered + xxhash.xxh3_64_digest(covered)


def _flags(frame: Frame) -> int:
    header = frame.header
    return (
        (SIGNED if frame.signed else 0)
        | (CHUNKED if frame.chunked else 0)
        | (COSTED if header.cost is not None else 0)
        | (PROVENANCED if header.provenance is not None else 0)
    )


def header_length(prefix: bytes) -> int:
    """How many bytes the header takes, read from the first twelve of a head.  Raises `CorruptEntry`."""
    if prefix[:4] != b"SCE\x01" or len(prefix) < 12:
        raise CorruptEntry("the bytes don't begin like an entry")
    length: int = _LENGTH.unpack_from(prefix, 8)[0]
    if length < FIXED + _CHECK:
        raise CorruptEntry("the entry's header is too short")
    return length


def chunk_count(head: bytes) -> int:
    """How many chunks lie beside this head, 0 when the payload is inside.  Raises `CorruptEntry`."""
    length = header_length(head)
    if len(head) < 5 or not head[4] & CHUNKED:
        return 0
    try:
        count: int = CHUNK_TABLE.unpack_from(head, length)[1]
    except struct.error as error:
        raise CorruptEntry("the entry is cut off") from error
    return count


def read(head: bytes) -> Frame:
    """Parse a header, from a head or from any beginning of one that holds it whole.

    The header's own check is verified, its signature is not.  Raises `CorruptEntry`.
    """
    try:
        return _read(head)
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptEntry(f"the entry's header is unreadable: {error}") from error


def _read(head: bytes) -> Frame:
    length = header_length(head)
    if len(head) < length:
        raise CorruptEntry("the entry is cut off in its header")
    covered = length - _CHECK
    if xxhash.xxh3_64_digest(memoryview(head)[:covered]) != head[covered:length]:
        raise CorruptEntry("the entry's header is damaged")
    (_, _, flags, serializer, compression, key_id, _, namespace, key, provenance, marks, start, created, fresh, expires,
     cost, dictionary, raw_size, stored_size) = _HEAD.unpack_from(head)  # fmt: skip
    if flags & ~_KNOWN_FLAGS:
        raise CorruptEntry("the entry has unknown flags")
    if created != created or fresh != fresh or expires != expires:  # noqa: PLR0124 - the cheapest test for NaN
        raise CorruptEntry("the entry's times are not numbers")
    texts, at = _texts(head, covered, (key_id, namespace, key, provenance))
    header = Header(
        ref=Ref(texts[1], texts[2]),
        start=start,
        created=created,
        fresh_until=fresh,
        expires=expires,
        marks=_marks(head, at, covered, marks) if marks or at != covered else (),
        cost=cost if flags & COSTED else None,
        provenance=texts[3] if flags & PROVENANCED else None,
    )
    signed, chunked = bool(flags & SIGNED), bool(flags & CHUNKED)
    return Frame(
        header, serializer, compression, raw_size, stored_size, dictionary, texts[0], signed, chunked, length
    )  # fmt: skip


def _texts(head: bytes, end: int, lengths: tuple[int, ...]) -> tuple[list[str], int]:
    if FIXED + sum(lengths) > end:
        raise CorruptEntry("the entry's header is shorter than its names")
    at, texts = FIXED, []
    for length in lengths:
        texts.append(head[at : at + length].decode())
        at += length
    return texts, at


def _marks(head: bytes, at: int, end: int, count: int) -> tuple[Mark, ...]:
    marks = []
    for _ in range(count):
        if at + _MARK.size > end:
            raise CorruptEntry("the entry's header is shorter than its marks")
        length, version = _MARK.unpack_from(head, at)
        at += _MARK.size
        if at + length > end:
            raise CorruptEntry("the entry's header is shorter than its marks")
        marks.append(Mark(head[at : at + length].decode(), version))
        at += length
    if at != end:
        raise CorruptEntry("the entry's header is longer than its marks")
    return tuple(marks)
