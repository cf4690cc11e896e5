"""kill -9 of processes that add, remove, rebuild and compact answers by meaning: index and entries agree afterwards.

``python tests/faults/semantic_kills.py --kills 50`` prints what was found as JSON.  Two writers work in one directory
and die at the same random moment; then the directory is opened as by another process:

- what a writer had been told was added is served, exactly and by meaning;
- what it had been told was removed is served by neither;
- index and entries are the same (no ghost, nothing that can't be found), and no call failed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "semantic")]

from scoutcache import Cache
from scoutcache.semantic import compacting
from tests.faults.spoken import Spoken

WRITERS = 2
compacting.LEAST = 20  # type: ignore[misc]  # so that the file is compacted all the time


def opened(directory: str | Path) -> Any:
    from words import embed

    cache = Cache(directory=directory, oplog={"enabled": False}, memory={"max_entries": 1000})
    cache.semantic.use(embed, "words")
    return cache


def query_of(writer: int, number: int) -> str:
    return f"writer {writer} asks question {number} of part {number % 7}"


def churn(directory: str, writer: int, first: int) -> None:
    """Add, remove, add again, rebuild, for ever, and say what is done."""
    say = lambda *words: print(*words, flush=True)  # noqa: E731
    cache, dice = opened(directory), random.Random(first)
    live: list[int] = []
    say("ready")
    number = first
    while True:
        for _ in range(3):
            number += 1
            say("adding", number)
            key = cache.semantic.add(query_of(writer, number), [writer, number], model="m")
            say("added" if key else "lost", number)
            live.append(number)
        for _ in range(2):
            gone = live.pop(dice.randrange(len(live)))
            say("removing", gone)
            key = cache.semantic.explain(query_of(writer, gone), model="m")["key"]
            cache.semantic.remove(key or "semantic:none")
            say("removed", gone)
        if dice.random() < 0.3:
            say("rebuilding", cache.semantic.rebuild())


@dataclass
class Writer:
    """A running writer, and what it said."""

    directory: Path
    number: int
    first: int = 0
    said: dict[int, str] = field(default_factory=dict)
    last: str = ""
    lost: int = 0

    def start(self) -> None:
        self.process = Spoken(self._hear, __file__, "--churn", self.directory, self.number, self.first)

    def _hear(self, words: list[str]) -> None:
        word, number = words
        self.last = word
        self.lost += word == "lost"
        if word != "rebuilding":
            self.said[int(number)] = word

    def end(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.end()
        self.first = max([self.first, *self.said]) + 100
        return code


@dataclass
class Report:
    """What a campaign found."""

    kills: int = 0
    checked: int = 0
    missing: int = 0
    unfound: int = 0
    ghosts: int = 0
    disagreeing: int = 0
    mended: int = 0
    failed: int = 0
    during: dict[str, int] = field(default_factory=dict)
    rows_at_most: int = 0
    seconds: float = 0.0


def check(directory: Path, writers: list[Writer], report: Report) -> None:
    """Look at the directory as a new process would."""
    cache = opened(directory)
    try:
        for writer in writers:
            for number, word in writer.said.items():
                _check_one(cache.semantic, writer.number, number, word, report)
        from scoutcache.meaning.scopes import places_of

        index = cache.semantic._flows.state.index("default")
        indexed = {(place.scope, place.ident) for place in index.places()}
        there = {places_of(key) for key in cache.keys("semantic:*")} - {None}
        report.disagreeing += len(indexed ^ there)
        report.mended += cache.semantic.stats()["mended"]
        report.rows_at_most = max(report.rows_at_most, index.rows.count)
    finally:
        cache.close()


def _check_one(semantic: Any, writer: int, number: int, word: str, report: Report) -> None:
    query, right = query_of(writer, number), [writer, number]
    exact = semantic.get(query, model="m")
    near = semantic.get(f"{query}!", model="m", threshold=0.999)
    report.checked += 1
    if word == "added":
        report.missing += exact is None or exact.response != right
        report.unfound += near is None or near.response != right
    elif word == "removed":
        report.ghosts += (exact is not None) + (near is not None)
    elif exact is not None and (near is None or near.response != exact.response):
        report.unfound += 1  # whether it was under way or not: what is there is found


def campaign(kills: int, directory: Path, seed: int = 0) -> Report:
    """Kill writers *kills* times, both at the same moment, and check after each."""
    dice, report, began = random.Random(seed), Report(), time.monotonic()
    while report.kills < kills:
        writers = [Writer(directory, number, first=report.kills * 10_000) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        time.sleep(dice.uniform(0.05, 1.0))  # real processes are to be killed at any moment of their work
        for writer in writers:
            writer.process.kill()
        for writer in writers:
            report.failed += writer.end() != -9 or writer.lost > 0
            report.during[writer.last] = report.during.get(writer.last, 0) + 1
            report.kills += 1
        check(directory, writers, report)
    report.seconds = round(time.monotonic() - began, 1)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--churn", nargs=3, metavar=("DIRECTORY", "WRITER", "FIRST"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.churn:
        churn(options.churn[0], int(options.churn[1]), int(options.churn[2]))
    folder = Path(tempfile.mkdtemp(prefix="sc-semantic-kills-"))
    try:
        report = campaign(options.kills, folder / "cache", options.seed)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(vars(report)))
    bad = report.missing or report.unfound or report.ghosts or report.disagreeing or report.mended or report.failed
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
