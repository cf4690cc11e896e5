"""The steps of warming one key, which `workers` take: is it wanted, ask once more, store, count.

- Only what the function raises is tried again, after *backoff* seconds, then twice as long; each attempt is a call of
  the budget.
- What no tier takes because one can't answer ends the filling where nothing was stored before, or where it goes on so:
  what is computed then is computed for nothing.  Whether the authority answers is asked before the first is computed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xxhash import xxh3_64_intdigest

from scoutcache.calls.calls import Options as CallOptions
from scoutcache.calls.listing import tiers_with
from scoutcache.entry import MISSING, NAMESPACE_MARK, Ref
from scoutcache.errors import CacheError, ConfigError, TierUnavailable
from scoutcache.warming.budget import Budget
from scoutcache.warming.lines import BadLine, Beyond, Item
from scoutcache.warming.pace import Pace
from scoutcache.warming.records import NothingTaken, WarmError, WarmResult, said
from scoutcache.warming.resume import Record

if TYPE_CHECKING:
    from scoutcache.cache import Cache

__all__ = ["Call", "Job", "Options", "Valued"]

Call = str | Callable[..., Any]

_REFUSED: Final = "no tier stored it (invalidated meanwhile, a ttl of 0, or no tier can answer)"
MOST_AT_ONCE: Final = 1024
"""Keys at once: each takes a thread, or two."""
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
        if not 1 <= self.concurrency <= MOST_AT_ONCE:
            raise ConfigError(f"concurrency: expected 1 to {MOST_AT_ONCE}, not {self.concurrency}")
        if self.retries < 0:
            raise ConfigError(f"retries: expected 0 or more, not {self.retries}")


class Valued(NamedTuple):
    """A value as of the position *since*; *ran* is from when to when the function did, None where it was at hand."""

    since: Any
    value: Any
    ran: tuple[int, int] | None = None


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
