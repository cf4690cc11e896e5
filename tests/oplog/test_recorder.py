from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scoutcache.entry import Usage
from scoutcache.oplog import recorder as recording
from scoutcache.oplog.recorder import Recorder
from scoutcache.oplog.totals import Stats, collect_stats

Make = Callable[..., Recorder]
Miss = Callable[..., None]
PAIR = ("default", "llm")


def stats(directory: Path | None, clock: Any, **more: Any) -> Stats:
    return collect_stats(directory, now=clock.wall(), **more)


def log_lines(directory: Path) -> list[dict[str, Any]]:
    return [
        msgspec.json.decode(line) for file in (directory / "oplog").iterdir() for line in file.read_bytes().splitlines()
    ]


def test_every_event_of_every_thread_is_counted(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder()
    stop = threading.Event()

    def work() -> None:
        for _ in range(3000):
            miss(recorder)
            recorder.count_hits({PAIR: 2}, "memory")

    def publish() -> None:
        while not stop.is_set():
            recorder.publish({})

    publisher = threading.Thread(target=publish)
    publisher.start()
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    publisher.join()
    recorder.close({})
    total = stats(directory, fake_clock).total
    assert (total.misses, total.hits) == (18_000, 36_000)


def test_a_caller_does_no_io(make_recorder: Make, miss: Miss, directory: Path) -> None:
    recorder = make_recorder()
    for _ in range(5000):
        miss(recorder)
    assert recorder.hit_log is not None
    recorder.hit_log((0, 1, "default", "llm:1", 5))
    recorder.evicted("default", "llm:1", "size", 10, "memory")
    recorder.error("disk", OSError("no"))
    assert not directory.exists()


def test_hits_in_memory_feed_latencies_and_log_and_are_not_counted_twice(
    make_recorder: Make, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder()
    assert recorder.hit_log is not None
    for took in range(100):
        recorder.hit_log((0, 1000 + took, "default" if took % 2 else "other", "llm:1", 5))
    recorder.count_hits({PAIR: 100}, "memory")
    recorder.close({})
    found = stats(directory, fake_clock)
    assert (found.total.hits, found.hit.count) == (100, 100)
    assert found.hit.p50_us == pytest.approx(1.05, rel=0.03)
    assert sum(1 + len(line["more_ns"]) for line in log_lines(directory) if line["op"] == "get") == 100
    assert stats(directory, fake_clock, namespace="other").hit.count == 50


def overflow(recorder: Recorder) -> None:
    """25 hits between two looks, of which `HITS_LIMIT` can wait."""
    assert recorder.hit_log is not None
    for _ in range(25):
        recorder.hit_log((0, 1, "default", "llm:1", 5))
    recorder.count_hits({PAIR: 25}, "memory")
    recorder.publish({})
    recorder.publish({})


def test_hits_beyond_the_buffer_are_counted_and_said_to_be_left_out_of_the_log(
    make_recorder: Make, directory: Path, fake_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "HITS_LIMIT", 10)
    overflow(make_recorder())
    found = stats(directory, fake_clock)
    assert (found.total.hits, dict(found.left_out)) == (25, {"overflow": 15})
    assert [line["count"] for line in log_lines(directory) if line["op"] == "left_out"] == [15]


def test_what_was_written_is_not_counted_as_unwritable_where_the_line_after_it_cant_be(
    make_recorder: Make, directory: Path, fake_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(recording, "HITS_LIMIT", 10)
    monkeypatch.setattr(recording.LineLog, "say_left_out", fail)
    overflow(make_recorder())
    assert dict(stats(directory, fake_clock).left_out) == {"overflow": 15}


def test_events_beyond_the_lines_that_may_wait_are_counted_and_left_out(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "LINES_LIMIT", 100)
    recorder = make_recorder()
    for _ in range(150):
        miss(recorder)
    recorder.close({})
    found = stats(directory, fake_clock)
    assert (found.total.misses, dict(found.left_out)) == (150, {"overflow": 50})


def test_a_disabled_log_still_counts(make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any) -> None:
    recorder = make_recorder(enabled=False)
    assert recorder.hit_log is None
    miss(recorder)
    recorder.close({})
    assert stats(directory, fake_clock).total.misses == 1
    assert not (directory / "oplog").exists()


def test_without_a_directory_counters_live_in_memory(make_recorder: Make, miss: Miss, fake_clock: Any) -> None:
    recorder = make_recorder(None)
    miss(recorder)
    recorder.publish({"memory": Usage(1, 2, 3, 4)})
    found = stats(None, fake_clock, extra=[recorder.snapshot()])
    assert (found.total.misses, found.tiers[0].size_bytes, recorder.hit_log) == (1, 2, None)


def test_a_snapshot_counts_instead_of_what_its_process_last_wrote(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder()
    miss(recorder)
    recorder.publish({})
    miss(recorder)
    assert stats(directory, fake_clock).total.misses == 1
    assert stats(directory, fake_clock, extra=[recorder.snapshot()]).total.misses == 2


def test_a_folder_that_cannot_be_written_breaks_nothing_warns_once_and_heals(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    directory.write_text("a file where the folder should be")
    recorder = make_recorder()
    for _ in range(30):
        miss(recorder)
        recorder.publish({})
        fake_clock.advance(60)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "can't be written" in caplog.text
    directory.unlink()
    miss(recorder)
    recorder.publish({})
    assert "written again" in caplog.records[-1].message
    found = stats(directory, fake_clock)
    assert (found.total.misses, found.left_out["unwritable"]) == (31, 30)


def test_money_is_counted_only_where_a_cost_is_known(make_recorder: Make, directory: Path, fake_clock: Any) -> None:
    recorder = make_recorder()
    recorder.count_hits({PAIR: 3}, "memory")
    recorder.record("get", "default", "llm:1", tier="disk", outcome="hit", began_ns=0, ended_ns=1)
    recorder.publish({})
    assert stats(directory, fake_clock).total.cost_saved_usd is None
    recorder.record("get", "default", "llm:1", tier="disk", outcome="hit", began_ns=0, ended_ns=1, cost=0.25)
    recorder.count_hits({PAIR: 3}, "memory", {PAIR: (2, 0.5)})
    recorder.record(
        "compute", "default", "llm:1", tier=None, outcome="miss", began_ns=0, ended_ns=1, cost=9.0, factory_s=1.0
    )
    recorder.publish({})
    total = stats(directory, fake_clock).total
    assert (total.cost_saved_usd, total.hits_with_cost, total.calls_saved) == (0.75, 3, 8)


def test_a_default_cost_counts_for_every_hit_whose_entry_names_none(
    make_recorder: Make, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder(default_call_usd=0.5)
    recorder.count_hits({PAIR: 4}, "memory", {PAIR: (1, 2.0)})
    recorder.record("get", "default", "llm:1", tier="disk", outcome="hit", began_ns=0, ended_ns=1)
    recorder.close({})
    total = stats(directory, fake_clock).total
    assert (total.cost_saved_usd, total.hits_with_cost) == (2.0 + 3 * 0.5 + 0.5, 5)


def test_closing_twice_and_recording_afterwards_loses_nothing(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder()
    miss(recorder)
    recorder.close({})
    recorder.close({})
    miss(recorder)
    recorder.close({})
    assert stats(directory, fake_clock).total.misses == 2
    assert list((directory / "procs").iterdir()) == []


def test_a_namespace_or_key_that_utf8_cannot_hold_never_stops_the_counters(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder()
    miss(recorder, "\ud800:1", namespace="\udfff")
    miss(recorder)
    recorder.publish({})
    assert stats(directory, fake_clock).total.misses == 2


def test_setting_the_wall_clock_changes_the_minute_and_not_the_count(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder()
    for step in (0, -7200, 14_400, -86_400):
        fake_clock.step_wall(step)
        miss(recorder)
        recorder.publish({})
    fake_clock.step_wall(86_400)
    recorder.close({})
    assert stats(directory, fake_clock).total.misses == 4


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_counts_its_own_and_nothing_of_its_parents(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder()
    miss(recorder)
    recorder.publish({})
    miss(recorder)
    assert recorder.hit_log is not None
    recorder.hit_log((0, 1, "default", "llm:1", 5))
    recorder._token = lambda: os.urandom(8).hex()  # names that count up would be the same in both
    child = os.fork()
    if child == 0:
        try:
            for _ in range(5):
                miss(recorder)
            recorder.close({})
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    recorder.count_hits({PAIR: 1}, "memory")
    recorder.publish({})
    found = stats(directory, fake_clock)
    assert (found.total.misses, found.total.hits, found.hit.count, found.processes) == (7, 1, 1, 1)
    recorder.close({})
    assert stats(directory, fake_clock).total.misses == 7
    assert sum(line.get("outcome") == "miss" for line in log_lines(directory)) == 7


WORKER = """
import secrets, sys, time
from pathlib import Path
from scoutcache.entry import Usage
from scoutcache.oplog.recorder import OplogSettings, Recorder
recorder = Recorder(Path(sys.argv[1]), OplogSettings(), wall=time.time, monotonic_ns=time.monotonic_ns,
                    token=lambda: secrets.token_hex(8))
for number in range(1, 10**9):
    began = time.monotonic_ns()
    recorder.record("get", "default", "llm:1", tier=None, outcome="miss", reason="cold", began_ns=began,
                    ended_ns=time.monotonic_ns())
    recorder.publish({"memory": Usage(number, 10 * number, None, 1000)})
    print(number, flush=True)
"""


def test_killed_processes_lose_nothing_they_had_published_and_the_living_sum(directory: Path, fake_clock: Any) -> None:
    command = [sys.executable, "-c", WORKER, str(directory)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = []
    for rounds, worker in enumerate(workers):
        assert worker.stdout is not None
        for _ in range(20 + 10 * rounds):
            line = worker.stdout.readline()
        assert collect_stats(directory, now=4e9).processes >= 1
        worker.kill()
        rest = worker.stdout.read().split()
        worker.wait()
        worker.stdout.close()
        told.append(int(rest[-1]) if rest else int(line))
    found = collect_stats(directory, now=4e9)
    assert sum(told) <= found.total.misses <= sum(told) + len(workers)
    assert (found.processes, found.unread) == (0, ())
    assert [tier.entries for tier in found.tiers] == []
    from scoutcache.oplog.fold import fold

    assert fold(directory, 4e9) == 3
    assert collect_stats(directory, now=4e9).total.misses == found.total.misses
