"""How a flow of the engine is driven on an event loop.

Rule 1: as for threads (`blocking`), and once a flow calls a factory, or changes something that a thread must do, a task
        of its own drives the rest of it: what is half done would leave the tiers different from each other, and what
        others wait for is not called twice (`_Rest`).
Rule 2: nothing waits here for another process's lock.  Writes to a blocking tier go to a thread.  Reads are done in
        place, because a thread hop costs 3 to 10 times the disk read it would hide; only where a tier says that this
        thread isn't ready (its first read, or the store is to be opened anew) another thread reads, and makes this one
        ready for the next.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from scoutcache.drive.awaiting import awaited
from scoutcache.drive.blocking import BLOCKING, Stopped, landed, leading, turns
from scoutcache.drive.ports import BESIDE_LIMIT, Ports
from scoutcache.drive.taking import atake, atold
from scoutcache.drive.waits import CHANGES, READS, may_wait
from scoutcache.engine.effects import (
    Announce,
    Call,
    Effect,
    Flow,
    Join,
    Spawn,
    Take,
)
from scoutcache.engine.flights import LEADING, TooSlow
from scoutcache.errors import TierUnavailable

if TYPE_CHECKING:
    import asyncio

__all__ = ["arun", "to_its_end"]

T = TypeVar("T")


_WAITING: Final = frozenset({Call, Take, Join})
"""What may be broken off: nothing is half done."""


class _Rest(Generic[T]):
    """The rest of *flow*, from *effect* on, which it is at; *flight* is what it leads, from its first call on."""

    __slots__ = ("_is_left", "effect", "flight", "flow", "ports")

    def __init__(self, flow: Flow[T], ports: Ports, effect: Effect) -> None:
        self.flow, self.ports, self.effect = flow, ports, effect
        self.flight = effect.flight if isinstance(effect, Call) else None
        self._is_left = False
        """Was its caller cancelled?"""

    async def awaited(self) -> T:
        """What it returns, for a caller who may be cancelled: then it goes on, but with what nobody else waits for."""
        import asyncio

        task = asyncio.ensure_future(arun(self.flow, self.ports, self))
        task.add_done_callback(self._close)
        try:
            return await to_its_end(task)
        except asyncio.CancelledError:
            if task.done():  # what it gave is too late
                raise
            if self._is_alone():
                task.cancel()
                return await task  # the factory may have something to clear away, or go on all the same
            self._is_left = True
            if self.flight is not None:
                self.flight.left_alone = partial(self._leave, task)
                self.flight.end_if_alone()  # threads may have left meanwhile
            raise

    def reaches(self, effect: Effect) -> None:
        """It goes on with *effect*; raises `CancelledError` where nobody waits for that any more."""
        self.effect = effect
        if isinstance(effect, Call):
            self.flight = effect.flight
        if self._is_left:
            self._go_on_for_others()

    def _go_on_for_others(self) -> None:
        import asyncio

        task = asyncio.current_task()
        if self.flight is not None and task is not None:
            self.flight.left_alone = partial(self._leave, task)
        if self._is_alone():
            raise asyncio.CancelledError

    def _is_alone(self) -> bool:
        flight = self.flight
        return type(self.effect) in _WAITING and flight is not None and (flight.future.done() or not flight.followers)

    def _close(self, _: asyncio.Future[T]) -> None:
        self.flow.close()  # a task that is cancelled before its first step runs nothing at all

    def _leave(self, task: asyncio.Future[T]) -> None:
        with suppress(RuntimeError):  # the loop was closed, and with it everything on it has ended
            task.get_loop().call_soon_threadsafe(lambda: self._is_alone() and task.cancel())


async def arun(flow: Flow[T], ports: Ports, rest: _Rest[T] | None = None) -> T:
    """Drive *flow* to its end on the running event loop; the *rest* of it, if that was begun."""
    handed_over = False
    try:
        effect = next(flow) if rest is None else rest.effect
        while True:
            if rest is not None:
                rest.reaches(effect)
            elif type(effect) is Call or (type(effect) in CHANGES and may_wait(ports, effect)):
                handed_over = True
                return await _Rest(flow, ports, effect).awaited()
            try:
                answer = await (awaited(ports, effect) or _aperform(ports, effect))
            except Exception as error:  # noqa: BLE001  # the flow decides what to do about it
                effect = flow.throw(error)
            else:
                effect = flow.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # the flow's own return type
    finally:
        if not handed_over:
            flow.close()


_finishing: set[asyncio.Future[Any]] = set()
"""What goes on whatever becomes of its callers; an event loop alone would let it be collected."""


async def to_its_end(work: Awaitable[T]) -> T:
    """Await *work*, which goes on though the caller is cancelled: half of it done would leave two truths."""
    import asyncio

    # As `asyncio.shield`, at half its price.
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    rest = asyncio.ensure_future(work)
    _finishing.add(rest)
    rest.add_done_callback(partial(_finished, outcome))
    return await outcome


def _finished(outcome: asyncio.Future[Any], rest: asyncio.Future[Any]) -> None:
    _finishing.discard(rest)
    error = None if rest.cancelled() else rest.exception()  # nobody waiting for it is no reason to complain
    if outcome.done():
        return
    if rest.cancelled():
        outcome.cancel()
    elif error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(rest.result())


def _clear_away(ports: Ports) -> None:
    """Forget what loops that were closed have left: it never ends."""
    for done, loop in list(ports.loops.items()):
        if loop.is_closed():
            ports.beside.discard(done)
            ports.loops.pop(done, None)


async def _aspawn(ports: Ports, effect: Spawn) -> bool:
    import asyncio

    loop = asyncio.get_running_loop()
    _clear_away(ports)
    if effect.optional and len(ports.beside) >= BESIDE_LIMIT:
        return False
    done: Future[None] = Future()
    ports.beside.add(done)
    ports.loops[done] = loop
    context = copy_context()
    context.run(LEADING.set, ())
    task = loop.create_task(arun(effect.flow, ports), context=context)

    def end(ended: asyncio.Future[None]) -> None:
        if ended.cancelled():
            effect.abandoned()  # a task that is cancelled before its first step runs nothing at all
        ports.beside.discard(done)
        ports.loops.pop(done, None)
        done.set_result(None)
        _finishing.discard(ended)
        if not ended.cancelled():
            ended.exception()

    _finishing.add(task)
    task.add_done_callback(end)
    return True


async def _aperform(ports: Ports, effect: Effect) -> Any:
    own = _ON_LOOP.get(type(effect))
    if own is not None:
        return await own(ports, effect)
    if may_wait(ports, effect):
        return await (_in_thread if type(effect) not in READS else _read_in_thread)(ports, effect)
    return BLOCKING[type(effect)](ports, effect)


async def _acall(_: Ports, effect: Call) -> Any:
    with leading(effect.flight):
        try:
            value = effect.factory()
        except StopIteration as stop:
            raise Stopped(stop) from stop
        return await value if isinstance(value, Awaitable) else value


async def _ajoin(ports: Ports, effect: Join) -> Any:
    import asyncio

    joined = asyncio.wrap_future(effect.flight.future)
    try:
        async with await atold(ports, effect.flight):
            for seconds in turns(effect):
                if (await asyncio.wait({joined}, timeout=seconds))[0]:
                    joined.exception()  # it counts as asked for
                    return landed(effect.flight.future)
    finally:
        joined.cancel()  # or its error would be called one that nobody asked for; the flight itself refuses
    raise TooSlow


async def _announce(ports: Ports, effect: Announce) -> None:
    try:
        ports.announce(effect.message, wait=False)
    except BlockingIOError:
        await _threaded(ports, partial(ports.announce, effect.message))


_ON_LOOP: dict[type[Effect], Callable[[Ports, Any], Awaitable[Any]]] = {
    Call: _acall,
    Join: _ajoin,
    Spawn: _aspawn,
    Take: atake,
    Announce: _announce,
}
"""What an event loop does in another way than a thread."""


def _threaded(ports: Ports, perform: Callable[[], T]) -> asyncio.Future[T]:
    """What a thread is to do; one of the loop's own once the cache is closed, whose tiers say so."""
    import asyncio

    loop = asyncio.get_running_loop()
    try:
        return loop.run_in_executor(ports.threads, perform)
    except RuntimeError:
        return loop.run_in_executor(None, perform)


async def _in_thread(ports: Ports, effect: Effect) -> Any:
    return await _threaded(ports, partial(BLOCKING[type(effect)], ports, effect))


async def _read_in_thread(ports: Ports, effect: Effect) -> Any:
    """The same, and the loop's own thread is made ready on the way."""
    thread, cold = threading.current_thread(), ports.cold()

    def perform() -> Any:
        for tier in cold:
            with suppress(TierUnavailable):  # the effect itself says what is wrong
                tier.make_ready(thread)
        return BLOCKING[type(effect)](ports, effect)

    return await _threaded(ports, perform)
