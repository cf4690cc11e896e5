"""One computation per key in a process, and who waits for whom.  A flight may compute several keys by one call.

Rule 1: whoever puts its flight on the table first leads; everybody else joins.  ``dict.setdefault`` is one C call, so
        no thread can come in between.
Rule 2: what a leader has begun goes on though its caller is cancelled, as long as somebody waits for it: it may have
        been paid for.  Who leaves it alone (`left_alone`) ends it, or one that hangs would keep its key for ever.
        Where it ends without a value it takes its flight off the table *first*, then completes it as abandoned, so that
        a follower is elected and nobody joins a flight that has ended.
Rule 3: a join that would close a circle is refused.  Flights know which flights they wait for: the edge is added
        first and the circle looked for afterwards, so of two threads closing one circle at least one sees it.
Rule 4: a join on an event loop's own thread is refused when a flight it would wait for needs that loop to go on; while
        one is under way, the flights that need the loop wait for what it waits for.
Rule 5: a flight that an announcement names goes on for those who joined it, but leaves the table and gives up its
        lease: who asks after an invalidation has returned must neither be answered by a computation that began before
        it, nor wait for one.  What only tells of a write ends none that waits for another process, for that looks
        again, nor the very one whose value was written: given up before all tiers have it, its lease would go to who
        finds nothing there.

Which flights the caller itself leads is kept in a context variable, because a factory may ask from a task or thread it
started (both inherit the context; a bare ``threading.Thread`` doesn't, and is not seen).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from scoutcache.coherence.messages import Message, concerns
from scoutcache.entry import Live, Ref
from scoutcache.errors import FlightCycle

__all__ = ["LEADING", "Abandoned", "Flight", "FlightTable", "Lease", "Running", "TooSlow", "Waiting", "blocking"]


class Abandoned(Exception):
    """The leader was cancelled before it had a value."""


class TooSlow(Exception):
    """Whoever waited for a flight waits no longer; the flight goes on."""


class Lease(Protocol):
    """The right to compute *ref*, among all processes; see `scoutcache.channels.leases`."""

    @property
    def ref(self) -> Ref:
        """Which key."""

    def release(self) -> None:
        """Give it up; never waits."""


class Flight:
    """One running computation of *keys*, led on event loop *loop* (None: by a thread).

    *marks* are the names of the marks that the entries are going to carry, *leases* what it holds against other
    processes; *gave_up* says that its leader stopped waiting, while the computation goes on elsewhere, and *outdated*
    which of its keys an announcement has named; *dropping* are keys that it announces itself before it computes them.
    *found* are those of its values that were there already, *stale* those that had outlived their time.  *late* are a
    position of the channel and marks that the factory chose after it: nobody could know of them before.  *began* is the
    stamp of its computation, *awaited* are keys that another process computes.
    """

    __slots__ = (
        "awaited", "began", "costs", "dropping", "followers", "found", "future", "gave_up", "keys", "late", "leases",
        "left_alone", "loop", "marks", "outdated", "stale", "waits_for",
    )  # fmt: skip

    def __init__(self, keys: Sequence[Ref], loop: object | None, marks: Sequence[str] = ()) -> None:
        self.keys = keys
        self.loop = loop
        self.marks = marks
        self.gave_up = False
        self.leases: dict[Ref, Lease] = {}
        self.outdated: set[Ref] = set()
        self.dropping: set[Ref] = set()
        self.awaited: set[Ref] = set()
        self.began = 0
        self.found: dict[Ref, Any] = {}
        self.stale: Mapping[Ref, Any] = {}
        self.late: tuple[int, Sequence[str]] | None = None
        self.costs: Mapping[Ref, float | None] = {}
        """What its call cost for each value, by whoever was asked or made it; None where nobody said."""
        self.waits_for: list[Flight] = []
        self.followers: dict[object, None] = {}
        """Who waits for it now."""
        self.left_alone: Callable[[], object] | None = None
        """Ends it, where the caller that leads it was cancelled: called by the last who waited for it."""
        self.future: Future[Mapping[Ref, Live]] = Future()
        # A running future refuses cancel(): a cancelled follower must not take the flight down with it.
        self.future.set_running_or_notify_cancel()

    def end_if_alone(self) -> None:
        """End it where its caller was cancelled and nobody waits for it."""
        if self.left_alone is not None and not self.followers and not self.future.done():
            self.left_alone()

    def hold(self, lease: Lease) -> None:
        """Keep *lease* until `give_up`, unless an announcement has named its key already (Rule 5)."""
        self.leases[lease.ref] = lease
        if lease.ref in self.outdated:
            self.give_up([lease.ref])

    def give_up(self, keys: Iterable[Ref]) -> None:
        """Release the leases of *keys*, as far as they are held."""
        for key in keys:
            if (lease := self.leases.pop(key, None)) is not None:
                lease.release()


LEADING: ContextVar[tuple[Flight, ...]] = ContextVar("scoutcache_leading", default=())
"""The flights whose factories are running around the caller, outermost first."""


class FlightTable:
    """The flights of one store in this process."""

    def __init__(self) -> None:
        self._flights: dict[Ref, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, key: Ref) -> Flight | None:
        """The flight for *key*, if one is under way."""
        return self._flights.get(key)

    def board(
        self, keys: Sequence[Ref], loop: object | None, marks: Sequence[str] = (), *, awaited: bool = True
    ) -> tuple[Flight, dict[Ref, Flight]]:
        """A flight that the caller leads for those of *keys* that nobody computes, and the flights of the others.

        *awaited* says that the flight the caller leads already, if any, waits for this one.
        """
        mine = Flight(keys, loop, marks)
        flights = [(key, self._flights.setdefault(key, mine)) for key in keys]
        mine.keys = [key for key, flight in flights if flight is mine]
        if awaited and mine.keys and (leading := LEADING.get()):
            leading[-1].waits_for.append(mine)
        return mine, {key: flight for key, flight in flights if flight is not mine}

    def land(self, flight: Flight, lives: Mapping[Ref, Live] | None, error: BaseException | None = None) -> None:
        """End *flight* with its values, or an error; idempotent."""
        for key in flight.keys:
            self._leave(key, flight)
        if leading := LEADING.get():
            _forget(leading[-1], flight)
        if flight.future.done():
            return
        if error is not None:
            flight.future.set_exception(error)
        elif lives is not None:
            flight.future.set_result(lives)

    def relay(self, flight: Flight, keys: Sequence[Ref], lives: Mapping[Ref, Live]) -> Flight:
        """End *flight* with the values it has, and go on computing *keys* of it; the flight that does."""
        rest = Flight(keys, flight.loop, flight.marks)
        rest.outdated = flight.outdated
        if leading := LEADING.get():
            leading[-1].waits_for.append(rest)
        for key in keys:
            if self._flights.get(key) is flight:
                self._flights[key] = rest
        self.land(flight, lives)
        return rest

    def forsake(self, flight: Flight) -> None:
        """Nobody drives *flight* any more, though it has not ended: let others compute its keys."""
        for key in flight.keys:
            self._outdate(key, flight)

    def forsake_left(self) -> None:
        """Forsake what event loops led that were closed since: other processes would wait for it for ever."""
        for flight in set(self._flights.copy().values()):
            if getattr(flight.loop, "is_closed", bool)():
                self.forsake(flight)

    def _outdate(self, key: Ref, flight: Flight) -> None:
        self._leave(key, flight)
        flight.outdated.add(key)
        flight.give_up([key])

    def _leave(self, key: Ref, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            self._flights.pop(key, None)

    def apply(self, message: Message) -> None:
        """Nobody else joins the flights that *message* names (Rule 5)."""
        for key, flight in list(self._flights.items()) if self._flights else ():
            if concerns(message, key, flight.marks) and not _leaves(message, key, flight):
                self._outdate(key, flight)

    def drop(self) -> None:
        """Forget all: a message was missed, or in a forked child nobody leads them any more."""
        for key, flight in list(self._flights.items()):
            self._outdate(key, flight)


class Running:
    """What is under way in a process: the flights that callers wait for, and the refreshes beside the calls."""

    def __init__(self) -> None:
        self.flights = FlightTable()
        self.refreshes = FlightTable()


class Waiting:
    """While it is entered, *mine* and the flight around the caller wait for *flight*.

    Raises `FlightCycle` instead of hanging.  *mine* is a flight that the caller leads and whose factory doesn't run.
    """

    def __init__(self, flight: Flight, mine: Flight | None = None) -> None:
        self._flight, self._mine = flight, mine
        self._waiters: list[Flight] = []

    def __enter__(self) -> None:
        self._flight.followers[self] = None
        leading = LEADING.get()
        own = leading if self._mine is None else (*leading, self._mine)
        if not own:
            return
        self._waiters = list(own[-1:] if self._mine is None else {self._mine, *leading[-1:]})
        for waiter in self._waiters:
            waiter.waits_for.append(self._flight)
        for reached in reachable(self._flight):
            if reached in own:
                self.__exit__()
                awaited = own[-1] if reached is self._flight else reached  # which asks from within it
                raise FlightCycle(
                    f"computing {_name(own[-1])} asks for {_name(self._flight)}, which is waiting for "
                    f"{_name(awaited)}: neither could ever end",
                    hint="compute one of them outside the other's factory",
                )

    def __exit__(self, *_: object) -> None:
        self._flight.followers.pop(self, None)
        self._flight.end_if_alone()
        for waiter in self._waiters:
            _forget(waiter, self._flight)
        self._waiters = []


def reachable(flight: Flight) -> Iterator[Flight]:
    """*flight* and every flight it waits for, directly or not."""
    seen: set[Flight] = set()
    todo = [flight]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            yield one
            todo.extend(list(one.waits_for))
            if (blocked_on := _blocked.get(one.loop)) is not None:
                todo.append(blocked_on)


_blocked: dict[object, Flight] = {}
"""The event loops whose threads are waiting for a flight."""


@contextmanager
def blocking(loop: object, flight: Flight) -> Iterator[None]:
    """While it is entered, the thread of *loop* waits for *flight*; raises `FlightCycle` instead of hanging."""
    _blocked[loop] = flight
    try:
        _refuse_own_loop(flight, loop)
        yield
    finally:
        del _blocked[loop]


def _refuse_own_loop(flight: Flight, loop: object) -> None:
    for one in reachable(flight):
        if one.loop is not None and one.loop is loop:
            leading = LEADING.get()
            asker = f"computing {_name(leading[-1])}" if leading else "a blocking call on an event loop"
            raise FlightCycle(
                f"{asker} asks for {_name(flight)}, which waits for {_name(one)} on the same event loop: "
                "neither could ever end",
                hint="use AsyncCache on an event loop, or call the blocking cache in a thread",
            )


def _leaves(message: Message, key: Ref, flight: Flight) -> bool:
    """Does what *message* tells of leave the flight as good as it was?"""
    if message.kind == "written" and (key in flight.awaited or message.stamp == flight.began):
        return True
    return key in flight.dropping


def _forget(leader: Flight, flight: Flight) -> None:
    if flight in leader.waits_for:
        leader.waits_for.remove(flight)


def _name(flight: Flight) -> str:
    first, *others = [key.key for key in flight.keys] or [""]
    return f"{first!r} and {len(others)} more" if others else repr(first)
