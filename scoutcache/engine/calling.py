"""Call the factory for keys that nobody computes, and keep what it gives.

Rule 1: the position and the stamp are taken before the factory is called.
Rule 2: a computed value is always returned, stored or not; an error is never stored.
Rule 3: among processes the lease of a key elects who computes it.  Whoever was told anything since its first look looks
        again once it has the lease.
Rule 4: nobody waits for a lease while it holds another of the same call, or two batches could wait for each other.
        (What the computations *around* a call hold is the leases' business: `FlightCycle`.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from scoutcache import events
from scoutcache.engine import effects
from scoutcache.engine.effects import Call, Flow, perform
from scoutcache.engine.flights import Flight
from scoutcache.engine.reading import Found, Reading
from scoutcache.engine.recipe import NOT_MODIFIED, Context, Kept, Outcome, Recipe, left, wants_context
from scoutcache.engine.world import World
from scoutcache.engine.writing import Entry, Moment, Writing
from scoutcache.entry import MISSING, NEVER, Live, Ref
from scoutcache.errors import CacheError, SerializationError
from scoutcache.keys import CacheKey

__all__ = ["Calling", "Job", "Results", "Seen", "joined_outcome"]


class Results(NamedTuple):
    """What a flight has so far: the values for its followers, and the outcomes for its leader."""

    lives: dict[Ref, Live]
    outcomes: dict[Ref, Outcome]

    def add(self, ref: Ref, live: Live, outcome: Outcome) -> None:
        """Enter one."""
        self.lives[ref] = live
        self.outcomes[ref] = outcome


class Seen(NamedTuple):
    """What a look into the tiers gave: valid entries, stale ones too, why the others missed, and when it began."""

    found: dict[Ref, Found]
    reasons: dict[Ref, str]
    end: int


@dataclass(slots=True)
class Job:
    """A flight on its way: how, what was seen before it, what it has.  A *patient* one waits for other processes."""

    flight: Flight
    recipe: Recipe
    seen: Seen
    results: Results
    patient: bool = True
    begun: Job | None = None
    """What it has begun beside the calls."""

    def missing(self) -> list[Ref]:
        """The keys without an outcome."""
        return [ref for ref in self.flight.keys if ref not in self.results.outcomes]


class Calling:
    """Calls of factories for one cache; *clock* is monotonic seconds."""

    def __init__(self, world: World, reading: Reading, writing: Writing, clock: Callable[[], float]) -> None:
        self._world, self._reading, self._writing, self._clock = world, reading, writing, clock

    def bypass(self, flight: Flight, recipe: Recipe) -> Flow[dict[Ref, Outcome]]:
        """Call the factory without reading or storing anything."""
        job = Job(flight, replace(recipe, error_ttl=None), Seen({}, {}, 0), Results({}, {}))
        values, _, seconds = yield from self._call(job, flight.keys)
        share = seconds / len(flight.keys)
        return {ref: Outcome(values.get(ref, MISSING), "computed", None, "bypassed", share) for ref in flight.keys}

    def anew(self, flight: Flight, recipe: Recipe) -> Flow[Outcome]:
        """Compute the one key of *flight* whatever there is, which stays until the result is stored."""
        job = Job(flight, recipe, Seen({}, {}, 0), Results({}, {}))
        yield from self._compute(job, flight.keys)
        return job.results.outcomes[flight.keys[0]]

    def obtain(self, job: Job, refs: Sequence[Ref]) -> Flow[Results]:
        """Compute *refs*, as far as no other process does; a patient job waits for what others compute."""
        if not self._world.leased:
            yield from self._compute(job, refs)
            return job.results
        if self._world.tells is not None:  # a server, which may go
            yield from self._writing.learn(refs[0].namespace, job.recipe.tags)
        free: list[Ref] = []
        try:
            for ref in refs:
                if (lease := (yield from effects.take(ref, wait=False))) is not None:
                    job.flight.hold(lease)
                    free.append(ref)
            yield from self._compute_unless_there(job, free)
        finally:
            job.flight.give_up(free)
        for ref in refs if job.patient else ():
            if ref not in free:
                yield from self._obtain_after(job, ref)
        return job.results

    def _obtain_after(self, job: Job, ref: Ref) -> Flow[None]:
        """Once the other process has ended with *ref*: what it stored, or the own computation."""
        began, awaited = self._clock(), job.flight.awaited
        awaited.add(ref)
        try:
            lease = yield from effects.take(ref, wait=True, timeout=left(job.recipe.until, began))
        finally:
            awaited.discard(ref)
        if lease is not None:
            job.flight.hold(lease)
        elif job.recipe.until != NEVER:
            raise job.recipe.timeout(ref)
        waited = self._clock() - began
        try:
            # Whatever was heard: a server that is away tells of nothing.
            yield from self._look_again(job, [ref], waited)
            if ref not in job.results.outcomes:
                yield from self._compute(job, [ref], waited)
        finally:
            job.flight.give_up([ref])

    def _compute_unless_there(self, job: Job, refs: Sequence[Ref]) -> Flow[None]:
        """Compute *refs*, of which the leases are held, but for those that others have stored since the look."""
        if refs and self._world.end() != job.seen.end:
            yield from self._look_again(job, refs)
        if missing := [ref for ref in refs if ref not in job.results.outcomes]:
            yield from self._compute(job, missing)

    def _look_again(self, job: Job, refs: Sequence[Ref], waited: float | None = None) -> Flow[None]:
        now = self._world.now()
        for ref, one in (yield from self._reading.find(refs)).items():
            if one.header.fresh_until > now and job.recipe.accepts(one.live.value()):
                outcome = Outcome(
                    one.value, "joined", one.tier, cost=one.header.cost, size=one.raw_size, handled=one.handled,
                    wait_s=waited,
                )  # fmt: skip
                job.results.add(ref, one.live, outcome)
                job.flight.found[ref] = one

    def _compute(self, job: Job, refs: Sequence[Ref], waited: float | None = None) -> Flow[None]:
        reasons = {ref: job.seen.reasons.get(ref) or self._world.why_absent(ref) for ref in refs}
        self._world.hear()  # what came with the lease was before it
        depends_on = job.recipe.depends_on
        with self._writing.computing(refs, depends_on) as began:
            job.flight.began = began.start
            if depends_on:
                sources = yield from self._writing.look_at_sources(refs[0].namespace, depends_on, began.heard)
                job.flight.marks = [*job.flight.marks, *sources]  # who asks after one of them ended joins it no more
            values, context, seconds = yield from self._call(job, refs)
            said = job.recipe if context is None else context.said(job.recipe)
            if said is not job.recipe:
                job.flight.late = began.end, said.marks
            made, stored = yield from self._keep(values, context, said, began)
            job.flight.costs = {ref: entry.cost for ref, entry in made.items()}
        share, found = seconds / len(refs), context is not None and context.found
        for ref in refs:
            if ref not in values:
                job.results.outcomes[ref] = Outcome(
                    MISSING, "computed", None, reasons[ref], share, wait_s=waited
                )
                continue
            self._world.failures.forget(ref)
            entry, kept = made[ref], ref in stored
            if not found:
                self._world.hooks.emit(events.Computed(*ref, share, kept))
            outcome = Outcome(
                values[ref], "found" if found else "computed", None, reasons[ref], share, entry.cost,
                entry.live.written, _kept(entry, said) if kept else None, entry.handled if kept else None, waited,
            )  # fmt: skip
            job.results.add(ref, entry.live, outcome)

    def _call(self, job: Job, refs: Sequence[Ref]) -> Flow[tuple[dict[Ref, Any], Context | None, float]]:
        """Call the factory; its values, what it said of them, and how many seconds it took."""
        recipe, old = job.recipe, job.seen.found.get(refs[0])
        context, factory = None, recipe.factory
        if recipe.many:
            factory = partial(factory, [ref.key for ref in refs])
        elif wants_context(factory):
            context = Context(refs[0], recipe, MISSING if old is None else old.live.value())
            factory = partial(factory, context)
        began = self._clock()
        try:
            answer = yield from perform(Call(factory, job.flight))
            values = _many(answer, refs) if recipe.many else {} if answer is MISSING else {refs[0]: answer}
        except Exception as error:
            self._failed(refs, recipe, self._clock() - began, error)
            raise
        if answer is NOT_MODIFIED and context is not None and old is not None:
            values = {refs[0]: old.live.value()}
            context.take_over(old.header)
        return values, context, self._clock() - began

    def _failed(self, refs: Sequence[Ref], recipe: Recipe, seconds: float, error: Exception) -> None:
        for ref in refs:
            self._world.hooks.emit(events.FactoryFailed(*ref, seconds, error))
            if recipe.error_ttl:
                self._world.failures.note(ref, error, keep=recipe.error_ttl)

    def _keep(
        self, values: Mapping[Ref, Any], context: Context | None, recipe: Recipe, began: Moment
    ) -> Flow[tuple[dict[Ref, Entry], set[Ref]]]:
        """The values as they are held, and which of them some tier took, as far as tiers tell."""
        made: dict[Ref, Entry] = {}
        entries, refused = [], set[Ref]()
        for ref, value in values.items():
            lifetime = recipe.lifetime_of(ref, value, context, self._world.dice)
            try:
                entry = self._writing.entry(ref, value, lifetime, recipe.cost, recipe.tags)
            except SerializationError as error:
                self._world.hooks.emit(events.Unstorable(*ref, str(error)))
                made[ref] = Entry(ref, Live(value, None, 0), None, lifetime, recipe.cost)
                continue
            made[ref] = entry
            if (context is None or context.keeps) and (recipe.store_if is None or recipe.store_if(value)):
                entries.append(entry)
        taken = 0
        if entries:
            taken = yield from self._writing.store(
                entries, began, tags=recipe.tags, depends_on=recipe.depends_on, refused=refused, unstored=refused,
                computed=True,
            )  # fmt: skip
        kept = {entry.ref for entry in entries if taken and entry.lifetime.fresh > 0}
        return made, kept - refused


def joined_outcome(flight: Flight, ref: Ref, recipe: Recipe, value: Any, waited: float) -> Outcome:
    """What joining *flight* gave: of a read, what was found.

    Of a computation it saved what its call cost, or where nobody said so what the own one would have.
    """
    one: Found | None = flight.found.get(ref)
    if one is not None:
        return Outcome(value, "joined", one.tier, cost=one.header.cost, size=one.raw_size, wait_s=waited)
    cost = flight.costs.get(ref)
    return Outcome(value, "joined", cost=recipe.cost if cost is None else cost, wait_s=waited)


def _kept(entry: Entry, recipe: Recipe) -> Kept:
    return Kept(recipe.tags, recipe.depends_on, entry.lifetime.fresh + entry.lifetime.stale)


def _many(answer: Any, refs: Sequence[Ref]) -> dict[Ref, Any]:
    if not isinstance(answer, Mapping):
        raise CacheError(f"a factory of many returns a mapping of keys to values, not {type(answer).__name__}")
    made = {key.generate(): key for key in answer if type(key) is not str and isinstance(key, CacheKey)}
    return {ref: answer[made.get(ref.key, ref.key)] for ref in refs if ref.key in made or ref.key in answer}
