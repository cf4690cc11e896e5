"""The disk tier against plain diskcache with its defaults, in one run: ``python tests/benchmarks/disk.py``.

Contestants take turns in small rounds; what counts is the median of the rounds' ratios, so that whatever else the
machine does hits both.  Values are 1 KB of text; the tier seals and opens its entries, diskcache pickles its own way.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import diskcache

from scoutcache import Cache
from scoutcache.entry import NAMESPACE_MARK, Header, Mark, Ref, Row
from scoutcache.tiers.disk import DiskTier
from scoutcache.wire.codec import Codec

CODEC = Codec()
NOW = time.time()


def text(size: int = 1024) -> str:
    """Text of the kind a model answers: words, of which some come again."""
    words = ["the", "cache", "answers", "before", "anyone", "asked", "model", "latency", "token", "of", "a", "and"]
    out = []
    while sum(map(len, out)) + len(out) < size:
        out.append(random.choice(words) if random.random() < 0.6 else f"{random.getrandbits(24):x}")
    return " ".join(out)[:size]


def table(size: int = 1024) -> str:
    """Text of the kind an API answers, of which lz4 saves more than a third, so that it is stored compressed."""
    rows = [{"id": n, "name": f"user{random.randrange(10**6)}", "active": True, "score": n * 7} for n in range(40)]
    return json.dumps(rows)[:size]


VALUES = [text() for _ in range(64)]
TABLES = [table() for _ in range(64)]


def row(key: str, value: str) -> Row:
    """What the engine hands to a tier."""
    live, encoded = CODEC.hold(value)
    header = Header(ref=Ref("default", key), start=time.time_ns(), created=NOW, fresh_until=NOW + 3600,
                    expires=NOW + 3600, marks=(Mark(NAMESPACE_MARK, 1 << 61),))  # fmt: skip
    return Row(header, live, lambda: CODEC.seal(header, live, encoded))


def opened(folder: Path) -> DiskTier:
    """A tier that knows the mark of those entries, or it would give back their space."""
    tier = DiskTier(folder, CODEC)
    mark = (NAMESPACE_MARK, 1 << 61)
    tier._database.transact(lambda con: con.execute("INSERT INTO Versions VALUES ('default', ?, ?)", mark))
    return tier


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(ours: Callable[[int], object], theirs: Callable[[int], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the rounds' ratios; who goes first changes each round."""
    for warm in (-2, -1):
        ours(warm)
        theirs(warm)
    pairs = []
    for number in range(rounds):
        if number % 2:
            a = seconds(lambda n=number: ours(n))
            b = seconds(lambda n=number: theirs(n))
        else:
            b = seconds(lambda n=number: theirs(n))
            a = seconds(lambda n=number: ours(n))
        pairs.append((a, b))
    return (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
            statistics.median(a / b for a, b in pairs))  # fmt: skip


class Stage:
    """A tier and a diskcache with the same ten thousand entries, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.tier = opened(folder / "tier")
        self.plain = diskcache.Cache(str(folder / "plain"))
        self.keys = [f"llm:{random.getrandbits(64):x}" for _ in range(10_000)]
        self.refs = [Ref("default", key) for key in self.keys]
        self.tier.write([row(key, VALUES[n % 64]) for n, key in enumerate(self.keys)], NOW)
        for n, key in enumerate(self.keys):
            self.plain.set(key, VALUES[n % 64], expire=3600)
        self.tables = [f"table:{random.getrandbits(64):x}" for _ in range(2_000)]
        self.tier.write([row(key, TABLES[n % 64]) for n, key in enumerate(self.tables)], NOW)
        for n, key in enumerate(self.tables):
            self.plain.set(key, TABLES[n % 64], expire=3600)
        self.cache = Cache(directory=folder / "cache", tiers=["disk"])
        self.cache.set_many({key: VALUES[n % 64] for n, key in enumerate(self.keys)}, ttl=3600)

        self._ended = threading.Event()
        self._background = threading.Thread(target=self._maintain)
        self._background.start()

    def _maintain(self) -> None:
        """As every process that uses a tier does."""
        while not self._ended.wait(1.0):
            self.tier.maintain(NOW)

    def some(self, number: int, count: int) -> range:
        start = number * count % (len(self.keys) - count)
        return range(start, start + count)

    def close(self) -> None:
        self._ended.set()
        self._background.join()
        self.tier.close()
        self.plain.close()
        self.cache.close()


def hit(stage: Stage, rounds: int) -> tuple[float, float, float]:
    def ours(number: int) -> None:
        for n in stage.some(number, 300):
            ref = stage.refs[n]
            CODEC.open(ref, stage.tier.read(ref, NOW))

    def theirs(number: int) -> None:
        for n in stage.some(number, 300):
            stage.plain.get(stage.keys[n])

    return compare(ours, theirs, rounds)


def hit_compressed(stage: Stage, rounds: int) -> tuple[float, float, float]:
    """The same for values that are stored compressed."""
    refs = [Ref("default", key) for key in stage.tables]

    def some(number: int) -> range:
        return range(number * 300 % 1700, number * 300 % 1700 + 300)

    def ours(number: int) -> None:
        for n in some(number):
            CODEC.open(refs[n], stage.tier.read(refs[n], NOW))

    def theirs(number: int) -> None:
        for n in some(number):
            stage.plain.get(stage.tables[n])

    return compare(ours, theirs, rounds)


def face_hit(stage: Stage, rounds: int) -> tuple[float, float, float]:
    """`Cache.get` of a cache with a disk tier alone: counted, logged, checked against the journal."""

    def ours(number: int) -> None:
        for n in stage.some(number, 300):
            stage.cache.get(stage.keys[n])

    def theirs(number: int) -> None:
        for n in stage.some(number, 300):
            stage.plain.get(stage.keys[n])

    return compare(ours, theirs, rounds)


def face_many(stage: Stage, rounds: int) -> tuple[float, float, float]:
    """`Cache.get_many` of a hundred keys."""

    def ours(number: int) -> None:
        stage.cache.get_many([stage.keys[n] for n in stage.some(number, 100)])

    def theirs(number: int) -> None:
        for n in stage.some(number, 100):
            stage.plain.get(stage.keys[n])

    return compare(ours, theirs, rounds)


def read(stage: Stage, rounds: int) -> tuple[float, float, float]:
    """The tier's part of a hit, without the codec's."""

    def ours(number: int) -> None:
        for n in stage.some(number, 300):
            stage.tier.read(stage.refs[n], NOW)

    def theirs(number: int) -> None:
        for n in stage.some(number, 300):
            stage.plain.get(stage.keys[n])

    return compare(ours, theirs, rounds)


def read_many(stage: Stage, rounds: int) -> tuple[float, float, float]:
    """The tier's part of 100 hits at once, without the codec's."""

    def ours(number: int) -> None:
        stage.tier.read_many([stage.refs[n] for n in stage.some(number, 100)], NOW)

    def theirs(number: int) -> None:
        for n in stage.some(number, 100):
            stage.plain.get(stage.keys[n])

    return compare(ours, theirs, rounds)


def get_many(stage: Stage, rounds: int) -> tuple[float, float, float]:
    def ours(number: int) -> None:
        refs = [stage.refs[n] for n in stage.some(number, 100)]
        for ref, sealed in stage.tier.read_many(refs, NOW).items():
            CODEC.open(ref, sealed)

    def theirs(number: int) -> None:
        for n in stage.some(number, 100):
            stage.plain.get(stage.keys[n])

    return compare(ours, theirs, rounds)


def set_one(stage: Stage, rounds: int) -> tuple[float, float, float]:
    """Half of the keys are new, half are there already."""

    def ours(number: int) -> None:
        for n in stage.some(number, 150):
            stage.tier.write([row(f"new:{number}:{n}", VALUES[n % 64])], NOW)
            stage.tier.write([row(stage.keys[n], VALUES[n % 64])], NOW)

    def theirs(number: int) -> None:
        for n in stage.some(number, 150):
            stage.plain.set(f"new:{number}:{n}", VALUES[n % 64], expire=3600)
            stage.plain.set(stage.keys[n], VALUES[n % 64], expire=3600)

    return compare(ours, theirs, rounds)


def set_many(stage: Stage, rounds: int) -> tuple[float, float, float]:
    """Against the same thousand one by one, both times per key on the tier itself."""

    def ours(number: int) -> None:
        stage.tier.write([row(f"many:{number}:{n}", VALUES[n % 64]) for n in range(1000)], NOW)

    def theirs(number: int) -> None:
        for n in range(1000):
            stage.tier.write([row(f"single:{number}:{n}", VALUES[n % 64])], NOW)

    return compare(ours, theirs, rounds)


def set_many_plain(stage: Stage, rounds: int) -> tuple[float, float, float]:
    """Against a thousand sets of plain diskcache."""

    def ours(number: int) -> None:
        stage.tier.write([row(f"many2:{number}:{n}", VALUES[n % 64]) for n in range(1000)], NOW)

    def theirs(number: int) -> None:
        for n in range(1000):
            stage.plain.set(f"many2:{number}:{n}", VALUES[n % 64], expire=3600)

    return compare(ours, theirs, rounds)


def listing(folder: Path, rounds: int, entries: int = 100_000) -> tuple[float, float, float]:
    """Against the bare statement on the same database."""
    tier = opened(folder / "listing")
    keys = [f"llm:{n:06d}:v1:{n * 7919 % 1_000_003:x}" for n in range(entries)]
    random.shuffle(keys)
    for at in range(0, entries, 5000):
        tier.write([row(key, VALUES[at % 64]) for key in keys[at : at + 5000]], NOW)
    con = tier._database.link().con

    def ours(_: int) -> None:
        assert sum(1 for _ in tier.scan("default")) == entries

    def theirs(_: int) -> None:
        assert sum(1 for _ in con.execute("SELECT key, expire_time, size FROM Cache")) == entries

    figures = compare(ours, theirs, rounds)
    tier.close()
    return figures


GOALS = {"hit": 1.6, "hit, compressed": None, "Cache.get": None, "Cache.get_many(100)": None,
         "read alone": 1.0, "read_many(100) alone": 0.5, "get_many(100)": 0.7, "set": 1.0,
         "set_many(1000) : set": 0.6, "set_many(1000) : diskcache": 0.6, "listing 100,000": 2.0}  # fmt: skip
PER = {"hit": 300, "hit, compressed": 300, "Cache.get": 300, "Cache.get_many(100)": 100,
       "read alone": 300, "read_many(100) alone": 100, "get_many(100)": 100, "set": 300,
       "set_many(1000) : set": 1000, "set_many(1000) : diskcache": 1000, "listing 100,000": 100_000}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="disk-bench-", dir=Path.cwd() if Path.cwd() != Path("/") else None))
    gc.freeze()
    try:
        stage = Stage(folder)
        work: dict[str, Callable[[], tuple[float, float, float]]] = {
            "hit": lambda: hit(stage, options.rounds),
            "hit, compressed": lambda: hit_compressed(stage, options.rounds),
            "Cache.get": lambda: face_hit(stage, options.rounds),
            "Cache.get_many(100)": lambda: face_many(stage, options.rounds),
            "read alone": lambda: read(stage, options.rounds),
            "read_many(100) alone": lambda: read_many(stage, options.rounds),
            "get_many(100)": lambda: get_many(stage, options.rounds),
            "set": lambda: set_one(stage, options.rounds),
            "set_many(1000) : set": lambda: set_many(stage, max(7, options.rounds // 3)),
            "set_many(1000) : diskcache": lambda: set_many_plain(stage, max(7, options.rounds // 3)),
            "listing 100,000": lambda: listing(folder, max(5, options.rounds // 4)),
        }
        results = {}
        for name, run in work.items():
            if options.only and not any(name.startswith(only) for only in options.only):
                continue
            ours, theirs, ratio = run()
            results[name] = {"ours_us": ours / PER[name] * 1e6, "theirs_us": theirs / PER[name] * 1e6, "ratio": ratio,
                             "goal": GOALS[name]}  # fmt: skip
            if not options.json:
                print(f"{name:28} {results[name]['ours_us']:8.2f} µs  against {results[name]['theirs_us']:8.2f} µs"
                      f"   ratio {ratio:5.2f}   goal {GOALS[name] or '-'}")  # fmt: skip
        if options.json:
            print(json.dumps(results))
        stage.close()
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
