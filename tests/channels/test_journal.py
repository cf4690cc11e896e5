"""The journal of one machine: nothing is lost unnoticed, whoever dies, forks, or fills the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from scoutcache.channels.journal import KEPT, Journal
from scoutcache.channels.page import BASE, CURRENT, END, INVALIDATED, OWED
from scoutcache.errors import TierUnavailable


def names(messages):
    assert messages is not None
    return [name for message in messages for name in message.names]


def file_of(journal):
    return journal.directory / f"journal.{journal.words[CURRENT]}"


def test_what_is_announced_is_read_in_order_and_only_once(journal, said):
    start = journal.end()
    for key in "abc":
        journal.append(said(key))
    messages, end = journal.since(start)
    assert names(messages) == ["a", "b", "c"]
    assert journal.since(end) == ([], end)


def test_append_gives_the_positions_before_and_after(journal, said):
    before = journal.end()
    first = journal.append(said("a"))
    second = journal.append(said("b"))
    assert first[0] == before
    assert first[1] == second[0]
    assert second[1] == journal.end()


def test_only_invalidations_move_the_position_that_writers_compare(journal, said):
    start = journal.invalidated()
    journal.append(said("a", kind="written"))
    assert journal.invalidated() == start
    _, after = journal.append(said("a"))
    assert journal.invalidated() == after == journal.words[INVALIDATED]


def test_another_process_sees_it_and_is_seen(journal, said, in_child):
    start = journal.end()
    journal.append(said("parent"))

    def child():
        other = Journal(journal.directory)
        assert names(other.since(start)[0]) == ["parent"]
        other.append(said("child"))

    assert in_child(child) == 0
    assert names(journal.since(start)[0]) == ["parent", "child"]


def test_a_torn_append_of_a_killed_writer_is_written_over(journal, said):
    start = journal.end()
    journal.append(said("whole"))
    with file_of(journal).open("ab") as file:
        file.write(b"\xff" * 1000)  # it died before the end moved
    assert names(journal.since(start)[0]) == ["whole"]
    journal.append(said("next"))
    assert names(journal.since(start)[0]) == ["whole", "next"]


def test_a_writer_killed_while_it_holds_the_lock_stops_nobody(journal, said):
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        with journal._lock.held():
            os.write(tell, b"x")
            signal.pause()
    os.read(ready, 1)
    with pytest.raises(BlockingIOError):
        journal.append(said("now"), wait=False)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    journal.append(said("now"), wait=False)
    os.close(ready), os.close(tell)


def test_a_journal_that_grew_too_long_lets_go_of_its_oldest_and_a_laggard_notices(directory, said):
    journal = Journal(directory, limit=1000)
    start = journal.end()
    first_file = file_of(journal)
    for i in range(100):
        journal.append(said(f"key{i}"))
    assert journal.since(start)[0] is None
    assert not first_file.exists()
    assert sum(path.stat().st_size for path in directory.glob("journal.*")) <= 1250
    kept = journal.since(journal.words[BASE])[0]
    assert names(kept) == [f"key{i}" for i in range(100 - len(kept), 100)], "the limit's worth of the newest"
    here = journal.end()
    journal.append(said("new"))
    assert names(journal.since(here)[0]) == ["new"]


def test_messages_are_kept_for_ten_minutes_and_read_across_segments(directory, said):
    journal = Journal(directory, limit=1 << 20)
    journal._segment = 200
    start = journal.end()
    for i in range(60):
        journal.append(said(f"key{i}"))
    assert len(list(directory.glob("journal.*"))) >= 10
    journal.trim()
    assert names(journal.since(start)[0]) == [f"key{i}" for i in range(60)]


def test_what_is_older_than_ten_minutes_goes_before_the_limit_is_reached(directory, said):
    journal = Journal(directory, limit=1 << 20)
    journal._segment = 200
    start = journal.end()
    journal.append(said("old"))
    old = file_of(journal)
    while file_of(journal) == old:
        journal.append(said("newer"))
    here = journal.words[CURRENT]
    journal.append(said("newest"))
    then = old.stat().st_mtime - KEPT - 1
    os.utime(old, (then, then))
    journal.trim()
    assert not old.exists()
    assert journal.since(start)[0] is None
    assert names(journal.since(here)[0]) == ["newer", "newest"]
    os.utime(file_of(journal), (then, then))
    journal.trim()
    assert names(journal.since(here)[0]) == ["newer", "newest"], "the one that is written to stays"


def test_a_long_way_is_read_in_pieces(directory, said):
    journal = Journal(directory, limit=1 << 20)
    journal._segment = 200
    position, heard, pieces = journal.end(), [], 0
    for i in range(60):
        journal.append(said(f"key{i}" * (1 + i % 7)))
    while position != journal.end():
        messages, position = journal.since(position, 150)
        assert messages
        heard += names(messages)
        pieces += 1
    assert heard == [f"key{i}" * (1 + i % 7) for i in range(60)]
    assert 20 < pieces <= 60


def test_a_reader_follows_another_writer_over_its_segments(directory, said):
    writer, reader = Journal(directory, limit=300), Journal(directory, limit=300)
    seen, heard = reader.end(), []
    for i in range(60):
        writer.append(said(f"key{i}"))
        messages, seen = reader.since(seen)
        heard += names(messages)
    assert heard == [f"key{i}" for i in range(60)]


def die_in(change):
    """A forked child that is killed in the middle of *change*; returns once it is dead."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        with change():
            os.write(tell, b"x")
            signal.pause()
    os.read(ready, 1)
    yield
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready), os.close(tell)


def test_a_process_that_dies_in_the_middle_of_a_change_leaves_a_gap(journal, directory, said):
    death = die_in(lambda: Journal(directory).changing())
    next(death)
    journal.append(said("a"))
    before, noted = journal.end(), journal.invalidated()
    assert not journal.recover(), "it lives"
    assert journal.end() == before
    next(death, None)
    assert journal.recover()
    assert journal.since(before)[0] is None
    assert journal.invalidated() > noted, "whoever computes must look"
    after = journal.end()
    assert not journal.recover(), "once is enough"
    journal.append(said("b"))
    assert names(journal.since(after)[0]) == ["b"]


def test_whoever_takes_a_dead_processs_slot_says_that_there_is_a_gap(journal, directory):
    death = die_in(lambda: Journal(directory).changing())
    next(death)
    before = journal.end()
    next(death, None)
    with journal.changing():
        assert journal.since(before)[0] is None
    assert not journal.recover()


@pytest.mark.parametrize("taken", [False, True])
def test_nobody_waits_for_a_writer_to_say_that_a_process_died(journal, directory, monkeypatch, taken):
    """Whoever begins a change waits for that, an event loop too."""
    if taken:
        with journal.changing():
            pass
    death = die_in(lambda: Journal(directory).changing())
    next(death)
    before = journal.end()
    next(death, None)
    other = Journal(directory)
    monkeypatch.setattr("scoutcache.channels.exclusion.time.sleep", lambda _: pytest.fail("it waits"))
    monkeypatch.setattr(other._lock, "_try", lambda byte, ask=other._lock._try: byte != 0 and ask(byte))
    assert not other.recover()
    with other.changing():
        assert other.end() == before
    monkeypatch.undo()
    assert journal.recover(), "it is found the next time"
    assert journal.since(before)[0] is None


def test_a_forked_child_counts_its_own_changes(journal, in_child):
    with journal.changing():
        before = journal.end()

        def child():
            with journal.changing():
                pass
            assert not journal.recover()

        assert in_child(child) == 0
        assert not journal.recover(), "this process's own change is no dead one's"
        assert journal.end() == before
    other = Journal(journal.directory)
    with journal.changing(), other.changing():
        assert not other.recover()
    assert journal._map[8 * 64 :] == bytes(len(journal._map) - 8 * 64), "nothing is left in any slot"


def test_a_change_that_fails_is_over_as_well(journal):
    with pytest.raises(KeyError), journal.changing():
        raise KeyError
    assert not any(journal.words[64:])


def test_with_more_processes_than_slots_the_rest_go_on_without(journal, monkeypatch):
    monkeypatch.setattr("scoutcache.channels.journal.SLOTS", 0)
    with journal.changing():
        assert not any(journal.words[64:])


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_position_that_was_never_there_is_a_gap(journal, said, shift):
    journal.append(said("a"))
    position = journal.words[BASE] - 1 if shift < 0 else journal.end() + 1
    assert journal.since(position)[0] is None


@pytest.mark.parametrize("at", [0, 4, 9, -1])
def test_a_damaged_record_is_a_gap_and_never_an_error(journal, said, at):
    start = journal.end()
    journal.append(said("a"))
    data = bytearray(file_of(journal).read_bytes())
    data[at] ^= 0xFF
    file_of(journal).write_bytes(data)
    assert journal.since(start) == (None, journal.end())


def test_a_truncated_or_missing_file_is_a_gap(journal, said):
    start = journal.end()
    journal.append(said("a"))
    with file_of(journal).open("r+b") as file:
        file.truncate(3)
    assert journal.since(start)[0] is None
    file_of(journal).unlink()
    assert journal.since(start)[0] is None


def test_who_follows_opens_a_segment_once(directory, said, monkeypatch):
    """Hits wait for who reads, and each call of the system may make him wait for the interpreter."""
    writer, reader = Journal(directory), Journal(directory)
    seen, opens = reader.end(), []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *how: opens.append(path) or real(path, *how))
    for number in range(10):
        writer.append(said(f"key{number}"))
        messages, seen = reader.since(seen)
        assert names(messages) == [f"key{number}"]
    assert opens.count(file_of(reader)) == 2, "by each of the two"


def test_a_segment_that_was_removed_and_made_anew_is_read_again_after_a_gap(directory, said):
    old, reader = Journal(directory), Journal(directory)
    seen = reader.end()
    old.append(said("a"))
    _, seen = reader.since(seen)
    file_of(reader).unlink()
    writer = Journal(directory)
    writer.append(said("b"))
    messages, seen = reader.since(seen)
    assert messages is None or names(messages) == ["b"]
    writer.append(said("c"))
    assert names(reader.since(seen)[0]) == ["c"]


def test_who_has_heard_all_hears_nothing_more_where_others_go_on_to_the_next_segment(directory, said, monkeypatch):
    """He may have been stopped for long between looking at the end and at where it lies."""
    journal = Journal(directory)
    journal._segment = 100
    start, read = journal.end(), journal._bytes

    def reading(*part):
        for number in range(10):
            journal.append(said(f"key{number}"))
        return read(*part)

    monkeypatch.setattr(journal, "_bytes", reading)
    assert journal.since(start) == ([], start)


def test_segments_that_somebody_removed_are_a_gap(directory, said):
    journal = Journal(directory)
    journal._segment = 100
    start = journal.end()
    for number in range(10):
        journal.append(said(f"key{number}"))
    for path in directory.glob("journal.*"):
        if path != file_of(journal):
            path.unlink()
    assert journal.since(start, 50)[0] is None


def test_no_descriptor_is_left_of_a_closed_journal(directory, said):
    def there():
        return [link for fd in Path("/proc/self/fd").iterdir() if str(directory) in (link := fd.resolve().as_posix())]

    journal = Journal(directory, limit=300)
    seen = journal.end()
    for number in range(60):
        journal.append(said(f"key{number}"))
        _, seen = journal.since(seen)
    assert len(there()) < 10
    journal.close()
    assert [link for link in there() if "journal." in link] == []


def test_threads_that_read_over_segments_at_once_read_the_same(directory, said):
    journal = Journal(directory, limit=4 << 20)
    journal._segment = 400
    start = journal.end()
    done = threading.Event()
    wrong = []

    def follow():
        seen, heard = start, []
        while len(heard) < 500 and not done.is_set():
            messages, seen = journal.since(seen, 300)
            heard += [None] if messages is None else names(messages)
        if heard != [f"key{number}" for number in range(500)]:
            wrong.append(heard)

    threads = [threading.Thread(target=follow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(500):
        journal.append(said(f"key{number}"))
    for thread in threads:
        thread.join(60)
    done.set()
    assert wrong == []


def test_a_replaced_directory_is_noticed_and_its_positions_are_all_gaps(journal, said):
    journal.append(said("a"))
    noted = journal.end()
    shutil.rmtree(journal.directory)
    assert journal.replaced()
    other = Journal(journal.directory)
    other.append(said("b"))
    journal.reopen()
    assert not journal.replaced()
    assert journal.since(noted)[0] is None
    assert journal.invalidated() > noted, "whoever noted the old position must look"
    here = journal.end()
    other.append(said("c"))
    assert names(journal.since(here)[0]) == ["c"]


def test_files_are_for_their_owner_alone(journal, said):
    journal.append(said("a"))
    assert journal.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in journal.directory.iterdir()} == {0o600}


def test_a_link_in_place_of_the_page_is_not_followed(directory, tmp_path):
    directory.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (directory / "head").symlink_to(victim)
    with pytest.raises(TierUnavailable):
        Journal(directory)
    assert victim.read_bytes() == b"precious"


def test_a_closed_journal_says_so(journal, said):
    journal.close()
    journal.close()
    with pytest.raises(TierUnavailable):
        journal.append(said("a"))


def test_threads_of_two_journals_in_one_process_lose_nothing(directory, said):
    """A record lock doesn't exclude its own process, and closing any descriptor of the file gives it up."""
    journals = [Journal(directory) for _ in range(3)]
    start, each = journals[0].end(), 300

    def write(journal, who):
        for i in range(each):
            journal.append(said(f"{who}.{i}"))
            if i % 50 == 0:
                Journal(directory).close()

    threads = [threading.Thread(target=write, args=(journals[n % 3], n)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heard = names(journals[0].since(start)[0])
    assert sorted(heard) == sorted(f"{n}.{i}" for n in range(6) for i in range(each))


def test_threads_and_forked_workers_lose_nothing(directory, said):
    journal = Journal(directory)
    start, each = journal.end(), 200

    def write(who):
        for i in range(each):
            journal.append(said(f"{who}.{i}"))

    children = []
    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for n in range(3):  # forked while threads hold the mutex more often than not
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.alarm(20)
                journal.renew_mutex()
                write(f"p{n}")
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    for thread in threads:
        thread.join()
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    heard = names(journal.since(start)[0])
    assert sorted(heard) == sorted(f"{kind}{n}.{i}" for kind in "tp" for n in range(3) for i in range(each))


def test_writers_killed_at_any_moment_leave_a_journal_that_everybody_can_read(directory, said):
    journal = Journal(directory)
    start = journal.end()
    for round_ in range(8):
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            own = Journal(directory)
            n = 0
            while True:
                own.append(said(f"{round_}.{n}"))
                n += 1
                if n == 20 + round_:
                    os.write(tell, b"x")
        os.read(ready, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready), os.close(tell)
        journal.append(said(f"{round_}.end"))
    heard = names(journal.since(start)[0])
    for round_ in range(8):
        mine = [name for name in heard if name.startswith(f"{round_}.")]
        assert mine == [f"{round_}.{n}" for n in range(len(mine) - 1)] + [f"{round_}.end"]
        assert len(mine) >= 20 + round_


def fill(place: Path) -> Path:
    fd = os.open(place / "filler", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(fd, b"x" * 4096):
            pass
    os.close(fd)
    return place / "filler"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_makes_a_gap_that_everybody_notices(small_disk: Path, said):
    journal, other = Journal(small_disk / "j"), Journal(small_disk / "j")
    noted = journal.end()
    filler = fill(small_disk)
    for i in range(400):  # until the page the file has already is full, too
        journal.append(said(f"key{i}"))
    assert other.since(noted)[0] is None
    assert other.words[BASE] > noted
    assert [path.stat().st_size for path in sorted((small_disk / "j").glob("journal.*"))].count(0) == 0
    filler.unlink()
    here = other.end()
    journal.append(said("after"))
    assert names(other.since(here)[0]) == ["after"], "it heals when there is space again"


def test_a_full_disk_is_an_error_at_opening_and_not_a_signal(small_disk: Path):
    fill(small_disk)
    with pytest.raises(TierUnavailable):
        Journal(small_disk / "j")


def test_end_moves_after_the_bytes(journal, said, monkeypatch):
    """A reader that sees the end finds what it covers: nothing is visible while it is being written."""
    before, seen = journal.end(), []
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *args: (seen.append(journal.words[END]), real(*args))[1])
    journal.append(said("a"))
    assert seen == [before]


# -- what a reader without a lock may see


class Recorded:
    """The page, and the words that were set on it in their order."""

    def __init__(self, words):
        self.words, self.set = words, []

    def __getitem__(self, at):
        return self.words[at]

    def __setitem__(self, at, value):
        self.set.append(at)
        self.words[at] = value


@pytest.fixture
def recorded(journal):
    journal.words = Recorded(journal.words)
    yield journal.words
    journal.words = journal.words.words


def test_who_sees_an_invalidation_finds_its_message(journal, recorded, said):
    journal.append(said("a"))
    assert recorded.set == [END, INVALIDATED]


def test_who_sees_the_end_of_a_gap_sees_that_it_is_one(journal, recorded):
    with journal._lock.held():
        journal._gap()
    assert recorded.set[:1] == [BASE]
    assert recorded.set[-2:] == [END, INVALIDATED]


def test_what_was_let_go_of_while_it_was_read_is_missed(journal, said, monkeypatch):
    """Rule 3: another journal's bytes may stand there by now."""
    start, read = journal.end(), journal._bytes
    journal.append(said("a"))

    def reading(*part):
        data = read(*part)
        journal.words[BASE] = journal.words[END]
        return data

    monkeypatch.setattr(journal, "_bytes", reading)
    assert journal.since(start) == (None, journal.end())


def test_a_segment_goes_after_the_base_has_risen_over_it(directory, said, monkeypatch):
    """Rule 4: who reads on then finds that something is gone, and not a file that is not there."""
    journal, at = Journal(directory, limit=200), []
    unlink = Path.unlink

    def unlinking(path, **given):
        if path.name.startswith("journal."):
            at.append((int(path.name.removeprefix("journal.")), journal.words[BASE]))
        unlink(path, **given)

    monkeypatch.setattr(Path, "unlink", unlinking)
    for n in range(50):
        journal.append(said(str(n)))
    journal.close()
    assert at
    assert all(base > gone for gone, base in at)


def test_a_message_that_is_larger_than_what_is_read_at_once_is_read(journal, said):
    start = journal.end()
    journal.append(said("a" * 1000))
    messages, position = journal.since(start, 10)
    assert len(messages) == 1
    assert position == journal.end()


def test_that_something_is_owed_is_known_before_it_is_announced(journal, said):
    """Who starts in between finds it behind him, and must know that there is a debt to look for."""
    words, ends = journal.words, []

    class Watched:
        def __getitem__(self, at):
            return words[at]

        def __setitem__(self, at, value):
            words[at] = value
            if at == END:
                ends.append(words[OWED] == value)

    journal.words = Watched()
    journal.append(said("a").owing)
    journal.words = words
    assert ends == [True]


def gap(journal):
    with journal._locked().held():
        journal._gap()


def test_what_is_owed_is_known_beyond_gaps(directory, journal, said):
    """What one process was killed over takes nothing from those that start later."""
    journal.append(said("a").owing)
    gap(journal)
    assert names(journal.lately()) == ["a"]
    journal.append(said("b"))
    gap(journal)
    journal.append(said("c"))
    journal.trim()
    assert names(Journal(directory).lately()) == ["a", "b", "c"]


def test_no_more_than_a_segment_is_looked_through_for_what_is_owed(journal, said):
    journal._segment = 300
    journal.append(said("a").owing)
    for n in range(20):
        gap(journal)
        journal.append(said(f"b{n}"))
    assert journal.lately() == []
    journal.append(said("c").owing)
    assert 3 <= len(journal.lately()) <= 10


def test_what_was_owed_in_a_journal_that_was_replaced_is_none_of_this_one(directory, said):
    journal = Journal(directory)
    journal.append(said("a").owing)
    journal.close()
    file_of(journal).rename(directory / f"journal.{journal.words[CURRENT] - 10**12}")  # a while ago
    (directory / "head").unlink()
    anew = Journal(directory)
    assert anew.lately() == []
    anew.append(said("b").owing)
    assert names(anew.lately()) == ["b"]


def test_a_torn_append_before_a_gap_hides_nothing(journal, said):
    journal.append(said("a").owing)
    end = journal.end()
    journal.append(said("torn"))
    journal.words[END] = end
    os.truncate(file_of(journal), end - journal.words[CURRENT] + 20)
    gap(journal)
    journal.append(said("b"))
    assert names(journal.lately()) == ["a", "b"]
