"""Simulated hit ratios against the reference, and how long it takes: `python tests/benchmarks/simulation.py`.

Reads the traces and `eviction.csv` from `../shared`.

- *figures*: every cell of the reference.  LRU, FIFO, LFU, SIEVE and OPT have to equal it (to the six digits it has), by
  entries and, but for OPT, by bytes; S3-FIFO, its adaptive form and GDSF, and ARC by entries, to be within half a
  point.  W-TinyLFU is for information: its reference comes from implementations that differ by points among themselves,
  ours counts exactly and moves its window.  So is ARC by bytes, which was published for pages of one size.
- *speed*: one policy, one size of 1 %, a million requests, from the file to the figure, in seconds of processor time
  (`scoutcache simulate` adds the start of the interpreter).
- *advice*: `advise` on a log of a million operations.

Exits 1 unless all goals are met.  Name parts to run only these.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SHARED = Path(__file__).resolve().parents[3] / "shared"
TRACES = SHARED / "data" / "traces"
LARGE = TRACES / "kv_twitter52.csv.gz"
SAME = {"lru": "LRU", "fifo": "FIFO", "sieve": "SIEVE", "lfu": "LFU", "opt": "OPT"}
NEAR = {"arc": "ARC", "s3fifo": "S3FIFO", "adaptive": "S3FIFO-adaptive", "gdsf": "GDSF"}
SHOWN = {"tinylfu": "WTinyLFU-adaptive"}
SECONDS = {"simulate": 1.5, "advise": 20.0}


def reference() -> dict[tuple[str, str, int], dict[str, list[tuple[float, str]]]]:
    """By trace, unit and capacity the ratios of each policy with whose they are."""
    found: dict[tuple[str, str, int], dict[str, list[tuple[float, str]]]] = defaultdict(lambda: defaultdict(list))
    with (SHARED / "reference" / "eviction.csv").open() as file:
        for row in csv.DictReader(file):
            cell = (row["trace"], row["unit"], int(row["capacity"]))
            found[cell][row["policy"]].append((float(row["hit_ratio"]), row["source"]))
    return found


def figures() -> Iterator[tuple[bool, str]]:
    """Each policy's largest distance from the reference."""
    from scoutcache.insight.simulation.curves import Size, curves
    from scoutcache.insight.simulation.traces import read_requests

    cells, worst = reference(), defaultdict[tuple[str, str], tuple[float, str]](lambda: (0.0, "")
    )
    for trace in sorted({trace for trace, _, _ in cells}):
        requests = read_requests(TRACES / f"{trace}.csv.gz")
        for unit in ("objects", "bytes"):
            sizes = [Size("", capacity, "bytes" if unit == "bytes" else "entries", 0.0)
                     for name, there, capacity in sorted(cells) if (name, there) == (trace, unit)]  # fmt: skip
            names = {**SAME, **NEAR, **SHOWN}
            for point in curves(requests, list(names), sizes) if sizes else ():
                known = cells[trace, unit, point.capacity].get(names[point.policy])
                if known:
                    distance = min((point.hit_ratio - ratio for ratio, _ in known), key=abs)
                    print(f"{trace:20} {unit:8} {point.capacity:>9} {point.policy:9} {100 * point.hit_ratio:7.3f} "
                          f"({100 * distance:+.4f})", flush=True)  # fmt: skip
                    if abs(distance) > abs(worst[point.policy, unit][0]):
                        worst[point.policy, unit] = (distance, f"{trace} {point.capacity}")
    for policy in [*SAME, *NEAR, *SHOWN]:
        for unit in ("objects", "bytes"):
            distance, where = worst[policy, unit]
            limit = 0.0000011 if policy in SAME else 0.005
            judged = policy not in SHOWN and (policy, unit) != ("arc", "bytes")
            text = f"{policy}, {unit}: {100 * distance:+.4f} points at most {where}"
            yield not judged or abs(distance) <= limit, text if judged else f"{text} (for information)"


def speed() -> Iterator[tuple[bool, str]]:
    """Reading and one simulation of each policy."""
    from scoutcache.insight.simulation.curves import curves, parse_sizes
    from scoutcache.insight.simulation.policies import POLICIES
    from scoutcache.insight.simulation.traces import read_requests

    began = time.process_time()
    requests = read_requests(LARGE)
    reading = time.process_time() - began
    yield True, f"reading {requests.count} requests: {reading:.2f} s"
    for policy in POLICIES:
        began = time.process_time()
        curves(requests, [policy], parse_sizes(["1%"], requests), processes=1)
        took = time.process_time() - began
        yield reading + took <= SECONDS["simulate"], f"{policy}: {took:.2f} s, with reading {reading + took:.2f} s"


def make_log(directory: Path, rows: int) -> int:
    """A log of about *rows* operations from the trace, as a cache of a tenth of its keys would have written it."""
    import msgspec

    from scoutcache.insight.simulation.policies import MODELS
    from scoutcache.insight.simulation.traces import read_requests
    from scoutcache.oplog.records import Line

    requests = read_requests(LARGE)
    model = MODELS["lru"](requests.distinct // 10, [1] * requests.distinct)
    lines = [Line(1e9, "start", process="p", user="u", pid=1, command="c")]
    for at, key in enumerate(requests.keys):
        if len(lines) >= rows:
            break
        now, name, size = 1e9 + at / 50, f"llm:{key}" if key % 3 else f"job:summary:{key}", requests.sizes[key]
        if model.held[key]:
            assert model.touch is not None
            model.touch(key)
            lines.append(Line(now, "get", name, "default", "memory", "hit", size=size))
        else:
            model.admit(key)
            lines.append(Line(now, "compute", name, "default", None, "miss", "cold", size=size, factory_s=0.5))
            lines.append(Line(now, "set", name, "default", None, "stored", size=size, ttl=7200.0, tags=("model:a",)))
    (directory / "oplog").mkdir()
    (directory / "oplog" / "a.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(lines))
    return len(lines)


def advice() -> Iterator[tuple[bool, str]]:
    """Advice on a million operations."""
    from scoutcache.insight.advising.advise import advise

    with tempfile.TemporaryDirectory() as place:
        rows = make_log(Path(place), 1_000_000)
        began, used = time.monotonic(), time.process_time()
        found = advise(Path(place), max_bytes=1_000_000, max_entries=100_000, strategy="adaptive")
        took, used = time.monotonic() - began, time.process_time() - used
    for one in found.advice:
        print(f"  {one.topic}, {one.about}: {one.advice}\n      {one.evidence}\n      {one.expected}")
    yield took <= SECONDS["advise"], f"advice on {rows} operations: {took:.1f} s ({used:.1f} s in the main process)"


PARTS = {"figures": figures, "speed": speed, "advice": advice}


def main() -> int:
    """Run the parts, print, and say by the exit code whether every goal was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        print(f"no traces beside this repository ({SHARED})", file=sys.stderr)
        return 2
    met = True
    for name in arguments.parts or PARTS:
        for good, text in PARTS[name]():
            met = met and good
            print(f"{'ok    ' if good else 'MISSED'} {text}", flush=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
