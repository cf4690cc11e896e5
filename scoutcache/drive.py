"""How a flow of the engine is driven: blocking, or on an event loop.

Rule 1: a driver closes its flow in ``finally``: a cancelled caller must not leave its flight open.
Rule 2: on an event loop nothing waits for another process's lock.  Writes to a blocking tier go to a thread; reads
        never wait and are done in place, because a thread hop costs 3 to 10 times the disk read it would hide.
Rule 3: around a factory the context says which flight is being led, so that a circle is seen.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from scoutcache.coherence.messages import Message
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
    Renew,
    Work,
    Write,
)
from scoutcache.engine.flights import LEADING, Flight, blocking
from scoutcache.errors import CacheError
from scoutcache.tiers.base import Tier
from scoutcache.tiers.versions import RememberedVersions

__all__ = ["Ports", "arun", "run", "running_loop"]

T = TypeVar("T")


@dataclass
class Ports:
    """What effects are performed on.  *now* gives seconds since the epoch; *threads* are other ones after a fork."""

    tiers: Sequence[Tier]
    versions: RememberedVersions
    announce: Callable[..., None]
    now: Callable[[], float]
    threads: Executor


def run(flow: Flow[T], ports: Ports) -> T:
    """Drive *flow* to its end, blocking."""
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
    finally:
        flow.close()


async def arun(flow: Flow[T], ports: Ports) -> T:
    """Drive *flow* to its end on the running event loop.

    Once it changes something that a thread must do, the rest of it goes on though the caller is cancelled: what is
    half done would leave the tiers different from each other.
    """
    handed_over = False
    try:
        effect = next(flow)
        while True:
            if _may_wait(ports, effect) and not isinstance(effect, Current | Work):
                handed_over = True
                rest = asyncio.ensure_future(_finish(flow, effect, ports))
                _finishing.add(rest)
                rest.add_done_callback(_finished)
                return await asyncio.shield(rest)
            effect = await _step(flow, effect, ports)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # the flow's own return type
    except _Ended as ended:
        return ended.value  # type: ignore[no-any-return]  # the flow's own return type
    finally:
        if not handed_over:
            flow.close()


class _Ended(Exception):
    """A flow returned: a coroutine can't raise the `StopIteration` that says so."""

    def __init__(self, value: Any) -> None:
        self.value = value


_finishing: set[asyncio.Future[Any]] = set()
"""Flows that go on whatever becomes of their callers; an event loop alone would let them be collected."""


def _finished(rest: asyncio.Future[Any]) -> None:
    _finishing.discard(rest)
    if not rest.cancelled():
        rest.exception()  # whoever still waits is told; nobody waiting is no reason to complain


async def _step(flow: Flow[Any], effect: Effect, ports: Ports) -> Effect:
    """Perform *effect* and give the next one."""
    try:
        answer = await _aperform(ports, effect)
    except Exception as error:  # noqa: BLE001  # the flow decides what to do about it
        resume = partial(flow.throw, error)
    else:
        resume = partial(flow.send, answer)
    try:
        return resume()
    except StopIteration as stop:
        raise _Ended(stop.value) from None


async def _finish(flow: Flow[T], effect: Effect, ports: Ports) -> T:
    try:
        while True:
            effect = await _step(flow, effect, ports)
    except _Ended as ended:
        return ended.value  # type: ignore[no-any-return]  # the flow's own return type
    finally:
        flow.close()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of the calling thread, if one is running."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _read(ports: Ports, effect: Read) -> Any:
    return ports.tiers[effect.level].read_many(effect.refs, ports.now())


def _read_one(ports: Ports, effect: ReadOne) -> Any:
    return ports.tiers[effect.level].read(effect.ref, ports.now())


def _write(ports: Ports, effect: Write) -> int:
    return ports.tiers[effect.level].write(effect.rows, ports.now(), effect.allow)


def _call(_: Ports, effect: Call) -> Any:
    with _leading(effect.flight):
        value = effect.factory()
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise CacheError("the factory is a coroutine, and this cache is blocking", hint="use AsyncCache")
    return value


def _join(_: Ports, effect: Join) -> Any:
    loop = running_loop()
    with nullcontext() if loop is None else blocking(loop, effect.flight):
        return effect.flight.future.result()


_BLOCKING: dict[type[Effect], Callable[[Ports, Any], Any]] = {
    Read: _read,
    ReadOne: _read_one,
    Write: _write,
    Remove: lambda ports, effect: ports.tiers[effect.level].remove(effect.refs),
    Erase: lambda ports, effect: ports.tiers[effect.level].remove_matching(effect.namespace, effect.pattern),
    Clear: lambda ports, effect: ports.tiers[effect.level].clear(effect.namespace),
    Current: lambda ports, effect: ports.versions.current(effect.namespace, effect.names, create=effect.create),
    Names: lambda ports, effect: ports.versions.names(effect.namespace, effect.prefix),
    Renew: lambda ports, effect: ports.versions.renew(effect.namespace, effect.names),
    Announce: lambda ports, effect: ports.announce(effect.message),
    Call: _call,
    Join: _join,
    Work: lambda _, effect: effect.do(),
}


async def _aperform(ports: Ports, effect: Effect) -> Any:
    match effect:
        case Call():
            with _leading(effect.flight):
                value = effect.factory()
                return await value if isinstance(value, Awaitable) else value
        case Join():
            return await asyncio.wrap_future(effect.flight.future)
        case Announce():
            return await _announce(ports, effect.message)
        case _ if _may_wait(ports, effect):
            return await _in_thread(ports, effect)
        case _:
            return _BLOCKING[type(effect)](ports, effect)


def _may_wait(ports: Ports, effect: Effect) -> bool:
    match effect:
        case Write() | Remove() | Erase() | Clear():
            return ports.tiers[effect.level].blocking
        case Current():
            return effect.create and ports.versions.remembered(effect.namespace, effect.names) is None
        case _:
            return isinstance(effect, Renew | Work)


async def _announce(ports: Ports, message: Message) -> None:
    try:
        ports.announce(message, wait=False)
    except BlockingIOError:
        await asyncio.get_running_loop().run_in_executor(ports.threads, partial(ports.announce, message))


async def _in_thread(ports: Ports, effect: Effect) -> Any:
    perform = partial(_BLOCKING[type(effect)], ports, effect)
    return await asyncio.get_running_loop().run_in_executor(ports.threads, perform)


@contextmanager
def _leading(flight: Flight) -> Iterator[None]:
    token = LEADING.set((*LEADING.get(), flight))
    try:
        yield
    finally:
        LEADING.reset(token)
