"""What an event loop awaits of a server itself, instead of handing it to a thread.

A tier that has `on_loop` carries out plans; an effect on it becomes one.  Scans are left to a thread: they are long,
and nobody waits for many of them at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from scoutcache.drive.ports import Ports
from scoutcache.engine.effects import (
    Announce,
    Current,
    Effect,
    Names,
    Read,
    ReadOne,
    Remove,
    Renew,
    Write,
)

Awaited = Awaitable[Any] | None

__all__ = ["awaited"]


def awaited(ports: Ports, effect: Effect) -> Awaited:
    """What gives the answer to *effect*; None where a thread or the loop's own must give it."""
    make = _WAYS.get(type(effect))
    return None if make is None else make(ports, effect)


def _read(ports: Ports, effect: Read) -> Awaited:
    tier = ports.awaiting[effect.level]
    return None if tier is None else tier.on_loop(tier.plans.read_many(effect.refs, ports.now()))


def _read_one(ports: Ports, effect: ReadOne) -> Awaited:
    tier = ports.awaiting[effect.level]
    return None if tier is None else tier.read_on_loop(effect.ref, ports.now())


def _write(ports: Ports, effect: Write) -> Awaited:
    tier = ports.awaiting[effect.level]
    if tier is None:
        return None
    writing: Awaitable[int] = tier.on_loop(tier.plans.write(effect.rows, ports.now(), effect.allow, effect.message))
    return writing


def _remove(ports: Ports, effect: Remove) -> Awaited:
    tier = ports.awaiting[effect.level]
    if tier is None:
        return None
    removing: Awaitable[Any] = tier.on_loop((tier.plans.remove_each if effect.each else tier.plans.remove)(effect.refs))
    return removing


def _current(ports: Ports, effect: Current) -> Awaited:
    if ports.authority is None or ports.versions.answers(effect.namespace, effect.names, create=effect.create):
        return None
    return _asked(ports, effect)


async def _asked(ports: Ports, effect: Current) -> dict[str, int]:
    tier = ports.authority
    begun = ports.versions.begun()
    answer = await tier.on_loop(tier.version_plans.current(effect.namespace, effect.names, create=effect.create))
    ports.versions.keep(begun, effect.namespace, effect.names, answer)
    return answer  # type: ignore[no-any-return]  # the plan's own return type


def _names(ports: Ports, effect: Names) -> Awaited:
    tier = ports.authority
    return None if tier is None else tier.on_loop(tier.version_plans.names(effect.namespace, effect.prefix))


def _renew(ports: Ports, effect: Renew) -> Awaited:
    return None if ports.authority is None else _renewed(ports, effect)


async def _renewed(ports: Ports, effect: Renew) -> None:
    tier = ports.authority
    await tier.on_loop(tier.version_plans.renew(effect.namespace, effect.names, soft=effect.soft))
    ports.versions.forget(effect.namespace, effect.names)


def _announce(ports: Ports, effect: Announce) -> Awaited:
    return None if ports.announcing is None else ports.announcing(effect.message)


_WAYS: dict[type[Effect], Callable[[Ports, Any], Awaitable[Any] | None]] = {
    Read: _read,
    ReadOne: _read_one,
    Write: _write,
    Remove: _remove,
    Current: _current,
    Names: _names,
    Renew: _renew,
    Announce: _announce,
}
