"""What invalidating costs on disk, in one run: ``python tests/benchmarks/invalidation.py``.

- A tag that one entry carries against one that every entry carries: one write either way.
- A pattern that is a prefix, which one key of a hundred matches, against one DELETE of the same rows in one schema.

Contestants take turns; what counts is the median of the rounds' ratios.  With a million entries it takes some minutes
and a gigabyte; ``--entries 100000`` says nearly the same.  The exit code is 1 when a goal was missed.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scoutcache import Cache
from scoutcache.entry import NAMESPACE_MARK, NEVER, Header, Mark, Ref, Row
from scoutcache.patterns import Pattern
from scoutcache.tiers.disk import DiskTier
from scoutcache.tiers.disk.listing import Range
from scoutcache.wire.codec import Codec

CODEC = Codec()
LIMIT = 4_000_000_000
RATIO, TAG_RATIO, TAG_MS = 1.5, 1.2, 5.0
"""Goals: a prefix against one DELETE; a tag of all entries against that of one, which are told apart by noise alone."""
VALUE, ENCODED = CODEC.hold("an answer of a hundred characters or so, which is less than most: " + "x" * 40)


def rows(keys: list[str], marks: tuple[Mark, ...]) -> list[Row]:
    """What the engine hands to a tier."""
    made = []
    for key in keys:
        now = time.time()
        header = Header(ref=Ref("default", key), start=time.time_ns(), created=now, fresh_until=NEVER, expires=NEVER,
                        marks=marks)  # fmt: skip
        made.append(Row(header, VALUE, lambda header=header: CODEC.seal(header, VALUE, ENCODED)))
    return made


def fill(folder: Path, keys: list[str]) -> None:
    """A store of entries that all carry the tag ``all``, and one that carries ``one``."""
    tier = DiskTier(folder / "disk", CODEC, max_bytes=LIMIT)
    versions = tier.current("default", [NAMESPACE_MARK, "all", "one"], create=True)
    common = Mark(NAMESPACE_MARK, versions[NAMESPACE_MARK]), Mark("all", versions["all"])
    for at in range(0, len(keys), 2000):
        tier.write(rows(keys[at : at + 2000], common), 0.0)
    tier.write(rows(["job:one"], (common[0], Mark("one", versions["one"]))), 0.0)
    tier.close()


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def tags(folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds to invalidate the tag of all entries, and that of one."""
    with Cache(directory=folder, tiers=["disk"], disk={"max_bytes": LIMIT}, oplog={"enabled": False}) as cache:
        everything, one = [], []
        for number in range(rounds + 4):
            pair = [(everything, "all"), (one, "one")]
            for taken, tag in pair if number % 2 else reversed(pair):
                taken.append(seconds(lambda tag=tag: cache.invalidate(tags=[tag])))
        return everything[4:], one[4:]


def patterns(ours: DiskTier, theirs: DiskTier, keys: list[str], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds to remove ``llm:*`` from one store, and the same rows from its copy by one statement."""
    pattern, mine, plain = Pattern.parse("llm:*"), [], []
    span = Range.of("default", pattern)
    con = theirs._database.link().con

    def delete() -> None:
        con.execute("BEGIN IMMEDIATE")
        gone = con.execute("DELETE FROM Cache WHERE key >= ? AND key < ?", (span.low, span.high)).rowcount
        con.execute("COMMIT")
        assert gone == len(keys)

    def remove() -> None:
        assert ours.remove_matching("default", pattern) == len(keys)

    for number in range(rounds):
        pair = [(mine, remove), (plain, delete)]
        for taken, work in pair if number % 2 else reversed(pair):
            taken.append(seconds(work))
        for tier in (ours, theirs):
            for at in range(0, len(keys), 2000):
                tier.write(rows(keys[at : at + 2000], ()), 0.0)
            tier.maintain(0.0)
    return mine, plain


def peak() -> int:
    """The most bytes of memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Run both and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="invalidation-bench-", dir=Path.cwd()))
    try:
        wanted = [f"llm:{random.getrandbits(64):x}" for _ in range(options.entries // 100)]
        keys = [f"job:{random.getrandbits(64):x}" for _ in range(options.entries - len(wanted))] + wanted
        random.shuffle(keys)
        fill(folder / "a", keys)
        shutil.copytree(folder / "a", folder / "b")
        ours, theirs = (DiskTier(folder / name / "disk", CODEC, max_bytes=LIMIT) for name in "ab")
        before = peak()
        mine, plain = patterns(ours, theirs, wanted, options.rounds)
        ratio = statistics.median(a / b for a, b in zip(mine, plain, strict=True))
        print(f"{len(wanted):,} of {options.entries:,} keys by prefix: {statistics.median(mine) * 1e3:.1f} ms against"
              f" {statistics.median(plain) * 1e3:.1f} ms by one DELETE; ratio {ratio:.2f}, goal {RATIO}; memory grew by"
              f" {(peak() - before) / 1e6:.1f} MB")  # fmt: skip
        met = ratio <= RATIO
        ours.close()
        theirs.close()
        everything, one = tags(folder / "b", options.rounds * 4)
        ratio = statistics.median(a / b for a, b in zip(everything, one, strict=True))
        print(f"a tag of {options.entries:,} entries: {statistics.median(everything) * 1e3:.2f} ms against"
              f" {statistics.median(one) * 1e3:.2f} ms for that of one; ratio {ratio:.2f}; goal {TAG_MS:.0f} ms, ratio"
              f" 1 ({TAG_RATIO} at most)")
        met = met and ratio <= TAG_RATIO and statistics.median(everything) * 1e3 <= TAG_MS
    finally:
        shutil.rmtree(folder)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
