"""Leases between real processes: one owner at a time, whoever dies is succeeded, and no circle waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from scoutcache.channels.leases import Leases
from scoutcache.entry import Ref
from scoutcache.errors import FlightCycle

A, B, C = (Ref("default", key) for key in "abc")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "leases"


@pytest.fixture
def leases(folder):
    return Leases(folder)


class Child:
    """A forked process that says what it has done and goes on when it is told to."""

    def __init__(self, work):
        self._hear, tell = os.pipe()
        wait, self._tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            signal.alarm(30)
            try:
                work(lambda word: os.write(tell, word.encode() + b"\n"), lambda: os.read(wait, 1))
            except BaseException as error:
                os.write(tell, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(0)
        os.close(tell), os.close(wait)
        self._lines = os.fdopen(self._hear)

    def says(self):
        return self._lines.readline().strip()

    def go_on(self):
        os.write(self._tell, b"x")

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        os.waitpid(self.pid, 0)
        self._lines.close()
        os.close(self._tell)


def open_in(folder, process="self"):
    """The files below *folder* that a process has open."""
    files = []
    for fd in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):  # what listed them is among them
            files.append(os.readlink(fd))
    return [name for name in files if f"{folder}/" in name]


@pytest.fixture
def child():
    """Start a forked process; all are ended with the test."""
    children = []

    def start(work):
        children.append(Child(work))
        return children[-1]

    yield start
    for one in children:
        one.end()


def test_one_owner_at_a_time_and_nothing_is_left(leases, folder):
    lease = leases.try_take(A)
    assert lease.held
    assert lease.ref == A
    assert len(leases) == 1
    assert leases.try_take(A) is None
    assert Leases(folder).try_take(A) is None, "another one of this process"
    assert leases.try_take(Ref("other", "a")).held, "a namespace is part of the key"
    lease.release()
    lease.release()
    assert not lease.held
    assert leases.try_take(A).held
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    assert leases.sweep() == 0
    assert len(list(folder.iterdir())) == 2, "what is held is not swept"


def test_the_folder_is_empty_after_use(leases, folder):
    for ref in (A, B, C):
        leases.try_take(ref).release()
    assert len(leases) == 0
    assert list(folder.iterdir()) == []


def test_files_are_for_their_owner_alone(leases, folder):
    leases.try_take(A)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_another_process_waits_until_it_is_released(leases, folder, child):
    lease = leases.try_take(A)

    def work(say, _):
        own = Leases(folder)
        assert own.try_take(A) is None
        say("waits")
        taken = own.wait(A)
        say(f"has {taken.held}")
        taken.release()
        say("done")

    other = child(work)
    assert other.says() == "waits"
    lease.release()
    assert other.says() == "has True"
    assert other.says() == "done"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("timeout", [None, 20.0])
def test_a_killed_owner_is_succeeded_at_once(leases, folder, child, timeout):
    def work(say, go):
        assert Leases(folder).try_take(A).held
        say("has it")
        go()

    owner = child(work)
    assert owner.says() == "has it"
    assert leases.try_take(A) is None
    threading.Timer(0.2, owner.kill).start()
    lease = leases.wait(A, timeout=timeout)
    assert lease.held
    lease.release()
    assert list(folder.iterdir()) == []


def test_what_a_dead_owner_left_is_swept_when_another_process_begins(leases, folder, child):
    def work(say, go):
        assert Leases(folder).try_take(A).held
        say("has it")
        go()

    owner = child(work)
    owner.says()
    owner.kill()
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
    (left,) = folder.iterdir()
    Leases(folder).try_take(B).release()
    assert left.exists(), "too young to tell"
    os.utime(left, (1, 1))
    leases.try_take(B).release()
    assert list(folder.iterdir()) == []


def test_a_timeout_gives_up_and_leaves_the_owner_alone(leases):
    lease = leases.try_take(A)
    began = time.monotonic()
    assert leases.wait(A, timeout=0.1) is None
    assert time.monotonic() - began >= 0.1
    assert leases.wait(A, timeout=0) is None
    assert lease.held


def test_fifty_waiters_have_it_one_after_the_other(leases, folder, child):
    lease = leases.try_take(A)
    file = folder.parent / "inside"
    file.touch()

    def work(say, _):
        own = Leases(folder)
        say("waits")
        taken = own.wait(A)
        fd = os.open(file, os.O_CREAT | os.O_EXCL)  # fails if somebody else is inside
        os.close(fd)
        file.unlink()
        taken.release()
        say("done")

    waiters = [child(work) for _ in range(10)]
    had = []

    def wait():
        taken = leases.wait(A)
        had.append(os.open(file, os.O_CREAT | os.O_EXCL))
        file.unlink()
        taken.release()

    threads = [threading.Thread(target=wait) for _ in range(40)]
    for thread in threads:
        thread.start()
    assert [waiter.says() for waiter in waiters] == ["waits"] * 10
    file.unlink()
    lease.release()
    for thread in threads:
        thread.join()
    assert [waiter.says() for waiter in waiters] == ["done"] * 10
    assert len(had) == 40
    for fd in had:
        os.close(fd)
    assert list(folder.iterdir()) == []
    assert len(leases) == 0


def circle(folder, own, wanted):
    def work(say, go):
        leases = Leases(folder)
        lease = leases.try_take(own)
        say("leads")
        go()
        try:
            leases.wait(wanted, [lease]).release()
            say("got it")
        except FlightCycle as error:
            say(f"refused: {error}")
        finally:
            lease.release()
        say("done")

    return work


@pytest.mark.parametrize("refs", [(A, B), (A, B, C)], ids=["two", "three"])
def test_a_circle_of_processes_is_refused_and_nobody_waits_for_ever(folder, child, refs):
    pairs = zip(refs, (*refs[1:], refs[0]), strict=True)
    children = [child(circle(folder, own, wanted)) for own, wanted in pairs]
    assert [one.says() for one in children] == ["leads"] * len(refs)
    for one in children:
        one.go_on()
    outcomes = [one.says() for one in children]
    refused = [text for text in outcomes if text.startswith("refused")]
    assert refused, outcomes
    assert set(outcomes) - set(refused) <= {"got it"}
    for own, wanted, outcome in zip(refs, (*refs[1:], refs[0]), outcomes, strict=True):
        if outcome in refused:
            assert f"{own.key!r} asks for {wanted.key!r}" in outcome
    assert [one.says() for one in children] == ["done"] * len(refs)
    assert list(folder.iterdir()) == []


def test_two_that_lead_for_each_other_in_one_process_are_refused_as_well(leases):
    """Also through an inner computation, whose owner is the one that waits."""
    a, b = leases.try_take(A), leases.try_take(B)
    c = leases.try_take(C)
    with leases.waiting(A, [b]), pytest.raises(FlightCycle, match=r"'c' asks for 'b', .* waits for 'a'"):
        leases.wait(B, [a, c])
    assert leases.wait(B, [a, c], timeout=0.01) is None, "nobody waits for a any more"


def test_waiting_for_what_one_leads_oneself_is_a_circle(leases):
    lease = leases.try_take(A)
    with pytest.raises(FlightCycle, match="'a'"):
        leases.wait(A, [lease])


def test_the_notes_of_the_dead_close_no_circle(leases, folder, child):
    a = leases.try_take(A)

    def work(say, _):
        own = Leases(folder)
        b = own.try_take(B)
        say("waits")
        own.wait(A, [b])

    other = child(work)
    other.says()
    (note,) = await_files(folder, "w.*")
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert note.exists()
    b = leases.wait(B, [a], timeout=5)
    assert b.held
    b.release(), a.release()
    os.utime(note, (1, 1))
    leases.sweep()
    assert list(folder.iterdir()) == []


def await_files(folder, pattern):
    """What another process or thread writes when it has come so far; it has no other way to say so."""
    until = time.monotonic() + 10
    while not (found := list(folder.glob(pattern))):
        assert time.monotonic() < until
        time.sleep(0.001)
    return found


def test_a_forked_child_holds_none_of_its_parents_leases(leases, child):
    lease = leases.try_take(A)

    def work(say, go):
        lease.release()
        say(f"{len(leases)} {lease.held} {leases.try_take(A)}")
        go()

    other = child(work)
    assert other.says() == "0 False None"
    assert lease.held
    lease.release()
    assert leases.try_take(A).held, "though the child lives on"


def test_a_dead_parents_leases_don_t_live_on_in_its_children(leases, folder, child):
    def work(say, go):
        assert Leases(folder).try_take(A).held
        if os.fork() == 0:
            say("grandchild")
            signal.alarm(10)
            signal.pause()
        go()

    parent = child(work)
    assert parent.says() == "grandchild"
    parent.kill()
    assert leases.wait(A, timeout=5).held


def test_a_command_started_meanwhile_inherits_nothing(leases):
    lease = leases.try_take(A)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as command:
        assert open_in("leases", command.pid) == []
        lease.release()


def test_forks_among_busy_threads_leave_every_lease_free(leases, folder, child):
    """A descriptor that was open but not yet written down would keep the lock as long as the child lives."""
    stop = threading.Event()

    def take(ref):
        while not stop.is_set():
            leases.try_take(ref).release()

    threads = [threading.Thread(target=take, args=(Ref("default", f"{n}"),)) for n in range(4)]
    for thread in threads:
        thread.start()

    def work(say, go):
        say(f"{open_in(str(folder))} open, takes {leases.try_take(Ref('default', f'{os.getpid()}')).held}")
        go()

    try:
        for _ in range(20):
            assert child(work).says() == "[] open, takes True"
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_an_event_loop_goes_on_while_it_waits(leases):
    lease = leases.try_take(A)

    async def main():
        waiting = asyncio.ensure_future(leases.wait_async(A))
        assert await leases.wait_async(A, timeout=0.01) is None
        assert not waiting.done()
        lease.release()
        return await waiting

    taken = asyncio.run(main())
    assert taken.held


def test_a_cancelled_wait_leaves_nothing(leases, folder):
    a, b = leases.try_take(A), leases.try_take(B)

    async def main():
        waiting = asyncio.ensure_future(leases.wait_async(A, [b]))
        await asyncio.to_thread(await_files, folder, "w.*")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(main())
    assert not list(folder.glob("w.*"))
    assert sum(path.stat().st_size for path in folder.iterdir()) == 0, "what it waited for is wiped out"
    a.release(), b.release()


def test_an_interrupted_wait_leaves_nothing(leases, folder):
    class Interrupted(Exception):
        pass

    def interrupt(*_):
        raise Interrupted

    lease = leases.try_take(A)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupted):
            leases.wait(A)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(open_in(str(folder))) == 1, "the lease itself"
    lease.release()


def test_where_nothing_can_be_written_there_are_no_leases_and_one_warning(tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    leases = Leases(tmp_path / "cache" / "leases")
    for _ in range(3):
        lease = leases.try_take(A)
        assert not lease.held
        lease.release()
    assert not leases.wait(A, [lease]).held
    assert len(leases) == 0
    assert len(caplog.records) == 1


@pytest.mark.parametrize("what", ["folder", "file"])
def test_links_are_not_followed(tmp_path, leases, folder, what):
    victim = tmp_path / "victim"
    if what == "folder":
        victim.mkdir()
        folder.parent.mkdir()
        folder.symlink_to(victim)
        assert not leases.try_take(A).held
        assert list(victim.iterdir()) == []
    else:
        victim.write_text("precious")
        lease = leases.try_take(A)
        (path,) = folder.iterdir()
        lease.release()
        path.symlink_to(victim)
        assert not leases.try_take(A).held
        assert victim.read_text() == "precious"


def test_a_folder_that_was_removed_is_made_anew(leases, folder):
    lease = leases.try_take(A)
    (path,) = folder.iterdir()
    path.unlink()
    folder.rmdir()
    other = leases.try_take(A)
    assert other.held
    lease.release()
    assert list(folder.iterdir()) == [path], "the file of the other one stays"
    other.release()
    assert list(folder.iterdir()) == []


def test_rubbish_in_a_lease_file_leads_nowhere(leases, folder):
    a, b = leases.try_take(A), leases.try_take(B)
    for path in folder.iterdir():
        path.write_bytes(b"w.../../etc/passwd " + b"f" * 32 + b"\nw.0123456789abcdef " + os.urandom(64) + b"\n")
    assert leases.wait(B, [a], timeout=0.01) is None
    b.release()
