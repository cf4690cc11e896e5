"""Three processes as machines whose server goes away under load, and what they say of it afterwards.

A machine is a process with a directory of its own; it does what it is told by lines on its standard input, and answers
each with a line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from scoutcache import Cache
from scoutcache.oplog.columns import can_parquet, table_of
from tests.faults.redis_load import tier_of

MACHINES = 3


def keys_of(number: int) -> list[str]:
    return [f"m:{n}" for n in range(number)]


class Machine:
    """The other end of a machine process."""

    def __init__(self, directory: Path, settings: dict[str, Any], number: int, keys: int) -> None:
        command = [sys.executable, str(Path(__file__).with_name("redis_campaign.py")), "machine", str(directory),
                   json.dumps(settings), str(number), str(keys)]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.read() == "ready"

    def send(self, *words: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, *words: Any) -> Any:
        self.send(*words)
        return self.read()

    def close(self) -> None:
        self.process.communicate(timeout=60)


def answers(cache: Cache, keys: list[str]) -> dict[str, Any]:
    return {key: value for at in range(0, len(keys), 500)
            for key, value in cache.get_many(keys[at : at + 500]).items()}  # fmt: skip


def digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class Worker:
    """What runs in the process of a machine."""

    def __init__(self, directory: str, settings: dict[str, Any], number: int, keys: int) -> None:
        _load_what_sealing_takes()
        self.cache = Cache(tiers=["memory", "redis", "disk"], directory=directory, redis=settings)
        self.number, self.keys = number, keys_of(keys)
        self.dice = random.Random(number)
        self.done: dict[str, tuple[int, Any]] = {}
        """The last thing done to each key here: when, and what it holds since (None when it was removed)."""
        self.counts: Counter[str] = Counter()
        self.queue = self.too_old = 0
        self.oldest = 0.0
        self.errors: Counter[str] = Counter()

    def load(self, seconds: float, operations: int, most: float | None) -> dict[str, Any]:
        """So many *operations* in so many *seconds*; *most* is how old a value may be while the server is away."""
        began, resident = time.monotonic(), _resident()
        watch = threading.Event()
        watching = threading.Thread(target=self._watch, args=(watch,))
        watching.start()
        longest = 0.0
        doubts = self.cache._core.world.doubts
        self.counts.clear()
        for at in range(operations):
            if at % 100 == 0:
                self.queue = max(self.queue, *[len(doubt) for doubt in doubts])
                ahead = at / operations * seconds - (time.monotonic() - began)
                if ahead > 0:
                    watch.wait(ahead)
            took = time.perf_counter()
            try:
                self._one(most)
            except Exception as error:
                self.errors[repr(error)] += 1
            longest = max(longest, time.perf_counter() - took)
        watch.set()
        watching.join()
        return {"seconds": round(time.monotonic() - began, 1), "queue": self.queue, "errors": dict(self.errors),
                "grown_mb": round((_resident() - resident) / 1e6, 1), "longest_ms": round(longest * 1e3, 1),
                "too_old": self.too_old, "oldest_s": round(self.oldest, 2), "counts": dict(self.counts)}  # fmt: skip

    def _watch(self, over: threading.Event) -> None:
        doubts = self.cache._core.world.doubts
        while not over.wait(0.01):
            self.queue = max(self.queue, *[len(doubt) for doubt in doubts])

    def _one(self, most: float | None) -> None:
        key, cache = self.dice.choice(self.keys), self.cache
        kind = self.dice.choices(["get", "set", "delete", "pattern"], [900, 95, 5, 0.02])[0]
        self.counts[kind] += 1
        if kind == "get":
            value = cache.get(key)
            if value is not None:
                self.counts["hit"] += 1
                self._look(value, most)
        elif kind == "set":
            value = [self.number, time.time_ns()]
            cache.set(key, value)
            self.done[key] = (value[1], value)
        elif kind == "delete":
            cache.delete(key)
            self.done[key] = (time.time_ns(), None)
        else:
            cache.invalidate(f"{key[:-1]}*")
            now = time.time_ns()
            for one in self.keys:
                if one.startswith(key[:-1]):
                    self.done[one] = (now, None)

    def _look(self, value: Any, most: float | None) -> None:
        if most is None or not tier_of(self.cache).conduit.breaker.fault:
            return
        # Since it was written here, or since the server was heard last: so long it may have been outlived unnoticed.
        heard = self.cache._core.journal.heard_at
        age = min(time.time() - value[1] / 1e9, time.monotonic() - heard)
        self.oldest = max(self.oldest, age)
        self.too_old += age > most

    def answers(self, step: int = 1) -> dict[str, Any]:
        return answers(self.cache, self.keys[::step])


def machine(directory: str, settings: str, number: int, keys: int) -> None:
    """The main program of a machine."""
    worker = Worker(directory, json.loads(settings), number, keys)

    def say(what: Any) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    say("ready")
    for line in sys.stdin:
        match json.loads(line):
            case ["load", seconds, operations, most]:
                say(worker.load(seconds, operations, most))
            case ["digest", step]:
                say(digest(worker.answers(step)))
            case ["answers"]:
                say(worker.answers())
            case ["done"]:
                say(worker.done)
            case ["health"]:
                say(worker.cache.health())
    worker.cache.close()


def _load_what_sealing_takes() -> None:
    """Libraries of 100 MB, once in the life of a process that seals a log: they are no growth, whenever that is."""
    if can_parquet():
        table_of([])


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
