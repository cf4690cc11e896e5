"""Which effects may wait for another process's lock, and so are not for an event loop's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from scoutcache.engine.effects import (
    Announce,
    Clear,
    Current,
    Effect,
    Erase,
    Names,
    Read,
    ReadOne,
    Remove,
    Renew,
    Work,
    Write,
)

if TYPE_CHECKING:
    from scoutcache.drive.ports import Ports

__all__ = ["CHANGES", "READS", "may_wait"]


def may_wait(ports: Ports, effect: Effect) -> bool:
    """May performing *effect* in this thread wait for another process?"""
    ask = _MAY_WAIT.get(type(effect))
    return ask is not None and ask(ports, effect)


def _write_may_wait(ports: Ports, effect: Write | Remove | Erase | Clear) -> bool:
    return ports.tiers[effect.level].blocking


def _announcing_may_wait(ports: Ports, _: Announce) -> bool:
    return ports.announcing is not None or any(tier.blocking for tier in ports.tiers)


def _read_may_wait(ports: Ports, effect: Read | ReadOne) -> bool:
    return not ports.ready[effect.level]()


def _current_may_wait(ports: Ports, effect: Current) -> bool:
    if ports.versions.remembered(effect.namespace, effect.names) is not None:
        return False
    return effect.create or bool(ports.cold())


_MAY_WAIT: dict[type[Effect], Callable[[Ports, Any], bool]] = {
    Write: _write_may_wait,
    Remove: _write_may_wait,
    Erase: _write_may_wait,
    Clear: _write_may_wait,
    Announce: _announcing_may_wait,
    Renew: lambda _ports, _effect: True,
    Work: lambda _ports, _effect: True,
    Read: _read_may_wait,
    ReadOne: _read_may_wait,
    Current: _current_may_wait,
    Names: lambda ports, _effect: bool(ports.cold()),
}
"""An effect that isn't here never waits."""
CHANGES: Final = frozenset({Announce, Write, Remove, Erase, Clear, Renew})
READS: Final = frozenset({Read, ReadOne, Current, Names})
