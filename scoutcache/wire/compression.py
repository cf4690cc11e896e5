"""Compression that is kept only when it pays, and decompression that can't be made to swell.

Rules:
- A payload is compressed from *threshold* bytes on, and the result is kept if it saves at least a sixteenth, of a
  payload below 4 KiB at least a third: expanding 1 KB makes an entry 40 % slower to open, and of that size prose and
  chat messages lose an eighth to a quarter of their bytes, code and tables 40 %.  All of this only where compression
  isn't required.
- The header states the raw size; decompression gives exactly that many bytes or `CorruptEntry`.  The libraries' own
  limits don't protect: zstd ignores ``max_output_size`` when the frame states a size, lz4 frames have no limit.  So lz4
  blocks without a size of their own are used (255-fold at most), and a zstd frame must state the header's size.
- A zstd context costs more than the work on a small entry, and serves one thread at a time: each is taken from a list
  and put back (both are atomic).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import xxhash

from scoutcache.errors import ConfigError, CorruptEntry
from scoutcache.wire.unknown import UnknownDictionary

__all__ = ["LEVELS", "NAMES", "NUMBERS", "Compressed", "Compressor", "dictionary_number", "train_dictionary"]

NONE, LZ4, ZSTD, GZIP = 0, 1, 2, 3
NUMBERS: Final = {"none": NONE, "lz4": LZ4, "zstd": ZSTD, "gzip": GZIP}
NAMES: Final = {number: name for name, number in NUMBERS.items()}
LEVELS: Final = {"none": (0, 0), "lz4": (0, 12), "zstd": (-7, 22), "gzip": (1, 9)}
"""The levels that each takes; None stands for its own default (zstd 3, gzip 6, lz4 the fast mode)."""
_LZ4_BEST_RATIO: Final = 255
_SMALL: Final = 4096


class Compressed(NamedTuple):
    """A payload as it will be stored.  *dictionary* is the number of the one used, 0 for none."""

    number: int
    payload: bytes
    dictionary: int = 0


def dictionary_number(dictionary: bytes) -> int:
    """What names a dictionary on the wire: a hash of its bytes."""
    return xxhash.xxh3_64_intdigest(dictionary) or 1


def train_dictionary(samples: Sequence[bytes], size: int) -> bytes:
    """A zstd dictionary of at most *size* bytes for entries like *samples* (payloads, a hundred and more of them).

    Raises `ConfigError` when the samples are too few or too alike to learn from.
    """
    import zstandard

    try:
        return zstandard.train_dictionary(size, list(samples)).as_bytes()
    except (zstandard.ZstdError, ValueError) as error:
        raise ConfigError(
            f"no dictionary can be trained from {len(samples)} samples: {error}",
            hint="give more samples, some hundred times the dictionary's size in all",
        ) from error


class Compressor:
    """The configured compression for writing, all of them for reading."""

    def __init__(self, name: str, level: int | None, threshold: int, dictionaries: Iterable[bytes]) -> None:
        if name not in NUMBERS:
            raise ConfigError(f"compression: {name!r:.40} is none of {', '.join(NUMBERS)}")
        lowest, highest = LEVELS[name]
        if level is not None and not lowest <= level <= highest:
            raise ConfigError(f"compression: level {level} is outside {lowest} to {highest}, the range of {name}")
        known = list(dictionaries)
        self._dictionaries = {dictionary_number(each): each for each in known}
        self._threshold = threshold
        self._pack = _packer(name, level, known[0] if known and name == "zstd" else None)
        self._unzstd: dict[int, Callable[[bytes, int], bytes]] = {}

    def compress(self, payload: bytes, *, always: bool = False) -> Compressed:
        """The payload compressed, or as it is where that doesn't pay; with *always* whether it pays or not."""
        size = len(payload)
        if self._pack is not None and (always or size >= self._threshold):
            packed = self._pack(payload)
            if always or len(packed.payload) < size - (size // 3 if size < _SMALL else size >> 4):
                return packed
        return Compressed(NONE, payload)

    def expand(self, number: int, stored: bytes, raw_size: int, dictionary: int) -> bytes:
        """Exactly *raw_size* bytes, or `CorruptEntry`, or `UnknownDictionary`."""
        if number == NONE:
            raw = stored
        elif number == LZ4:
            raw = _expand_lz4(stored, raw_size)
        elif number == ZSTD:
            raw = self._expand_zstd(stored, raw_size, dictionary)
        elif number == GZIP:
            raw = _expand_gzip(stored, raw_size)
        else:
            raise CorruptEntry(f"the entry's compression, {number}, is unknown")
        if len(raw) != raw_size:
            raise CorruptEntry("the entry has another size than it says")
        return raw

    def _expand_zstd(self, stored: bytes, raw_size: int, dictionary: int) -> bytes:
        expand = self._unzstd.get(dictionary)
        if expand is None:
            if dictionary and dictionary not in self._dictionaries:
                raise UnknownDictionary(f"the entry was compressed with the dictionary {dictionary:016x}, "
                                        "which isn't configured here")  # fmt: skip
            expand = self._unzstd[dictionary] = _unzstd(self._dictionaries.get(dictionary))
        return expand(stored, raw_size)


def _packer(name: str, level: int | None, dictionary: bytes | None) -> Callable[[bytes], Compressed] | None:
    if name == "lz4":
        return _lz4(level)
    if name == "zstd":
        return _zstd(level, dictionary)
    if name == "gzip":
        return _gzip(level)
    return None


def _lz4(level: int | None) -> Callable[[bytes], Compressed]:
    import lz4.block

    pack = lz4.block.compress
    if not level:
        return lambda payload: Compressed(LZ4, pack(payload, store_size=False))
    return lambda payload: Compressed(
        LZ4, pack(payload, mode="high_compression", compression=level, store_size=False)
    )  # fmt: skip


@cache
def _lz4_block() -> Any:
    import lz4.block

    return lz4.block


def _expand_lz4(stored: bytes, raw_size: int) -> bytes:
    block = _lz4_block()  # an import statement in here would take a third of the time
    if raw_size > _LZ4_BEST_RATIO * (len(stored) + 1):
        raise CorruptEntry("the entry says it is larger than its bytes can be")
    try:
        expanded: bytes = block.decompress(stored, raw_size)
    except (block.LZ4BlockError, ValueError, MemoryError) as error:
        raise CorruptEntry(f"the entry can't be decompressed: {error}") from error
    return expanded


def _gzip(level: int | None) -> Callable[[bytes], Compressed]:
    import zlib

    chosen = 6 if level is None else level
    return lambda payload: Compressed(GZIP, zlib.compress(payload, chosen, wbits=31))


def _expand_gzip(stored: bytes, raw_size: int) -> bytes:
    import zlib

    engine = zlib.decompressobj(wbits=31)
    try:
        raw = engine.decompress(stored, raw_size + 1)
    except (zlib.error, OverflowError, MemoryError) as error:
        raise CorruptEntry(f"the entry can't be decompressed: {error}") from error
    if not engine.eof or engine.unused_data:
        raise CorruptEntry("the entry's compressed bytes have no proper end")
    return raw


def _zstd(level: int | None, dictionary: bytes | None) -> Callable[[bytes], Compressed]:
    import zstandard

    chosen = 3 if level is None else level
    options: dict[str, Any] = {"level": chosen, "write_checksum": False}
    number = 0
    if dictionary is not None:
        trained = zstandard.ZstdCompressionDict(dictionary)
        trained.precompute_compress(level=chosen)
        options["dict_data"] = trained
        number = dictionary_number(dictionary)
    idle: list[zstandard.ZstdCompressor] = []

    def pack(payload: bytes) -> Compressed:
        try:
            context = idle.pop()
        except IndexError:
            context = zstandard.ZstdCompressor(**options)
        packed = context.compress(payload)
        idle.append(context)
        return Compressed(ZSTD, packed, number)

    return pack


def _unzstd(dictionary: bytes | None) -> Callable[[bytes, int], bytes]:
    import zstandard

    options: dict[str, Any] = {}
    if dictionary is not None:
        options["dict_data"] = zstandard.ZstdCompressionDict(dictionary)
    idle: list[zstandard.ZstdDecompressor] = []

    def expand(stored: bytes, raw_size: int) -> bytes:
        try:
            context = idle.pop()
        except IndexError:
            context = zstandard.ZstdDecompressor(**options)
        try:
            if zstandard.frame_content_size(stored) != raw_size:
                raise CorruptEntry("the entry's compressed bytes state another size")
            raw = context.decompress(stored, max_output_size=raw_size, allow_extra_data=False)
        except (zstandard.ZstdError, MemoryError) as error:
            raise CorruptEntry(f"the entry can't be decompressed: {error}") from error
        idle.append(context)
        return raw

    return expand
