"""Real processes over one directory: what one does the others see, and a forked child is a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import traceback

import pytest

from scoutcache import AsyncCache, Cache

PATIENCE = 30


class Child:
    """A forked process that does as it is told, one thing at a time."""

    def __init__(self, work):
        self._mine, theirs = os.pipe(), os.pipe()
        self._tell, self._listen = theirs[1], self._mine[0]
        self.pid = os.fork()
        if self.pid == 0:
            self._live(work, theirs[0], self._mine[1])
        os.close(theirs[0]), os.close(self._mine[1])

    def _live(self, work, told, say):
        os.close(self._tell), os.close(self._listen)
        signal.alarm(PATIENCE)
        status = 1
        try:
            steps = work()
            next(steps)
            while command := os.read(told, 1):
                del command
                answer = next(steps, "end")
                os.write(say, f"{answer!r}\n".encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def step(self):
        """Let it take its next step, and give what that yielded."""
        os.write(self._tell, b"x")
        answer = b""
        while not answer.endswith(b"\n"):
            more = os.read(self._listen, 4096)
            assert more, "the child died"
            answer += more
        return answer.decode().strip()

    def end(self):
        """Wait for it; its exit status."""
        os.close(self._tell)
        os.close(self._listen)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def spawn():
    """Start children; each must have ended well."""
    children = []

    def start(work):
        children.append(Child(work))
        return children[-1]

    yield start
    assert [child.end() for child in children] == [0] * len(children)


@pytest.fixture
def open_here(tmp_path):
    """A cache with real clocks over the test's directory; closed with the test."""
    opened = []

    def make(**settings):
        opened.append(Cache({"directory": tmp_path / "cache", **settings}))
        return opened[-1]

    yield make
    for cache in opened:
        cache.close()


def in_memory(cache, key):
    return cache._core.memory.entry(("default", key)) is not None


@pytest.mark.parametrize("how", ["key", "pattern", "tag", "clear", "invalidate_key", "dependency"])
def test_an_invalidation_in_one_process_is_seen_by_the_memory_of_the_other(spawn, tmp_path, open_here, how):
    def work():
        with Cache({"directory": tmp_path / "cache"}) as theirs:
            yield
            {
                "key": lambda: theirs.delete("llm:1"),
                "pattern": lambda: theirs.invalidate("llm:*"),
                "tag": lambda: theirs.invalidate(tags=["red"]),
                "clear": theirs.clear,
                "invalidate_key": lambda: theirs.invalidate(keys=["llm:1"]),
                "dependency": lambda: theirs.set("db:1", "changed"),
            }[how]()
            yield "done"

    child = spawn(work)
    cache = open_here()
    cache.set("db:1", "as it was")
    cache.set("llm:1", "old", tags=["red"], depends_on=["db:1"])
    assert cache.get("llm:1") == "old"
    assert in_memory(cache, "llm:1")
    assert child.step() == "'done'"
    assert cache.get("llm:1") is None


def test_a_set_in_one_process_is_seen_by_the_memory_of_the_other(spawn, tmp_path, open_here):
    def work():
        with Cache({"directory": tmp_path / "cache"}) as theirs:
            yield
            for n in range(20):
                theirs.set("k", {"n": n})
                yield theirs.get("k")

    child, cache = spawn(work), open_here()
    for n in range(20):
        cache.set("k", "mine")
        assert cache.get("k") == "mine"
        assert child.step() == repr({"n": n})
        assert cache.get("k") == {"n": n}


def test_a_computation_that_began_before_another_processes_invalidation_isnt_kept(spawn, tmp_path, open_here):
    def work():
        with Cache({"directory": tmp_path / "cache"}) as theirs:
            yield
            yield theirs.invalidate("k*").invalidated

    child, cache = spawn(work), open_here()

    def factory():
        child.step()
        return "old"

    assert cache.get_or_compute("k", factory) == "old"
    assert cache.get("k") is None
    assert cache.get_or_compute("k", lambda: "new") == "new"


def test_a_writer_with_a_position_hears_of_another_processes_invalidation(spawn, tmp_path, open_here):
    def work():
        with Cache({"directory": tmp_path / "cache"}) as theirs:
            yield
            theirs.invalidate(tags=["red"])
            yield "done"

    child, cache = spawn(work), open_here()
    since = cache.position()
    child.step()
    assert cache.set("k", "old", tags=["red"], since=since) is False
    assert cache.get("k") is None


def test_a_forked_child_is_a_process_of_its_own(spawn, open_here):
    """What it sets its parent sees, what its parent sets it sees, and its threads run again."""
    cache = open_here()
    cache.set("k", "before")
    cache.get("k")

    def work():
        yield
        yield cache.get("k")
        cache.set("k", "the child's")
        yield cache.get("k")
        yield cache.get("k")
        yield cache._core.background._thread.is_alive()
        yield cache.invalidate("k").invalidated
        cache.flush()
        yield cache.get_or_compute("new", lambda: "computed")

    child = spawn(work)
    assert child.step() == "'before'"
    assert child.step() == '"the child\'s"'
    assert cache.get("k") == "the child's"
    cache.set("k", "the parent's")
    assert child.step() == '"the parent\'s"'
    assert child.step() == "True"
    assert child.step() == "1"
    assert cache.get("k") is None
    assert child.step() == "'computed'"
    assert cache.get("new") == "computed"


def test_a_child_counts_what_it_did_and_nothing_of_its_parents(open_here, spawn):
    cache = open_here()
    cache.set("k", 1)
    for _ in range(10):
        cache.get("k")

    def work():
        yield
        for _ in range(3):
            cache.get("k")
        cache.flush()
        yield "flushed"

    child = spawn(work)
    child.step()
    cache.flush()
    assert cache.stats().cache_hits == 13


def test_a_forked_child_waits_for_its_parents_computation_as_any_other_process_does(open_here, spawn):
    cache = open_here()
    started, go = threading.Event(), threading.Event()

    def slow():
        started.set()
        go.wait(PATIENCE)
        return "the parent's"

    thread = threading.Thread(target=lambda: cache.get_or_compute("k", slow))
    thread.start()
    started.wait(PATIENCE)

    def work():
        yield
        yield cache.get_or_compute("k", lambda: "the child's")

    child = spawn(work)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(child.step()))
    asking.start()
    go.set()
    asking.join(PATIENCE)
    thread.join(PATIENCE)
    assert answers == ['"the parent\'s"']
    assert cache.get("k") == "the parent's"


def test_an_event_loop_in_a_forked_child_gets_threads_of_its_own(tmp_path, spawn):
    """The parent's pool believes in threads that don't exist in the child."""
    cache = AsyncCache({"directory": tmp_path / "cache"})
    asyncio.run(cache.set("k", "the parent's"))

    def work():
        yield
        asyncio.run(cache.set("k", "the child's"))
        yield asyncio.run(cache.get("k"))

    assert spawn(work).step() == '"the child\'s"'
    assert asyncio.run(cache.get("k")) == "the child's"
    asyncio.run(cache.close())


def test_forking_while_threads_are_at_work_leaves_no_lock_behind(open_here):
    cache, stop = open_here(memory={"max_entries": 50}), threading.Event()

    def busy(who):
        n = 0
        while not stop.is_set():
            n += 1
            cache.set(f"{who}:{n % 80}", [n], tags=["red"])
            cache.get(f"{who}:{(n * 7) % 80}")
            if n % 20 == 0:
                cache.invalidate(f"{who}:*")

    threads = [threading.Thread(target=busy, args=(who,)) for who in "abc"]
    for thread in threads:
        thread.start()
    try:
        for n in range(12):
            pid = os.fork()
            if pid == 0:
                signal.alarm(PATIENCE)
                status = 1
                try:
                    cache.set("child", n)
                    cache.invalidate(tags=["red"])
                    status = 0 if cache.get("child") == n else 2
                finally:
                    os._exit(status)
            assert os.waitpid(pid, 0)[1] == 0, n
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert cache.get("child") == 11


def test_many_processes_and_threads_that_ask_for_one_key_agree_when_they_are_done(tmp_path):
    """Four processes set and invalidate the same keys; afterwards memory says what the disk says, everywhere."""
    ready, go = os.pipe(), os.pipe()
    pids = []
    for worker in range(4):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        signal.alarm(PATIENCE)
        status = 1
        try:
            cache = Cache({"directory": tmp_path / "cache"})
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            for n in range(150):
                key = f"k:{n % 3}"
                match (n + worker) % 5:
                    case 0 | 1:
                        cache.set(key, (worker, n), tags=["red"])
                    case 2:
                        cache.get_or_compute(key, lambda: (worker, n), tags=["red"])  # noqa: B023
                    case 3:
                        cache.get(key)
                    case 4:
                        cache.invalidate(tags=["red"]) if n % 2 else cache.delete(key)
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            fresh = Cache({"directory": tmp_path / "cache", "tiers": ["disk"]})
            mine = {key: cache.get(key) for key in ("k:0", "k:1", "k:2")}
            assert mine == {key: fresh.get(key) for key in mine}
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    for _ in range(2):
        for _ in pids:
            assert os.read(ready[0], 1)
        os.write(go[1], b"x" * len(pids))
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)
    for fd in (*ready, *go):
        os.close(fd)
