"""After an invalidation has returned, no process ever answers with what was computed from before it.

``python tests/faults/linearize.py --operations 1000000`` runs it at full length.  Several processes with several
threads each share one directory.  For each key there is a number, its source of truth, which one thread of all raises;
it then invalidates the key (by its name, its tag, a prefix, a pattern, its namespace, or what it depends on), and once
that has returned notes the number as the *floor*.  Everybody else reads: notes the floor, asks the cache, and must not
be answered with less.  Values are computed from the source, by `get_or_compute`, or outside and stored with ``since``.

With ``--server`` they have a server beside, and with ``--away`` that is stopped half of the time.  With ``--lives 2``
no process lives longer than two seconds, and another one takes its place.

Sources and floors are words of a mapped file: aligned, each with one writer, and read with one load.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from scoutcache import Cache
from tests.servers.process import RedisServer, Servers

KINDS = ("key", "tag", "prefix", "pattern", "namespace", "parent deleted", "parent set")
KEYS = 4 * len(KINDS)
FLOORS = KEYS
BATCH = 50
AWAY = 1.5
"""Seconds that the server is away, and there, by turns."""

PAUSE = 0.01
"""Seconds at most between two invalidations of a process: after each one somebody has to compute."""


def words_of(directory: Path) -> memoryview:
    """The sources, and from `FLOORS` on the floors."""
    path = directory / "words"
    if not path.exists():
        path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("Q")


class Subject:
    """One key, and how it dies."""

    def __init__(self, cache: Cache, words: memoryview, number: int) -> None:
        self.words, self.number = words, number
        self.kind = KINDS[number % len(KINDS)]
        self.key, self.parent = f"p{number}:key", f"parent{number}"
        self.cache = cache.namespace(f"space{number}") if self.kind == "namespace" else cache
        self.options = {"tags": [f"tag{number}"]} if self.kind == "tag" else {}
        if self.kind.startswith("parent"):
            self.options = {"depends_on": [self.parent]}

    def source(self) -> int:
        return self.words[self.number]

    def check(self, how: str, value: int | None, floor: int) -> str | None:
        """What is wrong with an answer."""
        if value is None or value >= floor:
            return None
        return f"{how} of {self.key} ({self.kind}) answered {value} after {floor} was there, in {os.getpid()}"

    def read(self, dice: random.Random) -> str | None:
        """One operation of a reader."""
        floor, chance = self.words[FLOORS + self.number], dice.random()
        if chance < 0.6:
            return self.check("get", self.cache.get(self.key), floor)
        if chance < 0.97:
            return self.check("get_or_compute", self.cache.get_or_compute(self.key, self.source, **self.options), floor)
        began = self.cache.position()
        self.cache.set(self.key, self.source(), since=began, **self.options)
        return None

    def end(self) -> None:
        """One operation of the writer."""
        new = self.words[self.number] + 1
        self.words[self.number] = new
        match self.kind:
            case "key":
                self.cache.delete(self.key)
            case "tag":
                self.cache.invalidate(tags=[f"tag{self.number}"])
            case "prefix":
                self.cache.invalidate(f"p{self.number}:*")
            case "pattern":
                self.cache.invalidate(f"*p{self.number}:*")
            case "namespace":
                self.cache.clear()
            case "parent deleted":
                self.cache.delete(self.parent)
            case "parent set":
                self.cache.set(self.parent, new)
        self.words[FLOORS + self.number] = new


def read(subjects: list[Subject], seed: int, done: list[int], wrong: list[str], until: float, least: int) -> None:
    dice = random.Random(seed)
    while time.monotonic() < until and done[seed] < least and not wrong:
        for _ in range(BATCH):
            problem = dice.choice(subjects).read(dice)
            if problem is not None:
                wrong.append(problem)
        done[seed] += BATCH


def invalidate(subjects: list[Subject], ended: list[int], stop: threading.Event) -> None:
    dice = random.Random(os.getpid())
    while not stop.wait(dice.random() * PAUSE):
        dice.choice(subjects).end()
        ended[0] += 1


def work(
    directory: Path, mine: int, processes: int, threads: int, operations: int, seconds: float, url: str | None
) -> int:
    """One process: *threads* readers, and one who invalidates its share of the keys."""
    words, wrong, ended = words_of(directory), list[str](), [0]
    until, stop = time.monotonic() + seconds, threading.Event()
    with Cache({"placement": {"promote_on_hits": 1}}, directory=directory / "cache", redis_url=url) as cache:
        subjects = [Subject(cache, words, number) for number in range(KEYS)]
        done = [0] * threads
        readers = [
            threading.Thread(target=read, args=(subjects, n, done, wrong, until, operations // threads))
            for n in range(threads)
        ]
        # The kinds are spread over the processes, or each would see only its own invalidated by others.
        share = [one for one in subjects if (one.number // len(KINDS) + one.number) % processes == mine]
        writer = threading.Thread(target=invalidate, args=(share, ended, stop))
        for thread in (*readers, writer):
            thread.start()
        for thread in readers:
            thread.join()
        stop.set()
        writer.join()
    print(sum(done), ended[0], *wrong[:3], sep="\t", flush=True)
    return 1 if wrong else 0


def campaign(
    processes: int, threads: int, operations: int, seconds: float, server: RedisServer | None = None, *,
    away: bool = False, lives: float | None = None,
) -> tuple[int, int, list[str]]:  # fmt: skip
    """Operations of readers, invalidations, and what was wrong; beside *server*, which with *away* comes and goes."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(processes) as places:
        words_of(Path(folder))
        command = [sys.executable, __file__, "--directory", folder, "--processes", str(processes),
                   "--threads", str(threads), *([] if server is None else ["--url", server.url])]  # fmt: skip
        one = partial(one_after_another, command, operations // processes, seconds, lives)
        running = [places.submit(one, n) for n in range(processes)]
        while away and server is not None and not all(place.done() for place in running):
            for change in (server.pause, server.resume):
                change()
                time.sleep(AWAY)
        found = [place.result() for place in running]
    done, ended, wrong = zip(*found, strict=True)
    return sum(done), sum(ended), [problem for some in wrong for problem in some]


def one_after_another(
    command: list[str], operations: int, seconds: float, lives: float | None, mine: int
) -> tuple[int, int, list[str]]:
    """What the processes in one place did, each of which *lives* so many seconds at most (None: as long as need be)."""
    done, ended, wrong, dice = 0, 0, list[str](), random.Random(mine)
    until = time.monotonic() + seconds
    while not wrong and done < operations and (left := until - time.monotonic()) > 0:
        life = left if lives is None else min(left, dice.random() * lives)
        process = subprocess.run(
            [*command, "--mine", str(mine), "--operations", str(operations - done), "--seconds", str(life)],
            stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        reads, invalidations, *wrong = (process.stdout.strip() or "0\t0").split("\t")
        done, ended = done + int(reads), ended + int(invalidations)
        wrong += [f"a process ended with {process.returncode}"] if process.returncode not in {0, 1} else []
    return done, ended, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--mine", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--server", action="store_true", help="beside a server of its own")
    parser.add_argument("--lives", type=float, help="seconds that a process lives at most")
    parser.add_argument("--away", action="store_true", help="beside one that is stopped half of the time")
    given = parser.parse_args()
    if given.directory is not None:
        return work(
            given.directory, given.mine, given.processes, given.threads, given.operations, given.seconds, given.url
        )
    began = time.monotonic()
    with Servers() as servers:
        server = servers.start(RedisServer) if given.server or given.away else None
        figures = given.processes, given.threads, given.operations, given.seconds
        done, ended, wrong = campaign(*figures, server, away=given.away, lives=given.lives)
    print(f"{done} reads, {ended} invalidations, {len(wrong)} violations in {time.monotonic() - began:.0f} s")
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
