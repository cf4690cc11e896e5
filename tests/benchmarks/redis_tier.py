"""The Redis tier against redis-py, aiocache and cashews on the same server: ``python tests/benchmarks/redis_tier.py``.

It starts a server of its own on a private Unix socket and port.  Contestants take turns in one process; a ratio is the
median of the rounds' ratios, so that whatever else the machine does hits all of them.  Every client is pinned to one
core together with the server, for where they run apart waking each other hides what is compared; ``--spread`` doesn't.
"face" goes through `Cache` or `AsyncCache` with the tier ``redis`` alone, log and counters on; "tier" is the tier and
the codec, as redis-py and the others have neither log nor counters.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiocache
import aiocache.serializers
import cashews
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from scoutcache import AsyncCache, Cache
from scoutcache.entry import NEVER, Header, Ref, Row
from scoutcache.patterns import Pattern
from scoutcache.tiers.redis import RedisTier
from scoutcache.wire.codec import Codec

CODEC = Codec()
KEYS = 200


def text(size: int = 1024) -> str:
    """Text of the kind a model answers."""
    words = ["the", "cache", "answers", "before", "anyone", "asked", "model", "latency", "token", "of", "a", "and"]
    out: list[str] = []
    while sum(map(len, out)) + len(out) < size:
        out.append(random.choice(words) if random.random() < 0.6 else f"{random.getrandbits(24):x}")
    return " ".join(out)[:size]


VALUES = [text() for _ in range(KEYS)]
RAW = [value.encode() for value in VALUES]


class Server:
    """A server of the benchmark's own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                   "--dir", str(folder), "--logfile", str(folder / "log")]  # fmt: skip
        self.process = subprocess.Popen(command)
        while True:
            try:
                self.raw = plain(self.port)
                self.raw.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.01)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


def plain(port: int) -> redis.Redis:
    """redis-py with its parser in C, without retries, as one would have it."""
    return redis.Redis(port=port, socket_timeout=1, retry=Retry(NoBackoff(), 0), protocol=2)


def compare(ours: Callable[[int], object], theirs: Callable[[int], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of both and the median of the rounds' ratios ours : theirs."""
    for warm in (-2, -1):
        ours(warm)
        theirs(warm)
    pairs = []
    for number in range(rounds):
        first, second = (ours, theirs) if number % 2 else (theirs, ours)
        times = {}
        for work in (first, second):
            began = time.perf_counter()
            work(number)
            times[work] = time.perf_counter() - began
        pairs.append((times[ours], times[theirs]))
    ratios = [mine / other for mine, other in pairs]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs), statistics.median(ratios)


def row(key: str, value: str) -> Row:
    """What the engine hands to a tier."""
    live, encoded = CODEC.hold(value)
    now = time.time()
    header = Header(ref=Ref("default", key), start=time.time_ns(), created=now, fresh_until=NEVER, expires=now + 3600)
    return Row(header, live, lambda: CODEC.seal(header, live, encoded))


class Report:
    """Prints each figure beside its goal; counts what was missed."""

    def __init__(self) -> None:
        self.missed = 0

    def say(self, name: str, figures: tuple[float, float, float], count: int, goal: float | None,
            *, least: bool = False) -> None:  # fmt: skip
        ours, theirs, ratio = figures
        shown = 1 / ratio if least else ratio
        met = goal is None or (shown >= goal if least else shown <= goal)
        self.missed += not met
        wanted = "" if goal is None else f"   goal {'>=' if least else '<='} {goal}{'' if met else '   MISSED'}"
        print(f"{name:52} {ours / count * 1e6:8.1f} us against {theirs / count * 1e6:8.1f} us   {shown:6.2f} x{wanted}",
              flush=True)  # fmt: skip


def sync_work(server: Server, folder: Path, report: Report, rounds: int) -> None:
    """What threads do."""
    cache = Cache(tiers=["redis"], directory=folder / "sync", redis_url=server.url)
    tier = cache._core.tiers[0]
    assert isinstance(tier, RedisTier)
    for number, value in enumerate(VALUES):
        cache.set(f"k:{number}", value, ttl=3600)
        server.raw.set(f"raw:{number}", RAW[number], px=3_600_000)
    refs = [Ref("default", f"k:{number}") for number in range(KEYS)]
    raw, now = server.raw, time.time()

    def tier_get(_: int) -> None:
        for ref in refs:
            assert CODEC.open(ref, tier.read(ref, now)).value is not None  # type: ignore[arg-type]

    def face_get(_: int) -> None:
        for number in range(KEYS):
            assert cache.get(f"k:{number}") is not None

    def raw_get(_: int) -> None:
        for number in range(KEYS):
            assert raw.get(f"raw:{number}") is not None

    report.say("get 1 KB, tier : redis-py GET", compare(tier_get, raw_get, rounds), KEYS, 1.25)
    report.say("get 1 KB, face : redis-py GET", compare(face_get, raw_get, rounds), KEYS, 1.25)

    some, names = refs[:100], [f"raw:{number}" for number in range(100)]
    keys = [f"k:{number}" for number in range(100)]

    def tier_many(_: int) -> None:
        for _ in range(10):
            found = tier.read_many(some, now)
            assert len([CODEC.open(ref, sealed).value for ref, sealed in found.items()]) == 100

    def face_many(_: int) -> None:
        for _ in range(10):
            assert len(cache.get_many(keys)) == 100

    def raw_many(_: int) -> None:
        for _ in range(10):
            assert None not in raw.mget(names)

    report.say("get_many(100), tier : redis-py MGET", compare(tier_many, raw_many, rounds), 10, 2.0)
    report.say("get_many(100), face : redis-py MGET", compare(face_many, raw_many, rounds), 10, None)

    def tier_set(_: int) -> None:
        for number in range(KEYS):
            tier.write([row(f"k:{number}", VALUES[number])], time.time())

    rows = [row(f"k:{number}", VALUES[number]) for number in range(KEYS)]
    for one in rows:
        assert one.sealed.size

    def sealed_set(_: int) -> None:
        for one in rows:
            tier.write([one], now)

    def told_set(_: int) -> None:
        for number in range(KEYS):
            message = cache._core.world.message("written", "default", [f"k:{number}"])
            tier.write([row(f"k:{number}", VALUES[number])], time.time(), None, message)

    def face_set(_: int) -> None:
        for number in range(KEYS):
            cache.set(f"k:{number}", VALUES[number], ttl=3600)

    def raw_set(_: int) -> None:
        for number in range(KEYS):
            raw.set(f"raw:{number}", RAW[number], px=3_600_000)

    report.say("set with position check, tier : redis-py SET", compare(tier_set, raw_set, rounds), KEYS, 1.15)
    report.say("... of an entry that is sealed already", compare(sealed_set, raw_set, rounds), KEYS, 1.15)
    report.say("... announced to others as well", compare(told_set, raw_set, rounds), KEYS, 1.15)
    report.say("set, face : redis-py SET", compare(face_set, raw_set, rounds), KEYS, None)
    cache.close()


async def async_work(server: Server, folder: Path, report: Report, rounds: int) -> None:
    """What tasks do: one, and a hundred of them."""
    cache = AsyncCache(tiers=["redis"], directory=folder / "async", redis_url=server.url)
    tier = cache._core.tiers[0]
    assert isinstance(tier, RedisTier)
    client = redis.asyncio.Redis(port=server.port, protocol=2, retry=Retry(NoBackoff(), 0))
    ours_alone = aiocache.RedisCache(endpoint="127.0.0.1", port=server.port, timeout=0,
                                     serializer=aiocache.serializers.StringSerializer())  # fmt: skip
    shared = cashews.Cache()
    shared.setup(server.url)
    for number, value in enumerate(VALUES):
        await cache.set(f"k:{number}", value, ttl=3600)
        await client.set(f"raw:{number}", RAW[number])
        await ours_alone.set(f"k:{number}", value)
        await shared.set(f"c:{number}", value, expire=3600)
    now = time.time()

    async def tier_get(number: int) -> None:
        ref = Ref("default", f"k:{number}")
        sealed = await tier.read_on_loop(ref, now)
        assert sealed is not None
        assert CODEC.open(ref, sealed).value is not None

    async def face_get(number: int) -> None:
        assert await cache.get(f"k:{number}") is not None

    async def raw_get(number: int) -> None:
        assert await client.get(f"raw:{number}") is not None

    async def aiocache_get(number: int) -> None:
        assert await ours_alone.get(f"k:{number}") is not None

    async def cashews_get(number: int) -> None:
        assert await shared.get(f"c:{number}") is not None

    loop = asyncio.get_running_loop()

    async def measured(mine: Callable[[int], Awaitable[None]], theirs: Callable[[int], Awaitable[None]],
                       go: Callable[[Callable[[int], Awaitable[None]]], Awaitable[None]]) -> tuple[float, float, float]:
        pairs = []
        for number in range(rounds + 2):
            order = (mine, theirs) if number % 2 else (theirs, mine)
            times = {}
            for work in order:
                began = loop.time()
                await go(work)
                times[work] = loop.time() - began
            if number > 1:
                pairs.append((times[mine], times[theirs]))
        return (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
                statistics.median(a / b for a, b in pairs))  # fmt: skip

    async def alone(work: Callable[[int], Awaitable[None]]) -> None:
        for number in range(KEYS):
            await work(number)

    async def lockstep(work: Callable[[int], Awaitable[None]]) -> None:
        async def caller(first: int) -> None:
            for turn in range(10):
                await work((first + turn) % KEYS)

        await asyncio.gather(*[caller(number) for number in range(100)])

    latencies: dict[Any, list[float]] = {}

    async def drifting(work: Callable[[int], Awaitable[None]]) -> None:
        dice = random.Random(7)
        times = latencies.setdefault(work, [])

        async def caller(first: int) -> None:
            for turn in range(10):
                await asyncio.sleep(dice.random() * 500e-6)
                began = loop.time()
                await work((first + turn) % KEYS)
                times.append(loop.time() - began)

        await asyncio.gather(*[caller(number) for number in range(100)])

    report.say("await get, 1 caller, tier : redis.asyncio", await measured(tier_get, raw_get, alone), KEYS, 1.2)
    report.say("await get, 1 caller, face : redis.asyncio", await measured(face_get, raw_get, alone), KEYS, 1.2)
    for kind, mine in (("tier", tier_get), ("face", face_get)):
        for name, theirs, goal in (("redis.asyncio", raw_get, 5.0), ("aiocache", aiocache_get, 8.0),
                                   ("cashews", cashews_get, 8.0)):  # fmt: skip
            figures = await measured(mine, theirs, lockstep)
            report.say(f"100 in lock-step, {kind} : {name}", figures, 1000, goal, least=True)
        figures = await measured(mine, raw_get, drifting)
        report.say(f"100 drifting, {kind} : redis.asyncio", figures, 1000, 2.5, least=True)
    p99 = {work: statistics.quantiles(times, n=100)[98] * 1e6 for work, times in latencies.items()}
    for kind, mine in (("tier", tier_get), ("face", face_get)):
        lower = p99[mine] < p99[raw_get]
        report.missed += not lower
        verdict = "" if lower else "   MISSED"
        print(f"  drifting p99: {kind} {p99[mine]:.0f} us, redis.asyncio {p99[raw_get]:.0f} us{verdict}")

    async def tier_set(number: int) -> None:
        message = cache._core.world.message("written", "default", [f"k:{number}"])
        one = row(f"k:{number}", VALUES[number])
        await tier.on_loop(tier.plans.write([one], time.time(), None, message))

    async def face_set(number: int) -> None:
        await cache.set(f"k:{number}", VALUES[number], ttl=3600)

    async def aiocache_set(number: int) -> None:
        await ours_alone.set(f"k2:{number}", VALUES[number], ttl=3600)

    async def cashews_set(number: int) -> None:
        await shared.set(f"c:{number}", VALUES[number], expire=3600)

    for kind, mine in (("tier", tier_set), ("face", face_set)):
        for name, theirs in (("aiocache", aiocache_set), ("cashews", cashews_set)):
            figures = await measured(mine, theirs, lockstep)
            report.say(f"set, 100 in lock-step, {kind} : {name}", figures, 1000, 5.0, least=True)
    await cache.close()
    await client.aclose()
    await ours_alone.close()
    await shared.close()


def invalidation(server: Server, folder: Path, report: Report, entries: int) -> None:
    """A tenth of many keys by pattern, against SCAN and UNLINK written by hand."""
    cache = Cache(tiers=["redis"], directory=folder / "many", redis_url=server.url)
    raw, layout = server.raw, cache._core.tiers[0].layout  # type: ignore[attr-defined]
    filler = b"x" * 100

    def fill(prefix: str, doomed: bool) -> None:
        for at in range(0, entries, 10_000):
            pipe = raw.pipeline(transaction=False)
            for number in range(at, at + 10_000):
                if (number % 10 == 0) == doomed:
                    pipe.set(f"{prefix}{'llm' if doomed else 'job'}:{number:08d}", filler)
            pipe.execute()

    def ours() -> int:
        return cache._core.tiers[0].remove_matching("default", Pattern.parse("llm:*"))

    def theirs() -> int:
        removed, cursor = 0, 0
        while True:
            cursor, names = raw.scan(cursor, match=f"{prefix}llm:*", count=1000)
            if names:
                removed += raw.unlink(*names)
            if not cursor:
                return removed

    prefix = f"{layout.entries}7:default:"
    fill(prefix, doomed=False)
    pairs = []
    for number in range(5):
        times = {}
        for work in (ours, theirs) if number % 2 else (theirs, ours):
            fill(prefix, doomed=True)
            began = time.perf_counter()
            assert work() == entries // 10
            times[work] = time.perf_counter() - began
        pairs.append((times[ours], times[theirs]))
    figures = (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
               statistics.median(a / b for a, b in pairs))  # fmt: skip
    report.say(f"pattern, {entries // 10:,} of {entries:,} keys : SCAN + UNLINK", figures, 1, 1.3)
    cache.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--entries", type=int, default=1_000_000, help="keys beside which a tenth is invalidated")
    parser.add_argument("--spread", action="store_true", help="don't pin client and server to one core")
    parser.add_argument("--first", action="store_true", help="go before all other programs (needs the right to)")
    parser.add_argument("--only", choices=["sync", "async", "pattern"], nargs="*", default=["sync", "async", "pattern"])
    options = parser.parse_args()
    if not options.spread:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if options.first:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))  # the server inherits it
    folder = Path(tempfile.mkdtemp(prefix="redis-bench-"))
    server, report = Server(folder), Report()
    gc.freeze()
    try:
        if "sync" in options.only:
            sync_work(server, folder, report, options.rounds)
        if "async" in options.only:
            asyncio.run(async_work(server, folder, report, options.rounds))
        if "pattern" in options.only:
            invalidation(server, folder, report, options.entries)
    finally:
        server.process.kill()
        server.process.wait()
        shutil.rmtree(folder)
    print(f"{report.missed} goals missed" if report.missed else "all goals met")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
