"""The envelope: the one form in which an entry lies in every lower tier.

An entry is a *head*, and for a large value *chunks* beside it.  A head is one MessagePack array of eleven and an
integrity field.  The first four elements and the check have one fixed encoding, so that they are found without parsing;
the others may be encoded in any way that MessagePack allows.  All text is UTF-8, all times are seconds since the epoch
(UTC) with fractions; an expiry that never comes is +infinity.  Integers outside MessagePack are big-endian.

The head::

    offset size  element
         0    1  0x9b: an array of eleven
         1    5  1: text "SCE" and the format's version, 2: 0xa4 "SCE" 0x02
         6    5  2: length H of the header, all from offset 0 up to the payload: 0xce and 4 bytes
        11  2+k  3: id of the key it is signed with, empty when unsigned: 0xc4, one byte for its length k, the id
      13+k       4: the entry: an array of
                       array of namespace and key
                       start stamp, -2**63 to 2**64 - 1: nanoseconds; of two writers the later start wins
                       created, fresh until, expires: floats
                       array of marks, each an array of a tag's name and its version (unsigned)
                       cost, float or nil
                       provenance, text or nil: "marked stale" where its fresh until was brought forward
                 5: serializer: 1 MessagePack, 2 MessagePack with extension types, 3 JSON, 4 JSON with tagged objects,
                    5 pickle, 64-255 custom
                 6: compression: 0 none, 1 lz4 (block), 2 zstd (frame), 3 gzip
                 7: zstd dictionary: xxh3-64 of its bytes, 0 for none
                 8: raw size: bytes of the payload as serialized
                 9: number of chunks, 0 when the payload is in the head
      H-10   10  10: check: 0xc4 0x08 and the xxh3-64 of the bytes 0 .. H-8, so that a listing can trust a header
                     without reading the payload
         H       11: bytes: the payload as stored; or, when there are chunks, 16 bytes that name their set
     end-n    n  integrity of all bytes before it: xxh3-64 (n = 8), or when signed HMAC-SHA256 (n = 32)

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
from the configuration: where a key is configured an unsigned entry is refused, whatever it says of itself.  The key id
only says which of the configured keys to try.  Integrity is checked before anything is parsed, decompressed or decoded.
Nothing is allocated by a length that the bytes at hand do not cover.

MessagePack and not a layout of our own, because one call in C then turns the bytes into a `Header`, every type checked:
0.9 µs, where unpacking, slicing and decoding piece by piece took 2.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, Final, NamedTuple, NoReturn

import msgspec
import xxhash

from scoutcache.entry import Header, Ref
from scoutcache.errors import CorruptEntry, IntegrityError, SerializationError

__all__ = [
    "CHUNK_FIXED", "MAGIC", "NAME", "SET_ID", "SHORTEST", "SIGNED", "UNREADABLE", "Body", "Frame", "check",
    "header_length", "key_id", "parse_head", "read_checked", "refuse", "write",
]  # fmt: skip

MAGIC: Final = b"\x9b\xa4SCE\x02\xce"
"""What a head begins with, the format's version included."""

SIGNED: Final = 1
"""The flag of a signed chunk."""

SET_ID: Final = 16
CHUNK_FIXED: Final = struct.Struct(">4sBB16sII")
_LENGTH: Final = struct.Struct(">I")
_LENGTH_AT: Final = len(MAGIC)
_ID_AT: Final = _LENGTH_AT + _LENGTH.size
_CHECK: Final = 8
_CHECK_MARK: Final = b"\xc4\x08"
SHORTEST: Final = _ID_AT + 2
NAME: Final = "SCE\x02"

_Size = Annotated[int, msgspec.Meta(ge=0)]
_Fields = tuple[str, int, bytes, Header, _Size, _Size, _Size, _Size, _Size, bytes]
_Head = tuple[str, int, bytes, Header, _Size, _Size, _Size, _Size, _Size, bytes, bytes]

_pack: Final = msgspec.msgpack.Encoder().encode
_parse_fields: Final = msgspec.msgpack.Decoder(_Fields).decode
parse_head: Final = msgspec.msgpack.Decoder(_Head).decode
"""The eleven elements of a head whose integrity is known, to be judged by `check`.  Raises `UNREADABLE`."""
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Body(NamedTuple):
    """How the payload is written.  *chunks* is how many lie beside the head, 0 when the payload is inside."""

    serializer: int
    compression: int
    dictionary: int
    raw_size: int
    chunks: int = 0


class Frame(NamedTuple):
    """A header as parsed, without its payload."""

    header: Header
    serializer: int
    compression: int
    dictionary: int
    raw_size: int
    chunks: int


# -- writing


def write(header: Header, body: Body, key_id: bytes, payload: bytes) -> bytes:
    """A head up to its integrity field.  Raises `SerializationError` for what the format can't hold."""
    try:
        fields = _pack((key_id, header, *body))
        length = _ID_AT + len(fields) - 1 + len(_CHECK_MARK) + _CHECK  # without the byte that begins the array
        covered = b"".join((MAGIC, _LENGTH.pack(length), fields[1:], _CHECK_MARK))
        return b"".join((covered, xxhash.xxh3_64_digest(covered), _pack(payload)))
    except (struct.error, UnicodeEncodeError, OverflowError, ValueError) as error:
        raise SerializationError(f"the entry's header can't be written: {error}", path="header") from error


# -- a first look


def header_length(prefix: bytes) -> int:
    """How many bytes the header takes, read from the first eleven of a head.  Raises `CorruptEntry`."""
    if prefix[:_LENGTH_AT] != MAGIC or len(prefix) < _ID_AT:
        raise CorruptEntry("the bytes don't begin like an entry")
    length: int = _LENGTH.unpack_from(prefix, _LENGTH_AT)[0]
    return length


def key_id(head: bytes) -> bytes | None:
    """Which key a head says it is signed with, None when it isn't signed.  Raises `CorruptEntry`."""
    if head[:_LENGTH_AT] != MAGIC or len(head) < SHORTEST or head[_ID_AT] != 0xC4:  # see the layout
        raise CorruptEntry("the bytes don't begin like an entry")
    return head[SHORTEST : SHORTEST + head[_ID_AT + 1]] or None


# -- reading


def read_checked(head: bytes) -> Frame:
    """Parse a header from a head, or from any beginning of one that holds it whole, by its own check alone.

    Raises `CorruptEntry`.
    """
    length = header_length(head)
    if not SHORTEST + _CHECK <= length <= len(head):
        raise CorruptEntry("the entry is cut off in its header")
    if xxhash.xxh3_64_digest(head[: length - _CHECK]) != head[length - _CHECK : length]:
        raise CorruptEntry("the entry's header is damaged")
    try:
        # The same array without its last element, the payload.
        fields = _parse_fields(b"\x9a" + head[1:length])
    except UNREADABLE as error:
        refuse(head, error)
    _check_times(fields[3])
    return Frame(*fields[3:9])


def check(head: bytes, fields: tuple[Any, ...], ref: Ref) -> None:
    """Say what is wrong with a head as parsed, if anything is.  Raises `CorruptEntry`, `IntegrityError`."""
    if fields[0] != NAME:
        refuse(head)
    if fields[3].ref != ref:
        raise IntegrityError("the entry belongs to another key")
    _check_times(fields[3])


def _check_times(header: Header) -> None:
    if any(time != time for time in header[2:5]):  # noqa: PLR0124  # only NaN is not itself
        raise CorruptEntry("the entry's times are not numbers")


def refuse(head: bytes, error: Exception | None = None) -> NoReturn:
    """Say why a head can't be parsed."""
    if head[:_LENGTH_AT] != MAGIC:
        raise CorruptEntry("the bytes don't begin like an entry") from error
    raise CorruptEntry(f"the entry's header is unreadable: {error}") from error
