"""Bad days of a server: what an application meets, and how soon all is well again.

``python tests/faults/redis_campaign.py COMMAND`` prints one line of figures for each case and exits 1 when something is
wrong: ``faults`` (all of `redis_lab`, or those that are named), ``machines``, ``cluster``, ``missed``, ``tenants``,
``cancelled``.  For figures of latency: ``chrt -r 5 python …``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

PROJECT = Path(__file__).resolve().parents[2]
if str(PROJECT) not in sys.path:
    sys.path[:0] = [str(PROJECT)]

from scoutcache import AsyncCache, Cache
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from tests.faults.redis_lab import FAULTS, TIMEOUT, Fault, Lab
from tests.faults.redis_load import HOT, KEYS, Lines, Load, breaker_open, quantile, same_everywhere
from tests.faults.redis_machines import machine
from tests.faults.redis_more import NODE_TIMEOUT, cancelled, cluster, machines, missed
from tests.faults.redis_tenants import tenants
from tests.servers.waiting import until

ALL_TIERS = ["memory", "redis", "disk"]
PATIENCE = 5.0
"""Seconds within which all must be well after a fault: the goal."""

CAPACITY = 21_002
"""The cap of what is remembered for a tier that is away (`scoutcache.engine.doubt`): 10,000 keys and as many marks,
1,000 patterns, and one of two kinds above that before they become a namespace."""

LOOK = 1.0
"""Seconds between two looks at how old things are while a server is away."""

GROWTH = 60.0
"""Megabytes that a machine may grow by while it is alone, its memory tier included, libraries not."""


class Room:
    """Directories and caches of one case, all closed and removed with it."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def directory(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="sc-redis-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def cache(self, redis: dict[str, Any], tiers: list[str] = ALL_TIERS, **more: Any) -> Cache:
        more.setdefault("directory", self.directory())
        cache = Cache(tiers=tiers, redis={"timeout": TIMEOUT, **redis}, **more)
        self._stack.callback(cache.close)
        return cache

    def async_cache(self, redis: dict[str, Any], tiers: list[str] = ALL_TIERS, **more: Any) -> AsyncCache:
        cache = AsyncCache(tiers=tiers, directory=self.directory(), redis={"timeout": TIMEOUT, **redis}, **more)
        self._stack.callback(lambda: asyncio.run(cache.close()))
        return cache


# -- faults


def fault(name: str, seconds: float) -> dict[str, Any]:
    """What one fault did to a cache for threads and one for an event loop, each a machine of its own."""
    kind = FAULTS[name]
    with Lab(seconds) as lab, Room() as room, Lines() as log:
        course = kind.course(lab)
        settings = next(course)
        # As a process that has the server to itself looks at it afterwards.
        cache, on_loop, bare = room.cache(settings), room.async_cache(settings), room.cache(settings, ["redis"])
        asking = room.cache(settings, ["redis"], raise_errors=True)
        with Load(cache, "s", "a") as one, Load(on_loop, "a", "s") as other:
            until(lambda: one.met.operations > 50 and other.met.operations > 50, "the load runs")
            until(lambda: min(len(one.met.hits), len(other.met.hits)) > 20, "there are hits")
            well = one.new_figures(), other.new_figures()
            log.lines.clear()
            began = time.monotonic()
            words = next(course)
            named = _until_named(cache, other, words, kind)
            asked = _asked(asking, kind)
            until(lambda: time.monotonic() - began > seconds, "it lasts")
            during = one.new_figures(), other.new_figures()
            lines_during = _lines(log)
            for _ in course:
                raise AssertionError("a fault ends after its second yield")
            ended = time.monotonic()
            recovered = _recovered(cache, other, bare, ended)
        after = one.new_figures(), other.new_figures()
        apart, converged = _converged([cache.get_many, lambda keys: other.runner.run(on_loop.get_many(keys)),
                                       bare.get_many])  # fmt: skip
        owned = {key: value for owner in (*one.owners, *other.owners) for key, value in owner.values.items()}
        owned |= {key: key for key in apart if key.startswith("hot:")}
        where = {key: _standing(key, cache, on_loop, bare, [*one.owners, *other.owners]) for key in list(apart)[:5]}
        other.runner.run(on_loop.close())  # on the loop that its connections belong to
        other.runner.close()
        phases = [*well, *during, *after]
        report: dict[str, Any] = {
            "errors": sum(sum(met.errors.values()) for met in phases),
            "wrong": sum(len(met.wrong) for met in phases),
            "apart": sum(_is_stale(said, owned.get(key)) for key, said in apart.items()),
            "kept_alone": sum(not _is_stale(said, owned.get(key)) for key, said in apart.items()),
            "times": (began, ended, recovered),
            "named": named,
            "asked": asked,
            "log_lines": [lines_during, len(log.lines)],
            "recovered_s": recovered,
            "converged_s": converged,
        }
        for face, met in zip(("sync", "async"), during, strict=True):
            report[face] = _figures(met)
        report["detail"] = [*dict.fromkeys([e for met in phases for e in met.errors])][:3]
        report["detail"] += [w for met in phases for w in met.wrong][:6] + list(where.items())
        report["lines"] = log.lines
    return report


def _figures(met: Any) -> dict[str, Any]:
    closed = [took for took, was_open in met.misses if not was_open]
    opened = [took for took, was_open in met.misses if was_open]
    return {
        "operations": met.operations,
        "hits": len(met.hits), "lost_hot": met.lost_hot,
        "hit_ms": [quantile(met.hits, part) for part in (0.5, 0.99, 1)],
        "miss_first_ms": quantile(closed, 1),
        "miss_open_ms": [quantile(opened, part) for part in (0.5, 0.99, 1)],
        "write_ms": [quantile(met.writes, part) for part in (0.5, 0.99, 1)],
        "loop_stall_ms": quantile(met.loop_stalls, 0.99),
    }  # fmt: skip


def _is_stale(said: list[Any], owned: Any) -> bool:
    """Does anybody say something else than the key's owner?  What is kept by one machine alone isn't that.

    So it is with a write that the server refused three times, as others moved the position all the while.
    """
    return any(one not in (None, owned) for one in said)


def _standing(key: str, *caches: Any) -> list[Any]:
    """Where an entry stands, and what its owner did last."""
    *all_caches, owners = caches
    ref, found = Ref("default", key), list[Any]()
    for cache in all_caches:
        core = cache._core
        here = {tier.name: core.world.codec.open(ref, sealed).value for tier in core.tiers
                if (sealed := tier.read(ref, core.world.now())) is not None}  # fmt: skip
        found.append((here, [ref in doubt.refs for doubt in core.world.doubts]))
    return [*found, *[owner.log[key] for owner in owners if key in owner.log]]


def _health(load: Load) -> dict[str, Any]:
    """Of an asynchronous cache under load."""
    return asyncio.run_coroutine_threadsafe(load.cache.health(), load.runner.get_loop()).result(30)


def _until_named(cache: Cache, other: Load, words: list[str], kind: Fault) -> bool:
    """Do both faces' `health` say what is wrong, within two seconds?"""
    if kind.silent:
        return True

    def says() -> bool:
        found = [health["tiers"]["redis"] for health in (cache.health(), _health(other))]
        says.found = found  # type: ignore[attr-defined]
        return all(not one["ok"] and any(word in str(one["error"]) for word in words) for one in found)

    try:
        until(says, seconds=2.0)
    except AssertionError:
        print("health:", says.found, file=sys.stderr)  # type: ignore[attr-defined]
        return False
    return True


def _asked(cache: Cache, kind: Fault) -> bool:
    """Does a cache that was opened with `raise_errors` raise?"""
    if kind.silent:
        return True
    try:
        cache.get("asked")
        cache.set("asked", 1)
    except TierUnavailable:
        return True
    return False


def _lines(log: Lines) -> int:
    return len(log.lines)


def _recovered(cache: Cache, other: Load, bare: Cache, ended: float) -> float | None:
    """Seconds until both faces are healthy and what either sets is read by others from the server."""

    def well() -> bool:
        if breaker_open(cache) or breaker_open(other.cache):
            return False
        if not cache.health()["healthy"] or not _health(other)["healthy"]:
            return False
        mark = time.monotonic_ns()
        setting = other.cache.set("well:async", mark)
        cache.set("well:sync", mark)
        asyncio.run_coroutine_threadsafe(setting, other.runner.get_loop()).result(30)
        return bare.get("well:sync") == bare.get("well:async") == mark

    try:
        until(well, "all is well", seconds=4 * PATIENCE)
    except AssertionError:
        print("not well:", cache.health(), _health(other), file=sys.stderr)
        return None
    return round(time.monotonic() - ended, 2)


def _converged(asks: list[Callable[[list[str]], dict[str, Any]]]) -> tuple[dict[str, Any], float]:
    """The keys that aren't the same for all after five seconds, and when the others were."""
    keys = [f"{name}{worker}:{number}" for name in "as" for worker in range(2) for number in range(KEYS)]
    keys += [f"hot:{name}0:{number}" for name in "as" for number in range(HOT)]
    began = time.monotonic()
    apart: dict[str, Any] = {}

    def same() -> bool:
        apart.clear()
        apart.update(same_everywhere(asks, keys))
        return not apart

    with suppress(AssertionError):
        until(same, seconds=PATIENCE)
    return apart, round(time.monotonic() - began, 2)


def is_wrong_fault(name: str, report: dict[str, Any], *, timed: bool = True) -> list[str]:
    """What of a fault's figures must not be; those of latency only if *timed*."""
    kind, wrong = FAULTS[name], []
    wrong += [what for what in ("errors", "wrong", "apart") if report[what]]
    wrong += [what for what in ("named", "asked") if not report[what]]
    if report["recovered_s"] is None or report["recovered_s"] > PATIENCE:
        wrong.append("recovered_s")
    # One as it breaks and one as it is well again, for each of four caches; and once more where a call ends late.
    if len(report["lines"]) > 12:
        wrong.append("log_lines")
    for face in ("sync", "async") if timed else ():
        figures = report[face]
        if (figures["hit_ms"][1] or 0) >= 1.0 and not kind.answers:
            wrong.append(f"{face}.hit_ms")
        if (figures["miss_first_ms"] or 0) > TIMEOUT * 1000 + 50 and not kind.silent:
            wrong.append(f"{face}.miss_first_ms")
        if (figures["miss_open_ms"][0] or 0) >= 1.0:  # p99 is told: with other threads at work it is not the cache's
            wrong.append(f"{face}.miss_open_ms")
    return wrong


# -- the command

Case = tuple[str, dict[str, Any], list[str]]


def run_faults(names: list[str], seconds: float) -> Iterator[Case]:
    for name in names or FAULTS:
        report = fault(name, seconds)
        yield name, report, is_wrong_fault(name, report)


def run_machines(
    seconds: float, operations: int, keys: int, max_offline: float | None, *, neighbours: bool = False
) -> Iterator[Case]:
    with Lab(seconds) as lab, Room() as room:
        report = machines(room, lab, seconds, operations, keys, max_offline, neighbours=neighbours)
    loads, wrong = report["loads"], []
    wrong += ["converged_s"] if report["converged_s"] > PATIENCE else []
    wrong += ["queue"] if max(load["queue"] for load in loads) > CAPACITY else []
    wrong += ["errors"] if any(load["errors"] for load in loads) else []
    # It is looked at about twice a second, and a look may have to wait for a server that doesn't answer.
    wrong += ["too_old"] if max_offline and max(load["oldest_s"] for load in loads) > max_offline + LOOK else []
    wrong += ["grown_mb"] if max(load["grown_mb"] for load in loads) > GROWTH else []
    yield "machines", report, wrong


def run_cluster(slots: int, keys: int) -> Iterator[Case]:
    with Lab(0) as lab, Room() as room:
        for name, report in cluster(room, lab.servers, slots, keys).items():
            wrong = [what for what in ("wrong", "errors", "after") if report[what]]
            if name == "reshard":
                wrong += ["misses"] if any(report["misses"]) else []
            # A second more for a busy machine.
            elif report["stall_s"] > 3 * NODE_TIMEOUT + 1:
                wrong.append("stall_s")
            yield name, report, wrong


def run_missed(numbers: list[int], most: int) -> Iterator[Case]:
    for number in numbers:
        for lost_server in (False, True):
            with Lab(0) as lab, Room() as room:
                report = missed(room, lab, number, most, lost_server=lost_server)
            # That a server lost all is noticed about twice a second, by asking; until then it is as if it were away.
            counted = ("apart",) if lost_server else ("stale_at_once", "stale", "apart")
            wrong = [what for what in counted if report[what]]
            name = f"missed {number} of {most}" + (", and the server lost" if lost_server else "")
            yield name, report, wrong + ([] if report["held"] == number else ["held"])


def run_tenants(operations: int) -> Iterator[Case]:
    with Lab(0) as lab, Room() as room:
        report = tenants(room, lab, operations)
    yield "tenants", report, [what for what in ("cross", "lost", "errors") if report[what]]


def run_cancelled(operations: int) -> Iterator[Case]:
    for tiers in (["redis"], ALL_TIERS):
        with Lab(0) as lab, Room() as room:
            report = cancelled(room, lab, operations, tiers)
        wrong = [what for what in ("wrong", "error", "missing") if report[what]]
        wrong += [] if report["healthy"] and report["cancelled"] > operations // 40 else ["healthy"]
        yield f"cancelled {'+'.join(tiers)}", report, wrong


def main() -> int:
    if sys.argv[1:2] == ["machine"]:
        directory, settings, number, keys = sys.argv[2:]
        machine(directory, settings, int(number), int(keys))
        return 0
    options = _parser().parse_args()
    cases = {
        "faults": lambda: run_faults(options.names, options.seconds),
        "machines": lambda: run_machines(options.seconds, options.operations, options.keys, options.max_offline,
                                         neighbours=options.neighbours),
        "cluster": lambda: run_cluster(options.slots, options.keys),
        "missed": lambda: run_missed(options.numbers or [1, 100, options.most + 1, 2 * options.most], options.most),
        "tenants": lambda: run_tenants(options.operations),
        "cancelled": lambda: run_cancelled(options.operations),
    }
    bad = 0
    for name, report, wrong in cases[options.command]():
        print(name, json.dumps(report, default=str), "WRONG: " + ", ".join(wrong) if wrong else "ok", flush=True)
        bad += bool(wrong)
    return 1 if bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("faults")
    one.add_argument("names", nargs="*", metavar="FAULT", help=", ".join(FAULTS))
    one.add_argument("--seconds", type=float, default=4.0)
    one = commands.add_parser("machines")
    one.add_argument("--seconds", type=float, default=30.0)
    one.add_argument("--operations", type=int, default=1_000_000)
    one.add_argument("--keys", type=int, default=20_000)
    one.add_argument("--max-offline", type=float)
    one.add_argument("--neighbours", action="store_true", help="two of them are processes of one machine")
    one = commands.add_parser("cluster")
    one.add_argument("--slots", type=int, default=1000)
    one.add_argument("--keys", type=int, default=2000)
    one = commands.add_parser("missed")
    one.add_argument("numbers", nargs="*", type=int)
    one.add_argument("--most", type=int, default=1000)
    one = commands.add_parser("tenants")
    one.add_argument("--operations", type=int, default=100_000)
    one = commands.add_parser("cancelled")
    one.add_argument("--operations", type=int, default=2000)
    return parser


if __name__ == "__main__":
    sys.exit(main())
