"""What `scoutcache report` takes over a log of ten million operations: seconds, and resident memory.

    PYTHONPATH=. python tests/benchmarks/report.py [--operations 10000000] [--keys 1000000] [--seed 7] [--keep DIR]

The log is made up, from a seed, as eight processes would leave it: keys drawn by Zipf's law, files of the size at which
the writer seals them, and for each process one more file of lines that isn't sealed yet.  Then `report` and `explain`
run as commands, each in a process of its own.  Exits 1 when a goal is missed; it is no test, since its outcome depends
on the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from scoutcache.oplog import columns
from scoutcache.oplog.filing import FOLDER
from scoutcache.oplog.sealing import signed

GOAL_SECONDS: Final = 20.0
GOAL_BYTES: Final = 1_500_000_000
GOAL_SIZE: Final = 20.0
PROCESSES: Final = 8
IN_FILE: Final = 150_000
"""Operations of a file when it is full and sealed, measured: 16 MiB of lines."""
IN_LINES: Final = 20_000
STEP_US: Final = 60


class Zipf:
    """Operations of made-up processes on keys drawn by Zipf's law."""

    def __init__(self, keys: int, seed: int) -> None:
        self._dice = np.random.default_rng(seed)
        weights = 1 / np.arange(1, keys + 1)
        self._bounds = np.cumsum(weights / weights.sum())
        names = [f"{('llm', 'job', 'profile')[one % 3]}:chat:v1:{one * 2654435761 % (1 << 64):016x}"
                 for one in range(keys)]  # fmt: skip
        self._names = pa.array(names)
        self._sizes = self._dice.integers(200, 60_000, keys)

    def operations(self, count: int, process: int, began_us: int) -> pa.Table:
        """So many of one process: nine hits of ten in memory, a few on disk, and computations with their writes."""
        dice = self._dice
        key = np.minimum(np.searchsorted(self._bounds, dice.random(count)), len(self._names) - 1)
        kind = dice.choice(4, count, p=[0.9, 0.05, 0.025, 0.025])  # in memory, on disk, computed, stored
        disk, computed, stored = kind == 1, kind == 2, kind == 3

        def where(mask: Any, values: Any) -> pa.Array:
            return pa.array(values, mask=~mask)

        def named(*names: str | None) -> pa.Array:
            return pa.DictionaryArray.from_arrays(pa.array(kind.astype(np.int8)), pa.array(names, pa.string()))

        size = self._sizes[key]
        took = np.round(dice.lognormal(np.array([6.5, 10.5, 13, 13])[kind], 0.5)) / 1000
        columns_of: dict[str, Any] = {
            "time": pa.array(began_us + np.cumsum(dice.integers(1, 2 * STEP_US * PROCESSES, count))),
            "op": named("get", "get", "compute", "set"), "key": self._names.take(pa.array(key)),
            "namespace": pa.repeat("default", count), "tier": named("memory", "disk", None, None),
            "outcome": named("hit", "hit", "miss", "stored"), "reason": named(None, None, "cold", None),
            "latency_us": where(kind != 0, took), "size": pa.array(size), "stored": where(disk | stored, size // 3),
            "codec": named(None, "lz4", None, "lz4"), "codec_us": where(disk | stored, took / 4),
            "factory_s": where(computed, took / 1e4), "cost": where(computed, np.full(count, 0.002)),
            "ttl": where(stored, np.full(count, 7200.0)), "tags": named(None, None, None, '["model:gpt-4"]'),
            "process": pa.repeat(f"process-{process}", count), "user": pa.repeat("app", count),
            "pid": pa.repeat(4000 + process, count), "command": pa.repeat("serve.py", count),
        }  # fmt: skip
        kinds = columns.schema()
        made = [columns_of.get(field.name, pa.nulls(count)).cast(field.type) for field in kinds]
        return pa.table(made, schema=kinds)


def write_log(directory: Path, operations: int, keys: int, seed: int) -> int:
    """Write the log; its bytes when sealed, without the files of lines."""
    folder, zipf = directory / FOLDER, Zipf(keys, seed)
    folder.mkdir(parents=True)
    now_us, size, number = time.time_ns() // 1000, 0, 0
    left = operations - PROCESSES * IN_LINES
    began = now_us - operations * STEP_US
    while left > 0:
        count = min(left, IN_FILE)
        path = folder / f"{number:016x}.parquet"
        with columns.writer(path) as out:
            for at in range(0, count, 50_000):
                out.write_table(zipf.operations(min(50_000, count - at), number % PROCESSES, began))
            out.add_key_value_metadata(signed(columns.Signature()))
        size += path.stat().st_size
        left, number, began = left - count, number + 1, began + count * STEP_US
    for process in range(PROCESSES):
        write_lines(folder / f"live{process}.jsonl", zipf.operations(IN_LINES, process, began), process)
    return size


def write_lines(path: Path, table: pa.Table, process: int) -> None:
    """The same as a process writes it."""
    import msgspec

    from scoutcache.oplog.records import FORMAT, Line

    encoder = msgspec.json.Encoder()
    lines = [Line(time.time(), "start", process=f"process-{process}", format=FORMAT), *columns.lines_of(table)]
    for line in lines[1:]:
        line.process = line.user = line.pid = line.command = None
    path.write_bytes(encoder.encode_lines(lines))


def measured(*arguments: str) -> tuple[float, int]:
    """Seconds and the largest resident bytes of a command."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "scoutcache", *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    if status:
        raise SystemExit(f"{arguments[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return took, used.ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--operations", type=int, default=10_000_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="make the log here, or use the one that is here, and keep it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = given.keep or Path(temporary) / "cache"
        if not (directory / FOLDER).exists():
            size = write_log(directory, given.operations, given.keys, given.seed)
            each = size / (given.operations - PROCESSES * IN_LINES)
            print(f"log      {size / 1e6:8.1f} MB sealed, {each:.1f} bytes per operation   goal {GOAL_SIZE:.0f}")
        at = ("--directory", str(directory))
        took, used = measured("report", *at, "--json")
        print(f"report   {took:8.1f} s, {used / 1e6:.0f} MB   goal {GOAL_SECONDS:.0f} s, {GOAL_BYTES / 1e6:.0f} MB")
        explained, _ = measured("explain", "llm:chat:v1:0000000000000000", *at, "--json")
        print(f"explain  {explained:8.1f} s")
    return int(took > GOAL_SECONDS or used > GOAL_BYTES)


if __name__ == "__main__":
    raise SystemExit(main())
