"""A benchmark of the tiers: what is measured against what, how often, and what the figures are worth.

- Every tier is measured in a cache of its own in a private temporary folder, never in the user's; on a server under a
  key prefix of its own, which is cleared afterwards, however often it is interrupted (`leavings`: and if it is killed).
- Runs are interleaved (run 1 of every tier, then run 2 …, each time beginning with another tier), so that a machine
  that grows slower or busier meanwhile is not blamed on one tier.  A figure is the median over the runs.
- ``hybrid`` is memory over the lower tiers with room in memory for a tenth of the keys, else it would be memory alone.
- Half the time of a closed loop goes to latencies, half to throughput: the plan's reads alone, its writes alone, and
  both, rushed through untimed.  So ``ops_per_s`` of an operation is what the clients do when they do nothing else; of
  an open loop it is what they did.
- Where runs lie far apart, the rate wasn't kept, or the machine was busy before the start, a note says so.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from scoutcache import __version__
from scoutcache.bench import leavings
from scoutcache.bench.clients import Plans, Tally, overhead_ns, run_tasks, run_threads, rush_tasks, rush_threads
from scoutcache.bench.interrupts import held_back
from scoutcache.bench.machine import describe_machine
from scoutcache.bench.records import METRICS, BenchOptions, BenchResult, BenchRow
from scoutcache.bench.workload import Workload
from scoutcache.config import CacheConfig
from scoutcache.config.sections import RedisSection
from scoutcache.config.types import mask_url
from scoutcache.errors import TierUnavailable
from scoutcache.oplog.histogram import Histogram
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["run_bench"]

_UNSTABLE: Final = 0.15
"""Medians of runs further apart than this share are called unstable; quiet machines stay well under a tenth."""

_NAMESPACE: Final = "bench"


class _Run(NamedTuple):
    """One run of one tier.  *rushed* is operations per second by operation; empty in an open loop."""

    tallies: list[Tally]
    rushed: dict[str, float]


def run_bench(options: BenchOptions, *, base: CacheConfig | None = None,
              progress: Callable[[str, int, int], None] | None = None) -> BenchResult:  # fmt: skip
    """Measure what *options* ask for.

    *base* is the configuration whose compression, serializer, strategy and log are used (default: the built-in one);
    its directory, tiers and limits are not.  *progress* is called with what is being done, how much of it is done, and
    how much there is.  Raises `ConfigError` for options that can't be used, `TierUnavailable` when a tier can't answer.
    """
    options.check()
    workload = Workload(options)
    machine, started = describe_machine(), datetime.now(UTC)
    plans = [workload.plan(client) for client in range(options.clients)]
    tell = _Progress(progress, total=len(options.tiers) * (options.runs + 1))
    measured: dict[str, list[_Run]] = {name: [] for name in options.tiers}
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        setups = {name: stack.enter_context(_setup(options, _config(name, options, workload, base, folder)))
                for name in options.tiers}  # fmt: skip
        server = next((one.server for one in setups.values() if one.server is not None), None)
        stack.enter_context(leavings.cleared(server, (base or CacheConfig()).redis.key_prefix))
        for name, setup in setups.items():
            tell(f"{name}: filling")
            setup.limit()
            setup.fill(workload)
        for number in range(options.runs):
            for name in _rotated(options.tiers, number):
                tell(f"{name}: run {number + 1} of {options.runs}")
                setups[name].limit()
                if options.warmup:
                    setups[name].measure(plans, options.warmup)
                measured[name].append(setups[name].measure(plans, options.duration))
    rows = tuple(row for name in options.tiers for row in _rows(name, measured[name]))
    return BenchResult(results=rows, machine=machine, version=__version__, seed=options.seed, options=_shown(options),
                       started_at=started.isoformat(timespec="seconds"), overhead_ns=overhead_ns(),
                       notes=tuple(_notes(rows, options, machine)))  # fmt: skip


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary one that is gone afterwards."""
    with held_back():
        made = tempfile.TemporaryDirectory(prefix="scoutcache-bench-")
    try:
        yield Path(made.name)
    finally:
        with held_back():
            made.cleanup()


def _shown(options: BenchOptions) -> dict[str, Any]:
    """The options for people to read: a saved result holds no password."""
    url = options.redis_url
    return {**asdict(options), "redis_url": None if url is None else mask_url(url)}


def _rotated(names: Sequence[str], by: int) -> Sequence[str]:
    by %= len(names)
    return [*names[by:], *names[:by]]


class _Progress:
    """Counts steps for whoever wants to see them."""

    def __init__(self, show: Callable[[str, int, int], None] | None, total: int) -> None:
        self._show, self._total, self._done = show, total, 0

    def __call__(self, what: str) -> None:
        if self._show is not None:
            self._show(what, self._done, self._total)
        self._done += 1


def _config(name: str, options: BenchOptions, workload: Workload, base: CacheConfig | None,
            folder: Path) -> CacheConfig:  # fmt: skip
    base = base or CacheConfig()
    layers = {"memory": ("memory",), "disk": ("disk",), "redis": ("redis",)}
    hybrid = ("memory", "redis", "disk") if options.redis_url else ("memory", "disk")
    # Room for everything, so that a tier is measured and not its eviction, except where that is the point.
    entries = max(1, workload.distinct // 10) if name == "hybrid" else workload.distinct + 1000
    tiers = layers.get(name, hybrid)
    return base.replace(
        enabled=True, tiers=tiers, directory=folder / name, namespace=_NAMESPACE, ttl={},
        default_ttl=leavings.lasting(options) if "redis" in tiers else "never",
        memory={"max_entries": entries, "max_bytes": "8GiB", "strategy": base.memory.strategy},
        disk={"max_bytes": "64GiB", "timeout": base.disk.timeout}, raise_errors=True,
        rules=(), tasks=(), policies=(), **({"redis": _server(options, base.redis)} if options.redis_url else {}),
    )  # fmt: skip


def _server(options: BenchOptions, section: RedisSection) -> RedisSection:
    """The configured server, or the one that *options* name, under a key prefix of the benchmark's own."""
    own = {"key_prefix": leavings.prefix_of(section.key_prefix), "max_bytes": None, "max_entries": None}
    if section.configured:
        return section.model_copy(update=own)
    return RedisSection(url=options.redis_url, **own)  # type: ignore[arg-type]  # it takes text


def _sweep(cache: Any) -> None:
    """Remove what the benchmark left on a server; where that went away, what expires is left."""
    tier = cache._core.tier("redis")
    if tier is not None:
        with suppress(TierUnavailable):
            tier.erase()
        tier.close()


class _Setup(Protocol):
    """A cache under test; *server* is its tier there, None without one."""

    @property
    def server(self) -> Any: ...
    def limit(self) -> None: ...
    def fill(self, workload: Workload) -> None: ...
    def measure(self, plans: Plans, seconds: float) -> _Run: ...


def _setup(options: BenchOptions, config: CacheConfig) -> AbstractContextManager[_Setup]:
    return _async_setup(options, config) if options.use_async else _sync_setup(options, config)


class _Limited:
    """A cache whose keys on a server end by themselves (`leavings`)."""

    def __init__(self, cache: Any, options: BenchOptions) -> None:
        self._cache, self._rate, self._lasting = cache, options.rate, leavings.lasting(options)

    @property
    def server(self) -> Any:
        return self._cache._core.tier("redis")

    def limit(self) -> None:
        if self.server is not None:
            leavings.limit(self.server, _NAMESPACE, self._lasting)


class _SyncSetup(_Limited):
    def fill(self, workload: Workload) -> None:
        for chunk in _chunks(workload):
            self._cache.set_many(chunk)

    def measure(self, plans: Plans, seconds: float) -> _Run:
        if self._rate is not None:
            return _Run(run_threads(self._cache, plans, seconds, self._rate), {})
        alone = _alone(plans)
        rushed = {name: rush_threads(self._cache, plan, seconds / 2 / len(alone)) for name, plan in alone.items()}
        return _Run(run_threads(self._cache, plans, seconds / 2, None), rushed)


@contextmanager
def _sync_setup(options: BenchOptions, config: CacheConfig) -> Iterator[_Setup]:
    from scoutcache.cache import Cache

    caches: list[Cache] = []
    try:
        with held_back():
            caches.append(Cache(config, raise_errors=True))
        yield _SyncSetup(caches[0], options)
    finally:
        with held_back():
            for cache in caches:
                cache.close()
                _sweep(cache)


class _AsyncSetup(_Limited):
    def __init__(self, runner: asyncio.Runner, cache: Any, options: BenchOptions) -> None:
        super().__init__(cache, options)
        self._runner = runner

    def fill(self, workload: Workload) -> None:
        async def fill() -> None:
            for chunk in _chunks(workload):
                await self._cache.set_many(chunk)

        self._runner.run(fill())

    def measure(self, plans: Plans, seconds: float) -> _Run:
        return self._runner.run(self._measured(plans, seconds))

    async def _measured(self, plans: Plans, seconds: float) -> _Run:
        if self._rate is not None:
            return _Run(await run_tasks(self._cache, plans, seconds, self._rate), {})
        alone = _alone(plans)
        rushed = {name: await rush_tasks(self._cache, plan, seconds / 2 / len(alone)) for name, plan in alone.items()}
        return _Run(await run_tasks(self._cache, plans, seconds / 2, None), rushed)


@contextmanager
def _async_setup(options: BenchOptions, config: CacheConfig) -> Iterator[_Setup]:
    from scoutcache.async_cache import AsyncCache

    caches: list[AsyncCache] = []

    async def open_one() -> None:
        # Kept here and not returned: a task that is cancelled as it ends loses its result, and the cache its closer.
        caches.append(AsyncCache(config, raise_errors=True))

    # One loop for the life of the cache: what it holds may belong to a loop.
    with asyncio.Runner() as runner:
        try:
            runner.run(open_one())
            yield _AsyncSetup(runner, caches[0], options)
        finally:
            with held_back():
                for cache in caches:
                    runner.run(cache.close())
                    _sweep(cache)


def _alone(plans: Plans) -> dict[str, Plans]:
    """The plans with their reads only, their writes only, and whole; only what there is."""
    kinds = {"get": [[access for access in plan if not access.write] for plan in plans],
             "set": [[access for access in plan if access.write] for plan in plans], "all": plans}  # fmt: skip
    return {name: kind for name, kind in kinds.items() if all(kind)}


def _chunks(workload: Workload) -> Iterator[dict[str, Any]]:
    chunk: dict[str, Any] = {}
    for key, value in workload.preload():
        chunk[key] = value
        if len(chunk) == 1000:
            yield chunk
            chunk = {}
    if chunk:
        yield chunk


def _rows(tier: str, runs: Sequence[_Run]) -> list[BenchRow]:
    tallies = [tally for run in runs for tally in run.tallies]
    hits, misses = sum(tally.hits for tally in tallies), sum(tally.misses for tally in tallies)
    hit_rate = hits / (hits + misses) if hits + misses else None
    failed = {"get": sum(tally.read_errors for tally in tallies), "set": sum(tally.write_errors for tally in tallies)}
    reads = [Histogram.merged(tally.reads.histogram() for tally in run.tallies) for run in runs]
    writes = [Histogram.merged(tally.writes.histogram() for tally in run.tallies) for run in runs]
    both = [Histogram.merged(pair) for pair in zip(reads, writes, strict=True)]
    rows = [_row(tier, "get", reads, runs, failed["get"], hit_rate),
            _row(tier, "set", writes, runs, failed["set"], None),
            _row(tier, "all", both, runs, sum(failed.values()), hit_rate)]  # fmt: skip
    shown = [row for row in rows if row.count or row.errors]
    return shown if len(shown) == 3 else shown[:1]


def _row(tier: str, operation: str, latencies: Sequence[Histogram], runs: Sequence[_Run], errors: int,
         hit_rate: float | None) -> BenchRow:  # fmt: skip
    each = [_figures(one, run, operation) for one, run in zip(latencies, runs, strict=True) if one.count]
    counted = {metric: tuple(figures[metric] for figures in each) for metric in METRICS}
    # The longest of all: what a median of maxima would mean nobody could say.
    middle = {name: (max if name == "max_us" else median)(figures) if figures else None
              for name, figures in counted.items()}  # fmt: skip
    return BenchRow(tier=tier, operation=operation, count=sum(one.count for one in latencies), errors=errors,
                    hit_rate=hit_rate, runs=counted, **middle)  # fmt: skip


def _figures(latencies: Histogram, run: _Run, operation: str) -> dict[str, float]:
    """The metrics of one run."""
    done = latencies.count / max(tally.seconds for tally in run.tallies)
    quantiles = zip(METRICS[1:5], (0.5, 0.95, 0.99, 0.999), strict=True)
    return {"ops_per_s": run.rushed.get(operation, done), "max_us": latencies.largest / 1000,
            **{name: (latencies.quantile(rank) or 0.0) / 1000 for name, rank in quantiles}}  # fmt: skip


def _notes(rows: Sequence[BenchRow], options: BenchOptions, machine: dict[str, Any]) -> Iterator[str]:
    yield from filter(None, (_unstable(row) for row in rows if row.operation != "all"))
    for row in rows:
        if row.errors:
            yield f"{row.tier} {row.operation}: {counted(row.errors, 'operation')} failed; the times don't include them"
    if options.rate is not None:
        # The last row of a tier is the one over all its operations.
        done = {row.tier: row.ops_per_s or 0.0 for row in rows}
        late = {tier: per_second for tier, per_second in done.items() if per_second < 0.95 * options.rate}
        yield from (f"{tier}: {per_second:.0f} of {options.rate:.0f} operations per second were done; the latencies "
                    "include the time spent waiting for their turn" for tier, per_second in late.items())  # fmt: skip
    if (load := machine["load_1m"]) is not None and load > (machine["cores"] or 1) / 2:
        yield f"other programs were running (load {load:.1f} on {machine['cores']} cores): the figures may be too slow"
    if options.runs == 1:
        yield "a single run shows no spread; use more runs to see how far the figures can be trusted"


def _unstable(row: BenchRow) -> str | None:
    spread = row.spread("p50_us")
    if spread is None or spread <= _UNSTABLE:
        return None
    return f"{row.tier} {row.operation}: unstable, the medians of the runs lie {spread:.0%} apart"
