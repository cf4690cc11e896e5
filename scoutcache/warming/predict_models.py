"""How likely a key is to be asked for within a time to come, by four readings of its past.

- `by_rhythm`: it comes at regular distances.  Each expected time that passed without it halves the chance.
- `by_clock`: it comes at this time of the day, or at this time of this weekday.
- `by_sequence`: it usually follows another key that has just been asked for.
- `by_popularity`: it is asked for so often that the next time is soon, whenever that is.

Each gives a chance of 0–1 with the reason in words.  Many keys are looked at, and some come at regular times by
accident; so a rhythm or a time of the day is believed as far as the visits are likelier by it than by chance (Bayes'
rule), with `PRIOR` as the part of keys that have one.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from statistics import linear_regression, median, pstdev
from typing import Final, NamedTuple

from scoutcache.warming.predict_history import FOLLOWS_WITHIN, History, KeyHistory, Name

__all__ = ["Chance", "by_clock", "by_popularity", "by_rhythm", "by_sequence"]

DAY: Final = 86400.0
_FEWEST_INTERVALS: Final = 3
_LATEST_INTERVALS: Final = 24
_TOLERANCE: Final = 0.15
"""How much of itself an interval may be off and count as regular."""
_LEAST_SPREAD: Final = 0.01
_SKIPPED: Final = 3
"""An interval may be as long as so many periods: one visit missed is no other rhythm."""
_MOST_MISSED: Final = 4
_LEAST_TRUST: Final = 0.2
PRIOR: Final = 0.02
_KEPT: Final = 0.9
"""How often what has a rhythm or a time keeps to it."""
_BY_CHANCE: Final = 0.29
"""How often an interval of what comes by chance counts as regular: 0.10 once, 0.11 twice and 0.08 three times as long
as the median, within `_TOLERANCE`, where intervals are exponential."""
_FEWEST_DAYS: Final = 3
_MOST_DAYS: Final = 21
_FEWEST_FOLLOWED: Final = 3


class Chance(NamedTuple):
    """How likely it is, by which reading, and why; *at* is when it is expected, None for no time in particular."""

    probability: float
    reason: str
    because: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Rhythm:
    """A distance in seconds at which visits come, give or take *spread*, and how far that is to be believed.

    *anchor* is when the last one came, or ought to have come.
    """

    period: float
    spread: float
    trust: float
    anchor: float


def by_rhythm(one: KeyHistory, now: float, begin: float, end: float, otherwise: float) -> Chance | None:
    """The chance of a visit in *begin*-*end*, seen from *now*, by the distances between the visits.

    *otherwise* is the chance if it has no rhythm.
    """
    if one.seen <= _FEWEST_INTERVALS:
        return None
    if one.rhythm is None:
        one.rhythm = _rhythm(one.visits)
    rhythm = one.rhythm
    assert isinstance(rhythm, Rhythm)
    last, period = rhythm.anchor, rhythm.period
    missed = max(math.floor((now - last - 2 * rhythm.spread) / period), 0)
    if missed > _MOST_MISSED or rhythm.trust < _LEAST_TRUST:
        return None
    chance, at = 0.0, None
    first = max(missed, math.floor((begin - last - 3 * rhythm.spread) / period), 1)
    for count in range(first, first + 8):
        expected = last + count * period
        spread = rhythm.spread * math.sqrt(count)
        if expected - 3 * spread > end:
            break
        part = _normal((end - expected) / spread) - _normal((begin - expected) / spread)
        if part > 0.01 and at is None:
            at = max(expected, begin)
        chance += part
    trust = rhythm.trust * 0.5**missed
    probability = trust * _KEPT * min(chance, 1.0) + (1 - trust) * otherwise
    return Chance(probability, "periodic", f"requested every {_duration(period)}", at)


def _rhythm(visits: Sequence[float]) -> Rhythm:
    latest = list(visits)[-_LATEST_INTERVALS - 1 :]
    intervals = [later - earlier for earlier, later in pairwise(latest)]
    period = median(intervals)
    steps = [max(round(one / period), 1) for one in intervals]
    off = [abs(one / times - period) for one, times in zip(intervals, steps, strict=True) if times <= _SKIPPED]
    regular = [one for one in off if one <= _TOLERANCE * period]
    trust = _believed(len(regular), len(intervals), _BY_CHANCE)
    spread = 1.5 * median(regular) if regular else 0.0
    begun = Rhythm(period, max(spread, _LEAST_SPREAD * period, 1.0), trust, latest[-1])
    return begun if trust < _LEAST_TRUST else _on_grid(begun, latest, steps)


def _on_grid(rhythm: Rhythm, visits: Sequence[float], steps: Sequence[int]) -> Rhythm:
    """The same by a grid laid through all *visits*, where they keep closer to it than to each other.

    What is started by a clock does; what starts a while after its last time does not.
    """
    places = list(accumulate(steps, initial=0))
    slope, start = linear_regression(places, visits)
    spread = 1.25 * pstdev(at - (start + slope * place) for place, at in zip(places, visits, strict=True))
    if slope <= 0 or spread >= rhythm.spread:
        return rhythm
    return Rhythm(slope, max(spread, _LEAST_SPREAD * slope, 1.0), rhythm.trust, start + slope * places[-1])


def _believed(hits: int, times: int, by_chance: float) -> float:
    """How likely it is that *hits* of *times* were meant, where each comes *by_chance* otherwise."""
    odds = PRIOR / (1 - PRIOR)
    odds *= (_KEPT / by_chance) ** hits * ((1 - _KEPT) / (1 - by_chance)) ** (times - hits)
    return odds / (1 + odds)


def by_clock(one: KeyHistory, began: float, begin: float, end: float, otherwise: float) -> Chance | None:
    """The chance of a visit in *begin*-*end* by the days before; *began* is when the log begins.

    *otherwise* is the chance if the time of the day makes no difference.
    """
    # A key that has more visits than are remembered is known from the first that is.
    since = max(one.first if one.seen == len(one.visits) else one.visits[0], began)
    if one.seen < _FEWEST_DAYS - 1 or begin - since < (_FEWEST_DAYS - 1) * DAY:
        return None
    by_chance = min(max(otherwise, 1e-6), 1 - 1e-6)
    daily = _on_days(one, since, begin, end, by_chance, 1, "about this time on {hits} of {days} days", "daily")
    weekly = _on_days(one, since, begin, end, by_chance, 7, "about this time on {hits} of {days} {weekday}s", "weekly")
    return max((chance for chance in (daily, weekly) if chance is not None), default=None)


def _on_days(
    one: KeyHistory, since: float, begin: float, end: float, by_chance: float, step: int, told: str, reason: str
) -> Chance | None:
    days = min(math.floor((begin - since) / (step * DAY)) + 1, _MOST_DAYS)
    if days < _FEWEST_DAYS or end - begin >= DAY:
        return None
    past = {_days_before(end, visit) for visit in _about(one, begin % DAY, end % DAY)}
    hits = sum(1 for day in past if day and day % step == 0 and day <= days * step)
    if hits < _FEWEST_DAYS - 1:
        return None
    weekday = f"{datetime.fromtimestamp(begin, UTC):%A}"
    because = "requested " + told.format(hits=hits, days=days, weekday=weekday)
    trust = _believed(hits, days, by_chance)
    return Chance(trust * _KEPT + (1 - trust) * by_chance, reason, because)


def _days_before(end: float, visit: float) -> int:
    return math.floor((end - visit) / DAY)


def _about(one: KeyHistory, begin: float, end: float) -> list[float]:
    """The visits at a time of the day from *begin* to *end*, seconds after midnight; the night may lie between."""
    if one.clock is None:
        one.clock = sorted((visit % DAY, visit) for visit in one.visits)
    clock = one.clock
    first, last = bisect_left(clock, (begin, 0.0)), bisect_right(clock, (end, math.inf))
    found = clock[first:last] if begin <= end else clock[first:] + clock[:last]
    return [visit for _, visit in found]


def by_sequence(history: History, now: float, begin: float) -> dict[Name, Chance]:
    """The keys that usually follow one that has just been visited."""
    found: dict[Name, Chance] = {}
    for at, before in history.lately(now):
        for follows, (times, delay) in before.after.items():
            if times < _FEWEST_FOLLOWED or follows.last >= at or min(at + 2 * delay, at + FOLLOWS_WITHIN) < begin:
                continue  # it has come, or would have come by now
            probability = (times - 1) / (before.seen + 1)
            if follows.name not in found or found[follows.name].probability < probability:
                because = f"follows {before.name.key} in {times} of {before.seen} cases"
                found[follows.name] = Chance(min(probability, 1.0), "sequence", because, max(at + delay, begin))
    return found


def by_popularity(rate: float, begin: float, end: float) -> Chance:
    """The chance of a request in *begin*-*end* at *rate* requests a second, that come by chance."""
    often = rate * 3600
    shown = f"{often:,.0f}" if often >= 10 else f"{often:.2g}"
    told = "once" if shown == "1" else f"{shown} times"
    return Chance(-math.expm1(-rate * (end - begin)), "popular", f"requested {told} an hour lately")


def _normal(deviations: float) -> float:
    return 0.5 * (1.0 + math.erf(deviations / math.sqrt(2.0)))


def _duration(seconds: float) -> str:
    for unit, name in ((DAY, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 0.995 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"
