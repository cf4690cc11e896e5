"""Hits in memory on their way into the log: gathered by key, thinned by key, written one line per key and turn.

Hits of one key between two writes share a line, ``time`` of the first and ``more_ns`` for the others (nanoseconds after
it), for that costs half the time and a tenth of the bytes of a line each (200 keys: 9 bytes a hit against 158), so that
the log of a busy process stays complete.  A single hit has its ``latency_us``; the latencies of all are in histograms.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final, TypeAlias

import msgspec

__all__ = ["MEMORY", "Gathered", "Hit", "HitLine", "HitsLine", "gather", "hit_lines", "how_many", "latencies",
           "thin"]  # fmt: skip

MEMORY: Final = "memory"
LONGEST: Final = 1000
"""Hits in one line, so that no reader meets a line of megabytes."""
TIMED: Final = 8192
"""Hits of one turn whose latencies all count."""

Hit: TypeAlias = tuple[int, int, str, str, int]
"""Began and ended (monotonic nanoseconds), namespace, key, size."""
Gathered: TypeAlias = Mapping[tuple[str, str, int], list[Hit]]
"""Hits by namespace, key and size."""


class HitLine(msgspec.Struct, gc=False, tag_field="op", tag="get"):
    """One hit, in the fields of `scoutcache.oplog.records.Line` that it has."""

    time: float
    key: str
    namespace: str
    tier: str
    outcome: str
    latency_us: float
    size: int


class HitsLine(msgspec.Struct, gc=False, tag_field="op", tag="get"):
    """Several hits of one key: the first at *time*, the others *more_ns* nanoseconds after it."""

    time: float
    key: str
    namespace: str
    tier: str
    outcome: str
    size: int
    more_ns: list[int]


def gather(hits: Iterable[Hit]) -> Gathered:
    """The hits by namespace, key and size, each in the order they came."""
    found: defaultdict[tuple[str, str, int], list[Hit]] = defaultdict(list)
    for hit in hits:
        found[hit[2:]].append(hit)
    return found


def how_many(gathered: Gathered) -> int:
    """The number of hits."""
    return sum(map(len, gathered.values()))


def thin(gathered: Gathered, kept_at: Callable[[str, str], float], rate: float) -> Gathered:
    """Those of the keys that are kept at *rate*."""
    return {name: uses for name, uses in gathered.items() if kept_at(name[0], name[1]) < rate}


def hit_lines(gathered: Gathered, offset_ns: int, shown: Callable[[str, str], str] | None) -> list[HitLine | HitsLine]:
    """The lines.  *shown* gives the form in which a key is written, None writes it as it is."""
    offset = offset_ns / 1e9  # floats cost two thirds of what integers do, and are good to a quarter of a microsecond
    lines: list[HitLine | HitsLine] = []
    for (space, key, size), uses in gathered.items():
        name = key if shown is None else shown(space, key)
        began, ended = uses[0][:2]
        if len(uses) == 1:
            lines.append(HitLine(offset + began * 1e-9, name, space, MEMORY, "hit", (ended - began) / 1000, size))
            continue
        for at in range(0, len(uses), LONGEST):
            starts = sorted([hit[0] for hit in uses[at : at + LONGEST]])  # threads may have met a little out of order
            first = starts[0]
            more = [start - first for start in starts[1:]]
            lines.append(HitsLine(offset + first * 1e-9, name, space, MEMORY, "hit", size, more))
    return lines


def latencies(hits: Sequence[Hit]) -> dict[str, Counter[int]]:
    """How often each latency came, by namespace.

    Of more than `TIMED` hits every second, third, … is timed and counts for so many: percentiles of that many samples
    are as good, and the rest of the work on a hit is little enough for the difference to show.
    """
    step = max(1, len(hits) // TIMED)
    timed = hits[::step]
    if len(set(map(itemgetter(2), timed))) == 1:  # nearly always, and twice as fast
        took = {timed[0][2]: Counter([ended - began for began, ended, _, _, _ in timed])}
    else:
        took = {}
        for (space, latency), times in Counter([(hit[2], hit[1] - hit[0]) for hit in timed]).items():
            took.setdefault(space, Counter())[latency] += times
    return {space: Counter({latency: times * step for latency, times in one.items()}) for space, one in took.items()}
