"""How a flow takes leases, and says to other processes what it waits for: blocking, or on an event loop."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from typing import Any

from scoutcache.channels.leasing import Held
from scoutcache.drive.ports import Ports
from scoutcache.engine.effects import Take
from scoutcache.engine.flights import LEADING, Flight

__all__ = ["atake", "atold", "take", "told"]


def told(ports: Ports, flight: Flight) -> ExitStack:
    """While it is entered, other processes see that the flights around the caller wait for *flight*, for all of it."""
    stack, holding = ExitStack(), _holding()
    if holding and ports.leases is not None:
        try:
            for key in flight.keys:
                stack.enter_context(ports.leases.waiting(key, holding))
        except BaseException:
            stack.close()
            raise
    return stack


async def atold(ports: Ports, flight: Flight) -> AsyncExitStack:
    """The same on an event loop."""
    stack, holding = AsyncExitStack(), _holding()
    if holding and ports.leases is not None:
        try:
            for key in flight.keys:
                await stack.enter_async_context(ports.leases.waiting_async(key, holding))
        except BaseException:
            await stack.aclose()
            raise
    return stack


def _holding() -> list[Held]:
    """The leases of the flights whose factories run around the caller, outermost first."""
    leases: list[Any] = [lease for flight in LEADING.get() for lease in list(flight.leases.values())]
    return [lease for lease in leases if hasattr(lease, "held")]


def take(ports: Ports, effect: Take) -> Held | None:
    """The lease; None where another process has it, or there are none."""
    if ports.leases is None:
        return None
    if effect.wait:
        return ports.leases.wait(effect.ref, _holding(), effect.timeout)
    return ports.leases.try_take(effect.ref)


async def atake(ports: Ports, effect: Take) -> Held | None:
    """The same on an event loop."""
    if ports.leases is None:
        return None
    if effect.wait:
        return await ports.leases.wait_async(effect.ref, _holding(), effect.timeout)
    return await ports.leases.try_take_async(effect.ref)
