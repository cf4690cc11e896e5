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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from scoutcache import events
from scoutcache.engine.calling import Calling, Job, Results, Seen
from scoutcache.engine.effects import Flow, Join, Spawn, perform
from scoutcache.engine.flights import Abandoned, Flight, FlightTable, TooSlow, Waiting
from scoutcache.engine.reading import Found, Reading
from scoutcache.engine.recipe import Outcome, Recipe
from scoutcache.engine.removing import Removing
from scoutcache.engine.world import World
from scoutcache.engine.writing import Writing
from scoutcache.entry import NEVER, Live, Ref
from scoutcache.errors import FactoryTimeout

__all__ = ["Computing", "Outcome", "Recipe"]


class Computing:
    """Computations for one cache.

    *clock* is monotonic seconds; *peek* gives what memory has, stale entries too, and counts a fresh one as a hit.
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

    def compute_many(self, refs: Sequence[Ref], recipe: Recipe) -> Flow[dict[Ref, Outcome]]:
        """The values of *refs*; what is missing is computed by one call, what others compute is waited for."""
        outcomes: dict[Ref, Outcome] = {}
        wanted = list(dict.fromkeys(refs))
        while wanted:
            mine, others = self._world.flights.board(wanted, self._world.loop(), recipe.marks)
            if mine.keys:
                outcomes |= yield from self._lead(mine, recipe)
            for ref, flight in others.items():
                joined = yield from self._join(flight, ref, recipe)
                if joined is not None:
                    outcomes[ref] = joined
            wanted = [ref for ref in wanted if ref not in outcomes]
        return outcomes

    def bypass(self, refs: Sequence[Ref], recipe: Recipe) -> Flow[dict[Ref, Outcome]]:
        """Call the factory without reading or storing anything."""
        return (yield from self._calling.bypass(Flight(refs, self._world.loop()), recipe))

    # -- leading and following

    def _join(self, flight: Flight, ref: Ref, recipe: Recipe) -> Flow[Outcome | None]:
        """What another caller's flight gave; None when it gave nothing that this caller can use."""
        try:
            with Waiting(flight):
                lives: Mapping[Ref, Live] = yield from perform(Join(flight, recipe.hard_timeout))
        except Abandoned:
            return None
        except TooSlow:
            raise _timeout([ref], recipe) from None
        except FactoryTimeout:
            if flight.gave_up and recipe.hard_timeout is None:
                return None
            raise
        live = lives.get(ref)
        if live is None or not recipe.accepts(value := live.value()):
            return None
        return Outcome(value, "joined", cost=recipe.cost)

    def _lead(self, flight: Flight, recipe: Recipe) -> Flow[dict[Ref, Outcome]]:
        results = yield from self._landing(self._world.flights, flight, self._obtain(flight, recipe))
        return results.outcomes

    def _landing(self, table: FlightTable, flight: Flight, flow: Flow[Results]) -> Flow[Results]:
        """Drive *flow*, and end *flight* with what comes of it, whatever that is."""
        try:
            results = yield from flow
        except GeneratorExit:
            table.land(flight, None, Abandoned(*flight.keys))
            raise
        except BaseException as error:
            flight.gave_up = isinstance(error, FactoryTimeout)
            table.land(flight, None, error if isinstance(error, Exception) else Abandoned(*flight.keys))
            raise
        table.land(flight, results.lives)
        return results

    # -- looking

    def _obtain(self, flight: Flight, recipe: Recipe) -> Flow[Results]:
        seen = yield from self._look(flight.keys, recipe)
        job = Job(flight, recipe, seen, Results({}, {}))
        stale, due, now = {}, [], self._world.now()
        for ref, one in seen.found.items():
            if one.header.fresh_until <= now:
                stale[ref] = one
            else:
                job.results.add(ref, one.live, _hit(one))
            if (ref in stale or recipe.is_due(one.header, now)) and self._world.failures.recent(ref) is None:
                due.append(ref)
        running = (yield from self._begin(job, due, optional=True)) if due else {}
        if stale:
            yield from self._serve_stale(job, stale, running)
        if missing := job.missing():
            yield from self._compute_missing(job, missing)
        return job.results

    def _look(self, refs: Sequence[Ref], recipe: Recipe) -> Flow[Seen]:
        """Memory again as well: another flight may have landed since the caller looked."""
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
            yield from self._drop_refused(found, reasons, recipe)
        return Seen(found, reasons, end)

    def _drop_refused(self, found: dict[Ref, Found], reasons: dict[Ref, str], recipe: Recipe) -> Flow[None]:
        for ref in [ref for ref, one in found.items() if not recipe.accepts(one.live.value())]:
            del found[ref]
            reasons[ref] = "refused"
            yield from self._removing.keys(ref.namespace, [ref.key])

    # -- stale values and refreshes

    def _begin(self, job: Job, refs: Sequence[Ref], *, optional: bool) -> Flow[dict[Ref, Flight]]:
        """Begin computing those of *refs* beside the calls that nobody does; the flights of all that run now."""
        refreshes, recipe = self._world.refreshes, job.recipe
        mine, running = refreshes.board(refs, self._world.loop(), recipe.marks, awaited=False)
        if not mine.keys:
            return running
        beside = Job(mine, recipe, job.seen, Results({}, {}), patient=not optional)

        def abandon() -> None:
            if not mine.future.done():
                refreshes.land(mine, None, Abandoned(*mine.keys))

        if not (yield Spawn(self._beside(beside), optional, abandon)):
            abandon()
            return running
        return running | dict.fromkeys(mine.keys, mine)

    def _beside(self, job: Job) -> Flow[None]:
        """A computation beside the calls: nobody need wait for it."""
        refs = job.flight.keys
        try:
            yield from self._landing(self._world.refreshes, job.flight, self._calling.obtain(job, refs))
        except Exception as error:  # noqa: BLE001  # told by the hooks, and to whoever waits for the flight
            for ref in refs:
                if ref in job.seen.found:
                    self._world.failures.note(ref, error, self._world.throttle)
            return
        for ref, outcome in job.results.outcomes.items():
            if outcome.how == "computed":
                self._world.hooks.emit(events.Refreshed(*ref, outcome.factory_s or 0.0, outcome.stored))

    def _serve_stale(self, job: Job, stale: Mapping[Ref, Found], running: Mapping[Ref, Flight]) -> Flow[None]:
        """The stale values, but for those of which a fresh one comes within the soft timeout."""
        why = "refreshing"
        if job.recipe.soft_timeout:
            why = yield from self._wait_softly(job, {ref: running[ref] for ref in stale if ref in running})
        for ref, one in stale.items():
            if ref in job.results.outcomes:
                continue
            reason = "failed" if self._world.failures.recent(ref) is not None else why
            outcome = Outcome(one.live.value(), "stale", one.tier, reason, cost=one.header.cost, size=one.size)
            job.results.add(ref, one.live, outcome)
            self._world.hooks.emit(events.ServedStale(*ref, one.tier, reason))

    def _wait_softly(self, job: Job, running: Mapping[Ref, Flight]) -> Flow[str]:
        """Wait for refreshes; why the values that are still missing after that are."""
        try:
            yield from self._await(job, running, job.recipe.soft_timeout)
        except TooSlow:
            return "slow"
        except Abandoned:
            return "refreshing"
        except Exception:  # noqa: BLE001  # the hooks were told, and the stale value is the answer
            return "failed"
        return "refreshing"

    def _await(self, job: Job, running: Mapping[Ref, Flight], timeout: float | None) -> Flow[None]:
        """Take what computations beside the calls give.  Raises what they raise, and `TooSlow`."""
        until = None if timeout is None or timeout == NEVER else self._clock() + timeout
        for other in dict.fromkeys(running.values()):
            job.flight.waits_for.append(other)
            try:
                with Waiting(other):
                    left = None if until is None else max(0.0, until - self._clock())
                    lives: Mapping[Ref, Live] = yield from perform(Join(other, left))
            finally:
                job.flight.waits_for.remove(other)
            for ref in running:
                if running[ref] is other and ref in lives:
                    job.results.add(ref, lives[ref], Outcome(lives[ref].value(), "joined", cost=job.recipe.cost))

    def _compute_missing(self, job: Job, missing: Sequence[Ref]) -> Flow[None]:
        recipe = job.recipe
        for ref in missing if recipe.error_ttl is not None else ():
            if (error := self._world.failures.recent(ref)) is not None:
                raise error
        running = {ref: other for ref in missing if (other := self._world.refreshes.get(ref)) is not None}
        if recipe.hard_timeout is not None:
            running |= yield from self._begin(job, missing, optional=False)
        try:
            yield from self._await(job, running, recipe.hard_timeout)
        except TooSlow:
            raise _timeout(missing, recipe) from None
        except Abandoned:
            pass  # computed below
        if missing := job.missing():
            yield from self._calling.obtain(job, missing)


def _hit(one: Found) -> Outcome:
    return Outcome(one.value, "hit", one.tier, cost=one.header.cost, size=one.size)


def _timeout(refs: Sequence[Ref], recipe: Recipe) -> FactoryTimeout:
    return FactoryTimeout(
        f"computing {refs[0].key!r} takes longer than {recipe.hard_timeout:g} s",
        hint="its result will be stored when it comes; raise hard_timeout to wait for it",
    )
