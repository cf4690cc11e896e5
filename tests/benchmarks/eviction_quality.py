"""Hit ratios of the policies on real traces, against reference figures: `python -m tests.benchmarks.eviction_quality`.

Reads the traces and `eviction.csv` from `../shared`.  Each cell is the hit ratio in percent and, in brackets, its
distance from the reference in points (`.` where that has none).  Exits 1 unless LRU, FIFO and SIEVE are within 0.3
points of it everywhere, the default beats LRU by 2.0 on average over traces and capacities and nowhere loses more than
1.0, and `auto` is nowhere worse than the default by more than 0.5.  Rows with capacities in bytes are for
information: where an object's size changes between requests, the
reference resizes the entry and this doesn't.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from scoutcache.eviction import DEFAULT, make_policy
from tests.eviction.replaying import replay

SHARED = Path(__file__).resolve().parents[3] / "shared"
TRACES = (
    "block_cloudphysics", "kv_twitter52", "llm_mooncake_conv", "llm_toolcalls_tau", "loop_lirs", "mix_lirs_multi3",
    "orm_busy", "web_product12",
)  # fmt: skip
SIZED = ("block_cloudphysics", "kv_twitter52", "llm_toolcalls_tau")
NAMES = {name: name.upper() for name in ("lru", "fifo", "sieve", "lfu", "s3fifo")} | {
    "adaptive": "S3FIFO-adaptive", "tinylfu": "WTinyLFU-adaptive", "gdsf": "GDSF",
}  # fmt: skip
EXACT = ("lru", "fifo", "sieve")
TOLERANCE = 0.3
AUTO_BEHIND = 0.5

Reference = dict[tuple[str, str, str, int], float]


class Cell(NamedTuple):
    """One replay: ratios in percent, *reference* None where there is none."""

    trace: str
    unit: str
    capacity: int
    policy: str
    ratio: float
    reference: float | None

    @property
    def distance(self) -> float:
        """Points from the reference."""
        return 0.0 if self.reference is None else self.ratio - self.reference

    def __str__(self) -> str:
        distance = "." if self.reference is None else f"{self.distance:+.2f}"
        return f"{self.policy} {self.ratio:6.2f} ({distance})"


def load(trace: str, rows: int | None = None, shared: Path = SHARED) -> list[tuple[int, int]]:
    """The first *rows* requests of a trace as key and size."""
    requests = []
    with gzip.open(shared / "data" / "traces" / f"{trace}.csv.gz", "rt") as file:
        next(file)
        for line in file:
            _, key, size = line.split(",")
            requests.append((int(key), int(size)))
            if len(requests) == rows:
                break
    return requests


def references(shared: Path = SHARED) -> Reference:
    """Reference hit ratios in percent by trace, unit, policy and capacity; where there are several, the last."""
    with (shared / "reference" / "eviction.csv").open() as file:
        return {
            (row["trace"], row["unit"], row["policy"], int(row["capacity"])): 100 * float(row["hit_ratio"])
            for row in csv.DictReader(file)
        }


def capacities(trace: str, unit: str, shared: Path = SHARED) -> list[int]:
    """The three there are reference figures for: 0.1, 1 and 10 % of the unique keys or of their bytes."""
    with (shared / "reference" / "eviction.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["trace"], row["unit"]) == (trace, unit)]
    return [capacity for _, capacity in sorted({(row["frac"], int(row["capacity"])) for row in rows})]


def cells(known: Reference, trace: str, unit: str, policies: list[str]) -> Iterator[list[Cell]]:
    """The policies on one trace, a list for each capacity."""
    requests = load(trace) if unit == "bytes" else [(key, 1) for key, _ in load(trace)]
    for capacity in capacities(trace, unit):
        limits = (capacity, None) if unit == "objects" else (None, capacity)
        yield [
            Cell(trace, unit, capacity, name, 100 * replay(make_policy(name, *limits), requests).hit_ratio,
                 known.get((trace, unit, NAMES.get(name, ""), capacity)))
            for name in policies
        ]  # fmt: skip


def verdicts(table: list[list[Cell]]) -> Iterator[tuple[bool, str]]:
    """Each goal, met or not."""
    counted = [row for row in table if row[0].unit == "objects"]
    for name in EXACT:
        worst = max((abs(cell.distance) for row in counted for cell in row if cell.policy == name), default=0.0)
        yield worst <= TOLERANCE, f"{name} is within {worst:.2f} points of the reference (at most {TOLERANCE})"
    for unit, least_mean, least in (("objects", 2.0, -1.0), ("bytes", None, None)):
        gains = [by["adaptive"] - by["lru"] for by in map(_by_policy, table) if by["unit"] == unit]
        if gains:
            met = least_mean is None or least is None or (mean(gains) >= least_mean and min(gains) >= least)
            bounds = "" if least_mean is None else f" (at least {least_mean} and {least})"
            yield met, f"{DEFAULT} over lru, {unit}: mean {mean(gains):+.2f} points, worst {min(gains):+.2f}{bounds}"


    behind = [by["auto"] - by["adaptive"] for by in map(_by_policy, table)]
    if behind:
        worst = min(behind)
        text = f"auto over {DEFAULT}: mean {mean(behind):+.2f} points, worst {worst:+.2f} (at least {-AUTO_BEHIND})"
        yield worst >= -AUTO_BEHIND, text


def _by_policy(row: list[Cell]) -> dict[str, float | str]:
    return {"unit": row[0].unit} | {cell.policy: cell.ratio for cell in row}


def main() -> int:
    """Replay, print, and say by the exit code whether every goal was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="lfu, s3fifo, tinylfu and gdsf too")
    parser.add_argument("traces", nargs="*", default=TRACES)
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        print(f"no traces beside this repository ({SHARED})", file=sys.stderr)
        return 2
    known = references()
    began = time.monotonic()
    table = []
    policies = [*EXACT, DEFAULT, "auto", *(["lfu", "s3fifo", "tinylfu", "gdsf"] if arguments.all else [])]
    for unit, traces in (("objects", TRACES), ("bytes", SIZED)):
        for trace in [trace for trace in traces if trace in arguments.traces]:
            for row in cells(known, trace, unit, policies):
                table.append(row)
                print(f"{trace:20} {row[0].capacity:>9} {unit:8}", *row, flush=True)
    judged = list(verdicts(table))
    print(*(f"{'ok    ' if met else 'MISSED'} {what}" for met, what in judged), sep="\n")
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if all(met for met, _ in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
