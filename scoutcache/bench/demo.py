"""The demonstration: real requests to a language model, replayed through memory and disk, with simulated calls.

What is real: the sequence of requests (a slice of a published production trace, see ``data/NOTICE.txt``), the cache,
its tiers, its hits and its times.  What is simulated, and labelled so: the model.  Each row of the trace is one block
of 512 prompt tokens; a block that the cache doesn't hold is "computed" by a function that makes up an answer at once
and would have cost the list price of those tokens.  Nothing waits, and nothing is sent anywhere.

The trace is replayed twice, prompt by prompt: each block of one is looked up, and what is missing is computed and
stored together.  The second pass opens the cache anew, as a restarted application would: memory begins empty, the disk
holds what the first pass stored.  Every answer is checked to be the one of its key.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from scoutcache.bench.workload import read_trace
from scoutcache.config import CacheConfig
from scoutcache.errors import CacheError
from scoutcache.models import CacheStatistics
from scoutcache.oplog.histogram import Histogram

if TYPE_CHECKING:
    from scoutcache.cache import Cache

__all__ = ["MODEL", "PRICE_DATE", "TOKENS_PER_BLOCK", "USD_PER_MILLION_TOKENS", "DemoPass", "DemoResult", "run_demo"]

MODEL: Final = "gpt-4o-2024-08-06"
USD_PER_MILLION_TOKENS: Final = 2.50
"""OpenAI's list price for input tokens of that model, as announced with it on the date below."""
PRICE_DATE: Final = "2024-08-06"
TOKENS_PER_BLOCK: Final = 512
"""What one row of the trace stands for."""

_CALL_USD: Final = TOKENS_PER_BLOCK * USD_PER_MILLION_TOKENS / 1_000_000
_TRACE: Final = Path(__file__).parent / "data" / "llm_conversation.csv.gz"
_MEMORY_ENTRIES: Final = 4_000
"""Room for a quarter of the different blocks, so that the disk tier has its part to play."""
_NOTE: Final = (
    f"simulation: real requests (Mooncake conversation trace), made-up answers; a call stands for {TOKENS_PER_BLOCK} "
    f"prompt tokens at ${USD_PER_MILLION_TOKENS:.2f} per million, the list price of {MODEL} on {PRICE_DATE}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPass:
    """One replay: *prompts* of several blocks each; every block is a request to the cache.

    Latencies are microseconds of the lookups that found something; None when none did.
    """

    name: str
    prompts: int
    requests: int
    hits: int
    hit_rate: float
    calls: int
    seconds: float
    hit_p50_us: float | None
    hit_p95_us: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Both passes together.  *hit_rate* is 0 to 1; money is US dollars and simulated, as *note* says."""

    requests: int
    hits: int
    hit_rate: float
    calls: int
    calls_saved: int
    cost_per_call_usd: float
    cost_usd: float
    cost_saved_usd: float
    first_pass: DemoPass
    second_pass: DemoPass
    model: str
    price_date: str
    note: str
    simulated: bool
    statistics: CacheStatistics
    directory: str | None
    """Where the cache was kept; None when it is gone."""
    next_steps: tuple[str, ...]


def run_demo(directory: Path | None = None, keep: bool = False,
             progress: Callable[[str, int, int], None] | None = None) -> DemoResult:  # fmt: skip
    """Replay the shipped trace twice and tell what the cache did.

    *directory* is where the cache lives; None makes a temporary one, which *keep* leaves in place.  A directory that is
    given always stays; it may not hold a cache already, or the first pass would begin with its entries.  *progress* is
    called with a pass's name, the prompts done in it, and all of them.
    """
    prompts = list(_prompts())
    with ExitStack() as stack:
        if directory is None and keep:
            directory = Path(tempfile.mkdtemp(prefix="scoutcache-demo-"))
        elif directory is not None:
            _must_be_new(directory)
        folder = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scoutcache-demo-")))
        first, _ = _replay("first", folder, prompts, progress)
        second, statistics = _replay("after a restart", folder, prompts, progress)
    hits, requests = first.hits + second.hits, first.requests + second.requests
    calls = first.calls + second.calls
    return DemoResult(
        requests=requests, hits=hits, hit_rate=hits / requests, calls=calls, calls_saved=requests - calls,
        cost_per_call_usd=_CALL_USD, cost_usd=calls * _CALL_USD, cost_saved_usd=(requests - calls) * _CALL_USD,
        first_pass=first, second_pass=second, model=MODEL, price_date=PRICE_DATE, note=_NOTE, simulated=True,
        statistics=statistics, directory=None if directory is None else str(directory),
        next_steps=_next_steps(directory),
    )  # fmt: skip


def _must_be_new(directory: Path) -> None:
    if directory.is_dir() and any(directory.iterdir()):
        wrong = "not empty"
    elif directory.exists() and not directory.is_dir():
        wrong = "not a directory"
    else:
        return
    raise CacheError(f"{directory} is {wrong}", hint="name a new directory, or none for a temporary one")


def _prompts() -> Iterator[list[str]]:
    """The requests of the trace, each the keys of its blocks; all begin with block 0, the same system prompt."""
    blocks: list[str] = []
    for row in read_trace(_TRACE):
        if row.key == "0" and blocks:
            yield blocks
            blocks = []
        blocks.append(f"llm:block:{row.key}")
    yield blocks


def _replay(name: str, folder: Path, prompts: Sequence[Sequence[str]],
            progress: Callable[[str, int, int], None] | None) -> tuple[DemoPass, CacheStatistics]:  # fmt: skip
    from scoutcache.cache import Cache

    config = CacheConfig(directory=folder, tiers=("memory", "disk"), memory={"max_entries": _MEMORY_ENTRIES},
                         default_ttl="24h", costs={"default_call_usd": _CALL_USD})  # fmt: skip
    times, requests, hits, begun = Histogram(), 0, 0, perf_counter_ns()
    with Cache(config) as cache:
        for number, blocks in enumerate(prompts):
            if progress is not None and number % 10 == 0:
                progress(name, number, len(prompts))
            since = cache.position()
            missing = [block for block in blocks if not _found(cache, block, times)]
            cache.set_many({block: _answer(block) for block in missing}, cost=_CALL_USD, since=since)
            requests, hits = requests + len(blocks), hits + len(blocks) - len(missing)
        seconds = (perf_counter_ns() - begun) / 1e9
        cache.flush()
        statistics = cache.stats()
    done = DemoPass(name=name, prompts=len(prompts), requests=requests, hits=hits, hit_rate=hits / requests,
                    calls=requests - hits, seconds=seconds, hit_p50_us=_us(times.quantile(0.5)),
                    hit_p95_us=_us(times.quantile(0.95)))  # fmt: skip
    return done, statistics


def _us(ns: float | None) -> float | None:
    return None if ns is None else ns / 1000


def _found(cache: Cache, block: str, times: Histogram) -> bool:
    """Whether the cache has an answer for this block; a wrong one ends the demonstration."""
    asked = perf_counter_ns()
    answer = cache.get(block)
    took = perf_counter_ns() - asked
    if answer is None:
        return False
    times.add(took)
    if answer != _answer(block):
        raise CacheError(f"the cache answered {block} with another value than was stored: this is a bug")
    return True


def _answer(block: str) -> dict[str, Any]:
    """What the made-up model says: about as long as a short paragraph, and different for every block."""
    text = f"(simulated) what the model makes of {block}. " * 12
    return {"block": block, "model": MODEL, "tokens": TOKENS_PER_BLOCK, "text": text}


def _next_steps(directory: Path | None) -> tuple[str, ...]:
    if directory is None:
        return ("scoutcache demo --keep", "scoutcache bench --tier memory", "scoutcache config init")
    from shlex import quote

    place = f"--directory {quote(str(directory))}"
    return (f"scoutcache stats {place}", f"scoutcache keys 'llm:*' --limit 10 {place}",
            f"scoutcache inspect llm:block:0 {place}")  # fmt: skip
