"""The work on one item of a filling, in threads or on an event loop: ask the function, store, count.

- Each attempt notes the position first: an invalidation that comes while the function runs wins over its value.
- Only what the function raises is tried again, after *backoff* seconds, then twice as long; each attempt is a call of
  the budget.
- What no tier takes because one can't answer ends the filling where nothing was stored before, or where it goes on so:
  what is computed then is computed for nothing.  Whether the authority answers is asked before the first is computed.
- What ends the whole filling is raised as itself, from tasks as from threads.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xxhash import xxh3_64_intdigest

from scoutcache.calls.calls import Options as CallOptions
from scoutcache.calls.listing import tiers_with
from scoutcache.entry import MISSING, NAMESPACE_MARK, Ref
from scoutcache.errors import CacheError, ConfigError, TierUnavailable, WarmingError
from scoutcache.warming.batches import Batch
from scoutcache.warming.budget import Budget
from scoutcache.warming.functions import asked
from scoutcache.warming.lines import BadLine, Beyond, Item
from scoutcache.warming.pace import Pace
from scoutcache.warming.records import NothingTaken, WarmError, WarmResult, said
from scoutcache.warming.resume import Record

if TYPE_CHECKING:
    from scoutcache.cache import Cache

__all__ = ["Call", "Job", "Options", "Shared", "run_job"]

Call = str | Callable[..., Any]

_REFUSED: Final = "no tier stored it (invalidated meanwhile, a ttl of 0, or no tier can answer)"
_EVERY: Final = 0.1
"""Seconds between two reports of progress."""
_LONGEST_PAUSE: Final = 60.0
_MOST_REMEMBERED: Final = 2_000_000
"""Keys, of which 64 bits each are kept so that one that stands there twice is seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a filling is done; see `fill.warm_from`.  Raises `ConfigError` for impossible ones."""

    only_missing: bool = False
    concurrency: int = 4
    rate: float | None = None
    call: Call | None = None
    retries: int = 0
    backoff: float = 1.0
    budget: Budget | None = None
    resume: bool | None = None
    going: Callable[[], bool] = lambda: True
    lock: bool = True
    lock_timeout: float = 0.0
    progress: Callable[[WarmResult], None] | None = None
    clock: Callable[[], float] = monotonic
    wait: Callable[[float], object] = sleep

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigError(f"concurrency: expected 1 or more, not {self.concurrency}")
        if self.retries < 0:
            raise ConfigError(f"retries: expected 0 or more, not {self.retries}")


Drawn = Item | BadLine | Batch
"""What is worked on at once."""


class Shared:
    """An iterator that several threads draw from; it ends early once *going* says no.

    What depends on other keys is handed out once all that was drawn before it is done: storing the key that an entry
    depends on ends the entry.  Whoever draws closes its own iterator, whatever becomes of the work.
    """

    def __init__(self, items: Iterator[Drawn], going: Callable[[], bool] = lambda: True) -> None:
        self._items, self._going = items, going
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._under_way: set[int] = set()
        self._drawn = 0
        self.stopped = False

    def __iter__(self) -> Generator[Drawn, None, None]:
        while True:
            with self._lock:
                ended = self.stopped or not self._going()
                item = None if ended else next(self._items, None)
                self._drawn += 1
                number = self._drawn
                with self._changed:
                    self._under_way.add(number)
            try:
                if item is None or not self._await_turn(item, number):
                    return
                yield item
            finally:
                with self._changed:
                    self._under_way.discard(number)
                    self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more; who waits for a turn waits no longer."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def _await_turn(self, item: Drawn, number: int) -> bool:
        if isinstance(item, Item) and item.options.get("depends_on"):
            with self._changed:
                self._changed.wait_for(lambda: self.stopped or min(self._under_way) == number)
                return not self.stopped
        return True


class _Report:
    """Tells how far it is, ten times a second at most."""

    def __init__(self, show: Callable[[WarmResult], None] | None, clock: Callable[[], float]) -> None:
        self._show, self._clock, self._next = show, clock, 0.0

    def __call__(self, result: WarmResult) -> None:
        if self._show is not None and (now := self._clock()) >= self._next:
            self._next = now + _EVERY
            self._show(result)


class Job:
    """The steps of warming one key; shared by all threads or tasks of a filling."""

    def __init__(
        self, cache: Cache, function: Callable[..., Any] | None, options: Options, record: Record | None,
        part: Callable[[], float | None],
    ) -> None:  # fmt: skip
        self.cache, self.function, self.options = cache, function, options
        self.pace = Pace(options.rate, options.clock)
        self.result = WarmResult()
        self._budget, self._record, self._part = options.budget, record, part
        self._report = _Report(options.progress, options.clock)
        self._seen: set[int] = set()
        self._looked = False
        self._untaken = 0
        """Keys in a row that no tier took."""
        self._lock = threading.Lock()

    def wanted(self, item: Item | BadLine) -> bool:
        """Whether a value has to be found for it; what is bad, or there already, is counted."""
        if isinstance(item, Item) and item.made:
            self._called()
        if isinstance(item, BadLine):
            self._count(item, item.error)
        elif isinstance(item, Beyond):
            self.result.ended_early = True
            self._count(item, skipped="over_budget")
        elif item.value is MISSING and self.function is None:
            self._count(item, "no value, and no function (--call) to give one")
        elif self._is_repeated(item):
            self._count(item, skipped="duplicates")
        elif self._record is not None and self._record.has(item):
            self._count(item, skipped="resumed")
        elif self.options.only_missing and self.cache.exists(item.key, namespace=item.options.get("namespace")):
            self.done(item, skipped="")
        elif item.value is MISSING and not self._may_call(item):
            self._count(item, skipped="over_budget")
        else:
            return True
        return False

    def look(self) -> None:
        """Raise `NothingTaken` where it is clear before anything is computed that nothing could be stored."""
        core = self.cache._core
        with self._lock:
            if self._looked or not core.world.raise_errors:
                return
            self._looked = True
            try:
                core.ports.versions.current(core.config.namespace, [NAMESPACE_MARK])
            except TierUnavailable as problem:
                raise NothingTaken(problem, 0) from problem

    def again(self, item: Item, attempt: int) -> float | None:
        """The seconds to wait before the function is asked again for *item*, None when it isn't."""
        if attempt >= self.options.retries or not self.options.going() or not self._may_call(item):
            return None
        return float(min(self.options.backoff * 2**attempt, _LONGEST_PAUSE))

    def store(self, item: Item, valued: Valued) -> None:
        """Store the value and count how that went; what computing it took is on record either way."""
        before, outcome = self.cache._core.world.now(), "refused"
        try:
            if self.cache.set(item.key, valued.value, since=valued.since, **item.options):
                outcome = "stored"
        except TierUnavailable as problem:
            self._taken_in_part(item, problem, before)
            outcome = "stored"
        finally:
            self._tell_run(item, valued, outcome)
        if outcome == "refused":
            self._count(item, _REFUSED)
            return
        self._untaken = 0
        self.done(item)

    def _tell_run(self, item: Item, valued: Valued, outcome: str) -> None:
        calls, price = self.cache._calls, self.cache._core.world.price
        tags, cost = item.options.get("tags") or (), item.options.get("cost")
        by_model = cost is None and price is not None and price(tags, 1) is not None
        if valued.ran is None or by_model:  # a model's price goes by the size, which the write says
            return
        began, ended = valued.ran
        with suppress(CacheError):  # of what is no cost the write complains
            calls.recording.done("refresh", calls.ref(item.key, item.options.get("namespace")), began, ended=ended,
                                 outcome=outcome, factory_s=(ended - began) / 1e9,
                                 cost=calls.cost(cost))  # fmt: skip

    def store_together(self, items: Sequence[Item]) -> bool:
        """Store values of equal options by one write; whether that can be told of all of them."""
        options = items[0].options
        calls = self.cache._calls
        try:
            pairs = [(item.key, item.value) for item in items]
            taken = self.cache._run(calls.set_many(pairs, CallOptions(**options, since=self.cache.position())))
        except CacheError:  # which of them failed, each alone tells
            return False
        if taken < len(items):
            return False
        self._untaken = 0
        self.done(*items)
        return True

    def _taken_in_part(self, item: Item, problem: TierUnavailable, since: float) -> None:
        """Note that a tier did not take it; raises *problem* where none did, `NothingTaken` where that goes on so."""
        core = self.cache._core
        ref = Ref(item.options.get("namespace") or core.config.namespace, item.key)
        taken = tiers_with(core, ref, since, problem.tier)
        with self._lock:
            if taken:
                times, _ = self.result.partly.get(problem.tier, (0, ""))
                self.result.partly[problem.tier] = times + 1, problem.reason
                return
            self._untaken += 1
            if not self.result.warmed or self._untaken > 2 * self.options.concurrency:
                raise NothingTaken(problem, self.result.warmed) from problem
        raise problem

    def done(self, *items: Item, skipped: str | None = None) -> None:
        """They are in the cache, by our doing or (*skipped*) not."""
        if self._record is not None:
            self._record.add(items)
        for item in items:
            self._count(item, skipped=skipped)

    def failed(self, item: Item | BadLine, problem: BaseException) -> None:
        """It can't be done."""
        self._count(item, said(problem))

    def _may_call(self, item: Item) -> bool:
        if self._budget is not None and not self._budget.take(item.key, item.options.get("cost")):
            return False
        self._called()
        return True

    def _called(self) -> None:
        with self._lock:
            self.result.calls += 1
            self.result.cost_usd = None if self._budget is None else self._budget.spent_usd

    def _is_repeated(self, item: Item) -> bool:
        name = f"{item.options.get('namespace') or ''}\0{item.key}"
        mark = xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))
        with self._lock:
            if mark in self._seen:
                return True
            if len(self._seen) < _MOST_REMEMBERED:
                self._seen.add(mark)
            return False

    def _count(self, item: Item | BadLine, error: str | None = None, *, skipped: str | None = None) -> None:
        """One more is done."""
        with self._lock:
            result = self.result
            result.requested += 1
            if error is not None:
                result.fail(item.line, item.key, error)
            elif skipped is not None:
                result.skipped += 1
                if skipped:
                    setattr(result, skipped, getattr(result, skipped) + 1)
                if skipped == "duplicates" and result.first_duplicate is None:
                    earlier = "an earlier line has this key too; it counts"
                    result.first_duplicate = WarmError(item.line, item.key, earlier)
            else:
                result.warmed += 1
            result.part = self._part()
            self._report(result)


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


class Valued(NamedTuple):
    """A value as of the position *since*; *ran* is from when to when the function did, None where it was at hand."""

    since: Any
    value: Any
    ran: tuple[int, int] | None = None


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
