"""Of a key's lines those that tell something are read, from sealed files as from lines."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from scoutcache.insight.log.concerning import lines_about
from scoutcache.insight.log.operations import Operations
from scoutcache.insight.reasons import Story, who_ended
from scoutcache.oplog.records import FORMAT, Line
from scoutcache.oplog.sealing import seal

NOW = 1_800_000_000.0
FILES = 4


def history(seed: int, count: int = 1500) -> list[list[Line]]:
    """What some processes did to a few keys at the same time, each a file; hits by far the most."""
    dice = random.Random(seed)
    found: list[list[Line]] = [[] for _ in range(FILES)]
    for number in range(count):
        at, key = NOW + number // 3, f"k:{dice.randrange(3)}"  # several at the same moment
        kind = dice.choice(["hit"] * 30 + ["stale", "miss", "set", "set", "delete", "invalidate", "evict", "joined"])
        if kind in {"hit", "stale"}:
            line = Line(at, "get", key, "default", "memory", kind, tags=("t",) if dice.random() < 0.02 else ())
        elif kind == "joined":
            line = Line(at, "compute", key, "default", None, "hit", "joined", 30.0)
        elif kind == "miss":
            line = Line(at, "get", key, "default", None, "miss", dice.choice(["cold", "expired"]), 12.5)
        elif kind == "set":
            line = Line(at, "set", key, "default", None, "stored", ttl=dice.choice([None, 20.0]), latency_us=5.0,
                        tags=dice.choice([(), ("t",)]), depends_on=dice.choice([(), ("k:0",)]))  # fmt: skip
        elif kind == "invalidate":
            line = Line(at, "invalidate", dice.choice(["tag:t", "k:*", "j:*"]), "default", None, "invalidated", "why")
        else:
            line = Line(at, kind, key, "default", None, "done" if kind == "evict" else "deleted", None)
        found[dice.randrange(FILES)].append(line)
    return found


def put(directory: Path, files: list[list[Line]]) -> list[Path]:
    paths = []
    for number, lines in enumerate(files):
        start = Line(NOW, "start", process=f"p{number}", user="ann", pid=number, command="serve.py", format=FORMAT)
        path = directory / "oplog" / f"{number}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.Encoder().encode_lines([start, *lines]))
        paths.append(path)
    return paths


@pytest.mark.parametrize("seed", range(6))
def test_explain_says_of_sealed_files_or_of_some_sealed_what_it_says_of_lines(directory: Path, seed: int) -> None:
    def told() -> list[object]:
        found: list[object] = [
            Story.of(directory, "default", f"k:{number}", hits=limit if hits else 0).last(limit, hits=hits)
            for number in range(3) for limit in (1, 7, 100_000) for hits in (False, True)
            if not (hits and limit == 100_000)
        ]  # fmt: skip
        return [*found, *(Story.of(directory, "default", f"k:{number}").by for number in range(3)),
                who_ended(directory, "default", ["t", "k:0"], NOW)]  # fmt: skip

    paths = put(directory, history(seed))
    before = told()
    for some in (paths[1:3], paths):
        for path in some:
            seal(path, NOW, smallest=0)
        assert told() == before


def test_of_a_million_hits_in_a_row_the_last_is_made_a_line(directory: Path) -> None:
    hits = [Line(NOW + number, "get", "k", "default", "memory", "hit") for number in range(1000)]
    miss = Line(NOW + 500.5, "get", "k", "default", None, "miss", "cold")
    others = [Line(NOW + number, "get", "o", "default", "memory", "hit") for number in range(1000)]
    for path in put(directory, [hits, [miss], others]):
        seal(path, NOW, smallest=0)

    def read(last: int) -> list[float]:
        operations = Operations(directory, keys=frozenset({"k", "o"}))
        return [line.time - NOW for line in lines_about(operations, "default", frozenset({"k"}), last)]

    assert read(0) == [500, 500.5, 999]
    assert read(3) == [500, 500.5, 997, 998, 999]


def test_a_file_without_namespaces_is_of_no_namespace(directory: Path) -> None:
    import pyarrow.parquet as pq

    (path,) = put(directory, [[Line(NOW, "get", "k", "default", None, "miss", "cold")]])
    into = seal(path, NOW, smallest=0).path
    assert into is not None
    table = pq.read_table(into)
    pq.write_table(table.drop_columns(["namespace"]), into)
    assert Story.of(directory, "default", "k").last(20) == []
