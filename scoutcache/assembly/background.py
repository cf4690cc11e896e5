"""What one process does for its cache besides answering: keep up, write down, tidy up.

One daemon thread per open cache wakes twice a second.  It starts when the cache is opened, and anew in a forked child;
with a clock that is moved by hand there is none, and `Background.turn` is called instead.  What it meets is reported as
an event and never ends it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from scoutcache import events
from scoutcache.core.core import Core
from scoutcache.core.telling import tell_left, tell_what_writes_removed
from scoutcache.drive.blocking import run
from scoutcache.engine.moments import Here
from scoutcache.entry import Row
from scoutcache.errors import CacheError
from scoutcache.oplog.presence import Presence
from scoutcache.server import ending
from scoutcache.tiers.memory import MemoryTier

__all__ = ["Background", "looks_every"]

INTERVAL = 0.5
"""Seconds between two turns; the slack of the memory tier's coarse clock is three of them."""

MEMORY_EVERY = 20
"""Turns between two looks at every entry in memory: at 100,000 of them that takes some milliseconds."""

JOURNAL_EVERY = 120
"""Turns between two looks for messages that are older than need be."""

JUDGED_EVERY = 20
"""Turns between two looks for alerts: what is counted in an hour changes slowly."""

DEMOTED_AT_ONCE = 500
"""Entries that share one transaction when they are moved down."""


def looks_every(demote_after: float) -> int:
    """Turns between two looks at memory, where entries are to go down after so many seconds."""
    return max(1, int(min(MEMORY_EVERY, demote_after / INTERVAL)))


class Listening(Protocol):
    """What hears a server in a thread of its own; see `scoutcache.channels.listener`."""

    member: Any
    """This process as others see it at the server."""

    def start(self) -> None:
        """Begin."""

    def hear(self) -> None:
        """Hear now, in the caller's thread, what there is to hear."""

    def forget(self) -> None:
        """In a forked child: the thread is the parent's."""

    def close(self) -> None:
        """End; idempotent."""


class Background:
    """The background thread of *core*, which it doesn't keep alive: a cache nobody holds is collected.

    *shut* lets go of everything the cache had open.  It is called once: when the cache is closed, by the thread when it
    finds the cache collected (and never by a finalizer, which would run in the middle of anything, and wait for locks
    its own thread holds), or at the interpreter's end.
    """

    def __init__(self, core: Core, shut: Callable[[], None], listener: Listening | None = None) -> None:
        self._core, self._shut, self._listener = weakref.ref(core), shut, listener
        self._recorder, self._tiers = core.recorder, core.tiers
        # By the name that a server knows it by, so that who is known in both places is counted once.
        self._presence = Presence(core.directory, lambda: self.heard_as or secrets.token_hex(8), core.place)
        self._shutting = threading.Lock()
        self._ticking = core.clocks.ticking
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._turns = 0

    def start(self, *, at_once: bool = True) -> None:
        """Start the thread, with a turn *at_once*, unless the clock is moved by hand."""
        if self._ticking and self._thread is None:
            _at_work.add(self)
            _close_with_child()
            self._appear()
            self._thread = threading.Thread(target=partial(self._run, at_once=at_once), name="scoutcache", daemon=True)
            self._thread.start()
            if self._listener is not None:
                self._listener.start()

    def close(self) -> None:
        """Stop the thread, wait for its turn to end, and shut the cache; idempotent."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None
        if self._listener is not None:
            self._listener.close()
        if self._shutting.acquire(blocking=False):  # for good
            _at_work.discard(self)
            core = self._core()
            if core is not None:
                self._make_good_here(core)
            tell_what_writes_removed(self._recorder, None if core is None else core.hooks, self._tiers)
            self._shut()
            self._presence.end()

    @property
    def present_as(self) -> str | None:
        """The name under which this process is present, None where it is not."""
        return self._presence.name

    @property
    def heard_as(self) -> str | None:
        """The name under which a server knows this process, None without one."""
        return None if self._listener is None else str(self._listener.member.name)

    def _appear(self) -> None:
        """Be among those whom ``invalidate --wait`` waits for.

        Where nothing can be written we hear of nothing either: there is nothing to wait for, and the journal said so.
        """
        core = self._core()
        if core is not None:
            core.follower.applied = self._presence.say
            with contextlib.suppress(OSError):
                self._presence.begin(max(0, core.follower.here()))

    def after_fork(self) -> None:
        """In the child: the thread doesn't exist here."""
        self._presence.forget()
        self._stop = threading.Event()
        self._thread = None
        if self._listener is not None:
            self._listener.forget()
        # Not at once: others have yet to renew what the parent's threads held, and the tiers must not be asked before.
        self.start(at_once=False)

    def _run(self, *, at_once: bool = True) -> None:
        try:
            if at_once:
                self.turn()
            while not self._stop.wait(INTERVAL):
                self.turn()
        finally:
            if (core := self._core()) is None:
                self.close()
            elif core.memory is not None:
                core.memory.tick(None)  # or the last tick would make entries fresh for ever

    def turn(self) -> None:
        """One turn: the clock, what others announced, the log, the tiers."""
        core = self._core()
        if core is None:
            self._stop.set()
            return
        for step in (self._tick, self._keep_up, self._write_down, self._tidy_up, self._judge):
            try:
                step(core)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next turn must come
                problem = str(error) if isinstance(error, CacheError) else repr(error)
                core.hooks.emit(events.Trouble(step.__name__.strip("_"), problem))

    def _tick(self, core: Core) -> None:
        if core.memory is not None and self._ticking:
            core.memory.tick(core.clocks.monotonic())

    def _keep_up(self, core: Core) -> None:
        if self._listener is not None and not self._ticking:
            self._listener.hear()
        core.journal.recover()
        core.follower.sync()
        core.follower.reopen_if_replaced()
        core.follower.say_position()  # a server may have been silent for too long, or be heard of again
        if self._ticking:
            self._appear()  # again, should somebody have removed the directory
            core.follower.say_here()

    def _write_down(self, core: Core) -> None:
        core.flush(searching=not self._ticking or self._turns % MEMORY_EVERY == 0)
        core.recorder.seal_full(beside=self._ticking)

    def _tidy_up(self, core: Core) -> None:
        self._make_good(core)
        for table in (core.world.flights, core.world.refreshes):
            table.forsake_left()
        core.factories.begin_due(lambda error: core.hooks.emit(events.Trouble("refresh", repr(error))))
        if self._turns % JOURNAL_EVERY == 0:
            core.journal.trim()
        now = core.world.now()
        due = not self._ticking or self._turns % looks_every(core.config.placement.demote_after) == 0
        self._turns += 1
        if core.memory is not None and due:
            core.memory.prune(now)
            self._demote(core)
        for tier in core.tiers:
            maintain = getattr(tier, "maintain", None)
            if maintain is not None:
                tell_left(core.recorder, core.hooks, tier.name, maintain(now))

    def _judge(self, core: Core) -> None:
        """Look for alerts; a process that nobody wants them of pays nothing."""
        if not self._ticking or self._turns % JUDGED_EVERY == 0:
            core.alarms.look(core)

    def _make_good(self, core: Core) -> None:
        """Remove at last what a tier could not remove, or has kept in place of what it could not write."""
        for level, doubt in enumerate(core.world.doubts):
            if doubt.is_owing:
                run(core.amends.make(level), core.ports)

    def _make_good_here(self, core: Core) -> None:
        """The same at the end, for the tiers of this machine: nobody else knows what this process owes them."""
        for level in core.world.lower:
            if level != core.world.tells and core.world.doubts[level].is_owing:
                try:
                    run(core.amends.make(level), core.ports)
                except Exception as error:  # noqa: BLE001  # what is left must be shut all the same
                    core.hooks.emit(events.Trouble("tidy_up", repr(error)))

    def _demote(self, core: Core) -> None:
        """Move what nobody asked for within ``demote_after`` from memory down, where a tier below takes it."""
        memory = core.memory
        if memory is None or not core.world.lower:
            return
        here = core.world.here()
        idle: dict[int, list[Row]] = {}
        for row in memory.idle(core.clocks.monotonic(), core.config.placement.demote_after):
            level = next((level for level in core.world.lower if core.world.allows(level, row.header.ref)), None)
            if level is not None:  # what no tier below may hold stays where it is
                idle.setdefault(level, []).append(row)
        for level, rows in idle.items():
            self._move_down(core, memory, level, rows, here)

    def _move_down(self, core: Core, memory: MemoryTier, level: int, rows: Sequence[Row], here: Here) -> None:
        below, now = core.tiers[level], core.world.now()
        allow = core.reading.unless_announced(level, here.end, heard=here.noted)
        for at in range(0, len(rows), DEMOTED_AT_ONCE):
            below.write(rows[at : at + DEMOTED_AT_ONCE], now, allow)
        for row in rows:
            ref = row.header.ref
            if below.read(ref, now) is None:
                continue  # it was not taken, and stays where it is
            if memory.discard([row]):
                core.hooks.emit(events.Demoted(*ref, memory.name, below.name))


_at_work: set[Background] = set()


def _close_all() -> None:
    for background in list(_at_work):
        background.close()


def _end_all() -> None:
    _close_all()
    ending.end()  # after what is said to the server in closing


atexit.register(_end_all)

_with_child: list[int] = []
"""The processes, this one and those it was forked from, that `_close_with_child` has arranged things in."""


def _close_with_child() -> None:
    """Have `multiprocessing` close what is at work when one of its children ends: they end without `atexit`.

    Not imported for that: nobody has such children who has not imported it.  A child forgets at its start what is to be
    done at its end, and only then asks those who registered for it; so that is where a forked one is told.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    if util is None or process is None or os.getpid() in _with_child:
        return
    if not _with_child:  # what was registered in a parent is known in its children
        util.register_after_fork(_close_all, _finish_child)
    _with_child.append(os.getpid())
    if process.parent_process() is not None:
        _finish_child()


def _finish_child(_: object = None) -> None:
    util: Any = sys.modules["multiprocessing.util"]
    util.Finalize(None, _close_all, exitpriority=-100)  # after whatever the application does at its end
