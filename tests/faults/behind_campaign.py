"""Processes that write behind are killed at random moments; no acknowledged write may be lost, none come out of order.

``python tests/faults/behind_campaign.py --kills 100`` runs it at full length.  Two processes put writes into one queue,
each says what was acknowledged; one of them delivers, to a file, and its writer fails now and then.  One of the two is
killed with SIGKILL, again and again, at a random moment, and replaced.  In the end what is left is delivered, and:

- each key's last acknowledged number, or a later one, has arrived (``lost``);
- of no key an earlier number arrived after a later one (``out_of_order``);
- what arrived twice was in the last list that a process handed over before it was killed, so that nobody had
  acknowledged it (``wrong_duplicates``; the others are counted as ``duplicates``);
- the cache has what arrived last of a key, or nothing (``stale``).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from scoutcache import Cache
from tests.faults.spoken import Spoken

KEYS = 30
SOURCE = "source.log"
PAYLOAD = "x" * 200


def write_for_ever(directory: Path, worker: int, first: int) -> None:
    """The writers' main program: numbers that grow, for keys that no other process writes."""
    source = os.open(directory / SOURCE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    name, lists = f"{os.getpid()}.{time.monotonic_ns()}", itertools.count()

    def writer(batch: list[tuple[str, list[object]]]) -> None:
        if random.random() < 0.05:
            raise OSError("the source is away")
        number = next(lists)
        os.write(source, "".join(f"{name} {number} {key} {value[0]}\n" for key, value in batch).encode())

    with Cache(directory=directory / "cache") as cache:
        behind = cache.behind(
            writer=writer, batch_size=8, interval=0.005, attempts=1000, backoff=0.001, max_backoff=0.01
        )  # fmt: skip
        print("ready", flush=True)
        for number in itertools.count(first):
            if number % 10:
                keys = [f"{worker}:{number % KEYS}"]
                behind.set(keys[0], [number, PAYLOAD])
            else:
                keys = [f"{worker}:{key}" for key in random.sample(range(KEYS), 5)]
                behind.set_many({key: [number, PAYLOAD] for key in keys})
            sys.stdout.write("".join(f"{key} {number}\n" for key in keys))
            sys.stdout.flush()


@dataclass
class Writer:
    """A running writer, and what was acknowledged to it."""

    directory: Path
    worker: int
    acknowledged: dict[str, int] = field(default_factory=dict)
    first: int = 1

    def start(self) -> None:
        self.process = Spoken(self._hear, __file__, "--write", self.directory, self.worker, self.first)

    def _hear(self, words: list[str]) -> None:
        key, number = words
        self.acknowledged[key] = int(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.end()
        # Also where nothing was acknowledged since the last time: its successor must not write the same numbers.
        self.first = max([self.first, *self.acknowledged.values()]) + 100


@dataclass
class Arrived:
    """What stands in the source: the last number of each key, and what is wrong with the order."""

    last: dict[str, int] = field(default_factory=dict)
    out_of_order: int = 0
    duplicates: int = 0
    wrong_duplicates: int = 0

    @classmethod
    def read(cls, path: Path) -> Arrived:
        rows = [(name, int(number), key, int(value)) for name, number, key, value in map(str.split, path.open())]
        last_list: dict[str, int] = {}
        for name, number, _, _ in rows:
            last_list[name] = number
        arrived, seen = cls(), dict[tuple[str, int], bool]()
        for name, number, key, value in rows:
            if (key, value) in seen:
                arrived.duplicates += 1
                arrived.wrong_duplicates += not seen[key, value]
            elif value < arrived.last.get(key, 0):
                arrived.out_of_order += 1
            seen[key, value] = last_list[name] == number
            arrived.last[key] = max(value, arrived.last.get(key, 0))
        return arrived


def campaign(kills: int, directory: Path) -> dict[str, int]:
    writers = [Writer(directory, worker) for worker in range(2)]
    for writer in writers:
        writer.start()
    for _ in range(kills):
        time.sleep(random.uniform(0.0, 0.15))
        writer = random.choice(writers)
        writer.kill()
        writer.start()
    for writer in writers:
        writer.kill()
    return report(writers, directory)


def report(writers: list[Writer], directory: Path) -> dict[str, int]:
    source = (directory / SOURCE).open("a")

    def write(batch: list[tuple[str, list[object]]]) -> None:
        source.write("".join(f"last 0 {key} {value[0]}\n" for key, value in batch))

    with source, Cache(directory=directory / "cache") as cache:
        behind = cache.behind(writer=write)
        pending, delivered = behind.pending(), behind.flush(60)
        source.flush()
        arrived = Arrived.read(directory / SOURCE)
        cached = {key: value[0] for key, value in cache.get_many(arrived.last).items()}
        dead = len(behind.dead_letters())
    acknowledged = {key: number for writer in writers for key, number in writer.acknowledged.items()}
    return {
        "acknowledged_keys": len(acknowledged),
        "last_number": max(acknowledged.values()),
        "lists": len({tuple(line.split()[:2]) for line in (directory / SOURCE).open()}),
        "pending_at_the_end": pending,
        "undelivered": int(not delivered) + dead,
        "lost": sum(arrived.last.get(key, 0) < number for key, number in acknowledged.items()),
        "out_of_order": arrived.out_of_order,
        "duplicates": arrived.duplicates,
        "wrong_duplicates": arrived.wrong_duplicates,
        "stale": sum(number != arrived.last[key] for key, number in cached.items()),
        "cached": len(cached),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--write", nargs=3, metavar=("DIRECTORY", "WORKER", "FIRST"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        directory, worker, first = arguments.write
        write_for_ever(Path(directory), int(worker), int(first))
    directory = Path(tempfile.mkdtemp(prefix="sc-behind-"))
    try:
        print(json.dumps({"kills": arguments.kills, **campaign(arguments.kills, directory)}))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
