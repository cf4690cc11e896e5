"""What a memory hit costs, against a dict and against other caches: `python tests/benchmarks/memory_hit.py`.

Contestants take turns in one process and are compared by the median of their per-round ratios; a turn during which the
scheduler took the processor away is taken again.  So measured, ratios hold on a busy machine where times don't.  A turn
is ``for key in keys: get(key)`` over 200 keys, loop included, as a user's own loop would be.  Exits 1 when a goal is
missed, so that a change can be judged by it; it is no test, since its outcome depends on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import mmap
import resource
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from types import FunctionType
from typing import Any

import cachetools
import msgspec

from scoutcache import Cache
from scoutcache.entry import MISSING, NAMESPACE_MARK, Header, Live, Mark, Ref, Row, Sealed
from scoutcache.tiers.memory import MemoryTier
from scoutcache.wire.codec import Codec

KEYS = [f"llm:{number:05d}" for number in range(200)]
TEXT = "a chat answer of about a kilobyte, in words and not in fields. " * 16
DOCUMENT = {"id": "chatcmpl-1", "model": "gpt-4", "content": TEXT[:900], "usage": {"in": 812, "out": 240}}

CODEC = Codec()


class SharedPage:
    """A position as the journal has it: a word on a mapped page."""

    def __init__(self) -> None:
        self.words = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        self.index = 1


def row(key: str, live: Live, namespace: str = "default") -> Row:
    """An entry with a time to live, as the engine would write it."""
    now = time.time()
    header = Header(
        ref=Ref(namespace, key), start=time.time_ns(), created=now, fresh_until=now + 3600, expires=now + 3600,
        marks=(Mark(NAMESPACE_MARK, 1),),
    )  # fmt: skip
    return Row(header, live, lambda: Sealed(b""))


def text_of(key: str) -> Live:
    """A value that is held by reference."""
    return CODEC.hold(f"{key} {TEXT}")[0]


def document_of(key: str) -> Live:
    """A value that is decoded anew on each hit."""
    return CODEC.hold(DOCUMENT | {"key": key})[0]


def filled(value_of: Callable[[str], Live], keys: list[str] = KEYS, **options: Any) -> MemoryTier:
    """A tier that holds *keys*, ticked once."""
    tier = MemoryTier(CODEC, monotonic=time.monotonic, wall=time.time, **options)
    tier.write([row(key, value_of(key)) for key in keys], time.time())
    return tier


def lost(*request: Any) -> Any:
    """The slow path, which no request here should take."""
    raise AssertionError(request)


# -- measuring ---------------------------------------------------------------------------------------------------------


def turn(get: Callable[[Any], Any], keys: list[str], times: int = 5) -> float:
    """Nanoseconds per call over one undisturbed turn."""
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        began = time.perf_counter_ns()
        for _ in range(times):
            for key in keys:
                get(key)
        took = time.perf_counter_ns() - began
        if resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw == before:
            break
    return took / (times * len(keys))


def turn_of_computing(compute: Callable[..., Any], keys: list[str], times: int = 5, factory: Any = None) -> float:
    """`turn`, for calls that bring a factory; one that nothing calls unless it is given."""
    factory = factory or lost
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        began = time.perf_counter_ns()
        for _ in range(times):
            for key in keys:
                compute(key, factory)
        took = time.perf_counter_ns() - began
        if resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw == before:
            break
    return took / (times * len(keys))


def turn_with_options(compute: Callable[..., Any], keys: list[str], times: int = 5) -> float:
    """`turn_of_computing`, for calls that say how to keep the value."""
    factory = lost
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        began = time.perf_counter_ns()
        for _ in range(times):
            for key in keys:
                compute(key, factory, ttl=60, tags=("red",))
        took = time.perf_counter_ns() - began
        if resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw == before:
            break
    return took / (times * len(keys))


def own(function: Callable[..., float]) -> Callable[..., float]:
    """A copy with bytecode of its own: CPython specialises call sites, and contestants must not share one."""
    return FunctionType(function.__code__.replace(), function.__globals__, argdefs=function.__defaults__)


def rounds(turns: Mapping[str, Callable[[], float]], number: int) -> dict[str, list[float]]:
    """Each contestant's result in each round; they take turns, the first rounds are for warming up."""
    results: dict[str, list[float]] = {name: [] for name in turns}
    for this in range(number + 3):
        for name, take in turns.items():
            result = take()
            if this >= 3:
                results[name].append(result)
    return results


def ratio(results: Mapping[str, list[float]], one: str, other: str) -> float:
    """The median over the rounds of one contestant's result over another's."""
    return median(a / b for a, b in zip(results[one], results[other], strict=True))


@dataclass
class Goal:
    """A figure and its bound."""

    what: str
    figure: float
    at_most: float
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.figure <= self.at_most

    def __str__(self) -> str:
        verdict = "ok    " if self.met else "MISSED"
        return f"{verdict} {self.figure:8.2f} {self.unit:5} (at most {self.at_most:g})  {self.what}"


# -- what is measured --------------------------------------------------------------------------------------------------


def single_thread(number: int) -> tuple[dict[str, list[float]], list[Goal]]:
    """Hits from one thread: against a dict, cachetools, the decoder, and with the operation log on."""
    page, log = SharedPage(), deque[Any](maxlen=10_000)
    payload, decode = msgspec.msgpack.encode(DOCUMENT), msgspec.msgpack.Decoder().decode
    texts, documents, precise = filled(text_of), filled(document_of), filled(text_of)
    gets: dict[str, Callable[[Any], Any]] = {
        "dict": {key: text_of(key).held for key in KEYS}.get,
        "hit, 1 KB str": texts.make_get(lost, namespace="default", position=page),
        "hit, clock read each time": precise.make_get(lost, namespace="default", position=page),
        "hit, no shared directory": texts.make_get(lost, namespace="default"),
        "hit, logged": texts.make_get(lost, namespace="default", position=page, log=log.append),
        "hit, 1 KB dict": documents.make_get(lost, namespace="default", position=page),
        "msgspec decode": lambda _: decode(payload),
    }
    lru: Any = cachetools.LRUCache(10_000)
    expiring: Any = cachetools.TTLCache(10_000, 3600)
    for key in KEYS:
        lru[key] = expiring[key] = text_of(key).held
    gets |= {"cachetools.LRUCache": lru.get, "cachetools.TTLCache": expiring.get}

    turns = {name: own(turn) for name in gets}

    def take(name: str) -> float:
        now = time.monotonic()
        texts.tick(now)
        documents.tick(now)
        return turns[name](gets[name], KEYS)

    results = rounds({name: lambda name=name: take(name) for name in gets}, number)
    hit = results["hit, 1 KB str"]
    decoded = [a + b for a, b in zip(results["msgspec decode"], hit, strict=True)]
    # A figure in nanoseconds and not a ratio: the quietest quarter of the rounds, when others use the machine too.
    added = quantiles((a - b for a, b in zip(results["hit, logged"], hit, strict=True)), n=4)[0]
    return results, [
        Goal("a hit over dict.get", ratio(results, "hit, 1 KB str", "dict"), 7),
        Goal("a hit over cachetools.LRUCache.get", ratio(results, "hit, 1 KB str", "cachetools.LRUCache"), 1),
        Goal("a hit over cachetools.TTLCache.get", ratio(results, "hit, 1 KB str", "cachetools.TTLCache"), 1 / 5),
        Goal("a hit on a dict over decoding it and a hit on a str",
             median(a / b for a, b in zip(results["hit, 1 KB dict"], decoded, strict=True)), 1.5),
        Goal("what the log adds to a hit", added, 350, "ns"),
    ]  # fmt: skip


def whole_cache(number: int) -> tuple[dict[str, list[float]], list[Goal]]:
    """Hits of an open cache over a directory, logged: with a factory, and of entries with tags."""
    tagged = [f"tagged:{key}" for key in KEYS]
    with tempfile.TemporaryDirectory() as directory, Cache(directory=directory) as cache:
        cache.set_many({key: f"{key} {TEXT}" for key in KEYS})
        cache.set_many({key: f"{key} {TEXT}" for key in tagged}, tags=["a", "b", "c"])
        for key in KEYS + tagged:
            cache.get(key)
        hit, tags, compute, options = own(turn), own(turn), own(turn_of_computing), own(turn_with_options)
        results = rounds({
            "Cache.get": lambda: hit(cache.get, KEYS),
            "Cache.get, 3 tags": lambda: tags(cache.get, tagged),
            "Cache.get_or_compute": lambda: compute(cache.get_or_compute, KEYS),
            "Cache.get_or_compute, ttl= tags=": lambda: options(cache.get_or_compute, KEYS),
        }, number)  # fmt: skip
    return results, [
        Goal("a hit of get_or_compute over one of get", ratio(results, "Cache.get_or_compute", "Cache.get"), 1.5),
        Goal("a hit with 3 tags over one without", ratio(results, "Cache.get, 3 tags", "Cache.get"), 2),
    ]


def computed(number: int) -> tuple[dict[str, list[float]], list[Goal]]:
    """What asking other processes for the right to compute adds to a computation that nobody else wants."""
    with tempfile.TemporaryDirectory() as directory, Cache(directory=directory, tiers=["disk"]) as cache:
        world, keys = cache._core.world, iter(range(10**9))

        def take(leased: bool) -> float:
            world.leased = leased
            return turn_of_computing(lambda _, factory: cache.get_or_compute(f"k:{next(keys)}", factory), KEYS, 1, dict)

        results = rounds({"compute": lambda: take(False), "compute, leased": lambda: take(True)}, number)
    return results, []


def together(get: Callable[[Any], Any], keys: list[str], threads: int = 4, times: int = 200) -> float:
    """Nanoseconds per call of all threads together, over a turn of many switches between them."""
    barrier = threading.Barrier(threads + 1)

    def work() -> None:
        barrier.wait()
        for _ in range(times):
            for key in keys:
                get(key)
        barrier.wait()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter_ns()
    barrier.wait()
    took = time.perf_counter_ns() - began
    for worker in workers:
        worker.join()
    return took / (threads * times * len(keys))


def four_threads(number: int) -> tuple[dict[str, list[float]], list[Goal]]:
    """Throughput of four threads against an LRU cache with the lock it needs."""
    tier, lock = filled(text_of), threading.RLock()
    get = tier.make_get(lost, namespace="default", position=SharedPage())
    lru: Any = cachetools.LRUCache(10_000)
    for key in KEYS:
        lru[key] = text_of(key).held

    def locked(key: str) -> Any:
        with lock:
            return lru.get(key)

    def ours() -> float:
        tier.tick(time.monotonic())
        return together(get, KEYS)

    theirs = "4 threads, locked cachetools.LRUCache"
    results = rounds({"4 threads, hit": ours, theirs: lambda: together(locked, KEYS)}, number)
    return results, [
        Goal("four threads, a hit over a locked cachetools.LRUCache.get",
             ratio(results, "4 threads, hit", theirs), 1 / 6),
    ]  # fmt: skip


async def awaiting(get: Callable[[str], Any], times: int = 5) -> float:
    """Nanoseconds per awaited call over one turn."""
    began = time.perf_counter_ns()
    for _ in range(times):
        for key in KEYS:
            await get(key)
    return (time.perf_counter_ns() - began) / (times * len(KEYS))


def awaited(number: int) -> tuple[dict[str, list[float]], list[Goal]]:
    """An asynchronous `get` as a face writes it, over `make_get`, against awaiting a coroutine that asks a dict."""
    tier = filled(text_of)
    peek = tier.make_get(lambda *_: MISSING, namespace="default", position=SharedPage())
    plain = {key: text_of(key).held for key in KEYS}

    async def floor(key: str) -> Any:
        return plain.get(key)

    async def get(key: str, default: Any = None, namespace: str | None = None) -> Any:
        value = peek(key, MISSING, namespace)
        return lost(key, default) if value is MISSING else value

    floors, ours = own(awaiting), own(awaiting)

    def hit() -> float:
        tier.tick(time.monotonic())
        return asyncio.run(ours(get))

    results = rounds({"await, dict": lambda: asyncio.run(floors(floor)), "await, hit": hit}, number)
    return results, [Goal("an awaited hit over an await of a dict", ratio(results, "await, hit", "await, dict"), 3.5)]


def footprint(entries: int = 100_000) -> Goal:
    """Bytes per entry beyond its key and value, with a full tier, after four times as many have come and gone."""
    value = "v" * 100
    sizes = 4 * entries
    gc.collect()
    tracemalloc.start()
    tier = filled(text_of, [], max_entries=entries, max_bytes=1 << 40)
    before, _ = tracemalloc.get_traced_memory()
    for number in range(sizes):
        # Two thirds come once; a third comes back, so that both queues and both ghost lists fill.
        key = f"llm:{number if number % 3 else number // 9:08d}"
        text = value + key
        tier.write([row(key, CODEC.hold(text)[0])], time.time())
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = sum(sys.getsizeof(key) + sys.getsizeof(slot.held) for key, slot in tier.table("default").items())
    count = tier.usage().entries
    assert count == entries
    return Goal(f"bytes per entry beyond key and value, {count} entries after {sizes} writes",
                (after - before - held) / entries, 450, "bytes")  # fmt: skip


def main() -> int:
    """Measure, print, and say by the exit code whether every goal was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--no-memory", action="store_true", help="leave the footprint out, which takes half a minute")
    arguments = parser.parse_args()
    goals: list[Goal] = []
    print(sys.version)
    for measure in (single_thread, whole_cache, computed, four_threads, awaited):
        results, reached = measure(arguments.rounds)
        for name, figures in results.items():
            print(f"       {median(figures):8.1f} ns     {name}")
        goals += reached
    if not arguments.no_memory:
        goals.append(footprint())
    print(*goals, sep="\n")
    return 0 if all(goal.met for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
