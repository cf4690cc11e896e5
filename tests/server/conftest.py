"""Conduits of each kind, and servers that answer by a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scoutcache.config.sections import RedisSection
from scoutcache.server.breaker import Breaker
from scoutcache.server.coalescing import Coalescing
from scoutcache.server.connecting import Source
from scoutcache.server.direct import Direct


@pytest.fixture
def said() -> list[str]:
    """What breakers have said."""
    return []


@pytest.fixture
def breaker(said: list[str], fake_clock: Any) -> Breaker:
    """A breaker under the test's clock."""
    return Breaker("the server", fake_clock.monotonic, said.append)


@pytest.fixture
def source() -> Callable[..., Source]:
    """Settings of a server: `source(url, timeout=0.3)`."""
    return lambda url, **settings: Source(RedisSection(**{"url": url, "timeout": 5.0, **settings}))


@pytest.fixture
def direct(source: Callable[..., Source], breaker: Breaker) -> Iterator[Callable[..., Direct]]:
    """Conduits for threads; all are closed with the test."""
    made: list[Direct] = []

    def make(url: str, **settings: Any) -> Direct:
        made.append(Direct(source(url, **settings), breaker))
        return made[-1]

    yield make
    for conduit in made:
        conduit.close()


@pytest.fixture
def coalescing(source: Callable[..., Source], breaker: Breaker) -> Callable[..., Coalescing]:
    """Conduits for the running loop."""

    def make(url: str, *, most: int = 512, most_bytes: int = 1 << 20, **settings: Any) -> Coalescing:
        return Coalescing(source(url, **settings), breaker, most=most, most_bytes=most_bytes)

    return make


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """Run callables in threads of their own; their results, or what they raised."""
    from concurrent.futures import ThreadPoolExecutor

    def run(*works: Callable[[], Any]) -> list[Any]:
        with ThreadPoolExecutor(len(works)) as threads:
            calls = [threads.submit(work) for work in works]
            return [call.exception(30) or call.result() for call in calls]

    return run
