"""The segments of a process, through the recorder that fills them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoutcache.entry import Usage
from scoutcache.oplog import counters
from scoutcache.oplog.recorder import Recorder
from scoutcache.oplog.totals import Stats, collect_stats

Make = Callable[..., Recorder]
Miss = Callable[..., None]


def stats(directory: Path | None, clock: Any) -> Stats:
    return collect_stats(directory, now=clock.wall())


def test_counters_survive_segment_after_segment_and_the_live_file_stays_small(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder()
    for _ in range(60):
        miss(recorder)
        recorder.publish({"memory": Usage(1, 2, 3, 4)})
        fake_clock.advance(60)
        live = [path for path in (directory / "procs").glob("*.json") if path.stat().st_size]
        assert len(live) <= 1
        assert all(path.stat().st_size < 5000 for path in live)
    assert stats(directory, fake_clock).total.misses == 60
    assert stats(directory, fake_clock).processes == 1
    assert stats(directory, fake_clock).tiers[0].entries == 1


def test_an_idle_process_stays_visible_with_its_sizes(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any
) -> None:
    recorder = make_recorder()
    miss(recorder)
    for _ in range(50):
        recorder.publish({"memory": Usage(7, 70, None, None)})
        fake_clock.advance(60)
    found = stats(directory, fake_clock)
    assert (found.processes, found.tiers[0].entries, found.total.misses) == (1, 7, 1)


def test_what_has_not_changed_is_not_written_again(make_recorder: Make, miss: Miss, directory: Path) -> None:
    recorder = make_recorder()
    miss(recorder)
    recorder.publish({"memory": Usage(1, 1, 1, 1)})
    file = next((directory / "procs").glob("*.json"))
    before = file.stat().st_ino
    recorder.publish({"memory": Usage(1, 1, 1, 1)})
    assert file.stat().st_ino == before
    recorder.publish({"memory": Usage(2, 1, 1, 1)})
    assert file.stat().st_ino != before


def test_while_nothing_can_be_written_memory_stays_bounded(
    make_recorder: Make, miss: Miss, directory: Path, fake_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "SEGMENT_ROWS", 20)
    directory.write_text("in the way")
    recorder = make_recorder()
    for _ in range(600):
        miss(recorder)
        recorder.publish({})
        fake_clock.advance(60)
    assert len(recorder.snapshot().counted) < 60
    directory.unlink()
    recorder.close({})
    assert stats(directory, fake_clock).total.misses == 600


def test_a_recorder_tells_what_it_counted_before_its_segment_was_over(make_recorder, miss, fake_clock):
    recorder = make_recorder()
    for _ in range(3):
        miss(recorder)
        recorder.publish({})
        fake_clock.advance(700)
    miss(recorder)
    minute = int(fake_clock.wall() // 60)
    assert sum(row.count for row in recorder.lived().counted()) == 4
    assert sum(row.count for row in recorder.lived(minute).counted()) == 1
    assert sum(row.count for row in recorder.lived(minute - 60).counted()) == 4


def test_while_a_segment_is_written_for_the_last_time_nothing_falls(make_recorder, miss, fake_clock, monkeypatch):
    recorder, seen = make_recorder(), []
    miss(recorder)
    recorder.publish({})
    put = recorder._counters._put
    count_now = lambda: sum(row.count for row in recorder.lived().counted())  # noqa: E731
    monkeypatch.setattr(recorder._counters, "_put", lambda *given: (seen.append(count_now()), put(*given)))
    fake_clock.advance(700)
    recorder.publish({})
    assert seen
    assert {*seen, count_now()} == {1}


def test_what_could_not_be_written_is_counted_once(make_recorder, miss, fake_clock, monkeypatch):
    recorder = make_recorder()
    miss(recorder)
    recorder.publish({})
    fake_clock.advance(700)
    miss(recorder)

    def refused(*_):
        raise OSError(28, "full")

    monkeypatch.setattr(recorder._counters, "_put", refused)
    recorder.publish({})
    assert sum(row.count for row in recorder.lived().counted()) == 2
