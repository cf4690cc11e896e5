"""Two benchmarks side by side: what changed, and whether a threshold was missed.

- A threshold is ``METRIC:PERCENT``, such as ``p99:10%``: at most ten percent worse, which means longer, or fewer per
  second.
- It is missed only if the medians differ by more than that *and* the runs don't overlap (the best run of the newer one
  is worse than the worst run of the older): else the change is no larger than the spread of equal runs.  Results of a
  single run show no spread, so there the medians alone decide.
- Different machines, versions of Python or workloads make a comparison doubtful: that is a warning, never silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scoutcache.bench.machine import differences
from scoutcache.bench.records import METRICS, BenchResult, BenchRow
from scoutcache.errors import CacheError, ConfigError

__all__ = ["Change", "Comparison", "Threshold", "compare", "parse_threshold"]

_THRESHOLD: Final = re.compile(r"\s*([a-z0-9_]+)\s*:\s*([0-9]+(?:\.[0-9]+)?)\s*%?\s*")
_SHORT: Final = {"p50": "p50_us", "p95": "p95_us", "p99": "p99_us", "p999": "p999_us", "max": "max_us",
                 "ops": "ops_per_s", "throughput": "ops_per_s"}  # fmt: skip
_WORKLOAD: Final = ("workload", "keys", "value_size", "values", "ratio", "clients", "use_async", "rate", "seed")


@dataclass(frozen=True, slots=True)
class Threshold:
    """By how many percent a metric may be worse."""

    metric: str
    percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One metric of one operation of one tier.  *change_percent* is above 0 where the figure grew."""

    tier: str
    operation: str
    metric: str
    before: float | None
    after: float | None
    change_percent: float | None
    worse_percent: float | None
    """The same, above 0 where it became worse; None where it was 0 before."""
    noise: bool
    """True when the runs overlap: the change is no larger than the spread of equal runs."""
    missed: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All changes.  *warnings* say why the comparison may mean nothing."""

    changes: tuple[Change, ...]
    warnings: tuple[str, ...]

    @property
    def missed(self) -> tuple[Change, ...]:
        """The changes that missed a threshold."""
        return tuple(change for change in self.changes if change.missed)


def parse_threshold(text: str) -> Threshold:
    """Read ``p99:10%``; `ConfigError` names what was expected."""
    found = _THRESHOLD.fullmatch(text.lower())
    metric = _SHORT.get(found[1], found[1]) if found else ""
    if found is None or metric not in METRICS:
        raise ConfigError(f"threshold {text!r:.80}: expected METRIC:PERCENT such as p99:10%",
                          hint=f"metrics: {', '.join(_SHORT)}")  # fmt: skip
    return Threshold(metric, float(found[2]))


def compare(before: BenchResult, after: BenchResult, fail: str | Sequence[str] | None = None) -> Comparison:
    """Compare two results.

    *fail* is one threshold or several.  Raises `ConfigError` for one that can't be read, `CacheError` when the results
    have no operation in common.
    """
    texts = [fail] if isinstance(fail, str) else list(fail or ())
    limits = {limit.metric: limit.percent for limit in map(parse_threshold, texts)}
    known = {(row.tier, row.operation): row for row in before.results}
    pairs = [(known[place], row) for row in after.results if (place := (row.tier, row.operation)) in known]
    if not pairs:
        raise CacheError("the two benchmarks have no tier and operation in common")
    changes = tuple(_change(old, new, metric, limits) for old, new in pairs for metric in METRICS)
    return Comparison(changes, tuple(_warnings(before, after)))


def _change(old: BenchRow, new: BenchRow, metric: str, limits: Mapping[str, float]) -> Change:
    was: float | None = getattr(old, metric)
    now: float | None = getattr(new, metric)
    grown = 100 * (now - was) / was if was and now is not None else None
    worse = grown if grown is None or metric != "ops_per_s" else -grown
    noise = grown is not None and _overlap(old.runs.get(metric, ()), new.runs.get(metric, ()))
    missed = metric in limits and worse is not None and worse > limits[metric] and not noise
    return Change(tier=new.tier, operation=new.operation, metric=metric, before=was, after=now, change_percent=grown,
                  worse_percent=worse, noise=noise, missed=missed)  # fmt: skip


def _overlap(old: Sequence[float], new: Sequence[float]) -> bool:
    if min(len(old), len(new)) < 2:
        return False
    return min(new) <= max(old) and min(old) <= max(new)


def _warnings(before: BenchResult, after: BenchResult) -> Iterator[str]:
    yield from (f"the machines differ: {text}" for text in differences(before.machine, after.machine))
    for name in _WORKLOAD:
        was, now = _option(before, name), _option(after, name)
        if was != now:
            yield f"the workloads differ: {name.replace('_', ' ')} was {was}, is {now}"
    if min(before.options.get("runs", 1), after.options.get("runs", 1)) < 2:
        yield "one of them has a single run, so noise can't be told from change"


def _option(result: BenchResult, name: str) -> Any:
    value = result.options.get(name)
    # JSON has no tuples: what was loaded and what was just measured must compare equal.
    return list(value) if isinstance(value, tuple) else value
