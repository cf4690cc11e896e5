"""The clients of a benchmark: their inner loops, as threads and as tasks, and what they count.

- *Closed loop*: the next operation starts when the last one ended and was counted; counting is part of neither.
  Throughput is measured apart, in a rush through the same plan that times nothing: looking at the clock before and
  after a hit in memory costs as much as the hit.
- *Open loop*: operations are due at fixed times.  One that starts late because the one before was slow counts from when
  it was due, else a stall would hide all those that it delayed ("coordinated omission").
- A read that finds nothing stores the value, as an application would; that write is counted as one, from its own start.
- An operation that raises counts as an error and gives no latency.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from time import perf_counter_ns, sleep
from typing import Any, Final, Protocol, TypeVar

from scoutcache.bench.workload import Access
from scoutcache.entry import MISSING
from scoutcache.errors import CacheError
from scoutcache.oplog.histogram import Histogram

__all__ = [
    "AsyncTarget", "Latencies", "Plans", "Tally", "Target", "overhead_ns", "run_tasks", "run_threads", "rush_tasks",
    "rush_threads",
]  # fmt: skip

T = TypeVar("T")
Plans = Sequence[Sequence[Access]]

_LINEAR: Final = 1 << 16
_BATCH: Final = 32
"""Operations of a rush between two looks at the clock."""
_SPIN_NS: Final = 150_000
"""How long before an operation is due a thread stops sleeping: a sleep ends up to that much late."""


class Target(Protocol):
    """What threads call."""

    def get(self, key: str, default: Any = None) -> Any: ...
    def set(self, key: str, value: Any) -> Any: ...


class AsyncTarget(Protocol):
    """What tasks call."""

    async def get(self, key: str, default: Any = None) -> Any: ...
    async def set(self, key: str, value: Any) -> Any: ...


class Latencies:
    """Latencies in nanoseconds, counted in flat memory: short ones in a list (one addition), long ones in buckets."""

    __slots__ = ("_long", "_short")

    def __init__(self) -> None:
        self._short = [0] * _LINEAR
        self._long = Histogram()

    def add(self, ns: int) -> None:
        """Count one."""
        if 0 <= ns < _LINEAR:
            self._short[ns] += 1
        else:
            self._long.add(ns)

    def histogram(self) -> Histogram:
        """All of them."""
        found = Histogram.merged([self._long])
        found.add_all({ns: count for ns, count in enumerate(self._short) if count})
        return found


@dataclass(slots=True)
class Tally:
    """What one client saw."""

    reads: Latencies = field(default_factory=Latencies)
    writes: Latencies = field(default_factory=Latencies)
    hits: int = 0
    misses: int = 0
    read_errors: int = 0
    write_errors: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """When operations are due, in nanoseconds: *first*, and every *step* after it."""

    first: int
    step: int

    def due(self) -> Iterator[int]:
        """The times, without end."""
        at = self.first
        while True:
            yield at
            at += self.step


Outcome = tuple[Any, int]
"""What an operation gave (or the error it raised), and its nanoseconds."""


def _script(plan: Sequence[Access], tally: Tally) -> Generator[Access, Outcome, None]:
    """What a client does next: it is told how each operation went, counts it, and never ends."""
    for access in cycle(plan):
        found, ns = yield access
        if isinstance(found, CacheError):
            tally.write_errors += access.write
            tally.read_errors += not access.write
        elif access.write:
            tally.writes.add(ns)
        else:
            tally.reads.add(ns)
            tally.hits += found is not MISSING
            if found is MISSING:
                tally.misses += 1
                found, ns = yield access._replace(write=True)
                if isinstance(found, CacheError):
                    tally.write_errors += 1
                else:
                    tally.writes.add(ns)


def _work(target: Target, plan: Sequence[Access], until: int, pace: Pace | None, tally: Tally) -> None:
    get, put, clock = target.get, target.set, perf_counter_ns
    script = _script(plan, tally)
    step, due = script.send, pace.due() if pace else None
    write, key, value = next(script)
    outcome: Any
    while (began := clock()) < until:
        if due is not None:
            began = _wait(next(due))
        try:
            outcome = put(key, value) if write else get(key, MISSING)
        except CacheError as problem:
            outcome = problem
        write, key, value = step((outcome, clock() - began))


async def _work_async(target: AsyncTarget, plan: Sequence[Access], until: int, pace: Pace | None, tally: Tally) -> None:
    get, put, clock = target.get, target.set, perf_counter_ns
    script = _script(plan, tally)
    step, due = script.send, pace.due() if pace else None
    write, key, value = next(script)
    outcome: Any
    while (began := clock()) < until:
        if due is not None:
            began = await _wait_async(next(due))
        try:
            outcome = await (put(key, value) if write else get(key, MISSING))
        except CacheError as problem:
            outcome = problem
        write, key, value = step((outcome, clock() - began))
        # A hit in memory never suspends: without this one task would run alone until the end.
        await asyncio.sleep(0)


def _wait(due: int) -> int:
    """Wait until *due* and return it, whatever the time is by then: that is where its latency begins."""
    left = due - perf_counter_ns()
    if left > _SPIN_NS:
        sleep((left - _SPIN_NS) / 1e9)
    while perf_counter_ns() < due:
        sleep(0)  # lets other threads have the interpreter
    return due


async def _wait_async(due: int) -> int:
    """The same for a task, which may not hold up the loop while it waits."""
    while (left := due - perf_counter_ns()) > 0:  # noqa: ASYNC110 (it waits for a time, not for a state)
        await asyncio.sleep(left / 1e9 if left > 2_000_000 else 0)
    return due


def _pace(client: int, clients: int, rate: float | None, start: int) -> Pace | None:
    if rate is None:
        return None
    # Together the clients keep the rate; each begins a fraction later, so that they don't come in bursts.
    between = 1e9 / rate
    return Pace(start + round(between * client), max(1, round(between * clients)))


def _rush(target: Target, plan: Sequence[Access], seconds: float) -> float:
    get, put, clock = target.get, target.set, perf_counter_ns
    done = failed = 0
    endless = cycle(plan)
    begun = now = clock()
    while not done or now < begun + _ns(seconds):
        done += _BATCH
        for write, key, value in islice(endless, _BATCH):
            try:
                if write:
                    put(key, value)
                elif get(key, MISSING) is MISSING:
                    put(key, value)
                    done += 1
            except CacheError:
                failed += 1
        now = clock()
    return (done - failed) / (now - begun) * 1e9


async def _rush_async(target: AsyncTarget, plan: Sequence[Access], seconds: float) -> float:
    get, put, clock = target.get, target.set, perf_counter_ns
    done = failed = 0
    endless = cycle(plan)
    begun = now = clock()
    while not done or now < begun + _ns(seconds):
        done += _BATCH
        for write, key, value in islice(endless, _BATCH):
            try:
                if write:
                    await put(key, value)
                elif await get(key, MISSING) is MISSING:
                    await put(key, value)
                    done += 1
            except CacheError:
                failed += 1
        await asyncio.sleep(0)
        now = clock()
    return (done - failed) / (now - begun) * 1e9


def _in_threads(clients: int, work: Callable[[int], T]) -> list[T]:
    """What *work* returns for each client, each in a thread, all starting together.  What one raises is raised here."""
    if clients == 1:
        return [work(0)]
    gate = threading.Barrier(clients)

    def client(number: int) -> T:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(clients) as threads:
        return [done.result() for done in [threads.submit(client, number) for number in range(clients)]]


async def _in_tasks(clients: int, work: Callable[[int], Coroutine[Any, Any, T]]) -> list[T]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(number)) for number in range(clients)]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0]  # noqa: B904  # as from a thread; one cause is enough, the others have the same
    return [task.result() for task in tasks]


def run_threads(target: Target, plans: Plans, seconds: float, rate: float | None) -> list[Tally]:
    """One thread for each plan; what each saw, operation by operation."""

    def work(number: int) -> Tally:
        tally, start = Tally(), perf_counter_ns()
        _work(target, plans[number], start + _ns(seconds), _pace(number, len(plans), rate, start), tally)
        tally.seconds = (perf_counter_ns() - start) / 1e9
        return tally

    return _in_threads(len(plans), work)


async def run_tasks(target: AsyncTarget, plans: Plans, seconds: float, rate: float | None) -> list[Tally]:
    """The same with tasks on the running loop."""

    async def work(number: int) -> Tally:
        tally, start = Tally(), perf_counter_ns()
        await _work_async(target, plans[number], start + _ns(seconds), _pace(number, len(plans), rate, start), tally)
        tally.seconds = (perf_counter_ns() - start) / 1e9
        return tally

    return await _in_tasks(len(plans), work)


def rush_threads(target: Target, plans: Plans, seconds: float) -> float:
    """How many operations a second all threads do together when nobody times the single one."""
    return sum(_in_threads(len(plans), lambda number: _rush(target, plans[number], seconds)))


async def rush_tasks(target: AsyncTarget, plans: Plans, seconds: float) -> float:
    """The same with tasks on the running loop."""
    return sum(await _in_tasks(len(plans), lambda number: _rush_async(target, plans[number], seconds)))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


class _Nothing:
    """A cache that does nothing, to see what the loop around it costs."""

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002 (the shape of a cache)
        return key

    def set(self, key: str, value: Any) -> Any:
        """Nothing."""


def overhead_ns(seconds: float = 0.02) -> float:
    """What looking at the clock and calling a method adds to each latency, in nanoseconds (median)."""
    plan = [Access(write=False, key="key", value=None)] * 1000
    (tally,) = run_threads(_Nothing(), [plan], seconds, None)
    return tally.reads.histogram().quantile(0.5) or 0.0
