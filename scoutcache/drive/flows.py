"""How a flow of the engine is driven: blocking, or on an event loop.

Rule 1: a driver closes its flow in ``finally``: a cancelled caller must not leave its flight open.  Once a flow calls a
        factory, or changes something that a thread must do, a task of its own drives the rest of it: what is half done
        would leave the tiers different from each other, and what others wait for is not called twice (`arun`).
Rule 2: on an event loop nothing waits for another process's lock.  Writes to a blocking tier go to a thread.  Reads
        are done in place, because a thread hop costs 3 to 10 times the disk read it would hide; only where a tier says
        that this thread isn't ready (its first read, or the store is to be opened anew) another thread reads, and makes
        this one ready for the next.
Rule 3: around a factory the context says which flight is being led, so that a circle is seen.
Rule 4: what runs beside the calls runs in a thread or a task of its own, which the interpreter's end doesn't wait for:
        a factory may hang.
Rule 5: a flight that is led on an event loop is waited for only as long as that loop runs: one that was left behind by
        its loop would never end.
Rule 6: a flow is a generator, and can't carry StopIteration (PEP 479): one that a factory raised goes through as
        `Stopped`, and leaves `run` as what it was.  No coroutine can raise it: on an event loop it stays `Stopped`.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scoutcache.drive.awaiting import awaited
from scoutcache.drive.ports import BESIDE_LIMIT, Ports
from scoutcache.drive.taking import atake, atold, take, told
from scoutcache.drive.waits import CHANGES, READS, may_wait
from scoutcache.engine.effects import (
    Announce,
    Call,
    Clear,
    Current,
    Effect,
    Erase,
    Flow,
    Join,
    Names,
    Read,
    ReadOne,
    Remove,
    RemoveOlder,
    Renew,
    Spawn,
    Take,
    Work,
    Write,
)
from scoutcache.engine.failures import copied
from scoutcache.engine.flights import LEADING, Abandoned, Flight, TooSlow, blocking
from scoutcache.entry import Ref
from scoutcache.errors import CacheError, TierUnavailable

if TYPE_CHECKING:
    import asyncio

__all__ = ["Ports", "arun", "run", "running_loop", "to_its_end"]

T = TypeVar("T")


LOOK_AGAIN = 0.5
"""Seconds after which whoever waits for a flight looks whether its event loop still runs."""


class Stopped(RuntimeError):
    """A factory raised *stop*: what Python itself makes of that in a coroutine, and says which one it was."""

    def __init__(self, stop: StopIteration) -> None:
        super().__init__(stop)
        self.stop = stop

    def __str__(self) -> str:
        return f"the factory raised {self.stop!r}"

    def __copy__(self) -> Stopped:
        own = copied(self.stop)  # for each caller who raises it
        return Stopped(own if isinstance(own, StopIteration) else self.stop)


def run(flow: Flow[T], ports: Ports) -> T:
    """Drive *flow* to its end, blocking."""
    # As `step_through`, without its one more call for every effect: each hit comes through here.
    try:
        effect = next(flow)
        while True:
            try:
                answer = _BLOCKING[type(effect)](ports, effect)
            except Exception as error:  # noqa: BLE001  # the flow decides what to do about it
                effect = flow.throw(error)
            else:
                effect = flow.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # the flow's own return type
    except Stopped as error:
        raised = error.stop
    finally:
        flow.close()
    raise raised


class _Rest(Generic[T]):
    """The rest of *flow*, from *effect* on, which it is at."""

    __slots__ = ("effect", "flow", "ports")

    def __init__(self, flow: Flow[T], ports: Ports, effect: Effect) -> None:
        self.flow, self.ports, self.effect = flow, ports, effect

    async def awaited(self) -> T:
        """What it returns, for a caller who may be cancelled: then it goes on, but for a call that nobody waits for."""
        import asyncio

        task = asyncio.ensure_future(arun(self.flow, self.ports, self))
        try:
            return await to_its_end(task)
        except asyncio.CancelledError:
            call = self.effect
            if task.done() or type(call) is not Call:
                raise
            if call.flight.followers:
                loop = task.get_loop()
                call.flight.left_alone = partial(loop.call_soon_threadsafe, self._end, task, call)
                call.flight.end_if_alone()  # they may have left meanwhile, being threads
                raise
            task.cancel()
            return await task  # the factory may have something to clear away, or go on all the same

    def _end(self, task: asyncio.Future[T], call: Call) -> None:
        if self.effect is call and not call.flight.followers:
            task.cancel()


async def arun(flow: Flow[T], ports: Ports, rest: _Rest[T] | None = None) -> T:
    """Drive *flow* to its end on the running event loop; the *rest* of it, if that was begun."""
    handed_over = False
    try:
        effect = next(flow) if rest is None else rest.effect
        while True:
            if rest is not None:
                rest.effect = effect
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


def goes_on(loop: object | None) -> bool:
    """Can what *loop* drives end?  What a thread drives (None) can."""
    is_running: Callable[[], bool] | None = getattr(loop, "is_running", None)
    return is_running is None or is_running()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of the calling thread, if one is running."""
    # Who hasn't loaded asyncio, which takes a while, runs no loop; nor does who is only loading it.
    running = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    return None if running is None else running()


def _read(ports: Ports, effect: Read) -> Any:
    return ports.tiers[effect.level].read_many(effect.refs, ports.now())


def _read_one(ports: Ports, effect: ReadOne) -> Any:
    return ports.tiers[effect.level].read(effect.ref, ports.now())


def _write(ports: Ports, effect: Write) -> int:
    tier: Any = ports.tiers[effect.level]
    with_it = () if effect.message is None else (effect.message,)
    return tier.write(effect.rows, ports.now(), effect.allow, *with_it)  # type: ignore[no-any-return]


def _remove(ports: Ports, effect: Remove) -> int | set[Ref]:
    tier: Any = ports.tiers[effect.level]
    each = getattr(tier, "remove_each", None) if effect.each else None
    return tier.remove(effect.refs) if each is None else each(effect.refs)  # type: ignore[no-any-return]


def _remove_older(ports: Ports, effect: RemoveOlder) -> int:
    tier: Any = ports.tiers[effect.level]
    return tier.remove_older(effect.starts)  # type: ignore[no-any-return]  # only such tiers are asked


def _call(_: Ports, effect: Call) -> Any:
    with _leading(effect.flight):
        try:
            value = effect.factory()
        except StopIteration as stop:
            raise Stopped(stop) from stop
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise CacheError("the factory is a coroutine, and this cache is blocking", hint="use AsyncCache")
    return value


def _join(ports: Ports, effect: Join) -> Any:
    loop, future = running_loop(), effect.flight.future
    with told(ports, effect.flight) as stack:
        if loop is not None:
            stack.enter_context(blocking(loop, effect.flight))
        for seconds in _turns(effect):
            with suppress(TimeoutError):
                future.exception(seconds)
            if future.done():
                return _landed(future)
    raise TooSlow


def _landed(future: Future[T]) -> T:
    """Its result, or its error as one of this caller's own: where it is raised it grows a traceback."""
    error = future.exception()
    if not isinstance(error, Exception) or (own := copied(error)) is None:
        return future.result()
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    raise own.with_traceback(error.__traceback__)


def _turns(effect: Join) -> Iterator[float | None]:
    """How long to wait until looking whether the flight can still end; raises `Abandoned` when it can't (Rule 5)."""
    loop = effect.flight.loop
    if loop is None or loop is running_loop():
        yield effect.timeout
        return
    until = None if effect.timeout is None else time.monotonic() + effect.timeout
    first = True
    while first or until is None or until > time.monotonic():
        if not effect.flight.future.done() and not goes_on(loop):
            raise Abandoned
        yield LOOK_AGAIN if until is None else min(LOOK_AGAIN, max(0.0, until - time.monotonic()))
        first = False


def _spawn(ports: Ports, effect: Spawn) -> bool:
    if effect.optional and len(ports.beside) >= BESIDE_LIMIT:
        return False
    done: Future[None] = Future()
    ports.beside.add(done)
    context = copy_context()  # the caller's variables, such as the id of a request
    context.run(LEADING.set, ())  # nobody around the caller waits for it

    def work() -> None:
        try:
            context.run(run, effect.flow, ports)
        finally:
            ports.beside.discard(done)
            done.set_result(None)

    try:
        threading.Thread(target=work, name="scoutcache-beside", daemon=True).start()
    except RuntimeError:  # no thread is to be had
        ports.beside.discard(done)
        done.set_result(None)
        return False
    return True


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


_BLOCKING: dict[type[Effect], Callable[[Ports, Any], Any]] = {
    Read: _read,
    ReadOne: _read_one,
    Write: _write,
    Remove: _remove,
    RemoveOlder: _remove_older,
    Erase: lambda ports, effect: ports.tiers[effect.level].remove_matching(effect.namespace, effect.pattern),
    Clear: lambda ports, effect: ports.tiers[effect.level].clear(effect.namespace),
    Current: lambda ports, effect: ports.versions.current(effect.namespace, effect.names, create=effect.create),
    Names: lambda ports, effect: ports.versions.names(effect.namespace, effect.prefix),
    Renew: lambda ports, effect: ports.versions.renew(effect.namespace, effect.names, soft=effect.soft),
    Announce: lambda ports, effect: ports.announce(effect.message),
    Call: _call,
    Join: _join,
    Spawn: _spawn,
    Take: take,
    Work: lambda _, effect: effect.do(),
}


async def _aperform(ports: Ports, effect: Effect) -> Any:
    own = _ON_LOOP.get(type(effect))
    if own is not None:
        return await own(ports, effect)
    if may_wait(ports, effect):
        return await (_in_thread if type(effect) not in READS else _read_in_thread)(ports, effect)
    return _BLOCKING[type(effect)](ports, effect)


async def _acall(_: Ports, effect: Call) -> Any:
    with _leading(effect.flight):
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
            for seconds in _turns(effect):
                if (await asyncio.wait({joined}, timeout=seconds))[0]:
                    joined.exception()  # it counts as asked for
                    return _landed(effect.flight.future)
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
    return await _threaded(ports, partial(_BLOCKING[type(effect)], ports, effect))


async def _read_in_thread(ports: Ports, effect: Effect) -> Any:
    """The same, and the loop's own thread is made ready on the way."""
    thread, cold = threading.current_thread(), ports.cold()

    def perform() -> Any:
        for tier in cold:
            with suppress(TierUnavailable):  # the effect itself says what is wrong
                tier.make_ready(thread)
        return _BLOCKING[type(effect)](ports, effect)

    return await _threaded(ports, perform)


@contextmanager
def _leading(flight: Flight) -> Iterator[None]:
    token = LEADING.set((*LEADING.get(), flight))
    try:
        yield
    finally:
        LEADING.reset(token)
