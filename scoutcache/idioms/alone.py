"""One change of a key at a time, among the tasks, threads and processes that use a cache directory.

For what reads before it writes, or writes somewhere else before it writes here.  Who waits is kept in a table of
flights, so a circle of waiting is refused (`FlightCycle`); among processes a lease of the kernel's elects who may, and
ends with its holder, however that dies.  Plain `set` and `delete` don't ask.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

from scoutcache.core.core import Core
from scoutcache.engine import effects
from scoutcache.engine.effects import Flow, Join, perform
from scoutcache.engine.flights import Abandoned, Flight, FlightTable, Waiting
from scoutcache.entry import Ref

__all__ = ["alone"]

T = TypeVar("T")

CHANGE_MARK: Final = "\0change:"
"""Before a key: what its changes wait for, which is no key of a user's and no computation."""


def alone(core: Core, ref: Ref, work: Callable[[Flight], Flow[T]]) -> Flow[T]:
    """Drive *work* while nobody else changes *ref*; it is given the flight that others wait for meanwhile."""
    own, table = Ref(ref.namespace, CHANGE_MARK + ref.key), _table_of(core)
    while True:
        flight, others = table.board([own], core.world.loop())
        if not others:
            break
        try:
            with Waiting(others[own]):
                yield from perform(Join(others[own]))
        except Abandoned:
            table.forsake(others[own])  # its event loop stands still or is gone
    try:
        if core.world.leased:
            lease = yield from effects.take(own, wait=False)
            if lease is None:
                lease = yield from effects.take(own, wait=True)
            if lease is not None:
                flight.hold(lease)
        return (yield from work(flight))
    finally:
        flight.give_up([own])
        table.land(flight, {})


_shared: weakref.WeakValueDictionary[str, FlightTable] = weakref.WeakValueDictionary()
_tables: weakref.WeakKeyDictionary[Core, FlightTable] = weakref.WeakKeyDictionary()


def _table_of(core: Core) -> FlightTable:
    """Caches of this process over one directory share theirs, unless all they have is memory of their own."""
    if (table := _tables.get(core)) is None:
        table = FlightTable()
        if core.world.shared:
            table = _shared.setdefault(os.path.realpath(core.directory), table)
        table = _tables.setdefault(core, table)
    return table


def _after_fork() -> None:
    """In a forked child nobody leads what the parent's threads had begun."""
    for table in list(_tables.values()):
        table.drop()


os.register_at_fork(after_in_child=_after_fork)
