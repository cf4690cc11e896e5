"""A change that is interrupted in the middle, or that one tier can't take: what is left must not last."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import suppress

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.drive.loops import _finishing
from scoutcache.errors import TierUnavailable
from scoutcache.oplog.who import numbered_by


@pytest.fixture
def pair(tmp_path, clocks):
    """Two caches over one directory, as two processes have them, with a value that both remember."""
    settings = {"directory": tmp_path, "tiers": ["memory", "disk"]}
    with Cache(settings, clocks=clocks, raise_errors=True) as cache, Cache(settings, clocks=clocks) as other:
        cache.set("k", "old", tags=["t"])
        assert other.get("k") == "old"
        yield cache, other


def fail_with(error):
    def fail(*_, **__):
        raise error

    return fail


def keeps_what_is_set(cache, other):
    assert other.set("k", "later")
    assert cache.get("k") == other.get("k") == "later"
    assert cache.set("k", "latest")
    assert other.get("k") == "latest"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("a tier of one's own"), TierUnavailable("disk", "full")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize(
    ("call", "method"),
    [(lambda cache: cache.delete("k"), "remove"),
     (lambda cache: cache.invalidate("k*"), "remove_matching"),
     (lambda cache: cache.clear(), "clear"),
     (lambda cache: cache.invalidate("k", tags=["t"], match="all"), "remove")],
    ids=["delete", "pattern", "clear", "intersection"],
)  # fmt: skip
def test_an_invalidation_that_was_interrupted_is_not_under_way_for_ever(pair, monkeypatch, call, method, error):
    """Else nothing that it names would be kept, in any process, for the minute in which its maker is taken for dead."""
    cache, other = pair
    tier = cache._core.tier("disk")
    monkeypatch.setattr(tier, method, fail_with(error))
    with pytest.raises(type(error)):
        call(cache)
    monkeypatch.undo()
    if isinstance(error, TierUnavailable):
        cache._core.background.turn()  # what is owed to the tier is made good
    keeps_what_is_set(cache, other)


def test_a_write_that_is_interrupted_between_two_tiers_leaves_no_older_copy(pair, monkeypatch):
    cache, other = pair
    monkeypatch.setattr(cache._core.memory, "write", fail_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        cache.set("k", "new")
    monkeypatch.undo()
    assert cache.get("k") == other.get("k") == "new"


HOLD = """
import fcntl, os
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_task_that_is_cancelled_while_it_announces_leaves_nothing_under_way(tmp_path, run_python):
    """The lock of the journal is another process's, so that the announcement waits in a thread."""

    async def main():
        async with AsyncCache(directory=tmp_path) as cache:
            await cache.set("k", "old")
            holder = run_python(HOLD, tmp_path / "journal" / "lock")
            assert holder.stdout.readline() == "held\n"
            deleting = asyncio.ensure_future(cache.delete("k"))
            for _ in range(20):
                await asyncio.sleep(0)
            deleting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await deleting
            holder.communicate()
            await asyncio.gather(*_finishing & asyncio.all_tasks())
            assert await cache.set("k", "new")
            assert await cache.get("k") == "new"

    asyncio.run(main())


def test_on_a_server_too_what_was_announced_by_a_cancelled_task_comes_to_its_end(tmp_path, redis_url):
    """At whatever point it is cancelled."""

    async def main(turns):
        settings = {"directory": tmp_path / str(turns), "tiers": ["memory", "redis"], "redis": {"url": redis_url}}
        async with AsyncCache(settings) as cache:
            await cache.set("k", "old")
            deleting = asyncio.ensure_future(cache.delete("k"))
            for _ in range(turns):
                await asyncio.sleep(0)
            deleting.cancel()
            with suppress(asyncio.CancelledError):
                await deleting
            await asyncio.gather(*_finishing & asyncio.all_tasks())
            assert await cache.set("k", "new"), turns
            assert not cache._core.follower.opened

    for turns in range(1, 12):
        asyncio.run(main(turns))


def test_a_tier_that_is_away_keeps_no_other_from_a_new_value(open_cache, monkeypatch):
    """The server has it and told everybody but this process, which wrote it."""
    cache = open_cache(["memory", "redis", "disk"], raise_errors=True)
    cache.set("k", "old")
    monkeypatch.setattr(cache.tier("disk"), "write", fail_with(TierUnavailable("disk", "full")))
    with pytest.raises(TierUnavailable):
        cache.set("k", "new")
    monkeypatch.undo()
    assert cache.get("k") == "new"


@pytest.mark.parametrize("fails", ["delivery", "recorder", "tier"])
def test_closing_closes_everything_though_a_part_of_it_fails(tmp_path, clocks, monkeypatch, fails):
    """Or files, locks and threads would be held as long as the process lives."""
    cache = Cache({"directory": tmp_path, "tiers": ["memory", "disk"]}, clocks=clocks)
    core, closed, delivered = cache._core, [], []
    error = RuntimeError("a part of it")
    core.at_close.append(fail_with(error) if fails == "delivery" else list)
    core.at_close.append(lambda: delivered.append(core.closed))
    if fails == "recorder":
        monkeypatch.setattr(core.recorder, "close", fail_with(error))
    if fails == "tier":
        monkeypatch.setattr(core.memory, "close", fail_with(error))
    close = core.journal.close
    monkeypatch.setattr(core.journal, "close", lambda: closed.append("journal") or close())
    with pytest.raises(RuntimeError, match="a part of it"):
        cache.close()
    assert delivered == [False]
    assert core.closed
    assert closed == ["journal"]
    assert core.tier("disk")._database._closed


def test_a_loop_lets_go_of_its_connection_though_a_part_of_closing_fails(tmp_path, redis_url):
    async def main():
        cache = AsyncCache({"directory": tmp_path, "tiers": ["redis"], "redis": {"url": redis_url}})
        await cache.set("k", 1)
        loops = cache._core.tier("redis")._loops
        assert len(loops) == 1
        cache._core.at_close.append(fail_with(RuntimeError("a part of it")))
        with pytest.raises(RuntimeError, match="a part of it"):
            await cache.close()
        assert not loops

    asyncio.run(main())


@pytest.fixture
def machines(tmp_path, redis_url):
    """Two machines over one server."""
    with (
        Cache(directory=tmp_path / "a", redis={"url": redis_url}) as one,
        Cache(directory=tmp_path / "b", redis={"url": redis_url}) as other,
    ):
        one.set("k", "old", tags=["t"])
        assert other.get("k") == "old"
        yield one, other


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a tier of one's own")], ids=repr)
@pytest.mark.parametrize(
    ("call", "method"),
    [(lambda cache: cache.delete("k"), "remove"),
     (lambda cache: cache.invalidate("k*"), "remove_matching"),
     (lambda cache: cache.clear(), "clear"),
     (lambda cache: cache.invalidate("k", tags=["t"], match="all"), "remove"),
     (lambda cache: cache.invalidate(tags=["t"]), "renew")],
    ids=["delete", "pattern", "clear", "intersection", "tag"],
)  # fmt: skip
def test_other_machines_keep_what_an_interrupted_invalidation_named(machines, monkeypatch, call, method, error):
    one, other = machines
    monkeypatch.setattr(one._core.tier("redis"), method, fail_with(error))
    with pytest.raises(type(error)):
        call(one)
    monkeypatch.undo()
    assert other.set("k", "later", tags=["t"])
    assert one.get("k") == other.get("k") == "later"
    assert one.get_or_compute("k2", lambda: 1) == 1
    assert other.get("k2") == 1


DIES = """
import sys, threading
from scoutcache import Cache
cache = Cache(directory=sys.argv[1], redis={"url": sys.argv[2]})
def hang(*_):
    print("removing", flush=True)
    threading.Event().wait()
cache._core.tier("redis").remove_matching = hang
cache.invalidate("k*")
"""


@pytest.mark.skipif(numbered_by() is None, reason="the system tells nothing of when a process began")
@pytest.mark.parametrize("place", ["a", "c"], ids=["same directory", "another"])
def test_others_of_its_machine_end_what_a_process_began_that_was_killed(
    place, machines, tmp_path, redis_url, run_python, until
):  # fmt: skip
    """Who lives may go on with it, however long it says nothing."""
    one, other = machines
    child = run_python(DIES, tmp_path / place, redis_url)
    assert child.stdout.readline() == "removing\n"
    until(lambda: one._core.follower.opened and other._core.follower.opened, "they hear of it")
    child.send_signal(signal.SIGSTOP)
    for cache in machines:
        cache._core.background._listener._listener._turn(True)
        assert cache._core.follower.opened
    assert not other.set("k", "while it may go on")
    child.kill()
    until(lambda: other.set("k", "later"), "it is ended", seconds=10)
    assert one.get("k") == other.get("k") == "later"


DIES_BETWEEN = """
import sys, threading
from scoutcache import Cache
cache = Cache(directory=sys.argv[1], redis={"url": sys.argv[2]})
announce = cache._core.journal.announce
def hang(message):
    if not message.opens:
        print("told its neighbours that it is over", flush=True)
        threading.Event().wait()
    return announce(message)
cache._core.journal.announce = hang
cache.invalidate("k*")
"""


@pytest.mark.skipif(numbered_by() is None, reason="the system tells nothing of when a process began")
def test_neighbours_tell_the_server_of_an_end_that_only_they_have_heard(
    machines, tmp_path, redis_url, run_python, until, monkeypatch
):  # fmt: skip
    one, other = machines
    elsewhere = other._core.background._listener._listener._turn.__self__
    monkeypatch.setattr(elsewhere, "_end_for_the_dead", lambda: None)  # it can't see who lives there
    child = run_python(DIES_BETWEEN, tmp_path / "a", redis_url)
    assert child.stdout.readline() == "told its neighbours that it is over\n"
    until(lambda: other._core.follower.opened, "the other machine hears of it")
    assert not other.set("k", "while it may go on")
    child.kill()
    until(lambda: other.set("k", "later"), "it is ended", seconds=10)
    assert one.get("k") == other.get("k") == "later"
    until(lambda: not one._core.journal.under_way, "nobody says so again")


@pytest.mark.skipif(numbered_by() is None, reason="the system tells nothing of when a process began")
def test_who_comes_after_the_death_ends_it_before_anything_else(tmp_path, redis_url, run_python):
    child = run_python(DIES, tmp_path / "a", redis_url)
    assert child.stdout.readline() == "removing\n"
    child.kill()
    child.wait()
    with Cache(directory=tmp_path / "b", redis={"url": redis_url}) as cache:
        assert cache.set("k", "later")


def test_what_ends_with_its_event_loop_is_not_under_way_for_ever(tmp_path, redis_url, machines, monkeypatch):
    """The end of an event loop cancels what goes on after its caller, too."""
    _, other = machines
    released = threading.Event()
    cache = AsyncCache(directory=tmp_path / "c", redis={"url": redis_url})

    async def main():
        await cache.get("k")
        loop, reached = asyncio.get_running_loop(), asyncio.Event()

        def hang(*_):
            loop.call_soon_threadsafe(reached.set)
            return int(released.wait(30))

        monkeypatch.setattr(cache._core.tier("redis"), "remove_matching", hang)
        going_on = asyncio.ensure_future(cache.invalidate("k*"))
        await reached.wait()
        going_on.cancel()

    asyncio.run(main())
    try:
        assert other.set("k", "later")
        assert other.get("k") == "later"
    finally:
        released.set()
        asyncio.run(cache.close())
