"""Processes killed in the middle of a change, and computations beside busy ones: nobody is left with an old value."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from scoutcache import Cache
from scoutcache.core.core import Clocks
from scoutcache.engine.effects import Announce
from scoutcache.engine.placing import Placing
from scoutcache.engine.removing import Removed, Removing
from scoutcache.engine.writing import Writing


@pytest.fixture
def open_cache(tmp_path, fake_clock):
    """A cache over the test's directory, whose background is turned by hand."""
    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    opened = []

    def open_one(**options):
        opened.append(Cache({"tiers": ["memory", "disk"]} | options, directory=tmp_path / "cache", clocks=clocks))
        return opened[-1]

    yield open_one
    for cache in opened:
        cache.close()


def kill_in(owner, method, work):
    """In a forked process, do *work*, and die where *owner* would call *method*."""

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            setattr(owner, method, die)
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_a_writer_killed_before_it_announced_leaves_nobody_with_the_old_value(open_cache):
    cache = open_cache()
    cache.set("k", "old")
    assert cache.get("k") == "old"
    kill_in(Placing, "_tell", lambda: open_cache().set("k", "new"))
    cache._core.background.turn()
    assert cache.get("k") == "new"


def test_an_invalidation_killed_before_its_second_announcement_leaves_nobody_with_the_old_value(open_cache):
    """A reader may have promoted between the first announcement and the removal; here one has."""
    cache = open_cache()
    cache.set("k", "old")
    sweep = Removing._sweep

    def first_half(self, doomed, errors):
        if any(isinstance(doom, Announce) for doom in doomed):
            return Removed()  # the reader was slow
        removed = yield from sweep(self, doomed, errors)
        if any(doom.level != self._world.memory for doom in doomed):
            os.kill(os.getpid(), signal.SIGKILL)
        return removed

    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        Removing._sweep = first_half
        open_cache().delete("k")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert cache.get("k") == "old", "nobody was told yet, and the call has not returned"
    cache._core.background.turn()
    assert cache.get("k") is None


def test_a_writer_killed_before_it_renewed_what_depends_on_the_key_leaves_no_dependent(open_cache):
    cache = open_cache()
    cache.set("parent", 1)
    cache.set("child", "of 1", depends_on=["parent"])
    kill_in(Writing, "renew", lambda: open_cache().set("parent", 2))
    cache._core.background.turn()
    assert cache.get("parent") == 2
    assert cache.get("child") is None


def test_a_process_killed_elsewhere_drops_nobodys_memory(open_cache):
    cache = open_cache()
    cache.set("k", "value")
    pid = os.fork()
    if pid == 0:
        open_cache().set("other", 1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    cache._core.background.turn()
    assert cache._core.memory.count("default", None, 0) == 1


def test_a_long_computation_is_kept_beside_a_busy_process_and_reads_little_at_its_end(open_cache):
    """As many messages as 1.5 s of 2,000 sets and 20 invalidations a second bring."""
    cache, other = open_cache(), open_cache()
    cache.get("k")
    read = []
    since = cache._core.world.since

    def counting(position):
        messages, end = since(position)
        read.append(len(messages))
        return messages, end

    def compute():
        for second in range(3):
            other.set_many({f"{second}.{n}": n for n in range(1000)})
            for n in range(10):
                other.invalidate(f"{second}.{n}")
            cache._core.background.turn()
        cache._core.world.since = counting
        other.set("one more", 1)
        return "result"

    assert cache.get_or_compute("k", compute, tags=["red"], depends_on=["parent"]) == "result"
    assert other.get("k") == "result"
    assert cache._core.memory.count("default", None, 0) == 1
    assert sum(read) <= 4, "what came since the last turn, once for each tier"


@pytest.mark.parametrize("what", ["key", "tag", "pattern", "parent", "namespace"])
def test_what_names_a_long_computation_ends_it_however_long_ago_it_was_applied(open_cache, what):
    cache, other = open_cache(), open_cache()
    other.set("parent", 1)

    def compute():
        match what:
            case "key":
                other.invalidate("k")
            case "tag":
                other.invalidate(tags=["red"])
            case "pattern":
                other.invalidate("k*")
            case "parent":
                other.set("parent", 2)
            case "namespace":
                other.clear()
        for _ in range(3):
            other.set("something", 1)
            cache._core.background.turn()
        return "old"

    assert cache.get_or_compute("k", compute, tags=["red"], depends_on=["parent"]) == "old"
    assert cache.get("k") is None
    assert other.get("k") is None


@pytest.mark.parametrize("tiers", [["memory"], ["disk"], ["memory", "disk"]])
@pytest.mark.parametrize("late", [False, True], ids=["said before", "said by the factory"])
def test_a_child_computed_from_a_parent_that_changed_meanwhile_is_not_kept(open_cache, tiers, late):
    cache = open_cache(tiers=tiers)
    cache.set("parent", 1)

    def compute(ctx):
        value = cache.get("parent")
        if late:
            ctx.depends_on = ["parent"]
        cache.set("parent", 2)
        return f"of {value}"

    options = {} if late else {"depends_on": ["parent"]}
    assert cache.get_or_compute("child", compute, **options) == "of 1"
    assert cache.get("child") is None
    assert cache.get_or_compute("child", lambda: f"of {cache.get('parent')}", depends_on=["parent"]) == "of 2"
    assert cache.get("child") == "of 2"


def test_after_its_directory_was_replaced_memory_answers_quickly_again(open_cache, tmp_path, fake_clock):
    cache = open_cache()
    cache.set("k", 1)
    shutil.rmtree(tmp_path / "cache")
    cache._core.background.turn()
    cache.set("k", 2)
    slow = []
    cache._run = slow.append
    assert cache.get("k") == 2
    assert slow == []
    del cache._run
    other = open_cache()
    fake_clock.advance(1)
    other.set("k", 3)
    assert cache.get("k") == 3, "and sees what others do"
