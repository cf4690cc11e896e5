"""What the operation log costs per hit in memory, at rate 1.0 and without a cap: on the caller, and in all.

    PYTHONPATH=. python tests/benchmarks/oplog.py [--hits 60000] [--rounds 15] [--redact]

*caller*: what the record adds to a hit that reads the clock once already: a second reading and the append.
*publish*: the CPU time, by hit, of the thread that counts, encodes and writes.  *all*: both.  Nanoseconds: the median
of the rounds and the best of them; with other work on the machine only the best says something about the log.  The
caller's loop runs with and without the log in every round.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import tempfile
import time
from pathlib import Path

from scoutcache.insight.log.operations import read_operations
from scoutcache.oplog.linelog import LogLimits
from scoutcache.oplog.recorder import OplogSettings, Recorder

GOAL_CALLER, GOAL_ALL = 350, 1500


def loop_without(keys: list[str], clock: object) -> int:
    """The caller's loop with one reading of the clock, which a hit does anyway."""
    began = time.thread_time_ns()
    for _ in keys:
        clock()  # type: ignore[operator]
    return time.thread_time_ns() - began


def loop_with(keys: list[str], clock: object, log: object) -> int:
    """The same with the record of the hit."""
    began = time.thread_time_ns()
    for key in keys:
        start = clock()  # type: ignore[operator]
        log((start, clock(), "default", key, 1024))  # type: ignore[operator]
    return time.thread_time_ns() - began


def measure(hits: int, rounds: int, redact: bool) -> tuple[list[float], list[float]]:
    """Nanoseconds per hit in each round: on the caller, and in publishing."""
    settings = OplogSettings(limits=LogLimits(max_records_per_s=None, max_bytes=None, redact_keys=redact))
    keys = [f"llm:chat:v1:{number % 1000:016x}" for number in range(hits)]
    caller, publish = [], []
    with tempfile.TemporaryDirectory() as directory:
        recorder = Recorder(
            Path(directory), settings, wall=time.time, monotonic_ns=time.monotonic_ns,
            token=lambda: secrets.token_hex(8),
        )  # fmt: skip
        assert recorder.hit_log is not None
        for _ in range(rounds):
            without = loop_without(keys, time.monotonic_ns)
            caller.append((loop_with(keys, time.monotonic_ns, recorder.hit_log) - without) / hits)
            recorder.count_hits({("default", "llm"): hits}, "memory")
            began = time.thread_time_ns()
            recorder.publish({})
            publish.append((time.thread_time_ns() - began) / hits)
        written = sum(1 for _ in read_operations(Path(directory)))
        assert written == hits * rounds, f"{written} of {hits * rounds} hits in the log"
        recorder.close({})
    return caller, publish


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hits", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--redact", action="store_true")
    given = parser.parse_args()
    caller, publish = measure(given.hits, given.rounds, given.redact)
    total = [one + other for one, other in zip(caller, publish, strict=True)]
    for name, found, goal in (("caller", caller, GOAL_CALLER), ("publish", publish, None), ("all", total, GOAL_ALL)):
        aim = f"   goal {goal}" if goal else ""
        print(f"{name:8}{statistics.median(found):7.0f} ns, best {min(found):6.0f} ns{aim}")


if __name__ == "__main__":
    main()
