"""Miss-ratio curves: several policies, several sizes, as many processes as there are cores.

Rule 1: a size is so many entries, so many bytes, or a part of what would hold everything: of the different keys, or
        (*by_bytes*) of their bytes.
Rule 2: what was sampled is simulated in a cache smaller by the same rate, and each ratio has its error: 1.96 standard
        errors of a sample of keys drawn anew (a ratio estimate over the keys), and what the ratio would be in a cache
        so much smaller or larger as the sample of the keys in it may be: 9 of 10 times no further off.
        Where it is known how many requests to expect, what the sample has too few or too many of are hits: the hottest
        keys make the difference, and those are in every cache (SHARDS-adj, Waldspurger et al., FAST 2015).
Rule 3: processes are forked, so that the requests are shared and not sent; where that can't be, or there is little
        to do, one process does it all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import hypot, sqrt
from typing import Any, Final, NamedTuple

from scoutcache.errors import ConfigError
from scoutcache.insight.forks import forked, may_fork
from scoutcache.insight.simulation.policies import OPT, simulate_one
from scoutcache.insight.simulation.replay import Found
from scoutcache.insight.simulation.requests import READ, Requests
from scoutcache.insight.simulation.stack import ENOUGH, lru_curve
from scoutcache.ttl import parse_size

__all__ = ["DEFAULT_SIZES", "Point", "Size", "as_rows", "check_sizes", "curves", "parse_sizes"]

DEFAULT_SIZES: Final = ("0.1%", "0.3%", "1%", "3%", "10%", "30%", "100%")
LITTLE: Final = 200_000
"""Requests times simulations for which starting processes would take longer."""


class Size(NamedTuple):
    """A capacity to simulate, in *unit* ``entries`` or ``bytes``; *share* is its part of everything, 0 to 1."""

    text: str
    capacity: int
    unit: str
    share: float


class Point(NamedTuple):
    """One simulation.  Ratios are 0 to 1; *error* is None where nothing was sampled, else plus or minus so much."""

    policy: str
    capacity: int
    unit: str
    share: float
    requests: int
    hit_ratio: float
    byte_hit_ratio: float | None
    error: float | None


_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def parse_sizes(texts: Iterable[str], requests: Requests, *, by_bytes: bool = False) -> list[Size]:
    """The capacities that *texts* name for *requests*, smallest first, each once; raises `ConfigError`.

    >>> [size.capacity for size in parse_sizes(["50%", "3"], Requests([0, 1], [10, 10], []))]
    [1, 3]
    """
    entries, everything = requests.distinct / requests.rate, requests.distinct_bytes / requests.rate
    found = {}
    for text in texts:
        size = _size(text.strip(), entries, everything, by_bytes=by_bytes)
        found[size.unit, size.capacity] = size
    return sorted(found.values(), key=lambda size: (size.unit, size.capacity))


def check_sizes(texts: Sequence[str], *, by_bytes: bool = False) -> None:
    """Raise `ConfigError` for what `parse_sizes` will take for no size, whatever the requests."""
    for text in texts:
        _size(text.strip(), 1.0, 1.0, by_bytes=by_bytes)


def _size(text: str, entries: float, everything: float, *, by_bytes: bool) -> Size:
    hint = "write a percentage (1%), a number of entries (1000), or bytes with their unit (64MB)"
    if percent := _PERCENT.fullmatch(text):
        share = float(percent[1]) / 100
        unit, whole = ("bytes", everything) if by_bytes else ("entries", entries)
        if not 0 < share <= 100:
            raise ConfigError(f"{text!a} is no size to simulate", hint=hint)
        return Size(text, max(1, round(share * whole)), unit, share)
    if text.isdecimal():
        if by_bytes:
            raise ConfigError(f"the size {text[:20]!a} has no unit", hint=f"write {text[:20]}KB or {text[:20]}MB")
        capacity, unit, whole = int(text), "entries", entries
    else:
        if re.fullmatch(r"[\d.,_]+", text):
            raise ConfigError(f"the size {text!a} has no unit", hint=hint)
        try:
            capacity, unit, whole = parse_size(text), "bytes", everything
        except ValueError:
            raise ConfigError(f"{text[:60]!a} is no size to simulate", hint=hint) from None
    if capacity < 1:
        raise ConfigError(f"a cache of size {text!a} holds nothing", hint=hint)
    return Size(text, capacity, unit, capacity / whole)


def curves(requests: Requests, policies: Sequence[str], sizes: Sequence[Size], *, processes: int | None = None,
           progress: Callable[[int, int], object] | None = None) -> list[Point]:  # fmt: skip
    """A point for each of *policies* with each of *sizes*, in this order."""
    work: list[tuple[str, tuple[Size, ...]]] = []
    for policy in policies:
        together = [size for size in sizes if policy == "lru" and size.unit == "entries" and not requests.acts]
        if len(together) >= ENOUGH and requests.rate == 1:
            work.append((policy, tuple(together)))
            work += [(policy, (size,)) for size in sizes if size not in together]
        else:
            work += [(policy, (size,)) for size in sizes]
    work.sort(key=lambda one: (-len(one[1]), one[0] != OPT))  # the longest first
    _ = requests.requested_bytes  # reckoned once, before processes part
    found: dict[tuple[str, Size], Point] = {}
    for done, points in enumerate(_performed(requests, work, processes), 1):
        found.update(points)
        if progress is not None:
            progress(done, len(work))
    return [found[policy, size] for policy in policies for size in sizes]


_Work = tuple[str, tuple[Size, ...]]
_Done = dict[tuple[str, Size], Point]
_shared: Requests | None = None


def _performed(requests: Requests, work: list[_Work], processes: int | None) -> Iterator[_Done]:
    global _shared  # what a forked child finds without being sent it
    many = min(len(work), processes or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    small = len(requests.keys) * len(work) < LITTLE and processes is None
    if many <= 1 or small or not may_fork():
        yield from (_one(requests, one) for one in work)
        return
    _shared = requests
    try:
        with forked(many) as pool:
            yield from pool.imap_unordered(_of_shared, work)
    finally:
        _shared = None


def _of_shared(work: _Work) -> _Done:
    assert _shared is not None
    return _one(_shared, work)


def _one(requests: Requests, work: _Work) -> _Done:
    policy, sizes = work
    if len(sizes) > 1:
        found = lru_curve(requests, [size.capacity for size in sizes])
        return {(policy, size): _point(requests, policy, size, found[size.capacity]) for size in sizes}
    (size,) = sizes
    capacity = max(1, round(size.capacity * requests.rate))
    done = simulate_one(requests, policy, capacity, by_bytes=size.unit == "bytes")
    point = _point(requests, policy, size, done)
    if point.error is not None:
        point = point._replace(error=min(1.0, hypot(point.error, _error_of_room(requests, policy, capacity, point))))
    return {(policy, size): point}


def _error_of_room(requests: Requests, policy: str, capacity: int, point: Point) -> float:
    """How far off the ratio may be since a cache's keys are more or fewer than *rate* of them in the sample."""
    by_bytes = point.unit == "bytes"
    entries = capacity * requests.distinct / requests.distinct_bytes if by_bytes else capacity
    spread = 1.96 * sqrt((1 - requests.rate) / max(1.0, entries))
    rooms = [max(1, round(capacity * (1 + sign * min(1.0, spread)))) for sign in (-1, 1)]
    others = [_ratio(requests, simulate_one(requests, policy, room, by_bytes=by_bytes).misses) for room in rooms]
    return max(abs(other - point.hit_ratio) for other in others)


def _ratio(requests: Requests, misses: int) -> float:
    count = requests.expected or requests.count
    return min(1.0, max(0.0, 1 - misses / count)) if count else 0.0


def _point(requests: Requests, policy: str, size: Size, found: Found) -> Point:
    count, total = requests.count, float(requests.requested_bytes)
    if requests.expected and count:
        total *= requests.expected / count
    return Point(
        policy, size.capacity, size.unit, size.share, count, _ratio(requests, found.misses),
        max(0.0, 1 - found.missed_bytes / total) if total else None, _error(requests, found),
    )  # fmt: skip


def _error(requests: Requests, found: Found) -> float | None:
    if requests.rate == 1 or not requests.count:
        return None
    asked, missed = [0] * requests.distinct, [0] * requests.distinct
    for key, act in zip(requests.keys, requests.acts or bytes(len(requests.keys)), strict=True):
        asked[key] += act == READ
    for key in found.missed:
        missed[key] += 1
    of = requests.expected or requests.count
    ratio = 0.0 if requests.expected else found.misses / of
    spread = sum([(miss - ratio * ask) ** 2 for miss, ask in zip(missed, asked, strict=True)])
    return 1.96 * sqrt(spread * (1 - requests.rate)) / of


def as_rows(points: Iterable[Point]) -> list[dict[str, Any]]:
    """The points as plain rows."""
    return [point._asdict() for point in points]

