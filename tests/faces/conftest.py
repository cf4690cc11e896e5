"""Both faces behind one: a test calls methods, and whoever drives them awaits what must be awaited."""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import inspect
import os
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.answers.faces import AsyncSemantic, Semantic
from scoutcache.core.core import Clocks
from scoutcache.idioms.behind import AsyncBehind, Behind
from scoutcache.idioms.fields import AsyncHash, Hash
from scoutcache.idioms.through import AsyncThrough, Through
from scoutcache.idioms.versioned import AsyncVersioned, Versioned

from ..servers.slow import slow_down  # noqa: TID252 - tests are no package

PARTS = (
    Through | AsyncThrough | Hash | AsyncHash | Versioned | AsyncVersioned | Behind | AsyncBehind | Semantic
    | AsyncSemantic
)  # fmt: skip
PATIENCE = 20.0
"""Seconds after which a hang is called one; nothing waits so long."""

TIERS = {"memory": ["memory"], "disk": ["disk"], "both": ["memory", "disk"]}

ON_SERVER = {"redis": ["redis"], "memory+redis": ["memory", "redis"], "all_three": ["memory", "redis", "disk"]}

BY_DEFAULT = {"test_contract", "test_invalidating"}
"""The modules whose tests run over a server too; all of them do where TEST_EVERYWHERE is set."""

EVERYWHERE = bool(os.environ.get("TEST_EVERYWHERE"))


class Driven:
    """A cache whose calls all block: coroutines are run to their end, async iterators become lists."""

    def __init__(self, cache: Any, runner: asyncio.Runner) -> None:
        self.cache, self.runner = cache, runner
        self.is_async = isinstance(cache, AsyncCache)

    def __getattr__(self, name: str) -> Any:
        return self._blocking(getattr(self.cache, name))

    def _blocking(self, found: Any) -> Any:
        if isinstance(found, Semantic | AsyncSemantic):
            return Driven(found, self.runner)
        if not callable(found):
            return found

        @functools.wraps(found)
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._ended(found(*args, **kwargs))

        return call

    def _ended(self, result: Any) -> Any:
        if inspect.iscoroutine(result):
            return self.runner.run(result)
        if inspect.isasyncgen(result):
            return self.runner.run(_listed(result))
        if isinstance(result, Iterator):
            return list(result)
        if isinstance(result, Cache | AsyncCache | PARTS):
            return Driven(result, self.runner)
        return result

    def cached(self, **options: Any) -> Any:
        def wrap(function: Any) -> Any:
            wrapped = self.cache.cached(**options)(function)
            call = self._blocking(wrapped)
            for name in ("key", "invalidate", "refresh"):
                setattr(call, name, self._blocking(getattr(wrapped, name)))
            return call

        return wrap

    def turn(self) -> None:
        """What the background does twice a second."""
        self.cache._core.background.turn()

    def settle(self) -> None:
        """Wait until nothing runs beside the calls."""
        beside = self.core.ports.beside
        if not self.is_async:
            assert not wait(list(beside), timeout=PATIENCE).not_done, "a refresh hangs"
            return

        async def ended() -> None:
            while beside:
                await asyncio.wait([asyncio.wrap_future(one) for one in beside], timeout=PATIENCE)

        self.runner.run(asyncio.wait_for(ended(), PATIENCE))

    def left(self) -> list[object]:
        """What is under way, or was left behind: flights, refreshes, leases."""
        self.settle()
        running, leases = self.core.world.running, self.core.directory / "leases"
        held = list(self.core.ports.leases._held) if self.core.ports.leases is not None else []
        files = list(leases.iterdir()) if leases.exists() else []
        return [*running.flights._flights, *running.refreshes._flights, *held, *files]

    @property
    def core(self) -> Any:
        return self.cache._core

    def tier(self, name: str) -> Any:
        return self.core.tier(name)


async def _listed(results: Any) -> list[Any]:
    return [result async for result in results]


@pytest.fixture
def clocks(fake_clock: Any) -> Clocks:
    """The test's own clock; nothing runs in the background by itself."""
    return Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> str:
    """Every test that uses it runs once per face."""
    name: str = request.param
    return name


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that uses `tiers` runs once per set of tiers."""
    marked = any("tiers" in str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))
    if "tiers" in metafunc.fixturenames and not marked:
        more = ON_SERVER if metafunc.module.__name__.split(".")[-1] in BY_DEFAULT or EVERYWHERE else {}
        sets = {**TIERS, **more}
        metafunc.parametrize("tiers", list(sets.values()), ids=list(sets))


@pytest.fixture
def open_cache(
    face: str, clocks: Clocks, runner: asyncio.Runner, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Any]:
    """Open caches of the test's face over the test's directory and server; all are closed with the test."""
    opened: list[Driven] = []

    def make(tiers: list[str] | None = None, *, directory: Path | None = None, **settings: Any) -> Driven:
        kind = {"sync": Cache, "async": AsyncCache}[face]
        settings |= {"tiers": tiers or ["memory", "disk"], "directory": directory or tmp_path / "cache"}
        if "redis" in settings["tiers"]:
            server = {"url": request.getfixturevalue("redis_url"), "timeout": 5.0}  # a busy machine is no failure
            settings["redis"] = {**server, **settings.get("redis", {})}
        cache = kind(settings, clocks=clocks)
        if "redis" in settings["tiers"]:
            slow_down(cache._core.tier("redis"))
        opened.append(Driven(cache, runner))
        return opened[-1]

    yield make
    for cache in opened:
        cache.close()


@pytest.fixture
def cache(open_cache: Any, tiers: list[str]) -> Driven:
    """A cache of each face with each set of tiers."""
    driven: Driven = open_cache(tiers)
    return driven


@pytest.fixture
def ruled(open_cache: Any) -> Any:
    """A cache of each face with these rules."""

    def make(*rules: Any, tiers: list[str] | None = None, **settings: Any) -> Driven:
        return open_cache(tiers, rules=list(rules), **settings)

    return make


@pytest.fixture
def ask() -> Any:
    """Call a method of `cache.rules` and wait for it."""

    def call(cache: Driven, method: str, *args: Any, **kwargs: Any) -> Any:
        return cache._ended(getattr(cache.rules, method)(*args, **kwargs))

    return call


@pytest.fixture
def with_policies(open_cache: Any) -> Any:
    """Open a cache with these policies, of memory and disk unless told otherwise."""

    def make(*policies: dict[str, Any], tiers: list[str] | None = None, **settings: Any) -> Driven:
        named = [{"policy_id": f"p{at}", **said} for at, said in enumerate(policies)]
        driven: Driven = open_cache(tiers, policies=named, **settings)
        return driven

    return make


@pytest.fixture
def sync(tmp_path: Path, clocks: Clocks) -> Iterator[Cache]:
    """A blocking cache, over the directory of `make_async`."""
    with Cache({"directory": tmp_path / "c"}, clocks=clocks) as cache:
        yield cache


@pytest.fixture
def make_async(tmp_path: Path, clocks: Clocks) -> Any:
    """Makes caches for event loops."""
    return lambda **more: AsyncCache({"directory": tmp_path / "c", **more}, clocks=clocks)


@pytest.fixture
def no_hang() -> Iterator[None]:
    """A hang ends the run with every stack."""
    faulthandler.dump_traceback_later(60.0, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def in_threads() -> Any:
    """Runs each of several callables in a thread of its own; gives their results, or what they raised."""

    def run(*works: Any) -> list[Any]:
        results: list[Any] = [None] * len(works)

        def work(number: int) -> None:
            try:
                results[number] = works[number]()
            except BaseException as error:
                results[number] = error

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(works))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20.0)
            assert not thread.is_alive(), "it hangs"
        return results

    return run


@pytest.fixture
def turns() -> Any:
    """Lets the other tasks of the loop run, for so many turns of it.  No time is waited for."""

    async def run(number: int = 1) -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    return run


@pytest.fixture
def machines(face, runner, redis_url, tmp_path):
    """Opens caches of *tiers* with a directory each on one server, as on several machines; their listeners run."""
    opened: list[Driven] = []

    def make(tiers: list[str], **redis: object) -> Driven:
        server = {"url": redis_url, "timeout": 5.0, **redis}
        config = {"tiers": tiers, "directory": tmp_path / f"machine{len(opened)}", "redis": server}
        opened.append(Driven({"sync": Cache, "async": AsyncCache}[face](config), runner))
        return opened[-1]

    yield make
    for cache in opened:
        cache.close()
