"""The queue on disk: what it keeps, in what order it gives, and what it refuses to be."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from scoutcache.entry import Sealed
from scoutcache.errors import CacheError
from scoutcache.queues.store import Queue


def sealed(text: str) -> Sealed:
    return Sealed(text.encode(), (b"chunk of " + text.encode(), b""))


def text(entry: Sealed | None) -> str | None:
    return None if entry is None else entry.head.decode()


@pytest.fixture
def open_queue(tmp_path: Path) -> Iterator[Any]:
    opened: list[Queue] = []

    def make(name: str = "default", namespace: str = "default") -> Queue:
        opened.append(Queue(tmp_path / "queues", namespace, name))
        return opened[-1]

    yield make
    for queue in opened:
        queue.close()


@pytest.fixture
def queue(open_queue: Any) -> Queue:
    made: Queue = open_queue()
    return made


def put(queue: Queue, *texts: str, stamp: int = 100) -> list[int]:
    """Each text is a key, ``=`` and what to put."""
    return queue.put([(one.partition("=")[0], sealed(one)) for one in texts], lambda: stamp)


def due(queue: Queue, now: float = 1.0, size: int = 100) -> list[str | None]:
    return [text(row.sealed) for row in queue.due(now, lambda _: size)]


def test_what_was_put_is_given_in_line_once_it_is_due(queue):
    put(queue, "a=1", "b=1")
    put(queue, "c=1")
    assert due(queue) == ["a=1", "b=1", "c=1"]
    assert due(queue, size=2) == ["a=1", "b=1"]
    assert queue.due(1.0, lambda _: 9)[0].sealed == sealed("a=1")
    assert queue.count() == 3


def test_a_later_write_takes_the_place_of_the_earlier(queue):
    put(queue, "a=1", "b=1")
    put(queue, "a=2")
    assert due(queue) == ["a=2", "b=1"]
    assert text(queue.get("a")) == "a=2"
    assert queue.get("z") is None


def test_stamps_only_grow_whatever_the_clock_says(queue, open_queue):
    stamps = put(queue, "a=1", "b=1", stamp=100) + put(open_queue(), "a=2", stamp=5) + put(queue, "a=3", stamp=500)
    assert stamps == sorted(set(stamps))
    assert (stamps[0], stamps[-1]) == (100, 500)


def test_a_write_that_came_while_the_earlier_was_under_way_stays(queue):
    put(queue, "a=1", "b=1")
    rows = queue.due(1.0, lambda _: 9)
    put(queue, "a=2")
    queue.done(rows)
    assert due(queue) == ["a=2"]
    rows = queue.due(1.0, lambda _: 9)
    put(queue, "a=3")
    queue.failed([(row, 50.0) for row in rows])
    queue.bury(rows, "late", 1.0)
    assert [(row.attempts, text(row.sealed)) for row in queue.due(1.0, lambda _: 9)] == [(0, "a=3")]
    assert queue.buried() == []


def test_what_failed_waits_for_its_time_and_goes_with_those_that_failed_as_often(queue):
    put(queue, "a=1", "b=1")
    queue.failed([(row, 10.0) for row in queue.due(1.0, lambda _: 1)])
    put(queue, "c=1")
    assert due(queue) == ["b=1", "c=1"]
    assert due(queue, now=10.0) == ["a=1"]
    sizes: list[int] = []
    queue.due(10.0, lambda attempts: sizes.append(attempts) or 5)
    assert sizes == [1]


def test_a_dead_letter_is_kept_and_can_be_revived_or_thrown_away(queue):
    put(queue, "a=1", "b=1", "c=1")
    queue.bury(queue.due(1.0, lambda _: 9), "OSError: away", 7.0)
    assert queue.count() == 0
    letters = queue.buried()
    assert [(one.key, one.attempts, one.died, one.error, one.superseded) for one in letters] == [
        (key, 1, 7.0, "OSError: away", False) for key in "abc"
    ]
    assert queue.discard(["c", "z"]) == 1
    assert queue.revive(["a"]) == 1
    assert due(queue) == ["a=1"]
    assert queue.revive(None) == 1
    assert queue.buried() == []
    queue.bury(queue.due(1.0, lambda _: 9), "again", 8.0)
    assert queue.discard(None) == 2


def test_a_dead_letter_never_comes_after_a_later_write_of_its_key(queue):
    put(queue, "a=1")
    queue.bury(queue.due(1.0, lambda _: 9), "x", 1.0)
    put(queue, "a=2")
    assert queue.revive(None) == 0
    assert [one.superseded for one in queue.buried()] == [False]
    queue.done(queue.due(1.0, lambda _: 9))
    assert [one.superseded for one in queue.buried()] == [True]
    assert queue.revive(["a"]) == 0
    put(queue, "b=1")
    queue.bury(queue.due(1.0, lambda _: 9), "x", 1.0)
    put(queue, "b=2")
    queue.bury(queue.due(1.0, lambda _: 9), "x", 1.0)
    letters = [(text(one.sealed), one.superseded) for one in queue.buried()]
    assert letters == [("a=1", True), ("b=1", True), ("b=2", False)]
    assert queue.revive(None) == 1


def test_queues_are_apart_by_name_and_namespace(open_queue, tmp_path):
    names = [("a", "b"), ("a.b", "c"), ("a", "b.c"), ("A", "b"), ("../up", "/etc"), ("n" * 128, "q" * 300)]
    queues = [open_queue(name, namespace) for namespace, name in names]
    for number, queue in enumerate(queues):
        put(queue, f"k={number}")
    assert [text(queue.get("k")) for queue in queues] == [f"k={number}" for number in range(len(names))]
    assert {path.parent for path in tmp_path.rglob("*.db")} == {tmp_path / "queues"}


def test_one_takes_at_a_time(open_queue):
    one, two = open_queue(), open_queue()
    assert one.claim() is True
    assert one.claim() is True
    assert two.claim() is False
    one.close()
    assert two.claim() is True


def test_files_are_the_owners_alone(queue, tmp_path):
    queue.claim()
    put(queue, "a=1")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    modes = {path.name.rsplit(".")[-1]: stat.S_IMODE(path.stat().st_mode) for path in files}
    assert modes == {"db": 0o600, "db-wal": 0o600, "db-shm": 0o600, "lock": 0o600}
    assert stat.S_IMODE((tmp_path / "queues").stat().st_mode) == 0o700


def test_a_file_open_to_others_is_closed_to_them(open_queue):
    queue = open_queue()
    queue.close()
    queue.path.chmod(0o644)
    open_queue()
    assert stat.S_IMODE(queue.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("what", ["link", "second name", "folder", "other tables", "no database", "a trigger"])
def test_what_is_no_queue_of_ours_is_refused_and_left_alone(open_queue, tmp_path, what):
    queue = open_queue()
    put(queue, "a=1")
    queue.close()
    path = queue.path
    if what == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif what == "second name":
        os.link(path, tmp_path / "second")
    elif what == "folder":
        path.unlink()
        path.mkdir()
    elif what == "no database":
        path.write_bytes(b"not a database" * 1000)
    else:
        with sqlite3.connect(path) as con:
            con.execute("DROP TABLE Dead" if what == "other tables" else
                        "CREATE TRIGGER t AFTER INSERT ON Pending BEGIN DELETE FROM Pending; END")  # fmt: skip
        con.close()
    with pytest.raises(CacheError, match=r"queues/default\.default"):
        open_queue()
    assert path.exists()


def test_a_link_in_place_of_the_lock_is_not_followed(queue, tmp_path):
    queue._lock_path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="no lock"):
        queue.claim()
    assert not (tmp_path / "elsewhere").exists()


def test_a_queue_that_was_removed_begins_anew(queue, tmp_path):
    queue.claim()
    put(queue, "a=1")
    for path in (tmp_path / "queues").iterdir():
        path.unlink()
    put(queue, "b=1")
    assert due(queue) == ["b=1"]
    assert queue.claim() is True


def test_a_closed_queue_takes_nothing(queue):
    queue.close()
    queue.close()
    with pytest.raises(CacheError, match="closed"):
        put(queue, "a=1")
    assert queue.claim() is False


def test_a_write_that_fails_leaves_nothing_behind(queue):
    with pytest.raises(ZeroDivisionError):
        queue.put([("a", sealed("a=1")), ("b", sealed("b=1"))], lambda: 1 // 0)
    assert queue.count() == 0
    put(queue, "a=1")
    assert due(queue) == ["a=1"]


def test_bytes_that_nobody_packed_are_an_entry_that_is_not_sound(queue):
    put(queue, "a=1")
    with sqlite3.connect(queue.path) as con:
        con.execute("UPDATE Pending SET entry = ?", (b"\xff" * 11,))
    con.close()
    assert queue.due(1.0, lambda _: 1)[0].sealed.head == b"\xff" * 3


def test_threads_may_put_at_once(queue):
    threads = [threading.Thread(target=put, args=(queue, f"{n}=1", f"{n + 100}=1")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.count() == 16


def test_a_forked_child_goes_on_with_connections_of_its_own_and_without_the_claim(queue, open_queue):
    queue.claim()
    put(queue, "a=1")
    child = os.fork()
    if child == 0:
        try:
            put(queue, "b=1")
            os._exit(0 if queue.claim() is False and queue.count() == 2 else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert due(queue) == ["a=1", "b=1"]
    assert queue.claim() is True
    assert open_queue().claim() is False


class Model(RuleBasedStateMachine):
    """Whatever happens in whatever order: no key's last write is lost, none comes after a later one."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        self.queue = Queue(self.folder / str(len(list(self.folder.iterdir()))), "n", "q")
        self.number = 0
        self.written: dict[str, int] = {}
        self.arrived: dict[str, int] = {}
        self.dead: dict[str, int] = {}
        self.under_way: list[Any] = []

    @rule(key=st.sampled_from("abc"))
    def write(self, key: str) -> None:
        self.number += 1
        put(self.queue, f"{key}={self.number}")
        self.written[key] = self.number

    @rule(size=st.integers(1, 3))
    def hand_out(self, size: int) -> None:
        self.under_way = self.queue.due(1.0, lambda _: size)

    @rule()
    def arrive(self) -> None:
        for row in self.under_way:
            number = int((text(row.sealed) or "").partition("=")[2])
            assert number >= self.arrived.get(row.key, 0)
            self.arrived[row.key] = number
        self.queue.done(self.under_way)
        self.under_way = []

    @rule()
    def fail(self) -> None:
        self.queue.failed([(row, 0.0) for row in self.under_way])
        self.under_way = []

    @rule()
    def die(self) -> None:
        self.queue.bury(self.under_way, "x", 1.0)
        self.under_way = []

    @rule()
    def revive(self) -> None:
        self.queue.revive(None)

    @rule()
    def crash(self) -> None:
        self.queue.close()
        self.queue = Queue(self.queue.path.parent, "n", "q")
        self.under_way = []

    @invariant()
    def nothing_is_lost(self) -> None:
        for key, number in getattr(self, "written", {}).items():
            pending = text(self.queue.get(key))
            dead = [one for one in self.queue.buried() if one.key == key and not one.superseded]
            last = pending or (text(dead[-1].sealed) if dead else None)
            assert self.arrived.get(key) == number or last == f"{key}={number}"

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.queue.close()


def test_no_write_is_lost_or_overtaken(tmp_path):
    Model.folder = tmp_path
    machine = Model.TestCase
    machine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
    machine("runTest").runTest()
