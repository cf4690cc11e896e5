"""The end of the log: the last operations, each once, and what is written meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from scoutcache.insight.log.ending import Tail
from scoutcache.insight.log.operations import Operations
from scoutcache.oplog.records import FORMAT, Line
from scoutcache.oplog.sealing import seal

NOW = 1_800_000_000.0
encode = msgspec.json.Encoder().encode_lines


def start(process: str = "me") -> Line:
    return Line(NOW, "start", process=process, format=FORMAT)


def get(number: int) -> Line:
    return Line(NOW + number, "get", f"k:{number}", "default", outcome="miss")


@pytest.fixture
def write(directory: Path) -> Callable[..., Path]:
    """Append the operations of these seconds to a file, as its process would at the last of them."""
    (directory / "oplog").mkdir(parents=True)

    def put(name: str, *numbers: int) -> Path:
        path = directory / "oplog" / f"{name}.jsonl"
        begun = path.exists()
        with path.open("ab") as file:
            file.write(encode([*([] if begun else [start(name)]), *map(get, numbers)]))
        os.utime(path, (NOW, NOW + max(numbers)))
        return path

    return put


def numbers(lines: list[Line]) -> list[int]:
    return [round(line.time - NOW) for line in lines]


@pytest.fixture
def tail(directory: Path) -> Tail:
    return Tail(Operations(directory), lambda _: True)


def test_the_last_operations_of_all_processes_in_order(write: Callable[..., Path], tail: Tail) -> None:
    write("a", *range(0, 40, 2))
    seal(write("b", *range(1, 40, 2)), NOW, smallest=0)
    write("old", 1, 2, 3)
    with tail:
        assert numbers(tail.last(5)) == [35, 36, 37, 38, 39]


def test_what_is_written_later_comes_once(write: Callable[..., Path], tail: Tail) -> None:
    write("a", 1, 2)
    write("old", 0)
    with tail:
        assert numbers(tail.last(1)) == [2]
        assert tail.more() == []
        write("a", 3)
        write("new", 4, 5)
        write("old", 6)
        assert numbers(tail.more()) == [3, 4, 5, 6]
        assert tail.more() == []


def test_half_a_line_waits_for_its_end(write: Callable[..., Path], tail: Tail) -> None:
    path = write("a", 1)
    whole = encode([get(2)])
    with tail:
        tail.last(9)
        with path.open("ab") as file:
            file.write(whole[:20])
        assert tail.more() == []
        with path.open("ab") as file:
            file.write(whole[20:])
        assert numbers(tail.more()) == [2]
    assert tail.operations.problems.named == []


def test_a_file_that_is_sealed_meanwhile_is_read_to_its_end_and_not_again(
    write: Callable[..., Path], tail: Tail
) -> None:
    path = write("a", 1)
    with tail:
        tail.last(9)
        write("a", 2)
        seal(path, NOW, smallest=0)
        seal(write("b", 3), NOW, smallest=0)
        assert numbers(tail.more()) == [2, 3]
        assert tail.more() == []


def test_only_what_is_asked_for(write: Callable[..., Path], directory: Path) -> None:
    write("a", *range(10))
    with Tail(Operations(directory), lambda line: line.key == "k:4") as found:
        assert numbers(found.last(3)) == [4]


def test_a_torn_end_is_named(write: Callable[..., Path], tail: Tail) -> None:
    with write("a", 1).open("ab") as file:
        file.write(b'nonsense\n{"time":1')
    with tail:
        assert numbers(tail.last(3)) == [1]
    assert [(problem.line, problem.what.split(":")[0]) for problem in tail.operations.problems.named] == [
        (3, "no record of the log"), (4, "torn"),
    ]  # fmt: skip
