"""Workloads: which keys are asked for, in which order, and what their values are.

- The same seed gives the same keys, the same mixture of reads and writes and the same values, on every machine.
- Client number *n* draws with a seed of its own, so that clients neither march in step nor share a generator.
- A trace is replayed as it is; client *n* of *m* takes every *m*-th row.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from scoutcache.bench.records import BenchOptions
from scoutcache.errors import ConfigError
from scoutcache.wording.os_errors import reason_of

__all__ = ["Access", "TraceRow", "Workload", "load_values", "read_trace"]

_PLAN: Final = 100_000
"""Operations planned for all clients; longer runs begin anew."""
_WORDS: Final = 1000

_MAX_VALUE_BYTES: Final = 256 * 1024 * 1024


class Access(NamedTuple):
    """One operation of the plan."""

    write: bool
    key: str
    value: Any
    """What a write stores, or a read that found nothing."""


class TraceRow(NamedTuple):
    """One row of a trace: seconds (or an index), the key, bytes."""

    timestamp: float
    key: str
    size: int


def read_trace(path: str | Path) -> Iterator[TraceRow]:
    """The rows of a trace, one at a time; `ConfigError` names the file and the line that can't be read."""
    line = 0
    try:
        with _open_text(Path(path)) as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            if not {"timestamp", "key", "size"} <= set(reader.fieldnames):
                raise ConfigError(f"{path}: not a trace: expected a first line timestamp,key,size")
            for row in reader:
                line = reader.line_num
                yield TraceRow(float(row["timestamp"]), str(row["key"]), int(row["size"]))
    except (OSError, EOFError, zlib.error) as problem:
        raise ConfigError(f"{path}: can't be read: {reason_of(problem)}") from problem
    except (ValueError, TypeError, csv.Error) as problem:
        raise ConfigError(f"{path}, after line {line or 1}: expected number, key and size ({problem})") from problem


def _open_text(path: Path) -> Any:
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")  # spreadsheets begin with a byte order mark


def load_values(path: str | Path) -> list[Any]:
    """Values of one's own: each line of a ``.jsonl`` file is one, any other file is one value, text where it can be."""
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_VALUE_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_VALUE_BYTES} bytes; give a sample of it")
        if path.suffix != ".jsonl":
            return [_text_or_bytes(path.read_bytes())]
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: can't be read: {reason_of(problem)}") from problem
    values = [_json_line(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not values:
        raise ConfigError(f"{path}: holds no values")
    return values


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def _json_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise ConfigError(f"{path}, line {number}: not JSON: {problem}") from problem


def _words(seed: int, size: int) -> str:
    """Text of exactly *size* ASCII characters that compresses about as prose does, not like zeros or noise."""
    dice = random.Random(f"value:{seed}")  # noqa: S311 (reproducible, not secret)
    text = " ".join(dice.choices(_vocabulary(), cum_weights=_zipf(_WORDS, 1.0), k=size // 4 + 8))
    return text[:size].ljust(size, ".")


@cache
def _vocabulary() -> list[str]:
    dice = random.Random("vocabulary")  # noqa: S311 (reproducible, not secret)
    return ["".join(dice.choices("eeeettaaooiinnsshhrrdlucmfwypvbgk", k=dice.randint(2, 9))) for _ in range(_WORDS)]


@cache
def _zipf(count: int, exponent: float) -> list[float]:
    """The weight of the ranks up to each: the one at rank *r* weighs r ** -exponent."""
    return list(accumulate(rank**-exponent for rank in range(1, count + 1)))


class Workload:
    """The keys, values and plans that *options* ask for."""

    def __init__(self, options: BenchOptions) -> None:
        kind, _, argument = options.workload.partition(":")
        self._options = options
        self._rows: list[TraceRow] = []
        self._weights: list[float] = []
        if kind == "trace" and argument:
            self._rows = list(islice(read_trace(argument), _PLAN))
            if not self._rows:
                raise ConfigError(f"{argument}: the trace has no rows")
        elif kind == "zipf":
            exponent = _exponent(argument)
            self._weights = _zipf(options.keys, exponent)
        elif options.workload != "uniform":
            raise ConfigError(f"workload {options.workload!r}: expected zipf:S (zipf:1.0), uniform or trace:FILE")
        self._values = load_values(options.values) if options.values else self._generated()

    def _generated(self) -> list[Any]:
        # Enough different values that no layer sees the same bytes each time, and few enough to stay cheap.
        size = self._options.value_size
        return [_words(self._options.seed + number, size) for number in range(max(2, min(64, 2 * 10**7 // size)))]

    @property
    def distinct(self) -> int:
        """How many different keys there are."""
        return len({row.key for row in self._rows}) if self._rows else self._options.keys

    def value(self, key: str) -> Any:
        """The value of a key, always the same one."""
        return self._values[zlib.crc32(key.encode()) % len(self._values)]

    def preload(self) -> Iterator[tuple[str, Any]]:
        """What the cache holds before the first run: every key of a drawn workload, nothing for a trace."""
        names = () if self._rows else map(_name, range(self._options.keys))
        return ((key, self.value(key)) for key in names)

    def plan(self, client: int) -> list[Access]:
        """The operations of one client, in order."""
        dice = random.Random(f"{self._options.seed}:{client}")  # noqa: S311 (reproducible, not secret)
        reads, writes = self._options.ratio
        keys = self._keys(client, dice)
        return [Access(dice.random() * (reads + writes) >= reads, key, self.value(key)) for key in keys]

    def _keys(self, client: int, dice: random.Random) -> Sequence[str]:
        if self._rows:
            # A trace with fewer rows than clients still gives everybody something to do.
            mine = self._rows[client :: self._options.clients] or self._rows
            return [f"bench:{row.key}" for row in mine]
        length = max(_PLAN // self._options.clients, 2_000)
        if self._weights:
            total = self._weights[-1]
            return [_name(bisect_left(self._weights, dice.random() * total)) for _ in range(length)]
        return [_name(dice.randrange(self._options.keys)) for _ in range(length)]


def _name(number: int) -> str:
    return f"bench:{number:08d}"


def _exponent(text: str) -> float:
    try:
        exponent = float(text or "1.0")
    except ValueError:
        exponent = -1.0
    if not 0 <= exponent <= 10:
        raise ConfigError(f"workload 'zipf:{text}': expected an exponent from 0 to 10, such as zipf:1.0")
    return exponent
