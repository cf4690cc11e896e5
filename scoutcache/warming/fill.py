"""One filling of a cache from one source: what is read, what is computed, what is stored, and what went wrong.

- A bad line, a function that raises for one key, a value that can't be stored: each is reported with its line and key,
  and the rest is done.
- A value that a function computes is stored as of the moment the function began: an invalidation that comes meanwhile
  wins over it.
- A value that stands in the line is stored as it is; *call* is asked only for keys without one.
- At most *concurrency* keys are worked on at once, and no more lines than that are held in memory.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from scoutcache.entry import MISSING
from scoutcache.errors import CacheError, ConfigError, WarmingError
from scoutcache.locking import held
from scoutcache.patterns import Pattern
from scoutcache.settings import default_directory
from scoutcache.warming.functions import named_function
from scoutcache.warming.lines import BadLine, Item, read_lines
from scoutcache.warming.pace import Pace

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.config import CacheConfig

__all__ = ["WarmError", "WarmResult", "fill", "state_folder", "warm_from"]

_MOST_ERRORS: Final = 1000
_REFUSED: Final = "no tier took it (invalidated meanwhile, a ttl of 0, or no tier can answer)"
_EVERY: Final = 0.1
"""Seconds between two reports of progress."""

Source = str | Path | Iterable[str | bytes]
Call = str | Callable[..., Any]


@dataclass(frozen=True, slots=True)
class WarmError:
    """Why one line or key failed.  *line* is None for a key that stood in no line."""

    line: int | None
    key: str | None
    error: str


@dataclass(slots=True)
class WarmResult:
    """How a filling went: *requested* = *warmed* + *skipped* + *failed*.

    *skipped* were there already (``only_missing``).  The first thousand *errors* are kept, *errors_left_out* counts the
    others.
    """

    requested: int = 0
    warmed: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    errors: list[WarmError] = field(default_factory=list)
    errors_left_out: int = 0

    def fail(self, line: int | None, key: str | None, error: str) -> None:
        """Count a failure and keep its reason."""
        self.failed += 1
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(WarmError(line, key, error))
        else:
            self.errors_left_out += 1


def state_folder(config: CacheConfig) -> Path:
    """Where warming keeps its lock and what became of its tasks: in the cache's directory."""
    return (config.directory or default_directory()) / "warming"


def warm_from(
    cache: Cache, source: Source, *, pattern: str = "*", only_missing: bool = False, concurrency: int = 4,
    rate: float | None = None, call: Call | None = None, lock: bool = True, lock_timeout: float = 0.0,
    progress: Callable[[WarmResult], None] | None = None, clock: Callable[[], float] = monotonic,
    wait: Callable[[float], object] = sleep,
) -> WarmResult:  # fmt: skip
    """Fill *cache* from *source*: a path, or lines (an open file, standard input).

    *call*, a function or its name as ``module:function``, gives the value of a key; it may be ``async``.  Only keys
    that match *pattern* are taken.  *only_missing* leaves alone what is there and fresh, *concurrency* is how many keys
    are worked on at once, *rate* how many begin each second.  *progress* is called with the counts so far, now and
    then.  *lock* False skips the lock, for callers that hold it.

    Raises `LockTimeout` when another filling of this directory runs for longer than *lock_timeout* seconds,
    `WarmingError` when the source can't be read or the function isn't there, `ConfigError` for impossible options.
    """
    wanted = Pattern.parse(pattern)
    with _opened(source) as lines:
        items = (item for item in read_lines(lines) if isinstance(item, BadLine) or wanted.matches(item.key))
        return fill(cache, items, only_missing=only_missing, concurrency=concurrency, rate=rate, call=call, lock=lock,
                    lock_timeout=lock_timeout, progress=progress, clock=clock, wait=wait)  # fmt: skip


def fill(
    cache: Cache, items: Iterator[Item | BadLine], *, only_missing: bool = False, concurrency: int = 4,
    rate: float | None = None, call: Call | None = None, lock: bool = True, lock_timeout: float = 0.0,
    progress: Callable[[WarmResult], None] | None = None, clock: Callable[[], float] = monotonic,
    wait: Callable[[float], object] = sleep,
) -> WarmResult:  # fmt: skip
    """`warm_from` with items that are read already."""
    if concurrency < 1:
        raise ConfigError(f"concurrency: expected 1 or more, not {concurrency}")
    if not cache.config.enabled:
        raise WarmingError("the cache is switched off (enabled = false), so nothing can be warmed")
    function = named_function(call) if isinstance(call, str) else call
    job = _Job(cache, function, Pace(rate, clock), wait, only_missing=only_missing, report=_Report(progress, clock))
    lock_file = state_folder(cache.config) / "lock"
    with held(lock_file, lock_timeout, clock=clock, wait=wait) if lock else nullcontext():
        begun = clock()
        todo = _Shared(items)
        try:
            if function is not None and inspect.iscoroutinefunction(function):
                asyncio.run(_run_tasks(job, todo, concurrency))
            else:
                _run_threads(job, todo, concurrency)
        finally:
            job.result.seconds = clock() - begun
    return job.result


@contextmanager
def _opened(source: Source) -> Iterator[Iterable[str | bytes]]:
    if not isinstance(source, str | Path):
        yield source
        return
    try:
        with Path(source).open("rb") as file:
            yield file
    except OSError as problem:
        raise WarmingError(f"{source}: can't be read: {problem.strerror or problem}") from problem


class _Shared:
    """An iterator that several threads draw from."""

    def __init__(self, items: Iterator[Item | BadLine]) -> None:
        self._items = items
        self._lock = threading.Lock()
        self.stopped = False

    def __iter__(self) -> Iterator[Item | BadLine]:
        while True:
            with self._lock:
                item = None if self.stopped else next(self._items, None)
            if item is None:
                return
            yield item


class _Report:
    """Tells how far it is, ten times a second at most."""

    def __init__(self, show: Callable[[WarmResult], None] | None, clock: Callable[[], float]) -> None:
        self._show, self._clock, self._next = show, clock, 0.0

    def __call__(self, result: WarmResult) -> None:
        if self._show is not None and (now := self._clock()) >= self._next:
            self._next = now + _EVERY
            self._show(result)


class _Job:
    """The steps of warming one key; shared by all threads or tasks of a filling."""

    def __init__(self, cache: Cache, function: Callable[..., Any] | None, pace: Pace, wait: Callable[[float], object],
                 *, only_missing: bool, report: _Report) -> None:  # fmt: skip
        self.cache, self.function, self.pace, self.wait = cache, function, pace, wait
        self.result = WarmResult()
        self._only_missing, self._report = only_missing, report
        self._lock = threading.Lock()

    def wanted(self, item: Item | BadLine) -> bool:
        """Whether a value has to be found for it; what is bad or there already is counted."""
        if isinstance(item, BadLine):
            self.count(item, item.error)
            return False
        if item.value is MISSING and self.function is None:
            self.count(item, "no value, and no function (--call) to give one")
            return False
        if self._only_missing and self.cache.exists(item.key, namespace=item.options.get("namespace")):
            self.count(item, skipped=True)
            return False
        return True

    def store(self, item: Item, value: Any, since: Any) -> None:
        """Store the value and count how that went."""
        taken = self.cache.set(item.key, value, since=since, **item.options)
        self.count(item, None if taken else _REFUSED)

    def count(self, item: Item | BadLine, error: str | None = None, *, skipped: bool = False) -> None:
        """One more is done."""
        with self._lock:
            self.result.requested += 1
            if error is not None:
                self.result.fail(item.line, item.key, error)
            elif skipped:
                self.result.skipped += 1
            else:
                self.result.warmed += 1
            self._report(self.result)


def _said(problem: BaseException) -> str:
    """What a person reads of an error: ours speak for themselves, of others the kind is part of the news."""
    return str(problem) if isinstance(problem, CacheError) else f"{type(problem).__name__}: {problem}"


def _run_threads(job: _Job, items: _Shared, concurrency: int) -> None:
    if concurrency == 1:
        _work(job, items)
        return
    with ThreadPoolExecutor(concurrency, thread_name_prefix="scoutcache-warm") as threads:
        try:
            for done in [threads.submit(_work, job, items) for _ in range(concurrency)]:
                done.result()
        finally:
            # An interrupt comes here while the others work: they end after the key they are at.
            items.stopped = True


def _work(job: _Job, items: _Shared) -> None:
    for item in items:
        try:
            if not job.wanted(item):
                continue
            assert isinstance(item, Item)
            if pause := job.pace.wait():
                job.wait(pause)
            since = job.cache.position()
            job.store(item, _value(job.function, item), since)
        except Exception as problem:  # noqa: BLE001 (the user's function raises what it likes: that key failed)
            job.count(item, _said(problem))


def _value(function: Callable[..., Any] | None, item: Item) -> Any:
    if function is None or item.value is not MISSING:
        return item.value
    value = function(item.key)
    # A plain function may hand back a coroutine all the same (a partial, a callable object).
    return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


async def _run_tasks(job: _Job, items: _Shared, concurrency: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(_work_async(job, items))


async def _work_async(job: _Job, items: _Shared) -> None:
    """The same for an ``async`` function.  What may wait (the source, the tiers) is done in threads."""
    function = job.function
    assert function is not None
    lines = iter(items)
    while (item := await asyncio.to_thread(next, lines, None)) is not None:
        try:
            if not await asyncio.to_thread(job.wanted, item):
                continue
            assert isinstance(item, Item)
            if pause := job.pace.wait():
                await (asyncio.sleep(pause) if job.wait is sleep else asyncio.to_thread(job.wait, pause))
            since = job.cache.position()
            value = item.value if item.value is not MISSING else await function(item.key)
            await asyncio.to_thread(job.store, item, value, since)
        except Exception as problem:  # noqa: BLE001 (the user's function raises what it likes: that key failed)
            job.count(item, _said(problem))
