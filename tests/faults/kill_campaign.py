"""Processes that write are killed at random moments; afterwards nothing may be wrong and nothing acknowledged be lost.

``python tests/faults/kill_campaign.py --kills 300`` runs it at full length.  Two writers share one directory, each says
what it has set; one of them is killed with SIGKILL, again and again, at a random moment, and replaced.  After each kill
a third process looks: the database is whole (`PRAGMA integrity_check`), every value is exactly one that was written
under its key, and each key holds what was last acknowledged or something later.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from scoutcache.entry import NEVER, Header, Ref, Row
from scoutcache.errors import CorruptEntry
from scoutcache.tiers.disk import DiskTier
from scoutcache.wire.codec import Codec, CodecSettings
from tests.faults.spoken import Spoken

KEYS = 40
CODEC = Codec(CodecSettings(chunk_size=64 << 10))  # small chunks, so that many kills fall between two of them


def value_for(writer: int, key: int, number: int) -> bytes:
    """What that writer sets that key to for the number-th time: small, or of up to eight chunks; it names itself."""
    name = f"{writer}:{key}:{number}:".encode()
    size = (50, 700, 5_000, 100_000, 400_000)[number % 5]
    return name + hashlib.shake_256(name).digest(size)


def write_for_ever(directory: str, writer: int, first: int) -> None:
    """The writers' main program: sets in turn singly, by several threads at once, and many in one transaction."""
    tier = DiskTier(Path(directory), CODEC, max_bytes=200_000_000, timeout=60.0)
    lock = threading.Lock()

    def say(*words: object) -> None:
        with lock:
            sys.stdout.write(" ".join(map(str, words)) + "\n")
            sys.stdout.flush()

    def put(key: int, number: int) -> Row:
        header = Header(ref=Ref("default", f"{writer}:{key}"), start=number * 1_000_000, created=1.0,
                        fresh_until=NEVER, expires=NEVER)  # fmt: skip
        live, encoded = CODEC.hold(value_for(writer, key, number))
        return Row(header, live, lambda: CODEC.seal(header, live, encoded))

    def set_keys(keys: list[int], number: int) -> None:
        rows = [put(key, number) for key in keys]
        if tier.write(rows, 2.0) != len(rows):
            say("refused")
        for key in keys:
            say("done", key, number)

    say("ready")
    number = first
    while True:
        number += 1
        set_keys([number % KEYS], number)
        number += 1
        threads = [threading.Thread(target=set_keys, args=([key], number)) for key in random.sample(range(KEYS), 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        number += 1
        set_keys(random.sample(range(KEYS), 5), number)
        if number % 20 < 3:
            tier.maintain(2.0)


@dataclass
class Writer:
    """A running writer, and what it said it had done."""

    directory: Path
    writer: int
    done: dict[int, int] = field(default_factory=dict)
    first: int = 0
    refused: int = 0

    def start(self) -> None:
        self.process = Spoken(self._hear, __file__, "--write", self.directory, self.writer, self.first)

    def _hear(self, words: list[str]) -> None:
        if words[0] == "refused":
            self.refused += 1
        else:
            self.done[int(words[1])] = int(words[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.end()
        # What it had begun may have been stored: its successor goes on well beyond.
        self.first = max(self.done.values(), default=self.first) + 1000


@dataclass
class Report:
    """What a campaign found."""

    kills: int = 0
    integrity_failures: int = 0
    wrong_values: int = 0
    lost_sets: int = 0
    corrupt: int = 0
    refused: int = 0
    checked: int = 0
    set_aside: int = 0
    seconds: float = 0.0


def check(directory: Path, acknowledged: list[dict[int, int]], report: Report, *, whole: bool) -> None:
    """Look at the store as another process would; *whole* opens every envelope too."""
    tier = DiskTier(directory, CODEC, timeout=60.0)
    for writer, done in enumerate(acknowledged):
        for key in range(KEYS):
            ref = Ref("default", f"{writer}:{key}")
            sealed = tier.read(ref, 2.0)
            try:
                value = None if sealed is None else CODEC.open(ref, sealed).value
            except CorruptEntry:
                report.corrupt += 1
                continue
            report.checked += 1
            number = -1 if value is None else int(value.split(b":", 3)[2])
            if value is not None and value != value_for(writer, key, number):
                report.wrong_values += 1
            elif number < done.get(key, -1):
                report.lost_sets += 1
    if whole:
        found = tier.verify()
        report.integrity_failures += found["integrity"] != "ok"
        report.corrupt += len(found["corrupt"]) + found["orphaned"]
    tier.close()
    report.set_aside = len(list(directory.glob("damaged-*")))


def campaign(kills: int, directory: Path, seed: int = 0) -> Report:
    """Kill writers *kills* times and check after each."""
    dice, report, started = random.Random(seed), Report(), time.monotonic()
    writers = [Writer(directory, 0), Writer(directory, 1)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(kills):
            time.sleep(dice.uniform(0.0, 0.25))  # real processes are to be killed at any moment of their work
            victim = dice.choice(writers)
            victim.kill()
            report.kills += 1
            check(directory, [dict(writer.done) for writer in writers], report, whole=True)
            victim.start()
    finally:
        for writer in writers:
            writer.kill()
    check(directory, [writer.done for writer in writers], report, whole=True)
    report.refused = sum(writer.refused for writer in writers)
    report.seconds = round(time.monotonic() - started, 1)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", nargs=3, metavar=("DIRECTORY", "WRITER", "FIRST"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_for_ever(options.write[0], int(options.write[1]), int(options.write[2]))
    folder = Path(tempfile.mkdtemp(prefix="sc-kills-"))
    try:
        report = campaign(options.kills, folder / "cache", options.seed)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(vars(report)))
    return 1 if report.integrity_failures or report.wrong_values or report.lost_sets or report.corrupt else 0


if __name__ == "__main__":
    sys.exit(main())
