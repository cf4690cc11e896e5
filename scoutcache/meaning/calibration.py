"""How good a threshold is, by labelled pairs: precision, recall and false hits among hard negatives, with intervals.

Rule 1: a pair is a hit when its similarity reaches the threshold and no gate is closed, as the cache itself decides.
Rule 2: each rate has its Wilson interval (95 %): of 10 hits without a wrong one the precision is 1, and between .72 and
        1.  A rate of nothing is None.
Rule 3: the threshold for a precision is the lowest of those whose precision, and that of every higher one with hits,
        reaches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from scoutcache.meaning.presets import EPSILON

__all__ = ["Interval", "Pair", "Point", "curve", "lowest_for", "measure", "wilson"]

Interval = tuple[float, float]

_Z: Final = 1.959964
"""Of 95 %."""


class Pair(NamedTuple):
    """Two queries: how near they are, whether one answer serves both, and whether the gates let it."""

    similarity: float
    same: bool
    is_open: bool


class Point(NamedTuple):
    """What a threshold does."""

    threshold: float
    hits: int
    wrong: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    false_hit_rate: float | None
    """Wrong hits among the pairs that differ."""
    false_hit_rate_interval: Interval | None


def wilson(count: int, of: int) -> Interval | None:
    """The 95 % interval of a rate; what none or all of them did has an end of exactly 0 or 1.

    >>> [round(end, 2) for end in wilson(10, 10)]
    [0.72, 1.0]
    """
    if of == 0:
        return None
    rate, spread = count / of, _Z * _Z / of
    middle = (rate + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * (rate * (1 - rate) / of + spread / (4 * of)) ** 0.5
    return middle - half if count else 0.0, middle + half if count < of else 1.0


def measure(pairs: Sequence[Pair], threshold: float) -> Point:
    """What *threshold* does to *pairs*."""
    hits = [one for one in pairs if one.is_open and one.similarity >= threshold - EPSILON]
    right, same = sum(one.same for one in hits), sum(one.same for one in pairs)
    wrong, different = len(hits) - right, len(pairs) - same
    return Point(
        threshold, len(hits), wrong, _rate(right, len(hits)), wilson(right, len(hits)), _rate(right, same),
        wilson(right, same), _rate(wrong, different), wilson(wrong, different),
    )  # fmt: skip


def _rate(count: int, of: int) -> float | None:
    return count / of if of else None


def curve(pairs: Sequence[Pair], begin: float = 0.5, step: float = 0.01) -> list[Point]:
    """What thresholds from *begin* to 1 do."""
    count = round((1 - begin) / step)
    return [measure(pairs, round(begin + at * step, 6)) for at in range(count + 1)]


def lowest_for(points: Sequence[Point], precision: float) -> Point | None:
    """The lowest threshold from which on *precision* is reached (rule 3); None where there is none."""
    found = None
    for point in sorted(points, key=lambda one: -one.threshold):
        if point.precision is None:
            continue
        if point.precision < precision:
            break
        found = point
    return found
