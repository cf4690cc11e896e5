"""One computation per key in a process, and who waits for whom.

Rule 1: whoever puts its flight on the table first leads; everybody else joins.  ``dict.setdefault`` is one C call, so
        no thread can come in between.
Rule 2: a leader that is cancelled takes its flight off the table *first*, then completes it as abandoned, so that a
        follower is elected and nobody joins a flight that has ended.
Rule 3: a join that would close a circle is refused.  Flights know which flights they wait for: the edge is added
        first and the circle looked for afterwards, so of two threads closing one circle at least one sees it.
Rule 4: a join on an event loop's own thread is refused when a flight it would wait for needs that loop to go on; while
        one is under way, the flights that need the loop wait for what it waits for.
Rule 5: a flight that an announcement names goes on for those who joined it, but leaves the table: who asks after an
        invalidation has returned must not be answered by a computation that began before it.

Which flights the caller itself leads is kept in a context variable, because a factory may ask from a task or thread it
started (both inherit the context; a bare ``threading.Thread`` doesn't, and is not seen).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar

from scoutcache.coherence.messages import Message, concerns
from scoutcache.entry import Live, Ref
from scoutcache.errors import FlightCycle

__all__ = ["LEADING", "Abandoned", "Flight", "FlightTable", "Waiting", "blocking"]


class Abandoned(Exception):
    """The leader was cancelled before it had a value."""


class Flight:
    """One running computation of *key*, led on event loop *loop* (None: by a thread).

    *marks* are the names of the marks that its entry is going to carry.
    """

    __slots__ = ("future", "key", "loop", "marks", "waits_for")

    def __init__(self, key: Ref, loop: object | None, marks: Sequence[str] = ()) -> None:
        self.key = key
        self.loop = loop
        self.marks = marks
        self.waits_for: list[Flight] = []
        self.future: Future[Live] = Future()
        # A running future refuses cancel(): a cancelled follower must not take the flight down with it.
        self.future.set_running_or_notify_cancel()


LEADING: ContextVar[tuple[Flight, ...]] = ContextVar("scoutcache_leading", default=())
"""The flights whose factories are running around the caller, outermost first."""


class FlightTable:
    """The flights of one store in this process."""

    def __init__(self) -> None:
        self._flights: dict[Ref, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def board(self, key: Ref, loop: object | None, marks: Sequence[str] = ()) -> tuple[Flight, bool]:
        """The flight for *key*, and whether the caller leads it."""
        mine = Flight(key, loop, marks)
        flight = self._flights.setdefault(key, mine)
        if flight is mine and (leading := LEADING.get()):
            leading[-1].waits_for.append(mine)
        return flight, flight is mine

    def land(self, flight: Flight, live: Live | None, error: BaseException | None = None) -> None:
        """End *flight* with a value, or an error."""
        self._leave(flight)
        if leading := LEADING.get():
            _forget(leading[-1], flight)
        if error is not None:
            flight.future.set_exception(error)
        elif live is not None:
            flight.future.set_result(live)

    def _leave(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            self._flights.pop(flight.key, None)

    def apply(self, message: Message) -> None:
        """Nobody else joins the flights that *message* names (Rule 5)."""
        for flight in list(self._flights.values()):
            if concerns(message, flight.key, flight.marks):
                self._leave(flight)

    def drop(self) -> None:
        """Forget all: a message was missed, or in a forked child nobody leads them any more."""
        self._flights.clear()


class Waiting:
    """While it is entered, the flight the caller leads waits for *flight*; raises `FlightCycle` instead of hanging."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._leader: Flight | None = None

    def __enter__(self) -> None:
        leading = LEADING.get()
        if not leading:
            return
        self._leader = leader = leading[-1]
        leader.waits_for.append(self._flight)
        for reached in reachable(self._flight):
            if reached in leading:
                self.__exit__()
                raise FlightCycle(
                    f"computing {_name(leader)} asks for {_name(self._flight)}, which is waiting for "
                    f"{_name(reached)}: neither could ever end",
                    hint="compute one of them outside the other's factory",
                )

    def __exit__(self, *_: object) -> None:
        if self._leader is not None:
            _forget(self._leader, self._flight)
            self._leader = None


def reachable(flight: Flight) -> Iterator[Flight]:
    """*flight* and every flight it waits for, directly or not."""
    seen: list[Flight] = []
    todo = [flight]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.append(one)
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


def _forget(leader: Flight, flight: Flight) -> None:
    if flight in leader.waits_for:
        leader.waits_for.remove(flight)


def _name(flight: Flight) -> str:
    return repr(flight.key.key)
