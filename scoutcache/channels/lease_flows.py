"""How what is done about leases is driven: blocking, or on an event loop; each way of it is written once.

A flow yields batches for the server, rests, and waits for the machine's own leases, and is sent what came of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from scoutcache.channels.leases import Lease, Leases
from scoutcache.entry import Ref
from scoutcache.server.commands import Batch, Conduit, Plan
from scoutcache.server.stepping import astep_through, step_through

__all__ = ["Flow", "Rest", "There", "aperform", "perform"]

T = TypeVar("T")


class Rest(NamedTuple):
    """Wait so many seconds, or until *rung* for."""

    seconds: float
    rung: bool = True


class There(NamedTuple):
    """Wait so many seconds for the machine's own lease."""

    ref: Ref
    holding: Sequence[Lease]
    seconds: float


Step = Batch | Rest | There
Flow = Generator[Step, Any, T]
"""Yields steps, is sent their outcomes, returns a value."""


def perform(flow: Flow[T], conduit: Conduit, here: Leases, bell: threading.Event | None = None) -> T:
    """Drive *flow* to its end, blocking; *bell* ends a rest."""

    def do(step: Step) -> Any:
        if isinstance(step, Batch):
            return conduit.execute(step)
        if isinstance(step, There):
            return here.wait(*step)
        return time.sleep(step.seconds) if bell is None or not step.rung else bell.wait(step.seconds)

    return step_through(flow, do)


async def aperform(
    flow: Flow[T], on_loop: Callable[[Plan[Any]], Awaitable[Any]], here: Leases, bell: asyncio.Event | None = None
) -> T:  # fmt: skip
    """Drive *flow* to its end on the running event loop."""

    async def do(step: Step) -> Any:
        if isinstance(step, Batch):
            return await on_loop(_sent(step))
        if isinstance(step, There):
            return await here.wait_async(*step)
        if bell is None or not step.rung:
            return await asyncio.sleep(step.seconds)
        with suppress(TimeoutError):
            return await asyncio.wait_for(bell.wait(), step.seconds)

    return await astep_through(flow, do)


def _sent(batch: Batch) -> Plan[list[Any]]:
    return (yield batch)
