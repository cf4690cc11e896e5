"""What will be asked for next, from the operation log: the keys that are worth warming now, each with the reason.

Rule 1: there is a horizon: only what is likely to be asked for within it is named, so that keys that died long ago are
        not warmed for ever.
Rule 2: what the cache has already is worth warming only for the time after it ends; and what wouldn't live until it is
        asked for is not worth warming at all.
Rule 3: of several readings of a key's past (`predict_models`) the most confident one counts.  What none of them thinks
        likely enough is left out, though the budget would allow it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice
from typing import Final

from scoutcache.warming.predict_history import History, KeyHistory, Name
from scoutcache.warming.predict_models import Chance, by_clock, by_popularity, by_rhythm, by_sequence

__all__ = ["LEAST", "Life", "Predicted", "popular", "predict"]

LEAST: Final = 0.4
"""The chance below which a key isn't worth a call, where nobody says another."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """A key that is worth warming: how likely it is to be asked for, by which reading of the log, and why.

    *reason* is ``periodic``, ``daily``, ``weekly``, ``sequence`` or ``popular``; *expected_at* (seconds since the
    epoch) is None where no time is more likely than another.
    """

    key: str
    namespace: str
    probability: float
    reason: str
    because: str
    expected_at: float | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """Until when the entry of a key is fresh (seconds since the epoch; 0: it isn't there), how long a new one lives."""

    fresh_until: float = 0.0
    ttl: float = math.inf


_ABSENT: Final = Life()


def predict(
    history: History, now: float, horizon: float, most: int | None = None, *,
    life: Callable[[Name], Life] = lambda _: Life(), least: float = LEAST,
) -> list[Predicted]:  # fmt: skip
    """The *most* keys of *history* that are likely to be asked for in the *horizon* seconds from *now*, best first.

    *life* says what the cache has of a key.
    """
    if history.began is None:
        return []
    follows = by_sequence(history, now, now)
    found = []
    for name, one in history.keys.items():
        if not _possible(history, one, now, horizon, name in follows):
            continue
        # A look at the cache may be a round trip to a server, and most keys have no chance whatever it has of them.
        # Half, because a shorter time may be likelier to be meant.
        chance = _chance(history, name, one, now, horizon, _ABSENT, follows)
        if chance is None or chance.probability < least / 2:
            continue
        chance = _chance(history, name, one, now, horizon, life(name), follows)
        if chance is not None and chance.probability >= least:
            found.append(Predicted(name.key, name.namespace, *chance))
    return nlargest(len(found) if most is None else most, found, key=lambda one: (one.probability, one.key))


def _possible(history: History, one: KeyHistory, now: float, horizon: float, follows: bool) -> bool:
    return follows or one.seen >= 3 or history.rate(one, now) * horizon > 0.1


def _chance(
    history: History, name: Name, one: KeyHistory, now: float, horizon: float, life: Life, follows: dict[Name, Chance]
) -> Chance | None:
    begin, end = max(now, life.fresh_until), now + min(horizon, life.ttl)
    if begin >= end:
        return None
    assert history.began is not None
    plain = by_popularity(history.rate(one, now), begin, end)
    chances = [
        plain,
        by_rhythm(one, now, begin, end, plain.probability),
        by_clock(one, history.began, begin, end, plain.probability),
        follows.get(name) if begin == now else None,
    ]
    return max((chance for chance in chances if chance is not None), key=lambda chance: chance.probability)


def popular(
    history: History, now: float, horizon: float, most: int, *, life: Callable[[Name], Life] = lambda _: Life()
) -> list[Predicted]:
    """What popularity alone would warm: the *most* keys requested most often lately that the cache will not have."""
    ranked = sorted(((one.weight_at(now), name) for name, one in history.keys.items()), reverse=True)
    wanted = ((weight, name) for weight, name in ranked if life(name).fresh_until < now + horizon)
    return [
        Predicted(name.key, name.namespace, min(weight, 1.0), "popular", "requested most often lately")
        for weight, name in islice(wanted, most)
    ]
