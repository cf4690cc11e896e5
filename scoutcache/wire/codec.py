"""The codec: values to what memory holds, entries to sealed bytes, and back.

Rules of `Codec.open`, for bytes that anybody may have written:
- the order is verify, parse, compare the name, join, expand, decode; each step trusts only what the ones before proved;
- whatever the bytes, the outcome is a value, `CorruptEntry` (of which `IntegrityError` is one), or, for a sound entry
  that this process hasn't the means to read, `UnknownType`;
- what no key here can verify (`Unverified`) is looked at only for its form, and nothing of its payload goes further.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from sys import getsizeof
from typing import Any, NamedTuple

from xxhash import xxh3_64_digest

from scoutcache.entry import Encoded, Handled, Header, Live, Ref, Sealed
from scoutcache.errors import ConfigError, CorruptEntry, IntegrityError, SerializationError
from scoutcache.wire import chunks, envelope, unverified
from scoutcache.wire.chunks import Table
from scoutcache.wire.classes import register_type
from scoutcache.wire.compression import NAMES, NONE, Compressor, train_dictionary
from scoutcache.wire.envelope import NAME, SET_ID, UNREADABLE, Body, check, key_id, parse_head, refuse
from scoutcache.wire.integrity import Keyring
from scoutcache.wire.resident import ATOMS, resident_size, written_size
from scoutcache.wire.serializers import Serializers, name_of, number_of, register_serializer
from scoutcache.wire.unknown import UnknownDictionary, UnknownType, Unread, Unverified

__all__ = [
    "Codec", "CodecSettings", "Opened", "UnknownDictionary", "UnknownType", "register_serializer", "register_type",
    "train_dictionary",
]  # fmt: skip

_SMALLEST_CHUNK = 1024
_new = tuple.__new__
"""Makes a NamedTuple without the Python frame of its own ``__new__``: 0.3 µs less for each, on every hit of a disk."""


_no_clock: Callable[[], int] = repeat(0).__next__


@dataclass(frozen=True, kw_only=True)
class CodecSettings:
    """How entries are written.  Any codec reads what any other wrote, given the keys and dictionaries.

    *threshold*, *chunk_size* and *max_value* are bytes; *max_value* bounds a value as serialized, when written and when
    read.  *level* None is the compression's own default.  *old_dictionaries* and the signing keys beside the active one
    are for reading only.
    """

    serializer: str = "msgpack"
    compression: str = "lz4"
    threshold: int = 1024
    level: int | None = None
    dictionary: bytes | None = None
    old_dictionaries: tuple[bytes, ...] = ()
    chunk_size: int = 1 << 20
    max_value: int = 1 << 30
    signing_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    active_key: str | None = None
    allow_pickle: bool = False


class Opened(NamedTuple):
    """An entry read back.

    *value* was decoded to see that it can be, and nobody else has it: whoever opened the entry may hand it out, once.
    *size* is in bytes as it lies in *tier*.  What few ask for is made of the rest when it is asked for.
    """

    header: Header
    value: Any
    payload: Any
    """The value as serialized; the value itself where memory holds it so, and then *decode* is None."""
    decode: Callable[[Any], Any] | None
    coding: int
    packing: int
    size: int
    tier: str
    took_ns: int = 0
    """What opening it took."""

    @classmethod
    def in_memory(cls, header: Header, live: Live, serializer: str) -> Opened:
        """What memory has, as it would be found below it."""
        return cls(header, live.value(), live.held, live.decode, number_of(serializer), NONE, live.size, "memory")

    @property
    def live(self) -> Live:
        """What memory is to keep of it."""
        if self.decode is None:
            return Live(self.payload, None, self.size, self.raw_size)
        size, written = resident_size(self.value), len(self.payload)
        return Live(self.payload, self.decode, written, written) if size is None else Live(
            self.value, None, size, written
        )

    @property
    def handled(self) -> Handled:
        """What opening it was, for the records of who asked."""
        return Handled(self.size, NAMES[self.packing], self.took_ns)

    @property
    def raw_size(self) -> int:
        """Bytes as serialized, before compression; `written_size` of what memory holds itself."""
        return len(self.payload) if self.decode is not None else written_size(self.payload)

    @property
    def compression(self) -> str:
        """The compression's name."""
        return NAMES[self.packing]

    @property
    def serializer(self) -> str:
        """The serializer's name."""
        return name_of(self.coding)


class Codec:
    """Encodes, seals and opens entries; safe to use from several threads.

    *token* draws that many random bytes to name a set of chunks; None names it by a hash of the payload, so that equal
    values give equal bytes.  *compresses* says of which entries compression is required, whatever their size and
    whether it pays or not.  *clock* is monotonic nanoseconds, by which it says how long its work took.  Raises
    `ConfigError` for settings that can't be used.
    """

    def __init__(
        self, settings: CodecSettings = CodecSettings(), *, token: Callable[[int], bytes] | None = None,
        compresses: Callable[[Ref], bool] | None = None, clock: Callable[[], int] = _no_clock,
    ) -> None:  # fmt: skip
        if settings.chunk_size < _SMALLEST_CHUNK:
            raise ConfigError(f"chunk_size: {_SMALLEST_CHUNK} bytes or more are needed, not {settings.chunk_size}")
        self.settings, self._max_value = settings, settings.max_value
        self._token, self._compresses, self.clock = token, compresses, clock
        self._keyring = Keyring(settings.signing_keys, settings.active_key)
        self._signed, self._covered = self._keyring.flag, slice(-self._keyring.size)
        if settings.allow_pickle and not self._keyring.flag:
            raise ConfigError("allow_pickle needs signing_keys: anyone who can write to the store could run code here")
        self._serializers = Serializers(settings.serializer, pickle=settings.allow_pickle)
        self._decoders = self._serializers.decoders
        own = () if settings.dictionary is None else (settings.dictionary,)
        self._compressor = Compressor(
            settings.compression, settings.level, settings.threshold, own + settings.old_dictionaries
        )

    # -- values

    def hold(self, value: Any) -> tuple[Live, Encoded | None]:
        """What memory keeps of a value: an immutable one itself, any other encoded.

        Raises `SerializationError` for what can't be stored, naming the place inside the value.
        """
        size = getsizeof(value) if type(value) in ATOMS else resident_size(value)
        if size is not None:
            if size > self.settings.max_value:
                self._too_large(size)
            return Live(value, None, size, written_size(value)), None
        encoded = self.encode(value)
        written = len(encoded.payload)
        return Live(encoded.payload, self._serializers.decoder(encoded.serializer), written, written), encoded

    def encode(self, value: Any) -> Encoded:
        """The value as its serializer leaves it.  Raises `SerializationError`."""
        encoded = self._serializers.encode(value)
        if len(encoded.payload) > self.settings.max_value:
            self._too_large(len(encoded.payload))
        return encoded

    def _too_large(self, size: int) -> None:
        raise SerializationError(f"value takes {size} bytes, more than the {self.settings.max_value} allowed")

    def register(self, cls: type, encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> None:
        """The same as `register_type`: it holds for the whole process."""
        register_type(cls, encode, decode)

    # -- entries to bytes

    def seal(
        self, header: Header, live: Live, encoded: Encoded | None = None, handled: Handled | None = None
    ) -> Sealed:
        """The entry as bytes: compressed where that pays, sealed, and in chunks when large.

        *encoded* spares encoding again; *handled* is told what was done.  Raises `SerializationError`.
        """
        began = self.clock()
        sealed, compression = self._sealed(header, live, encoded)
        if handled is not None:
            handled.size, handled.compression = sealed.size, NAMES[compression]
            handled.ns += self.clock() - began
        return sealed

    def _sealed(self, header: Header, live: Live, encoded: Encoded | None) -> tuple[Sealed, int]:
        keyring = self._keyring
        serializer, payload = encoded or self._encoded(live)
        always = self._compresses is not None and self._compresses(header.ref)
        compression, stored, dictionary = self._compressor.compress(payload, always=always)
        body = Body(serializer, compression, dictionary, len(payload))
        covered = envelope.write(header, body, keyring.active, stored)
        if len(covered) + keyring.size <= self.settings.chunk_size:
            return Sealed(covered + keyring.tag(covered)), compression
        return self._seal_chunked(header, body, stored), compression

    def _encoded(self, live: Live) -> Encoded:
        if live.decode is None:
            return self.encode(live.held)
        return Encoded(self._serializers.number(live.decode), live.held)

    def _seal_chunked(self, header: Header, body: Body, stored: bytes) -> Sealed:
        size, keyring = self.settings.chunk_size, self._keyring
        name = self._token(SET_ID) if self._token else chunks.set_id(stored, size)
        parts = chunks.split(stored, size, name, keyring)
        covered = envelope.write(header, body._replace(chunks=len(parts)), keyring.active, name)
        return Sealed(covered + keyring.tag(covered), parts)

    # -- bytes to entries

    def anew(self, ref: Ref, sealed: Sealed) -> tuple[Header, Live, Encoded | None]:
        """What an entry is to be sealed from again, with another header, though its value can't be read here.

        Raises `CorruptEntry`, and `UnknownType` for one that can't be expanded.
        """
        try:
            opened = self.open(ref, sealed)
        except UnknownType as error:
            if error.unread is None or (payload := error.unread.payload) is None:
                raise
            return error.unread.header, Live(payload, None, len(payload)), Encoded(error.unread.coding, payload)
        return opened.header, opened.live, None

    def header(self, ref: Ref | None, head: bytes) -> Header:
        """The header alone, from a head or a beginning of one that holds it (`envelope.header_length` bytes).

        Its own checksum is verified, a signature is not, for that covers the payload too: good for listings.
        With *ref*, the entry must be that one.  Raises `CorruptEntry`.
        """
        header = envelope.read_checked(head).header
        if ref is not None and header.ref != ref:
            raise IntegrityError("the entry belongs to another key")
        return header

    def open(self, ref: Ref, sealed: Sealed, tier: str = "") -> Opened:
        """The entry of that name, out of bytes that nobody vouches for; *tier* says where they lay.

        Raises `CorruptEntry` or `IntegrityError` for anything that is wrong with them, and `UnknownType` for a sound
        entry of which this process lacks the class, the serializer, the dictionary or the signing key.
        """
        # One function, and the cheap case of each step in place: every Python frame is a twentieth of a hit.
        began = self.clock()
        head, parts = sealed
        covered = head[self._covered]
        if (signed := self._signed) or xxh3_64_digest(covered) != head[-8:]:
            self._verify(ref, sealed, key_id(head))
        try:
            fields = parse_head(covered)
        except UNREADABLE as error:
            refuse(head, error)
        name, _, signer, header, serializer, compression, dictionary, raw_size, count, _, payload = fields
        # The sum of times is not positive where one may be NaN, of which other comparisons would make nonsense.
        if name != NAME or header[0] != ref or not header[2] + header[3] + header[4] > 0:
            check(head, fields, ref)
        if signer and not signed:
            self._verify(ref, sealed, signer)
        if raw_size > self._max_value:
            raise CorruptEntry(f"the entry has {raw_size} bytes, more than the {self._max_value} allowed")
        if parts or count:
            payload = chunks.join(Table(payload, count), parts, self._keyring)
        expanded = None
        try:
            if compression or len(payload) != raw_size:
                payload = self._compressor.expand(compression, payload, raw_size, dictionary)
            expanded = payload
            decode = self._decoders.get(serializer) or self._serializers.decoder(serializer)
            value = decode(payload)
        except UnknownType as error:
            error.unread = Unread(header, serializer, compression, expanded)
            raise
        except CorruptEntry:
            raise
        except Exception as error:
            # Decoders, registered ones among them, raise what they like (RecursionError and MemoryError too).
            what = f"{type(error).__name__}: {error!s:.200}"
            raise CorruptEntry(f"the entry's payload can't be decoded: {what}") from error
        size = sealed.size if parts else len(head)
        took = self.clock() - began
        return _new(Opened, (header, value, payload, decode, serializer, compression, size, tier, took))

    def _verify(self, ref: Ref, sealed: Sealed, signer: bytes | None) -> None:
        try:
            self._keyring.verify(sealed.head, signer)
        except Unverified as error:
            error.unread = unverified.unread(ref, sealed, signer)
            raise
