"""The records of a benchmark: what was asked, what was measured, on what machine.

Latencies are microseconds, rates are operations per second.  A figure of a row is the median over the runs; ``runs``
of the row holds the figure of every run, so that a reader (and `compare`) can see how much of a change is noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from scoutcache.errors import CacheError, ConfigError

__all__ = ["FORMAT", "METRICS", "TIERS", "BenchOptions", "BenchResult", "BenchRow"]

FORMAT: Final = 1
"""The version of a saved result."""

TIERS: Final = ("memory", "disk", "redis", "hybrid")
METRICS: Final = ("ops_per_s", "p50_us", "p95_us", "p99_us", "p999_us", "max_us")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What to measure.  `check` lists everything that is wrong with it at once."""

    tiers: tuple[str, ...] = ("memory", "disk", "hybrid")
    workload: str = "zipf:1.0"
    """``zipf:S``, ``uniform`` or ``trace:FILE`` (CSV with the header timestamp,key,size, gzip accepted)."""
    keys: int = 10_000
    """How many keys a zipf or uniform workload draws from."""
    value_size: int = 1024
    """Bytes of each value, unless *values* names a file."""
    values: str | None = None
    """A file of values: each line of a ``.jsonl`` is one, any other file is one as a whole."""
    ratio: tuple[int, int] = (9, 1)
    """Reads to writes."""
    clients: int = 1
    """Threads, or tasks when *use_async*."""
    use_async: bool = False
    duration: float = 2.0
    """Seconds measured in each run of each tier."""
    warmup: float = 0.5
    """Seconds run before that and thrown away."""
    runs: int = 3
    rate: float | None = None
    """Operations per second of all clients together (open loop); None: each client goes on as soon as it can."""
    seed: int = 1
    redis_url: str | None = None

    def check(self) -> None:
        """Raise `ConfigError` with every problem."""
        problems = [text for wrong, text in self._rules() if wrong]
        problems += [f"tier {name!r}: expected one of {', '.join(TIERS)}" for name in self.tiers if name not in TIERS]
        if problems:
            raise ConfigError("this benchmark can't be run as asked:", problems=problems)

    def _rules(self) -> list[tuple[bool, str]]:
        return [
            (not self.tiers, "tiers: expected at least one"),
            ("redis" in self.tiers and not self.redis_url, "tier 'redis': no server is configured; give --redis-url"),
            (self.keys < 1, f"keys: expected 1 or more, not {self.keys}"),
            (self.value_size < 1, f"value size: expected 1 byte or more, not {self.value_size}"),
            (min(self.ratio) < 0 or max(self.ratio) < 1, f"ratio: expected reads:writes such as 9:1, not {self.ratio}"),
            (not 1 <= self.clients <= 1024, f"clients: expected 1 to 1024, not {self.clients}"),
            (not 0 < self.duration < math.inf, f"duration: expected more than 0 seconds, not {self.duration}"),
            (not 0 <= self.warmup < math.inf, f"warm-up: expected 0 seconds or more, not {self.warmup}"),
            (not 1 <= self.runs <= 100, f"runs: expected 1 to 100, not {self.runs}"),
            (self.rate is not None and not 0 < self.rate < math.inf, f"rate: expected more than 0, not {self.rate}"),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One operation on one tier: ``get``, ``set``, or ``all`` when both took part."""

    tier: str
    operation: str
    count: int
    errors: int
    hit_rate: float | None
    """Of the reads, 0 to 1; None where nothing was read."""
    ops_per_s: float | None
    """None here and below where no operation succeeded."""
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    p999_us: float | None
    max_us: float | None
    """The longest of all runs, where the others are medians."""
    runs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By metric, the figure of each run."""

    def spread(self, metric: str) -> float | None:
        """How far the runs lie apart: (highest - lowest) / median, or None for a single run."""
        figures = self.runs.get(metric, ())
        middle: float | None = getattr(self, metric)
        return (max(figures) - min(figures)) / middle if len(figures) > 1 and middle else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """What a benchmark found.  *notes* are sentences for a person: how far to trust the figures, and why."""

    results: tuple[BenchRow, ...]
    machine: Mapping[str, Any]
    version: str
    seed: int
    options: Mapping[str, Any]
    started_at: str
    overhead_ns: float
    """What measuring itself adds to each operation (clock and loop); it is not subtracted."""
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON shows and `store.save` keeps it."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Any, origin: str = "the result") -> BenchResult:
        """Read what `as_dict` gave; `CacheError` names *origin* when it is something else."""
        try:
            if data["format"] != FORMAT:
                raise CacheError(f"{origin} has format {data['format']!r}; this version reads {FORMAT}")
            rows = tuple(_row(row) for row in data["results"])
            return cls(results=rows, machine=dict(data["machine"]), version=str(data["version"]),
                       seed=int(data["seed"]), options=dict(data["options"]), started_at=str(data["started_at"]),
                       overhead_ns=float(data["overhead_ns"]), notes=tuple(map(str, data["notes"])))  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            what = f"it has no {problem}" if isinstance(problem, KeyError) else "something in it is of another type"
            raise CacheError(f"{origin} is not a saved benchmark: {what}",
                             hint="`bench --save NAME` writes one") from problem  # fmt: skip


def _row(data: Mapping[str, Any]) -> BenchRow:
    runs = {metric: tuple(map(float, data["runs"].get(metric, ()))) for metric in METRICS}
    return BenchRow(tier=str(data["tier"]), operation=str(data["operation"]), count=int(data["count"]),
                    errors=int(data["errors"]), hit_rate=_number(data["hit_rate"]), runs=runs,
                    **{metric: _number(data[metric]) for metric in METRICS})  # fmt: skip


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
