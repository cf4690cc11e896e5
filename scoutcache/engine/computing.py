"""get_or_compute: look, else compute once however many ask, and store what came.

Rule 1: looking into the lower tiers is part of the flight, so a thousand callers read the disk once as well.
Rule 2: the position and the stamp are taken before the factory is called.
Rule 3: a computed value is always returned, stored or not; a factory's error reaches its leader and its followers and
        is never stored.
Rule 4: each follower gets a value of its own, decoded anew when it is mutable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scoutcache import events
from scoutcache.engine.effects import Call, Flow, Join, perform
from scoutcache.engine.flights import Abandoned, Flight, Waiting
from scoutcache.engine.reading import Reading
from scoutcache.engine.world import World
from scoutcache.engine.writing import Lifetime, Moment, Writing
from scoutcache.entry import KEY_MARK, Live, Ref
from scoutcache.errors import SerializationError

__all__ = ["Computing", "Outcome", "Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to compute a value and how to keep it."""

    factory: Callable[[], Any]
    lifetime: Lifetime
    tags: Sequence[str] = ()
    depends_on: Sequence[str] = ()
    cost: float | None = None
    store_if: Callable[[Any], bool] | None = None

    @property
    def marks(self) -> list[str]:
        """The names of the marks that the entry is going to carry, but for its namespace's."""
        return [*self.tags, *(KEY_MARK + key for key in self.depends_on)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A value, and how it came: ``hit``, ``joined`` (another caller computed it) or ``computed``."""

    value: Any
    how: str
    tier: str | None = None
    reason: str | None = None
    factory_s: float | None = None
    cost: float | None = None
    """What the call cost that was made or saved, None when nobody said."""
    size: int | None = None
    stored: bool = False


class Computing:
    """Computations for one cache."""

    def __init__(
        self,
        world: World,
        reading: Reading,
        writing: Writing,
        clock: Callable[[], float],
        peek: Callable[[Ref], Live | None],
    ) -> None:
        self._world, self._reading, self._writing = world, reading, writing
        self._clock, self._peek = clock, peek

    def compute(self, ref: Ref, recipe: Recipe) -> Flow[Outcome]:
        """The value of *ref*: found, joined or computed."""
        while True:
            flight, leads = self._world.flights.board(ref, self._world.loop(), recipe.marks)
            if leads:
                return (yield from self._lead(flight, ref, recipe))
            try:
                with Waiting(flight):
                    live: Live = yield from perform(Join(flight))
            except Abandoned:
                continue
            return Outcome(live.value(), "joined", cost=recipe.cost)

    def bypass(self, ref: Ref, recipe: Recipe) -> Flow[Outcome]:
        """Call the factory without reading or storing anything."""
        value, seconds = yield from self._call(ref, recipe, Flight(ref, self._world.loop()))
        return Outcome(value, "computed", None, "bypassed", seconds)

    def _lead(self, flight: Flight, ref: Ref, recipe: Recipe) -> Flow[Outcome]:
        flights = self._world.flights
        try:
            live, outcome = yield from self._obtain(flight, ref, recipe)
        except GeneratorExit:
            flights.land(flight, None, Abandoned(ref.key))
            raise
        except BaseException as error:
            flights.land(flight, None, error if isinstance(error, Exception) else Abandoned(ref.key))
            raise
        flights.land(flight, live)
        return outcome

    def _obtain(self, flight: Flight, ref: Ref, recipe: Recipe) -> Flow[tuple[Live, Outcome]]:
        live = self._peek(ref)  # another flight may have landed since the caller looked
        if live is not None:
            return live, Outcome(live.value(), "hit", "memory")
        reasons: dict[Ref, str] = {}
        found = yield from self._reading.find_one(ref, reasons)
        if found is not None and found.header.fresh_until <= self._world.now():
            reasons[ref], found = "expired", None
        if found is not None:
            return found.live, Outcome(found.value, "hit", found.tier, cost=found.header.cost, size=found.size)
        reason = reasons.get(ref) or self._world.why_absent(ref)
        began = self._writing.moment()
        value, seconds = yield from self._call(ref, recipe, flight)
        live, stored = yield from self._keep(ref, value, recipe, began)
        self._world.hooks.emit(events.Computed(*ref, seconds, stored))
        return live, Outcome(value, "computed", None, reason, seconds, recipe.cost, live.size, stored)

    def _call(self, ref: Ref, recipe: Recipe, flight: Flight) -> Flow[tuple[Any, float]]:
        began = self._clock()
        try:
            value = yield from perform(Call(recipe.factory, flight))
        except Exception as error:
            self._world.hooks.emit(events.FactoryFailed(*ref, self._clock() - began, error))
            raise
        return value, self._clock() - began

    def _keep(self, ref: Ref, value: Any, recipe: Recipe, began: Moment) -> Flow[tuple[Live, bool]]:
        try:
            entry = self._writing.entry(ref, value, recipe.lifetime, recipe.cost)
        except SerializationError as error:
            self._world.hooks.emit(events.Unstorable(*ref, str(error)))
            return Live(value, None, 0), False
        stored = 0
        if recipe.store_if is None or recipe.store_if(value):
            stored = yield from self._writing.store([entry], began, tags=recipe.tags, depends_on=recipe.depends_on)
        return entry.live, stored > 0
