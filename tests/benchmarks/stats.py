"""What `scoutcache stats` costs over a day of eight busy processes, beside `--version`.

    PYTHONPATH=. python tests/benchmarks/stats.py [--rounds 7] [--processes 8] [--hours 24] [--keep DIR]

The counters are made as such processes leave them, by the recorder itself with a clock that is moved: every minute each
counts hits, misses with their reasons, writes, evictions and computations, in three namespaces of four prefixes, and
their latencies.  Commands take turns; the figures are medians, of wall seconds and of CPU seconds.  Exits 1 when the
goal is missed; it is no test, since its outcome depends on the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scoutcache.oplog.linelog import LogLimits
from scoutcache.oplog.recorder import OplogSettings, Recorder

GOAL_SECONDS: Final = 0.5
SPACES: Final = tuple(f"tenant-{number}" for number in range(3))
PREFIXES: Final = ("llm", "job", "profile", "page")
OUTCOMES: Final = (
    ("get", "memory", "hit", ""), ("get", "disk", "hit", ""), ("compute", None, "miss", "cold"),
    ("compute", None, "miss", "expired"), ("get", None, "miss", "invalidated"), ("set", None, "stored", ""),
    ("evict", "memory", "done", "entries"),
)  # fmt: skip

PUBLISHED_EVERY: Final = 60
"""Minutes; what was published within an hour is folded into one file anyway."""


class Clock:
    """Moved by hand; wall and monotonic time go together."""

    def __init__(self, began: float) -> None:
        self._began, self._seconds = began, 0.0

    def advance(self, seconds: float) -> None:
        self._seconds += seconds

    def wall(self) -> float:
        return self._began + self._seconds

    def monotonic_ns(self) -> int:
        return 10**12 + round(self._seconds * 1e9)


def write_day(directory: Path, processes: int, hours: int, seed: int) -> int:
    """The counters of so many processes over so many hours until now; how many events they count."""
    events = 0
    clock = Clock(time.time() - hours * 3600)
    settings = OplogSettings(enabled=False, limits=LogLimits(), default_call_usd=0.01)
    dice = random.Random(seed)
    recorders = [
        Recorder(directory, settings, wall=clock.wall, monotonic_ns=clock.monotonic_ns,
                 token=lambda: os.urandom(8).hex())
        for _ in range(processes)
    ]
    for minute in range(hours * 60):
        for recorder in recorders:
            for space in SPACES:
                for prefix in PREFIXES:
                    recorder.count_hits({(space, prefix): 5000}, "memory")
                    events += 5000
                    _say(recorder, clock, dice, space, prefix)
                    events += len(OUTCOMES)
            if minute % PUBLISHED_EVERY == 0:
                recorder.publish({"memory": None, "disk": None})
        clock.advance(60.0)
    for recorder in recorders[: processes // 2]:  # the others are still at work
        recorder.close({"memory": None, "disk": None})
    return events


def _say(recorder: Recorder, clock: Clock, dice: random.Random, space: str, prefix: str) -> None:
    for kind, tier, outcome, reason in OUTCOMES:
        now = clock.monotonic_ns()
        took = round(dice.lognormvariate(10, 1.5))
        recorder.record(kind, space, f"{prefix}:1", tier=tier, outcome=outcome, reason=reason or None, began_ns=now,
                        ended_ns=now + took, factory_s=0.5 if kind == "compute" else None)  # fmt: skip


def timed(environment: Mapping[str, str], *arguments: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "scoutcache", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="make the counters here, or use those that are here, and keep them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = given.keep or Path(temporary, "cache")
        if not directory.exists():
            events = write_day(directory, given.processes, given.hours, given.seed)
            size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
            print(f"{given.processes} processes, {given.hours} h, {events:,} events in {size / 1e6:.1f} MB of counters")
        took: dict[str, list[tuple[float, float]]] = {"--version": [], "stats": []}
        # Modules are compiled beforehand, as pip leaves them, by the first round, which isn't counted.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(temporary, "compiled"))
        for round_ in range(given.rounds + 1):
            bare = timed(environment, "--version")
            whole = timed(environment, "stats", "--period", "24h", "--json", "--directory", str(directory))
            if round_:
                took["--version"].append(bare)
                took["stats"].append(whole)
    for name, figures in took.items():
        wall, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{name:10}{wall:7.2f} s, {cpu:.2f} s of CPU")
    more, of_cpu = (
        statistics.median([ours[at] - bare[at] for ours, bare in zip(took["stats"], took["--version"], strict=True)])
        for at in (0, 1)
    )
    print(f"{'more':10}{more:7.2f} s, {of_cpu:.2f} s of CPU   goal {GOAL_SECONDS}")
    return int(min(more, of_cpu) > GOAL_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
