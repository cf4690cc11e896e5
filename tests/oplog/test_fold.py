from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoutcache.oplog import fold as folding
from scoutcache.oplog import ledger
from scoutcache.oplog.files import Claim, make_folder, replace
from scoutcache.oplog.fold import fold
from scoutcache.oplog.ledger import Counts, read_counts
from scoutcache.oplog.process import Segment
from scoutcache.oplog.tally import Tally

NOW = 1_800_000_000.0
HOUR = int(NOW // 3600)


class Killed(BaseException):
    """The process dies here."""


def leave_behind(directory: Path, name: str, hours: list[int]) -> None:
    """What a killed process leaves: one hit in each of *hours* before `NOW`, and a lock that nobody holds."""
    tally = Tally()
    for hour in hours:
        tally.add((HOUR - hour) * 60 + 7, "n", "p", "disk", "get", "hit")
        tally.spread((HOUR - hour) * 60 + 7, "n", "disk", "hit").add(1000)
    segment = Segment.of(tally, id=name, process=name, started=NOW, written=NOW, usages={})
    make_folder(directory / "procs")
    (directory / "procs" / f"{name}.lock").touch()
    replace(directory / "procs" / f"{name}.json", json.dumps(as_json(segment)).encode())


def as_json(segment: Segment) -> Any:
    import msgspec

    return msgspec.to_builtins(segment)


def hits(directory: Path, now: float = NOW) -> tuple[int, int]:
    counts = read_counts(directory, since=None, now=now)
    single = read_counts(directory, since=None, now=now, by_minute=True)
    assert totals(single) == totals(counts)
    return totals(counts)


def totals(counts: Counts) -> tuple[int, int]:
    return sum(row.count for row in counts.tally.counted()), sum(one.count for one in counts.tally.spreads.values())


def test_what_dead_processes_counted_is_folded_once_and_their_files_go(directory: Path) -> None:
    leave_behind(directory, "a", [0, 1, 2])
    leave_behind(directory, "b", [0, 40])
    assert hits(directory) == (5, 5)
    assert [fold(directory, NOW), fold(directory, NOW)] == [2, 0]
    assert hits(directory) == (5, 5)
    assert list((directory / "procs").iterdir()) == []
    assert sorted(path.stem for path in (directory / "counters").glob("*.json")) == sorted(
        [f"h{HOUR}", f"h{HOUR - 1}", f"h{HOUR - 2}", f"d{(HOUR - 40) // 24}"]
    )


def test_what_a_living_process_counts_is_left_to_it(directory: Path) -> None:
    leave_behind(directory, "a", [0])
    (directory / "procs" / "a.lock").unlink()
    claim = Claim(directory / "procs" / "a.lock")
    assert fold(directory, NOW) == 0
    assert (directory / "procs" / "a.json").exists()
    claim.release()
    assert fold(directory, NOW) == 1


class Deaths:
    """Kills the process before or after the n-th step that changes a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        real_replace, real_unlink, real_rename = folding.replace, Path.unlink, Path.replace
        monkeypatch.setattr(folding, "replace", self.dying(real_replace))
        monkeypatch.setattr(Path, "unlink", self.dying(real_unlink))
        monkeypatch.setattr(Path, "replace", self.dying(real_rename))

    def dying(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Killed
            done = act(*args, **kwargs)
            self.left -= 1
            if self.left == 0:
                raise Killed
            return done

        return step


@given(
    segments=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=4, unique=True), min_size=1, max_size=4),
    deaths=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), max_size=5),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_wherever_folders_die_and_however_late_the_next_one_comes_each_count_stays_one(
    segments: list[list[int]], deaths: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("cache")
    for number, hours in enumerate(segments):
        leave_behind(directory, f"s{number}", hours)
    expected = sum(map(len, segments))
    now = NOW
    for at, later in deaths:
        with pytest.MonkeyPatch.context() as patch:
            Deaths(patch, at)
            with contextlib.suppress(Killed):
                fold(directory, now)
        assert hits(directory, now) == (expected, expected)
        now += later * 3600
    fold(directory, now)
    assert hits(directory, now) == (expected, expected)
    assert list((directory / "procs").iterdir()) == []
    assert list((directory / "counters").glob(".*")) == []


FOLDER = """
import sys
from pathlib import Path
from scoutcache.oplog.fold import fold
sys.stdin.readline()
print(sum(fold(Path(sys.argv[1]), float(sys.argv[2])) for _ in range(20)))
"""


def test_folders_at_work_at_once_fold_each_segment_once_and_readers_see_every_count(directory: Path) -> None:
    for number in range(40):
        leave_behind(directory, f"s{number}", [0, 1, 30])
    command = [sys.executable, "-c", FOLDER, str(directory), str(NOW)]
    with contextlib.ExitStack() as stack:
        folders = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(4)
        ]
        for process in folders:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        seen = set()
        while any(process.poll() is None for process in folders):
            seen.add(hits(directory))
        folded = [int(process.communicate()[0]) for process in folders]
    assert (sum(folded), seen | {hits(directory)}) == (40, {(120, 120)})


def test_a_reader_that_began_before_the_first_fold_ever_misses_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(directory, "a", [0, 1])
    real = ledger._folded

    def fold_meanwhile(folder: Path, found: Counts, **options: Any) -> Any:
        files = real(folder, found, **options)
        monkeypatch.setattr(ledger, "_folded", real)
        subprocess.run([sys.executable, "-c", FOLDER, str(directory), str(NOW)], input="go\n", text=True, check=True)
        return files

    monkeypatch.setattr(ledger, "_folded", fold_meanwhile)
    assert hits(directory) == (2, 2)


def test_minutes_become_hours_after_a_day_and_go_after_their_age(directory: Path) -> None:
    leave_behind(directory, "a", [0])
    fold(directory, NOW)
    later = NOW + 40 * 3600
    fold(directory, later)
    assert [path.stem for path in (directory / "counters").glob("*.json")] == [f"d{HOUR // 24}"]
    counts = read_counts(directory, since=None, now=later)
    assert {row.minute for row in counts.tally.counted()} == {HOUR * 60}
    assert hits(directory, later) == (1, 1)
    fold(directory, NOW + 20 * 86_400, max_age=15 * 86_400)
    assert hits(directory, NOW) == (0, 0)


def test_names_of_folded_segments_are_dropped_when_their_files_are_gone(directory: Path) -> None:
    for number in range(5):
        leave_behind(directory, f"s{number}", [0])
        fold(directory, NOW)
    kept = json.loads((directory / "counters" / f"h{HOUR}.json").read_bytes().splitlines()[0])
    assert (len(kept["applied"]), hits(directory)) == (1, (5, 5))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"some": "thing"}', b"\xff\xfe", b'{"id": "a"}', b"null", b"1" * 5000]
)
def test_another_programs_file_is_set_aside_and_hides_nothing(directory: Path, content: bytes) -> None:
    leave_behind(directory, "good", [0])
    (directory / "procs" / "a.json").write_bytes(content)
    make_folder(directory / "counters")
    (directory / "counters" / f"h{HOUR}.json").write_bytes(content)
    files = [directory / "counters" / f"h{HOUR}.json", directory / "procs" / "a.json"]
    assert read_counts(directory, since=None, now=NOW).unread == files
    assert fold(directory, NOW) == 1
    assert read_counts(directory, since=None, now=NOW).unread == [directory / "counters" / f"h{HOUR}.json.unreadable"]
    assert read_counts(directory, since=(HOUR + 1) * 3600, now=NOW).unread == []
    assert hits(directory) == (1, 1)
    assert (directory / "procs" / "a.unreadable").read_bytes() == content
    assert (directory / "counters" / f"h{HOUR}.json.unreadable").read_bytes() == content


def test_a_folded_file_that_was_cut_short_counts_for_no_reader_whichever_part_it_reads(directory: Path) -> None:
    leave_behind(directory, "a", [0, 1])
    fold(directory, NOW)
    path = directory / "counters" / f"h{HOUR}.json"
    path.write_bytes(path.read_bytes()[:-1])
    for by_minute in (False, True):
        counts = read_counts(directory, since=None, now=NOW, by_minute=by_minute)
        assert (counts.unread, *totals(counts)) == ([path], 1, 1)


def test_a_period_that_begins_within_a_file_counts_the_minutes_from_then_on(directory: Path) -> None:
    tally = Tally()
    for minute in range(60):
        tally.add(HOUR * 60 + minute, "n", "p", "disk", "get", "hit")
        tally.spread(HOUR * 60 + minute, "n", "disk", "hit").add(1000)
    segment = Segment.of(tally, id="a", process="a", started=NOW, written=NOW, usages={})
    make_folder(directory / "procs")
    replace(directory / "procs" / "a.json", json.dumps(as_json(segment)).encode())
    leave_behind(directory, "b", [-1])
    for _ in range(2):  # as segments, then folded
        for left in (60, 59, 1, 0):
            since = HOUR * 3600 + (60 - left) * 60
            for by_minute in (False, True):
                counts = read_counts(directory, since=since, now=NOW + 2 * 3600, by_minute=by_minute)
                assert totals(counts) == (left + 1, left + 1)
        fold(directory, NOW)


def test_a_segment_with_impossible_figures_is_no_segment(directory: Path) -> None:
    leave_behind(directory, "a", [0])
    path = directory / "procs" / "a.json"
    path.write_bytes(path.read_bytes().replace(b'"hit", "", 1,', b'"hit", "", -1,'))
    assert read_counts(directory, since=None, now=NOW).unread == [path]


def test_a_folder_where_a_file_should_be_is_passed_over(directory: Path) -> None:
    make_folder(directory / "procs" / "a.json")
    leave_behind(directory, "b", [0])
    assert fold(directory, NOW) == 1
    assert hits(directory) == (1, 1)


def test_far_too_many_prefixes_in_an_hour_keep_the_file_small_and_the_count_whole(directory: Path) -> None:
    for part in range(50):
        tally = Tally()
        for number in range(490):
            tally.add(HOUR * 60, "n", f"p{part * 490 + number}", "", "get", "miss")
        segment = Segment.of(tally, id=f"s{part}", process="x", started=NOW, written=NOW, usages={})
        make_folder(directory / "procs")
        (directory / "procs" / f"s{part}.json").write_bytes(json.dumps(as_json(segment)).encode())
    fold(directory, NOW)
    counts = read_counts(directory, since=None, now=NOW)
    assert sum(row.count for row in counts.tally.counted()) == 50 * 490
    assert len(counts.tally.counters) <= 501
