"""Codecs measured on values: how small they make them, and how fast.

- The cache's own compressors are measured, so that the figures are those of the cache: what doesn't pay is kept as it
  is, and counts with its full size.
- Every value is compressed on its own, as the cache does.
- A dictionary is trained on every second value and measured on the others: on what it has seen, any dictionary shines.
  With it, all codecs are measured on those others, so that their figures compare.
- Codecs take turns, in rounds; a speed is the median over the rounds, in megabytes (10**6) of uncompressed values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from scoutcache.bench.samples import synthetic_chats
from scoutcache.errors import ConfigError
from scoutcache.wire.compression import LEVELS, Compressed, Compressor, train_dictionary
from scoutcache.wording.nouns import counted
from scoutcache.wording.os_errors import reason_of

if TYPE_CHECKING:
    from scoutcache.cache import Cache

__all__ = [
    "CODECS", "CompressionResult", "CompressionRow", "Samples", "bench_compression", "samples_from_cache",
    "samples_from_files", "shipped_samples",
]  # fmt: skip

CODECS: Final = ("none", "lz4", "zstd", "gzip")
_DEFAULT_LEVELS: Final = {"none": (None,), "lz4": (None, 9), "zstd": (1, 3, 10), "gzip": (6,)}
_MOST_SAMPLES: Final = 2000
_MOST_BYTES: Final = 64 * 10**6
_DICTIONARY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Samples:
    """Values to measure on, and where they come from (a sentence for a person)."""

    values: tuple[bytes, ...]
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionRow:
    """One codec at one level (None: its own default).  *ratio* is the original size / the compressed size."""

    codec: str
    level: int | None
    dictionary: bool
    ratio: float
    saved_percent: float
    compress_mb_s: float
    decompress_mb_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionResult:
    """All codecs, on *samples* values of *total_bytes* in all."""

    results: tuple[CompressionRow, ...]
    samples: int
    total_bytes: int
    origin: str
    notes: tuple[str, ...] = ()


def samples_from_files(paths: Iterable[str | Path]) -> Samples:
    """Each file is one value, except that each line of a ``.jsonl`` is one.  Raises `ConfigError` naming a bad file."""
    values: list[bytes] = []
    names = [Path(path) for path in paths]
    for path in names:
        try:
            raw = path.read_bytes()
        except OSError as problem:
            raise ConfigError(f"{path}: can't be read: {reason_of(problem)}") from problem
        values += [line for line in raw.splitlines() if line.strip()] if path.suffix == ".jsonl" else [raw]
    return Samples(tuple(values), counted(len(names), "file"))


def samples_from_cache(cache: Cache, pattern: str = "*", limit: int = _MOST_SAMPLES) -> Samples:
    """The values of up to *limit* live entries, as the cache's serializer leaves them before compression."""
    from scoutcache.wire.codec import Codec, CodecSettings

    codec = Codec(CodecSettings())
    values: list[bytes] = []
    keys = iter(cache.keys(pattern))
    while len(values) < limit and (some := list(islice(keys, min(100, limit - len(values))))):
        values += [codec.encode(value).payload for value in cache.get_many(some).values()]
    return Samples(tuple(values), f"live entries matching {pattern!r}")


def shipped_samples() -> Samples:
    """Made-up values, for when there are none of one's own."""
    return Samples(tuple(synthetic_chats()), "made-up chat completions; your own values may compress otherwise")


def bench_compression(
    samples: Samples, *, codecs: Sequence[str] = CODECS, levels: Sequence[int] | None = None,
    train: bool = False, rounds: int = 5, clock: Callable[[], int] = perf_counter_ns,
    progress: Callable[[str, int, int], None] | None = None,
) -> CompressionResult:  # fmt: skip
    """Measure *codecs* on *samples*.

    *levels* None takes some usual ones for each codec, else those that the codec knows.  *train* adds zstd with a
    dictionary.  *clock* gives nanoseconds.  Raises `ConfigError` for unknown codecs or levels, for no samples, and when
    there are too few of them for a dictionary.
    """
    values, notes = _bounded(samples.values)
    plan = _plan(codecs, levels)
    dictionary = b""
    if train:
        dictionary, values = train_dictionary(values[::2], _DICTIONARY_BYTES), values[1::2]
        plan += [("zstd", level, True) for codec, level, _ in plan if codec == "zstd"] or [("zstd", 3, True)]
        notes.append("the dictionary was trained on every second value and measured, like the rest, on the others")
    compressors = [Compressor(codec, level, 0, [dictionary] if with_dictionary else [])
                   for codec, level, with_dictionary in plan]  # fmt: skip
    times: list[list[tuple[int, int]]] = [[] for _ in plan]
    sizes = [0] * len(plan)
    for number in range(rounds):
        for place, compressor in enumerate(compressors):
            if progress is not None:
                progress(plan[place][0], number * len(plan) + place, rounds * len(plan))
            sizes[place], packing, unpacking = _round(compressor, values, clock)
            times[place].append((packing, unpacking))
    total = sum(map(len, values))
    rows = (_row(step, size, total, spent) for step, size, spent in zip(plan, sizes, times, strict=True))
    return CompressionResult(results=tuple(rows), samples=len(values), total_bytes=total, origin=samples.origin,
                             notes=tuple(notes))  # fmt: skip


def _bounded(values: Sequence[bytes]) -> tuple[list[bytes], list[str]]:
    """As many of *values* as can be measured in reasonable time, and a note when that is not all."""
    whole = [value for value in values if value]
    if not whole:
        raise ConfigError("there are no values to measure compression on",
                          hint="name files, or leave them out to use the shipped samples")  # fmt: skip
    taken: list[bytes] = []
    size = 0
    for value in whole[:_MOST_SAMPLES]:
        if taken and size + len(value) > _MOST_BYTES:
            break
        taken.append(value)
        size += len(value)
    note = [f"measured on the first {len(taken)} of {len(whole)} values"] if len(taken) < len(whole) else []
    return taken, note


def _plan(codecs: Sequence[str], levels: Sequence[int] | None) -> list[tuple[str, int | None, bool]]:
    problems = [f"codec {codec!r:.40}: expected one of {', '.join(CODECS)}" for codec in codecs if codec not in CODECS]
    if problems or not codecs:
        raise ConfigError("these codecs can't be measured:", problems=problems or ["none was named"])
    plan = [(codec, level, False) for codec in dict.fromkeys(codecs) for level in _levels(codec, levels)]
    if unknown := [level for level in levels or () if level not in {step for _, step, _ in plan}]:
        ranges = ", ".join(f"{codec} {LEVELS[codec][0]} to {LEVELS[codec][1]}" for codec in codecs)
        raise ConfigError(f"level {unknown[0]} is known to none of the codecs ({ranges})")
    return plan


def _levels(codec: str, wanted: Sequence[int] | None) -> Sequence[int | None]:
    if wanted is None or codec == "none":
        return _DEFAULT_LEVELS[codec]
    lowest, highest = LEVELS[codec]
    return [level for level in wanted if lowest <= level <= highest]


def _round(compressor: Compressor, values: Sequence[bytes], clock: Callable[[], int]) -> tuple[int, int, int]:
    """The compressed size of all values, and the nanoseconds of compressing and of expanding them."""
    begun = clock()
    packed: list[Compressed] = [compressor.compress(value) for value in values]
    turn = clock()
    for value, (number, payload, dictionary) in zip(values, packed, strict=True):
        compressor.expand(number, payload, len(value), dictionary)
    return sum(len(each.payload) for each in packed), turn - begun, clock() - turn


def _row(step: tuple[str, int | None, bool], size: int, total: int, spent: Sequence[tuple[int, int]]) -> CompressionRow:
    codec, level, dictionary = step
    packing, unpacking = (median(column) for column in zip(*spent, strict=True))
    # Bytes per microsecond are megabytes per second.
    return CompressionRow(codec=codec, level=level, dictionary=dictionary, ratio=total / size,
                          saved_percent=100 * (1 - size / total), compress_mb_s=1000 * total / max(packing, 1),
                          decompress_mb_s=1000 * total / max(unpacking, 1))  # fmt: skip
