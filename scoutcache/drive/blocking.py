"""How a flow of the engine is driven by a thread, and what its effects come to there.

Rule 1: a driver closes its flow in ``finally``: who leaves must not leave a flight open.
Rule 2: around a factory the context says which flight is being led, so that a circle is seen.
Rule 3: what runs beside the calls runs in a thread of its own, which the interpreter's end doesn't wait for: a factory
        may hang.
Rule 4: a flight that is led on an event loop is waited for only as long as that loop runs: one that was left behind by
        its loop would never end.
Rule 5: a flow is a generator, and can't carry StopIteration (PEP 479): one that a factory raised goes through as
        `Stopped`, and leaves `run` as what it was.  No coroutine can raise it: on an event loop it stays `Stopped`.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from scoutcache.drive.ports import BESIDE_LIMIT, Ports
from scoutcache.drive.taking import take, told
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
from scoutcache.errors import CacheError

if TYPE_CHECKING:
    import asyncio

__all__ = ["BLOCKING", "Stopped", "goes_on", "landed", "leading", "run", "running_loop", "turns"]

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
                answer = BLOCKING[type(effect)](ports, effect)
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
    with leading(effect.flight):
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
        for seconds in turns(effect):
            with suppress(TimeoutError):
                future.exception(seconds)
            if future.done():
                return landed(future)
    raise TooSlow


def landed(future: Future[T]) -> T:
    """Its result, or its error as one of this caller's own: where it is raised it grows a traceback."""
    error = future.exception()
    if not isinstance(error, Exception) or (own := copied(error)) is None:
        return future.result()
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    raise own.with_traceback(error.__traceback__)


def turns(effect: Join) -> Iterator[float | None]:
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


BLOCKING: dict[type[Effect], Callable[[Ports, Any], Any]] = {
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


@contextmanager
def leading(flight: Flight) -> Iterator[None]:
    token = LEADING.set((*LEADING.get(), flight))
    try:
        yield
    finally:
        with suppress(ValueError):  # what a loop that was closed left behind ends in another context
            LEADING.reset(token)
