"""get_or_compute: look, else compute once however many ask.

Rule 1: looking into the tiers is part of the flight, so a thousand callers read the disk once as well.
Rule 2: a factory's error reaches its leader and its followers; each follower gets a value of its own, decoded anew when
        it is mutable.
Rule 3: a stale value is served while one *refresh* runs beside the calls, and when that fails or is slow.  Refreshes
        have a table of flights of their own: whoever asks for a key is answered without waiting for them.
Rule 4: where a caller may stop waiting (a hard timeout) the computation runs as such a refresh, so that its late result
        is stored; whoever comes meanwhile waits for that one.
Rule 5: a caller's own computation ends before it waits for those of others: two batches that overlap can't wait for
        each other.
Rule 6: a flight ends as soon as it has looked with what it has found, and another one goes on with the rest: who asks
        for a key that is there waits neither for its neighbours in a batch, nor for as long as another caller's soft
        timeout lets it.
Rule 7: a value that was computed from before an invalidation isn't given to who asked after it, also where only its
        factory knew that it is concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from scoutcache import events
from scoutcache.coherence.messages import concerns
from scoutcache.engine.calling import Calling, Job, Results, Seen, joined_outcome
from scoutcache.engine.effects import Flow, Join, Spawn, perform
from scoutcache.engine.flights import Abandoned, Flight, FlightTable, TooSlow, Waiting
from scoutcache.engine.reading import Found, Reading
from scoutcache.engine.recipe import Outcome, Recipe, left
from scoutcache.engine.removing import Removing
from scoutcache.engine.world import World
from scoutcache.engine.writing import Writing
from scoutcache.entry import MISSING, Live, Ref
from scoutcache.errors import FactoryTimeout, FlightCycle

__all__ = ["Computing", "Outcome", "Recipe"]


ELSEWHERE = 0.25
"""Seconds for which nobody here looks again whether another process has ended refreshing a value."""


class Computing:
    """Computations for one cache.

    *clock* is monotonic seconds; *peek* gives what memory has, stale entries too.
    """

    def __init__(
        self,
        world: World,
        reading: Reading,
        writing: Writing,
        removing: Removing,
        clock: Callable[[], float],
        peek: Callable[[Ref], Found | None],
    ) -> None:
        self._world, self._reading, self._removing = world, reading, removing
        self._clock, self._peek = clock, peek
        self._calling = Calling(world, reading, writing, clock)

    def compute(self, ref: Ref, recipe: Recipe) -> Flow[Outcome]:
        """The value of *ref*: found, joined or computed."""
        return (yield from self.compute_many([ref], recipe))[ref]

    def compute_many(
        self, refs: Sequence[Ref], recipe: Recipe, outcomes: dict[Ref, Outcome] | None = None
    ) -> Flow[dict[Ref, Outcome]]:
        """The values of *refs*; what is missing is computed by one call, what others compute is waited for.

        Where it raises, *outcomes* says what became of each until then.
        """
        outcomes = {} if outcomes is None else outcomes
        wanted, recipe = list(dict.fromkeys(refs)), recipe.begun(self._clock())
        try:
            while wanted:
                mine, others = self._world.flights.board(wanted, self._world.loop(), recipe.marks)
                if mine.keys:
                    yield from self._lead(mine, recipe, outcomes)
                for ref, flight in others.items():
                    joined = yield from self._join(flight, ref, recipe, outcomes)
                    if joined is not None:
                        outcomes[ref] = joined
                wanted = [ref for ref in wanted if ref not in outcomes]
        except Exception:
            for ref in wanted:
                outcomes.setdefault(ref, Outcome(MISSING, "failed", None, self._world.why_absent(ref)))
            raise
        return outcomes

    def bypass(self, refs: Sequence[Ref], recipe: Recipe) -> Flow[dict[Ref, Outcome]]:
        """Call the factory without reading or storing anything."""
        return (yield from self._calling.bypass(Flight(refs, self._world.loop()), recipe))

    def anew(self, ref: Ref, recipe: Recipe) -> Flow[Outcome]:
        """Compute *ref* whatever there is, which stays until the result is stored."""
        return (yield from self._calling.anew(Flight([ref], self._world.loop(), recipe.marks), recipe))

    # -- leading and following

    def _join(
        self, flight: Flight, ref: Ref, recipe: Recipe, outcomes: dict[Ref, Outcome]
    ) -> Flow[Outcome | None]:
        """What another caller's flight gave; None when it gave nothing that this caller can use.

        Where that failed, *outcomes* says that it was no computation of this caller's.
        """
        began = self._clock()
        try:
            with Waiting(flight):
                lives: Mapping[Ref, Live] = yield from perform(Join(flight, left(recipe.ends, began)))
        except Abandoned:
            self._forsake(self._world.flights, flight)
            return None
        except TooSlow:
            raise recipe.timeout(ref) from None
        except FactoryTimeout:
            if flight.gave_up and self._clock() < recipe.ends:  # how long to wait each caller says for itself
                return None
            raise
        except FlightCycle:
            raise
        except Exception:
            outcomes[ref] = _FAILED
            raise
        live = lives.get(ref)
        if live is None or self._is_outdated(flight, ref) or not recipe.accepts(value := live.value()):
            return None
        if (stale := flight.stale.get(ref)) is not None:
            return (yield from self._follow_stale(ref, stale, recipe))
        return joined_outcome(flight, ref, recipe, value, self._clock() - began)

    def _follow_stale(self, ref: Ref, stale: Found, recipe: Recipe) -> Flow[Outcome]:
        """The leader had a stale value: how long to wait for a fresh one each caller says for itself."""
        job = Job(Flight([ref], self._world.loop()), recipe, Seen({ref: stale}, {}, -1), Results({}, {}))
        until = self._clock() + recipe.patience
        running: dict[Ref, Flight] = {}
        if recipe.soft_timeout and not self._world.failures.is_paused(ref):
            running = yield from self._begin(job, [ref], optional=True)  # the leader's, if it has begun it
        yield from self._serve_stale(job, {ref: stale}, running, until)
        return job.results.outcomes[ref]

    def _is_outdated(self, flight: Flight, ref: Ref) -> bool:
        """Was what *flight* computed invalidated while it ran, by a tag that only its factory knew of (Rule 7)?"""
        if flight.late is None:
            return False
        end, marks = flight.late
        if self._world.invalidated() <= end:
            return False
        messages, _ = self._world.since(end)
        return messages is None or any(one.is_invalidation and concerns(one, ref, marks) for one in messages)

    def _forsake(self, table: FlightTable, flight: Flight) -> None:
        if not flight.future.done():  # its event loop is gone, or stands still
            table.forsake(flight)

    def _lead(self, flight: Flight, recipe: Recipe, outcomes: dict[Ref, Outcome]) -> Flow[None]:
        job = Job(flight, recipe, Seen({}, {}, 0), Results({}, outcomes))
        try:
            yield from self._landing(self._world.flights, job, self._obtain(job))
        except Exception:
            for ref, reason in job.seen.reasons.items():
                outcomes.setdefault(ref, Outcome(MISSING, "failed", None, reason))
            raise

    def _landing(self, table: FlightTable, job: Job, flow: Flow[Any]) -> Flow[None]:
        """Drive *flow*, and end the flight of *job* with what comes of it, whatever that is."""
        try:
            yield from flow
        except GeneratorExit:
            table.land(job.flight, None, Abandoned(*job.flight.keys))
            raise
        except BaseException as error:
            job.flight.gave_up = isinstance(error, FactoryTimeout)
            landed = error if isinstance(error, Exception) else Abandoned(*job.flight.keys)
            table.land(job.flight, None, landed)
            raise
        table.land(job.flight, job.results.lives)

    # -- looking

    def _obtain(self, job: Job) -> Flow[None]:
        job.seen = yield from self._look(job)
        recipe, now, stale, due = job.recipe, self._world.now(), dict[Ref, Found](), list[Ref]()
        for ref, one in job.seen.found.items():
            if one.header.fresh_until <= now:
                stale[ref] = one
            else:
                self._serve(job, ref, one)
            if (ref in stale or recipe.is_due(one.header, now)) and not self._world.failures.is_paused(ref):
                due.append(ref)
        until = self._clock() + recipe.patience
        missing = [ref for ref in job.flight.keys if ref not in job.seen.found]
        if (missing and job.seen.found) or stale or due:
            self._part(job, missing, stale)  # first, or a refresh that asks for its own key would find it in its way
        running = (yield from self._begin(job, due, optional=True)) if due else {}
        if missing:
            yield from self._compute_missing(job)
        if stale:
            yield from self._serve_stale(job, stale, running, until)

    def _serve(self, job: Job, ref: Ref, one: Found) -> None:
        """The fresh value that was found is the answer; a hit in memory is counted here and nowhere before."""
        if one.tier == "memory":
            self._world.served(one.header)
        outcome = Outcome(one.value, "hit", one.tier, cost=one.header.cost, **_as_found(one))
        job.results.add(ref, one.live, outcome)
        job.flight.found[ref] = one

    def _part(self, job: Job, missing: Sequence[Ref], stale: Mapping[Ref, Found]) -> None:
        """End the flight with what was found, and go on with the rest (Rule 6)."""
        job.flight.stale = stale
        lives = job.results.lives | {ref: one.live for ref, one in stale.items()}
        job.flight = self._world.flights.relay(job.flight, missing, lives)

    def _look(self, job: Job) -> Flow[Seen]:
        """Memory again as well: another flight may have landed since the caller looked."""
        refs, recipe = job.flight.keys, job.recipe
        end, reasons = self._world.end(), dict[Ref, str]()
        found = {ref: one for ref in refs if (one := self._peek(ref)) is not None}
        below = [ref for ref in refs if ref not in found]
        if len(below) == 1:
            one = yield from self._reading.find_one(below[0], reasons)
            if one is not None:
                found[below[0]] = one
        elif below:
            found |= yield from self._reading.find(below, reasons)
        if recipe.validate is not None:
            yield from self._drop_refused(job.flight, found, reasons, recipe)
        return Seen(found, reasons, end)

    def _drop_refused(
        self, flight: Flight, found: dict[Ref, Found], reasons: dict[Ref, str], recipe: Recipe
    ) -> Flow[None]:
        for ref in [ref for ref, one in found.items() if not recipe.accepts(one.live.value())]:
            del found[ref]
            reasons[ref] = "refused"
            flight.dropping.add(ref)
            try:
                yield from self._removing.keys(ref.namespace, [ref.key])
            finally:
                flight.dropping.discard(ref)

    # -- stale values and refreshes

    def _begin(self, job: Job, refs: Sequence[Ref], *, optional: bool) -> Flow[dict[Ref, Flight]]:
        """Begin computing those of *refs* beside the calls that nobody does; the flights of all that run now."""
        refreshes, recipe = self._world.refreshes, job.recipe
        for other in [other for ref in refs if (other := refreshes.get(ref)) is not None]:
            if not self._world.goes_on(other.loop):
                self._forsake(refreshes, other)
        mine, running = refreshes.board(refs, self._world.loop(), recipe.marks, awaited=False)
        if not mine.keys:
            return running
        beside = Job(mine, recipe, job.seen, Results({}, {}), patient=not optional)

        def abandon() -> None:
            refreshes.land(mine, None, Abandoned(*mine.keys))

        begun = False
        try:
            begun = yield Spawn(self._beside(beside), optional, abandon)
        finally:
            if not begun:
                abandon()
        if not begun:
            return running
        job.begun = beside
        return running | dict.fromkeys(mine.keys, mine)

    def _beside(self, job: Job) -> Flow[None]:
        """A computation beside the calls: nobody need wait for it."""
        refs = job.flight.keys
        try:
            yield from self._landing(self._world.refreshes, job, self._calling.obtain(job, refs))
        except Exception as error:  # noqa: BLE001  # told by the hooks, and to whoever waits for the flight
            for ref in refs:
                if ref in job.seen.found:
                    self._world.failures.note(ref, error, pause=self._world.throttle)
                if not job.patient or job.flight.gave_up:
                    self._world.refresh_failed(ref, error)
            return
        for ref in [] if job.patient else job.missing():
            self._world.failures.pause(ref, ELSEWHERE)
        if job.patient and not job.flight.gave_up:
            return  # whoever began it has taken the outcome for its own
        for ref, outcome in job.results.outcomes.items():
            if outcome.how == "computed":
                self._world.hooks.emit(events.Refreshed(*ref, outcome.factory_s or 0.0, outcome.stored))
                self._world.refreshed(ref, outcome)

    def _serve_stale(
        self, job: Job, stale: Mapping[Ref, Found], running: Mapping[Ref, Flight], until: float
    ) -> Flow[None]:
        """The stale values, but for those of which a fresh one comes within the soft timeout."""
        why = dict[Ref, str]()
        if job.recipe.soft_timeout:
            for other in dict.fromkeys(running.values()):
                refs = [ref for ref in stale if running.get(ref) is other]
                why |= dict.fromkeys(refs, (yield from self._wait_softly(job, other, refs, until)) if refs else "")
        for ref, one in stale.items():
            if ref in job.results.outcomes:
                continue
            reason = "failed" if self._world.failures.has_failed(ref) else why.get(ref, "refreshing")
            outcome = Outcome(
                one.live.value(), "stale", one.tier, reason, cost=one.header.cost, **_as_found(one)
            )
            job.results.add(ref, one.live, outcome)
            self._world.hooks.emit(events.ServedStale(*ref, one.tier, reason))

    def _wait_softly(self, job: Job, other: Flight, refs: Sequence[Ref], until: float) -> Flow[str]:
        """Wait for a refresh; why the values that are still missing after that are."""
        try:
            yield from self._take_from(job, other, refs, until)
        except TooSlow:
            return "slow"
        except Abandoned:
            self._forsake(self._world.refreshes, other)
        except FlightCycle:
            pass  # it is this very refresh that asks, or waits for the asker
        except Exception:  # noqa: BLE001  # the hooks were told, and the stale value is the answer
            return "failed"
        return "refreshing"

    def _take_from(self, job: Job, other: Flight, refs: Sequence[Ref], until: float) -> Flow[None]:
        """Take what a computation beside the calls gives.  Raises what it raises, and `TooSlow`."""
        began = self._clock()
        with Waiting(other, job.flight):
            lives: Mapping[Ref, Live] = yield from perform(Join(other, left(until, began)))
        own = job.begun.results.outcomes if job.begun is not None and job.begun.patient else {}
        for ref in refs:
            if ref in own and job.begun is not None and other is job.begun.flight:
                job.results.outcomes[ref] = own[ref]
                job.results.lives.update({ref: lives[ref]} if ref in lives else {})
                continue
            live = None if self._is_outdated(other, ref) else lives.get(ref)
            if live is not None and job.recipe.accepts(value := live.value()):
                job.results.add(ref, live, joined_outcome(other, ref, job.recipe, value, self._clock() - began))

    # -- what is missing

    def _compute_missing(self, job: Job) -> Flow[None]:
        missing, recipe = job.flight.keys, job.recipe
        for ref in missing if recipe.error_ttl is not None else ():
            if (error := self._world.failures.kept(ref)) is not None:
                job.results.outcomes.update(dict.fromkeys(missing, _FAILED))
                raise error
        while missing and (running := (yield from self._under_way(job, missing))):
            if not (yield from self._take_all(job, running)):
                break
            missing = job.missing()
        if missing := job.missing():
            yield from self._calling.obtain(job, missing)

    def _under_way(self, job: Job, missing: Sequence[Ref]) -> Flow[dict[Ref, Flight]]:
        """The computations of *missing* beside the calls, which are begun if the caller may stop waiting."""
        if job.recipe.hard_timeout is not None:
            return (yield from self._begin(job, missing, optional=False))
        return {ref: other for ref in missing if (other := self._world.refreshes.get(ref)) is not None}

    def _take_all(self, job: Job, running: Mapping[Ref, Flight]) -> Flow[bool]:
        """Wait for all of *running*; False when the own one was abandoned: its factory ended the thread or task."""
        begun = None if job.begun is None else job.begun.flight
        done, recipe = False, job.recipe
        try:
            for other in dict.fromkeys(running.values()):
                until = recipe.deadline if other is begun else recipe.ends
                try:
                    yield from self._take_from(job, other, [ref for ref in running if running[ref] is other], until)
                except Abandoned:
                    self._forsake(self._world.refreshes, other)
                    if other is begun:
                        return False
                except FactoryTimeout:  # who began it waited for another process, and no longer than its caller would
                    if other is begun or not other.gave_up or self._clock() >= recipe.ends:
                        raise
            done = True
        except TooSlow:
            raise recipe.timeout(next(iter(running))) from None
        finally:
            if begun is not None and not done:
                begun.gave_up = True
        return True


_FAILED: Final = Outcome(MISSING, "failed", None, "failed")
"""Of who gets the error of a computation that was another call's: one under way, or one whose error is kept."""


def _as_found(one: Found) -> dict[str, Any]:
    return {"size": one.raw_size} | ({} if one.tier == "memory" else {"handled": one.handled})
