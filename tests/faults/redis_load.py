"""A small load on a cache, for threads and for an event loop, and what it met.

Each key has one owner, which knows what it has acknowledged: `get` may answer that or nothing, and nothing else.  What
another machine owns may be answered late, but must be something that was once written under that key.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from scoutcache import AsyncCache, Cache

KEYS = 40
HOT = 4
PAUSE = 0.002
"""Seconds between two operations of a worker: a small load."""


@dataclass
class Met:
    """What one face's load met."""

    operations: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[Any] = field(default_factory=list)
    hits: list[float] = field(default_factory=list)
    misses: list[tuple[float, bool]] = field(default_factory=list)
    """How long each took, and whether the breaker was open when it began."""
    writes: list[float] = field(default_factory=list)
    loop_stalls: list[float] = field(default_factory=list)
    lost_hot: int = 0


class Owner:
    """What the owner of some keys knows of them; each step is yielded as (method, arguments) and answered."""

    def __init__(self, name: str, others: str, seed: int) -> None:
        self.name, self.others, self._dice = name, others, random.Random(seed)
        self.values: dict[str, Any] = {}
        self._numbers: Counter[str] = Counter()
        self.wrong: list[Any] = []
        self.log: dict[str, list[Any]] = {}
        """What was done last to each key, to be told of one that is wrong."""

    def key(self, number: int) -> str:
        return f"{self.name}:{number}"

    def steps(self) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
        """One operation: yield it, be sent its answer."""
        key = self.key(self._dice.randrange(KEYS))
        kind = self._dice.choices(["get", "set", "compute", "delete", "invalidate", "other"], [6, 4, 3, 1, 1, 3])[0]
        if kind == "other":
            key = f"{self.others}:{self._dice.randrange(KEYS)}"
            answer = yield "get", (key,), {}
            if answer is not None and answer[0] != key:
                self.wrong.append(("other", key, answer))
        elif kind == "get":
            answer = yield "get", (key,), {}
            if answer is not None and answer != self.values.get(key):
                self.wrong.append(("get", key, answer, self.values.get(key), time.monotonic(), self.log.get(key)))
        elif kind == "set":
            value = self._next(key)
            taken = yield "set", (key, value), {"tags": [f"tag:{self.name}"]}
            self.values[key] = value
            self._note(key, "set", value[1], taken)
        elif kind == "compute":
            value = self._next(key)
            answer = yield "get_or_compute", (key, lambda: value), {}
            if answer not in (value, self.values.get(key)):
                self.wrong.append(("compute", key, answer, self.values.get(key), time.monotonic(), self.log.get(key)))
            self.values[key] = answer
            self._note(key, "compute", answer[1])
        elif kind == "delete":
            yield "delete", (key,), {}
            self.values[key] = None
            self._note(key, "delete")
        else:
            yield "invalidate", (f"{key[:-1]}*",), {}
            for one in self.values:
                if one.startswith(key[:-1]):
                    self.values[one] = None
                    self._note(one, "invalidate")

    def _note(self, key: str, *what: Any) -> None:
        self.log[key] = [*self.log.get(key, [])[-2:], (*what, round(time.monotonic(), 3))]

    def _next(self, key: str) -> Any:
        self._numbers[key] += 1
        return [key, self._numbers[key]]


def tier_of(cache: Any) -> Any:
    return next(tier for tier in cache._core.tiers if tier.name == "redis")


def breaker_open(cache: Any) -> bool:
    return tier_of(cache).conduit.breaker.fault is not None


class Load:
    """Runs owners, a probe of hits and a probe of misses against *cache* until it is stopped."""

    def __init__(self, cache: Cache | AsyncCache, name: str, others: str, *, workers: int = 2) -> None:
        self.cache, self.met, self.is_async = cache, Met(), isinstance(cache, AsyncCache)
        self.owners = [Owner(f"{name}{number}", f"{others}{number}", number) for number in range(workers)]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        works = [self._on_loop] if self.is_async else [*[lambda one=one: self._own(one) for one in self.owners],
                                                       self._probe_hits, self._probe_misses]  # fmt: skip
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "it hangs"
        for owner in self.owners:
            self.met.wrong += owner.wrong

    def new_figures(self) -> Met:
        """Begin to count anew; what was met before."""
        before, self.met = self.met, Met()
        return before

    def _noted(self, method: str, began: float) -> None:
        self.met.operations += 1
        if method in {"set", "delete", "invalidate"}:
            self.met.writes.append(time.perf_counter() - began)

    # -- threads

    def _own(self, owner: Owner) -> None:
        while not self._stop.wait(PAUSE):
            steps = owner.steps()
            method, given, named = next(steps)
            began = time.perf_counter()
            try:
                answer = getattr(self.cache, method)(*given, **named)
                self._noted(method, began)
                _answer(steps, answer)
            except Exception as error:
                self.met.errors[repr(error)] += 1

    def _probe_hits(self) -> None:
        number = 0
        while not self._stop.wait(0.0005):
            key = f"hot:{self.owners[0].name}:{(number := number + 1) % HOT}"
            began = time.perf_counter()
            found = self.cache.get(key)
            took = time.perf_counter() - began
            if found == key:
                self.met.hits.append(took)
            else:
                self.met.lost_hot += 1
                self.cache.set(key, key)

    def _probe_misses(self) -> None:
        number = 0
        while not self._stop.wait(PAUSE):
            number += 1
            was_open, began = breaker_open(self.cache), time.perf_counter()
            try:
                found = self.cache.get(f"nothing:{number}")
            except Exception as error:
                self.met.errors[repr(error)] += 1
                continue
            self.met.misses.append((time.perf_counter() - began, was_open))
            if found is not None:
                self.met.wrong.append(("miss", found))

    # -- an event loop

    def _on_loop(self) -> None:
        async def work() -> None:
            await asyncio.gather(*map(self._own_async, self.owners), self._probe_hits_async(),
                                 self._probe_misses_async(), self._probe_loop())  # fmt: skip

        self.runner = asyncio.Runner()
        self.runner.run(work())

    async def _own_async(self, owner: Owner) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(PAUSE)
            steps = owner.steps()
            method, given, named = next(steps)
            began = time.perf_counter()
            try:
                answer = await getattr(self.cache, method)(*given, **named)
                self._noted(method, began)
                _answer(steps, answer)
            except Exception as error:
                self.met.errors[repr(error)] += 1

    async def _probe_hits_async(self) -> None:
        number = 0
        while not self._stop.is_set():
            await asyncio.sleep(0.0005)
            key = f"hot:{self.owners[0].name}:{(number := number + 1) % HOT}"
            began = time.perf_counter()
            found = await self.cache.get(key)
            took = time.perf_counter() - began
            if found == key:
                self.met.hits.append(took)
            else:
                self.met.lost_hot += 1
                await self.cache.set(key, key)

    async def _probe_misses_async(self) -> None:
        number = 0
        while not self._stop.is_set():
            await asyncio.sleep(PAUSE)
            number += 1
            was_open, began = breaker_open(self.cache), time.perf_counter()
            try:
                found = await self.cache.get(f"nothing:{number}")
            except Exception as error:
                self.met.errors[repr(error)] += 1
                continue
            self.met.misses.append((time.perf_counter() - began, was_open))
            if found is not None:
                self.met.wrong.append(("miss", found))

    async def _probe_loop(self) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            self.met.loop_stalls.append(time.perf_counter() - began - 0.001)


def _answer(steps: Any, answer: Any) -> None:
    try:
        steps.send(answer)
    except StopIteration:
        return


def quantile(figures: list[float], part: float) -> float | None:
    """In milliseconds; None without any."""
    ordered = sorted(figures)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000, 3) if ordered else None


class Lines(logging.Handler):
    """The lines that the library logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> Self:
        logging.getLogger("scoutcache").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("scoutcache").removeHandler(self)


def same_everywhere(asks: list[Callable[[list[str]], dict[str, Any]]], keys: list[str]) -> dict[str, list[Any]]:
    """The keys to which not all give one answer, with their answers."""
    found = [ask(keys) for ask in asks]
    return {key: [one.get(key) for one in found] for key in keys if len({repr(one.get(key)) for one in found}) > 1}
