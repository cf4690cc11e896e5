"""How what is done about leases is driven: blocking, or on an event loop; each way of it is written once.

A flow yields batches for the server, and rests, and is sent what came of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from scoutcache.server.commands import Batch, Conduit, Plan
from scoutcache.server.stepping import astep_through, step_through

__all__ = ["Flow", "Rest", "aperform", "perform"]

T = TypeVar("T")


class Rest(NamedTuple):
    """Wait so many seconds, or until *rung* for."""

    seconds: float
    rung: bool = True


Step = Batch | Rest
Flow = Generator[Step, Any, T]
"""Yields steps, is sent their outcomes, returns a value."""


def perform(flow: Flow[T], conduit: Conduit, bell: threading.Event | None = None) -> T:
    """Drive *flow* to its end, blocking; *bell* ends a rest."""

    def do(step: Step) -> Any:
        if isinstance(step, Batch):
            return conduit.execute(step)
        return time.sleep(step.seconds) if bell is None or not step.rung else bell.wait(step.seconds)

    return step_through(flow, do)


async def aperform(
    flow: Flow[T], on_loop: Callable[[Plan[Any]], Awaitable[Any]], bell: asyncio.Event | None = None
) -> T:  # fmt: skip
    """Drive *flow* to its end on the running event loop."""

    async def do(step: Step) -> Any:
        if isinstance(step, Batch):
            return await on_loop(_sent(step))
        if bell is None or not step.rung:
            return await asyncio.sleep(step.seconds)
        with suppress(TimeoutError):
            return await asyncio.wait_for(bell.wait(), step.seconds)

    return await astep_through(flow, do)


def _sent(batch: Batch) -> Plan[list[Any]]:
    return (yield batch)
