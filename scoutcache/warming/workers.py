"""Who works on a filling: threads, or tasks of an event loop where the function is ``async``.

- Each attempt notes the position first: an invalidation that comes while the function runs wins over its value.
- What ends the whole filling is raised as itself, from tasks as from threads.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from time import sleep
from typing import Any

from scoutcache.entry import MISSING
from scoutcache.errors import CacheError, ConfigError, WarmingError
from scoutcache.warming.batches import Batch
from scoutcache.warming.functions import asked
from scoutcache.warming.job import Job, Valued
from scoutcache.warming.lines import BadLine, Item
from scoutcache.warming.records import NothingTaken
from scoutcache.warming.shared import Drawn, Shared

__all__ = ["run_job"]


def run_job(job: Job, items: Shared) -> None:
    """Work on all *items*, as many at once as the options say."""
    if job.function is None or not inspect.iscoroutinefunction(job.function):
        _run_threads(job, items)
        return
    try:
        asyncio.run(_run_tasks(job, items))
        return
    except ExceptionGroup as group:
        problem = _first(group)
    raise problem  # out here, so that it doesn't drag the group along


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """The error of the workers that speaks for all: one of ours, if there is one."""
    problems = group.exceptions
    return next((problem for problem in problems if isinstance(problem, CacheError)), problems[0])


def _run_threads(job: Job, items: Shared) -> None:
    concurrency = job.options.concurrency
    if concurrency == 1:
        _work(job, items)
        return
    with ThreadPoolExecutor(concurrency, thread_name_prefix="scoutcache-warm") as threads:
        try:
            for done in [threads.submit(_work, job, items) for _ in range(concurrency)]:
                done.result()
        finally:
            # An interrupt comes here while the others work: they end after the key they are at.
            items.stop()


def _work(job: Job, items: Shared) -> None:
    with closing(iter(items)) as drawn, _stopping(items):
        _work_on(job, drawn)


@contextmanager
def _stopping(items: Shared) -> Iterator[None]:
    """What ends one worker ends all."""
    try:
        yield
    except BaseException:
        items.stop()
        raise


def _work_on(job: Job, items: Iterator[Drawn]) -> None:
    for item in items:
        if isinstance(item, Batch):
            _work_on_batch(job, item)
            continue
        with _failing(job, item):
            job.look()
            if not job.wanted(item):
                continue
            assert isinstance(item, Item)
            if pause := job.pace.wait():
                job.options.wait(pause)
            job.store(item, _valued(job, item))


def _work_on_batch(job: Job, batch: Batch) -> None:
    """Values that need no computing: those that are wanted by one write, or one by one, so that each tells its own."""
    job.look()
    wanted = []
    for item in batch.items:
        with _failing(job, item):
            if job.wanted(item):
                wanted.append(item)
    if len(wanted) > 1 and job.store_together(wanted):
        return
    for item in wanted:
        with _failing(job, item):
            job.store(item, Valued(job.cache.position(), item.value))


@contextmanager
def _failing(job: Job, item: Item | BadLine) -> Iterator[None]:
    """What is raised is told of that item, but for what can't be done for any key."""
    try:
        yield
    except (ConfigError, NothingTaken):
        raise
    except Exception as problem:  # noqa: BLE001  # the user's function raises what it likes: that key failed
        job.failed(item, problem)


def _valued(job: Job, item: Item) -> Valued:
    """The value that was computed from the position on."""
    attempt, clock = 0, job.cache._core.clocks.monotonic_ns
    while True:
        since, began = job.cache.position(), clock()
        try:
            value = _value(job.function, item)
            return Valued(since, value, None if item.value is not MISSING else (began, clock()))
        except Exception:
            if (pause := job.again(item, attempt)) is None:
                raise
        job.options.wait(pause)
        attempt += 1


def _value(function: Callable[..., Any] | None, item: Item) -> Any:
    if function is None or item.value is not MISSING:
        return item.value
    with asked():
        value = function(item.key)
    # A plain function may hand back a coroutine all the same (a partial, a callable object).
    return _checked(asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value)


def _checked(value: Any) -> Any:
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise CacheError("the function is a generator: for a key it has to return the value",
                         hint="a generator of (key, value) is used without --from")  # fmt: skip
    return value


async def _awaited(value: Awaitable[Any]) -> Any:
    with asked():
        return await value


async def _run_tasks(job: Job, items: Shared) -> None:
    # Each worker may wait for its turn in one thread while another stores what it computed.
    threads = ThreadPoolExecutor(2 * job.options.concurrency, thread_name_prefix="scoutcache-warm")
    asyncio.get_running_loop().set_default_executor(threads)
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(_work_async(job, items)) for _ in range(job.options.concurrency)]
    if any(worker.cancelled() for worker in workers):  # by none of us: then the group itself would have been
        raise WarmingError("the function cancelled the task it was called in, so the run ended early")


async def _work_async(job: Job, items: Shared) -> None:
    """The same for an ``async`` function.  What may wait (the source, the tiers) is done in threads."""
    drawn = iter(items)
    try:
        with _stopping(items):
            await _work_on_async(job, drawn)
    finally:
        with suppress(ValueError):  # cancelled while a thread draws: it ends by itself, for all is stopped
            drawn.close()


async def _work_on_async(job: Job, items: Iterator[Drawn]) -> None:
    while (item := await asyncio.to_thread(next, items, None)) is not None:
        if isinstance(item, Batch):
            await asyncio.to_thread(_work_on_batch, job, item)
            continue
        with _failing(job, item):
            await asyncio.to_thread(job.look)
            if not await asyncio.to_thread(job.wanted, item):
                continue
            assert isinstance(item, Item)
            if pause := job.pace.wait():
                await _pause(job, pause)
            valued = await _valued_async(job, item)
            await asyncio.to_thread(job.store, item, valued)


async def _valued_async(job: Job, item: Item) -> Valued:
    assert job.function is not None
    attempt, clock = 0, job.cache._core.clocks.monotonic_ns
    while True:
        since, began = job.cache.position(), clock()
        try:
            if item.value is not MISSING:
                return Valued(since, item.value)
            with asked():
                value = await job.function(item.key)
            return Valued(since, _checked(value), (began, clock()))
        except Exception:
            if (pause := job.again(item, attempt)) is None:
                raise
        await _pause(job, pause)
        attempt += 1


async def _pause(job: Job, seconds: float) -> None:
    wait = job.options.wait
    await (asyncio.sleep(seconds) if wait is sleep else asyncio.to_thread(wait, seconds))
