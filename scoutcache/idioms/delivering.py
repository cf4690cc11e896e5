"""Write-behind: a write is acknowledged when it is safe on this machine's disk, and reaches its source a little later.

Rules.

- The write goes into a queue on disk, then into the cache; `get` sees what is pending first, because the cache may have
  lost it and loaded the older value from the source.
- Whoever delivers a write removes what the cache was given after it and before the source had it.  A crash between
  queue and cache leaves an older value there: of another process's write what is from before it is removed as well.
- The writer is handed lists of (key, value), each key once with its last value, the keys about in the order in which
  they were first written.  Of one key a later value never comes before an earlier one.
- A list is done when the writer returns.  When it raises, its writes are tried again, later and later, in lists half as
  long each time and alone at last, so that one bad write doesn't take the others along; after *attempts* failures a
  write becomes a dead letter.
- Delivery is at least once: the writer gets those writes again whose list was under way when the process died.
- One process delivers at a time, for all that put.  When it ends, another one that has the queue open takes over.
- The thread that delivers doesn't keep the cache alive; closing the cache delivers what can be in *drain_timeout*.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import inspect
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from scoutcache import events
from scoutcache.calls.callables import is_coroutine_function
from scoutcache.calls.calls import Calls, Key, Options, Position, tag_names
from scoutcache.drive.blocking import run, running_loop
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.entry import MISSING, NEVER, Header, Ref, Sealed
from scoutcache.errors import CacheError, CorruptEntry, PolicyError, TierUnavailable
from scoutcache.idioms.delivery import Batch, DeadLetter, Delivery
from scoutcache.queues.store import Queue, Waiting
from scoutcache.wire.codec import UnknownType

__all__ = ["Line"]

_log = logging.getLogger("scoutcache")

_LOOK: Final = 0.2
"""Seconds between two looks whether an event loop still runs that a coroutine of the writer's was given to."""

_POLL: Final = 0.02
"""Seconds between two looks whether all has arrived, at most."""

_FAILURES_WHILE_DRAINING: Final = 3
"""Lists that may fail before closing gives the source up for now."""


class Line:
    """What both faces share: the queue, the thread that delivers from it, and what it does in one turn."""

    def __init__(self, calls: Calls, delivery: Delivery, options: Options, *, is_async: bool) -> None:
        if not is_async and is_coroutine_function(delivery.writer):
            raise CacheError("writer is a coroutine function, and this cache is blocking", hint="use AsyncCache")
        self.calls, self.delivery, self._is_async = calls, delivery, is_async
        self.namespace = calls.ref("k", options.namespace).namespace
        self.options = options._replace(namespace=self.namespace, tags=tag_names(options.tags))
        calls.lifetime(Ref(self.namespace, "k"), options.ttl)  # a wrong one fails here
        self.queue = Queue(calls.core.directory / "queues", self.namespace, delivery.name)
        if any(one.calls.core is calls.core and one.queue.path == self.queue.path for one in list(_lines)):
            self.queue.close()
            raise CacheError(f"the queue {delivery.name!r} of namespace {self.namespace!r} is open already",
                             hint="use the object that opened it, close that, or name another queue")
        self.loop: asyncio.AbstractEventLoop | None = None
        self._turning = threading.Lock()
        self._closed = False
        self._runner: _Thread | None = None
        calls.core.at_close.append(self.close)
        _lines.add(self)
        self.start()

    def start(self) -> None:
        """Start the thread unless the clock is moved by hand."""
        if self.calls.core.clocks.ticking:
            self._runner = _Thread(self)

    def after_fork(self) -> None:
        """In the child the thread doesn't exist, and its parent delivers."""
        self._turning = threading.Lock()
        self.loop = None
        if not self._closed:
            self.start()

    # -- putting and reading

    def put(self, items: Iterable[tuple[Key, Any]]) -> Flow[None]:
        """Queue *items*, then have the cache keep them.  Raises `PolicyError` for what must not lie there in plain."""
        self.loop = running_loop() if self._is_async else None
        calls = self.calls
        values = {calls.ref(key, self.namespace).key: value for key, value in items}
        if not values:
            return
        entries = [(key, self._sealed(key, value)) for key, value in values.items()]
        calls.core.follower.sync()
        end = calls.position().end
        stamps = yield from perform(Work(lambda: self.queue.put(entries, calls.core.world.stamp)))
        if self._runner is not None:
            self._runner.told(len(entries), self.delivery.batch_size)
        options = self.options._replace(since=Position(stamps[-1], end))
        if not (yield from calls.set_many(values.items(), options)):
            yield from self._end_older({Ref(self.namespace, key): stamps[-1] for key in values})

    def _sealed(self, key: str, value: Any) -> Sealed:
        world, ref = self.calls.core.world, Ref(self.namespace, key)
        said = None if world.policy is None else world.policy(ref)
        if said is not None and said.encrypt_at_rest:
            raise PolicyError(f"{key!r} must be encrypted at rest, so it can't wait in a queue on disk",
                              hint="write it through, with cache.through(writer=…)")  # fmt: skip
        codec = world.codec
        live, encoded = codec.hold(value)
        header = Header(ref, 0, world.now(), NEVER, NEVER)
        return codec.seal(header, live, encoded)

    def find(self, key: Key, default: Any) -> Flow[Any]:
        """The pending value, else the cached one, else *default*."""
        ref = self.calls.ref(key, self.namespace)
        sealed = yield from perform(Work(lambda: self.queue.get(ref.key)))
        value = MISSING if sealed is None else self._opened_or_missing(ref.key, sealed)
        return (yield from self.calls.get(key, default, self.namespace)) if value is MISSING else value

    def _opened(self, key: str, sealed: Sealed) -> Any:
        return self.calls.core.world.codec.open(Ref(self.namespace, key), sealed).value

    def _opened_or_missing(self, key: str, sealed: Sealed) -> Any:
        try:
            return self._opened(key, sealed)
        except (CorruptEntry, UnknownType):
            return MISSING

    # -- delivering

    def turn(self, failures: int = 1) -> bool:
        """Deliver what is due, until that many lists failed; False when some did or another process delivers."""
        core, left = self.calls.core, failures
        with self._turning:
            if not self.queue.claim():
                return False
            while rows := self.queue.due(core.world.now(), self.delivery.size, self.delivery.max_backoff):
                if not self._deliver(rows):
                    left -= 1
                    if not left:
                        break
            return left == failures

    def _deliver(self, rows: Sequence[Waiting]) -> bool:
        readable, batch = [], []
        for row in rows:
            try:
                batch.append((row.key, self._opened(row.key, row.sealed)))
                readable.append(row)
            except CorruptEntry as error:
                self._bury([row], error)
            except UnknownType as error:  # another process may know it
                self._failed([row], error)
        if not batch:
            return True
        try:
            self._write(batch)
        except Exception as error:  # noqa: BLE001  # whatever the writer raises, the writes are kept
            self._failed(readable, error)
            return False
        with suppress(TierUnavailable):  # it has been told, and owes the removal; the source has its writes
            self._forget_older(readable, self.calls.core.world.stamp())
        self.queue.done(readable)  # only now, or the older value would answer for a moment
        return True

    def _write(self, batch: Batch) -> None:
        result = self.delivery.writer(batch)
        if inspect.iscoroutine(result):
            if not self._is_async:
                result.close()
                raise CacheError("the writer gave a coroutine, and this cache is blocking", hint="use AsyncCache")
            _awaited(result, self.loop)

    def _failed(self, rows: Sequence[Waiting], error: Exception) -> None:
        delivery, now = self.delivery, self.calls.core.world.now()
        problem = f"the writer of queue {delivery.name!r} failed: {type(error).__name__}: {error}"
        self.calls.core.hooks.emit(events.Trouble("write_behind", problem))
        last = [row for row in rows if row.attempts + 1 >= delivery.attempts]
        if last:
            self._bury(last, error)
        again = [row for row in rows if row not in last]
        if again:
            pause = delivery.pause(again[0].attempts)  # together: they share a list the next time as well
            self.queue.failed([(row, now + pause) for row in again])

    def _bury(self, rows: Sequence[Waiting], error: Exception) -> None:
        self.queue.bury(rows, f"{type(error).__name__}: {error}"[:2000], self.calls.core.world.now())
        _log.error("%d writes of queue %r became dead letters: %s", len(rows), self.delivery.name, type(error).__name__)

    def _forget_older(self, rows: Sequence[Waiting], arrived: int) -> None:
        """Remove what the cache has of *rows* that isn't from after the stamp *arrived*, and isn't a later write."""
        put = {Ref(self.namespace, row.key): row for row in rows}

        def older(ref: Ref, start: int) -> bool:
            row = put[ref]
            if start < row.stamp:  # the put itself sees to that, unless its process died in between
                return row.source != self.queue.source
            return row.stamp < start < arrived and self.queue.get(ref.key) == row.sealed

        run(self._end(put, older), self.calls.core.ports)

    def _end_older(self, stamps: Mapping[Ref, int]) -> Flow[None]:
        """Remove what the cache has from before those stamps: it must not answer any more."""
        yield from self._end(stamps, lambda ref, start: start < stamps[ref])

    def _end(self, refs: Iterable[Ref], condemned: Callable[[Ref, int], bool]) -> Flow[None]:
        """Remove those entries whose starts are *condemned*."""
        core = self.calls.core
        if not core.config.enabled:
            return
        core.follower.sync()
        standing = yield from core.writing.standing(list(refs))
        keys = [ref.key for ref, (header, _) in standing.items() if condemned(ref, header.start)]
        if keys:
            yield from core.removing.keys(self.namespace, keys)

    # -- ending

    def drain(self, timeout: float) -> bool:
        """Have the thread deliver, and wait until nothing is pending, for *timeout* seconds at most; whether it was so.

        The writer may hang: it runs here only where there is no thread, because the clock is moved by hand.
        """
        if self._runner is None:
            self.turn(_FAILURES_WHILE_DRAINING)
            return not self.queue.count()
        clocks, pause = self.calls.core.clocks, threading.Event()
        until = clocks.monotonic() + timeout
        while self.queue.count():
            if (left := until - clocks.monotonic()) <= 0:
                return False
            self._runner.wake()
            pause.wait(min(left, _POLL))
        return True

    def close(self, timeout: float | None = None) -> None:
        """Deliver what can be delivered at once, and let go; what is left stays on the disk.  Idempotent."""
        if self._closed:
            return
        self._closed = True
        _lines.discard(self)
        timeout = self.delivery.drain_timeout if timeout is None else timeout
        ending = threading.Thread(target=self._deliver_rest, name="scoutcache-behind-end", daemon=True)
        ending.start()
        ending.join(timeout)
        if ending.is_alive():
            _log.warning("queue %r: its writer didn't end in %g s; the rest stays on disk", self.delivery.name, timeout)
        if self.close in self.calls.core.at_close:
            self.calls.core.at_close.remove(self.close)

    def _deliver_rest(self) -> None:
        if self._runner is not None:
            self._runner.stop()
        _turn_in_peace(self, _FAILURES_WHILE_DRAINING)
        self.queue.close()

    def dead_letters(self) -> list[DeadLetter]:
        """What the writer refused too often, oldest first."""
        letters = []
        for row in self.queue.buried():
            value = self._opened_or_missing(row.key, row.sealed)
            died = datetime.fromtimestamp(row.died, UTC)
            letters.append(DeadLetter(row.key, value, row.attempts, row.error, died, row.superseded))
        return letters

    def texts(self, keys: Sequence[Key]) -> list[str] | None:
        """The keys as text; None for all."""
        return [self.calls.ref(key, self.namespace).key for key in keys] or None


def _awaited(work: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop | None) -> None:
    """Run the writer's coroutine on the loop that uses the cache, where its connections live; else on another."""
    if loop is None or not loop.is_running():
        asyncio.run(work)
        return
    future = asyncio.run_coroutine_threadsafe(work, loop)
    while True:
        try:
            future.result(_LOOK)
            return
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            if not loop.is_running():
                future.cancel()
                raise CacheError("the event loop ended before the writer did") from None


class _Thread:
    """The thread that delivers for a line, which it doesn't keep alive."""

    def __init__(self, line: Line) -> None:
        self._wake, self._stop = threading.Event(), threading.Event()
        self._new = 0
        arguments = weakref.ref(line), line.queue, line.delivery.interval
        self._thread = threading.Thread(target=self._run, args=arguments, name="scoutcache-behind", daemon=True)
        self._thread.start()

    def told(self, number: int, batch_size: int) -> None:
        """So many writes were put; a full list goes at once."""
        self._new += number  # two threads may lose one another's: then the list goes after the interval
        if self._new >= batch_size:
            self._wake.set()

    def wake(self) -> None:
        """Deliver what is due now, not after the interval."""
        self._wake.set()

    def stop(self) -> None:
        """End it, after the list that is under way."""
        self._stop.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self, found: weakref.ref[Line], queue: Queue, interval: float) -> None:
        while not self._wait(interval):
            line = found()
            if line is None:  # collected without having been closed: what is left is the next one's
                queue.close()
                return
            self._new = 0
            _turn_in_peace(line)
            del line

    def _wait(self, interval: float) -> bool:
        """Wait until it is time for a turn; whether to end instead."""
        self._wake.wait(interval)
        self._wake.clear()
        return self._stop.is_set()


def _turn_in_peace(line: Line, failures: int = 1) -> None:
    try:
        line.turn(failures)
    except Exception as error:  # noqa: BLE001  # a full disk, say: the next turn must come
        line.calls.core.hooks.emit(events.Trouble("write_behind", str(error)))


_lines: weakref.WeakSet[Line] = weakref.WeakSet()


def _close_all() -> None:
    for line in list(_lines):
        line.close()


def _after_fork() -> None:
    for line in list(_lines):
        line.after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
