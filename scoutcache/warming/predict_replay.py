"""How good a prediction would have been: the log is played again, with warming and without, and what came is counted.

Rule 1: a key is foreseen from what the log says before that moment alone.  The first half of the time is only learned
        from; the rest is cut into steps of one horizon, and before each the keys foreseen are warmed, as cron would.
Rule 2: each strategy has a cache of its own, in which an entry lives for its time to live as the log tells it, and ends
        when the log says it was deleted.  Room is no matter: evictions are not played.
Rule 3: what a strategy gained are the hits that its cache had more than one that nobody warmed; what it spent are the
        keys it warmed.  *Popularity alone* warms the most frequent keys that the cache will not have, up to the budget;
        it is also played with as many calls in each step as the prediction made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from scoutcache.errors import ConfigError
from scoutcache.insight.log.operations import in_order
from scoutcache.oplog.records import Line
from scoutcache.warming.predict import LEAST, Life, Predicted, popular, predict
from scoutcache.warming.predict_history import History, Name, counts

__all__ = ["Evaluation", "Played", "evaluate"]

MOST_STEPS: Final = 100
LEARNED: Final = 0.5
"""The part of the log's time that is only learned from."""
DEFAULT_TTL: Final = 3600.0

Strategy = Callable[[History, float, Callable[[Name], Life]], Sequence[Predicted]]


@dataclass(slots=True)
class Played:
    """What one strategy came to.  *useful* are the keys warmed that were asked for within the horizon."""

    warmed: int = 0
    useful: int = 0
    hits_gained: int = 0
    hits_per_call: float | None = None
    precision: float | None = None
    """The part of the keys warmed that was asked for within the horizon."""
    recall: float | None = None
    """The part of the misses without warming that became hits."""
    by_reason: dict[str, int] = field(default_factory=dict)
    """Keys warmed, by the reading of the log that named them."""
    useful_by_reason: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Prediction against popularity alone, over the *steps* of a log; see the module.

    *ratio* is hits gained per key warmed against popularity alone; None where one of them warmed or gained nothing.
    """

    requests: int
    misses: int
    """Of the part that was played, without any warming."""
    steps: int
    horizon: float
    budget: int
    predicted: Played
    popularity: Played
    popularity_same_calls: Played
    ratio: float | None
    ratio_same_calls: float | None


def evaluate(
    operations: Iterable[Line], horizon: float, budget: int, *, default_ttl: float = DEFAULT_TTL, least: float = LEAST,
    steps: int = MOST_STEPS,
) -> Evaluation:  # fmt: skip
    """Play *operations* again, warming up to *budget* keys before each *horizon* seconds.

    *default_ttl* is the life of entries whose time to live the log doesn't tell.  At most *steps* are played, the
    latest.  Raises `ConfigError` for an impossible horizon or budget.
    """
    if not 0 < horizon < math.inf or budget < 1:
        raise ConfigError("an evaluation needs a horizon of more than 0 seconds and a budget of 1 call or more")
    lines = in_order(line for line in operations if counts(line) or line.op in {"set", "delete"})
    return _Replay(lines, horizon, budget, default_ttl, least).play(steps)


class _World:
    """A cache that one strategy warms."""

    def __init__(self, choose: Strategy | None, ttl: Callable[[Name], float]) -> None:
        self._choose, self._ttl = choose, ttl
        self._ends: dict[Name, float] = {}
        self._waiting: dict[Name, tuple[float, str]] = {}
        """The keys warmed that nobody has asked for yet, and until when that would be in time."""
        self.hits = self.misses = 0
        self.played = Played()

    def life(self, name: Name) -> Life:
        return Life(self._ends.get(name, 0.0), self._ttl(name))

    def warm(self, history: History, now: float, horizon: float) -> int:
        if self._choose is None:
            return 0
        chosen = self._choose(history, now, self.life)
        self._waiting.clear()
        for one in chosen:
            name = Name(one.namespace, one.key)
            self._ends[name] = now + self._ttl(name)
            self._waiting[name] = min(now + horizon, self._ends[name]), one.reason
            _count(self.played.by_reason, one.reason)
        self.played.warmed += len(chosen)
        return len(chosen)

    def request(self, name: Name, time: float, *, count: bool) -> None:
        until, reason = self._waiting.pop(name, (-math.inf, ""))
        if until >= time:
            self.played.useful += 1
            _count(self.played.useful_by_reason, reason)
        hit = self._ends.get(name, 0.0) > time
        if not hit:
            self._ends[name] = time + self._ttl(name)
        if count:
            self.hits += hit
            self.misses += not hit

    def delete(self, name: Name) -> None:
        self._ends.pop(name, None)


def _count(counts: dict[str, int], reason: str) -> None:
    counts[reason] = counts.get(reason, 0) + 1


class _Replay:
    def __init__(self, lines: Sequence[Line], horizon: float, budget: int, default_ttl: float, least: float) -> None:
        self._lines, self._horizon, self._budget = lines, horizon, budget
        known = [line.ttl for line in lines if line.op == "set" and line.ttl is not None]
        self._usual = median(known) if known else default_ttl
        self._ttls: dict[Name, float] = {}
        self._history = History()
        self._made = 0
        """Keys that the prediction named in this step."""

        def ttl(name: Name) -> float:
            return self._ttls.get(name, self._usual)

        self._plain = _World(None, ttl)
        self._predicted = _World(lambda h, now, life: predict(h, now, horizon, budget, life=life, least=least), ttl)
        self._popular = _World(lambda h, now, life: popular(h, now, horizon, budget, life=life), ttl)
        self._same = _World(lambda h, now, life: popular(h, now, horizon, self._made, life=life), ttl)
        self._worlds = (self._plain, self._predicted, self._popular, self._same)

    def play(self, most_steps: int) -> Evaluation:
        """All of it."""
        lines = self._lines
        first, last = (lines[0].time, lines[-1].time) if lines else (0.0, 0.0)
        begin = max(first + LEARNED * (last - first), last - most_steps * self._horizon)
        step, steps = begin, 0
        for line in lines:
            while line.time >= step and last > first and step < last:
                self._warm(step)
                step += self._horizon
                steps += 1
            self._line(line, count=line.time >= begin)
        return self._told(steps)

    def _warm(self, now: float) -> None:
        self._made = self._predicted.warm(self._history, now, self._horizon)
        self._popular.warm(self._history, now, self._horizon)
        self._same.warm(self._history, now, self._horizon)

    def _line(self, line: Line, *, count: bool) -> None:
        name = Name(line.namespace, line.key)
        if line.op == "set":
            if line.ttl is not None and line.tier is None:
                self._ttls[name] = line.ttl
        elif line.op == "delete":
            for world in self._worlds:
                world.delete(name)
        else:
            for world in self._worlds:
                world.request(name, line.time, count=count)
            self._history.observe(line)

    def _told(self, steps: int) -> Evaluation:
        plain = self._plain
        predicted, popularity, same = (_figures(world, plain) for world in (self._predicted, self._popular, self._same))
        return Evaluation(
            requests=plain.hits + plain.misses, misses=plain.misses, steps=steps, horizon=self._horizon,
            budget=self._budget, predicted=predicted, popularity=popularity, popularity_same_calls=same,
            ratio=_ratio(predicted, popularity), ratio_same_calls=_ratio(predicted, same),
        )  # fmt: skip


def _figures(world: _World, plain: _World) -> Played:
    played = world.played
    played.hits_gained = world.hits - plain.hits
    if played.warmed:
        played.hits_per_call = played.hits_gained / played.warmed
        played.precision = played.useful / played.warmed
    if plain.misses:
        played.recall = played.hits_gained / plain.misses
    return played


def _ratio(one: Played, other: Played) -> float | None:
    if one.hits_per_call is None or not other.hits_per_call or other.hits_per_call < 0:
        return None
    return one.hits_per_call / other.hits_per_call
