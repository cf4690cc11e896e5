"""Write-behind: acknowledged writes reach their source, in order, again after failures, whoever delivers them."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scoutcache import MISSING, AsyncCache, Cache
from scoutcache.errors import CacheError, InvalidTTL, SerializationError, TierUnavailable
from scoutcache.idioms.delivery import Delivery
from scoutcache.wire.codec import UnknownType


class Source:
    """A writer that keeps its lists, and fails for the keys it is told to."""

    def __init__(self) -> None:
        self.lists: list[list[tuple[str, Any]]] = []
        self.bad: set[str] = set()

    def __call__(self, batch: list[tuple[str, Any]]) -> None:
        if self.bad & {key for key, _ in batch}:
            raise OSError("the source is away")
        self.lists.append(batch)

    @property
    def held(self) -> dict[str, Any]:
        return {key: value for batch in self.lists for key, value in batch}


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(open_cache: Any) -> Any:
    return open_cache()


@pytest.fixture
def behind(cache: Any, source: Source) -> Any:
    return cache.behind(writer=source, batch_size=4, attempts=3, backoff=10, ttl=60)


def raising(error: Exception) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


def turn(behind: Any) -> bool:
    """What its thread does after each interval."""
    return bool(behind.cache._line.turn())


def test_a_write_is_in_the_cache_at_once_and_at_the_source_later(behind, source, cache):
    behind.set("a", [1])
    assert (behind.get("a"), cache.get("a"), behind.pending()) == ([1], [1], 1)
    assert source.lists == []
    assert turn(behind) is True
    assert source.lists == [[("a", [1])]]
    assert behind.pending() == 0


def test_lists_hold_each_key_once_with_its_last_value(behind, source):
    for number in range(3):
        behind.set("a", number)
    behind.set_many({f"k{number}": number for number in range(5)})
    behind.set("a", "last")
    turn(behind)
    assert source.lists == [[("a", "last"), ("k0", 0), ("k1", 1), ("k2", 2)], [("k3", 3), ("k4", 4)]]


def test_what_the_cache_lost_is_read_from_the_queue(behind, cache):
    behind.set("a", {"x": 1})
    cache.clear()
    assert behind.get("a") == {"x": 1}
    assert behind.get("z") is None
    assert behind.get("z", MISSING) is MISSING
    turn(behind)
    assert behind.get("a") is None


def test_what_was_loaded_while_a_write_was_pending_doesnt_hide_it(behind, source, cache):
    behind.set("a", "new")
    cache.delete("a")
    assert cache.get_or_compute("a", lambda: "old", ttl=60) == "old"
    assert behind.get("a") == "new"
    turn(behind)
    assert source.held == {"a": "new"}
    assert (behind.get("a"), cache.get("a")) == (None, None)
    assert cache.get_or_compute("a", lambda: "new", ttl=60) == "new"
    turn(behind)
    assert behind.get("a") == "new"


def test_what_arrived_is_not_delivered_again_for_a_tier_that_is_away(open_cache, source, monkeypatch):
    """The older value that was loaded meanwhile is owed a removal; the source has nothing to do with that."""
    cache = open_cache(["disk"], raise_errors=True)
    behind = cache.behind(writer=source, ttl=60)
    behind.set("a", "new")
    cache.delete("a")
    cache.get_or_compute("a", lambda: "old", ttl=60)
    with monkeypatch.context() as patch:
        patch.setattr(cache.tier("disk"), "remove", raising(TierUnavailable("disk", "full")))
        assert turn(behind) is True
        assert turn(behind) is True
    assert (source.lists, behind.pending()) == ([[("a", "new")]], 0)
    cache._core.background.turn()
    assert behind.get("a") is None


def test_a_delivery_leaves_a_later_write_in_the_cache(cache):
    seen = []

    def writer(batch):
        seen.append((batch, cache.get("a")))
        if len(seen) == 1:
            behind.set("a", 2)

    behind = cache.behind(writer=writer)
    behind.set("a", 1)
    turn(behind)
    assert seen == [([("a", 1)], 1), ([("a", 2)], 2)]
    assert cache.get("a") == 2


def test_what_cant_be_stored_is_not_acknowledged(behind, cache):
    for put in (lambda: behind.set("a", object()), lambda: behind.set_many({"b": 1, "a": object()})):
        with pytest.raises(SerializationError):
            put()
    with pytest.raises(CacheError, match="a mapping"):
        behind.set_many([("a", 1)])
    behind.set_many({})
    assert (behind.pending(), cache.keys()) == (0, [])


def test_a_write_that_failed_is_tried_again_later_and_later(behind, source, fake_clock):
    source.bad = {"a"}
    behind.set("a", 1)
    assert turn(behind) is False
    assert turn(behind) is True  # it is not due
    fake_clock.advance(10)
    assert turn(behind) is False
    fake_clock.advance(9.9)
    assert turn(behind) is True
    fake_clock.advance(10.1)
    source.bad = set()
    assert turn(behind) is True
    assert source.held == {"a": 1}


def test_a_bad_write_doesnt_take_the_others_along(behind, source, fake_clock, caplog):
    source.bad = {"k2"}
    behind.set_many({f"k{number}": number for number in range(4)})
    for _ in range(12):
        turn(behind)
        fake_clock.advance(30)
    assert source.held == {"k0": 0, "k1": 1, "k3": 3}
    (letter,) = behind.dead_letters()
    assert (letter.key, letter.value, letter.attempts, letter.superseded) == ("k2", 2, 3, False)
    assert letter.error == "OSError: the source is away"
    assert letter.died_at.timestamp() <= fake_clock.wall()
    assert "dead letter" in caplog.text
    assert behind.pending() == 0


def test_dead_letters_are_retried_when_asked_unless_a_later_write_followed(cache, source):
    behind = cache.behind(writer=source, attempts=1)
    source.bad = {"a", "b", "c"}
    behind.set_many({"a": 1, "b": 1, "c": 1})
    turn(behind)
    source.bad = set()
    behind.set("b", 2)
    turn(behind)
    assert {letter.key: letter.superseded for letter in behind.dead_letters()} == {"a": False, "b": True, "c": False}
    assert behind.discard_dead("c") == 1
    assert behind.retry_dead("z") == 0
    assert behind.retry_dead() == 1
    turn(behind)
    assert source.held == {"a": 1, "b": 2}
    assert behind.discard_dead() == 1
    assert behind.dead_letters() == []


def test_a_write_that_cant_be_read_any_more_is_a_dead_letter(behind, source, cache):
    behind.set_many({"a": 1, "b": 2})
    queue = behind.cache._line.queue
    queue._do(lambda con: con.execute("UPDATE Pending SET entry = ? WHERE key = 'a'", (b"\0" * 9,)))
    assert turn(behind) is True
    assert source.held == {"b": 2}
    (letter,) = behind.dead_letters()
    assert (letter.key, letter.value) == ("a", MISSING)


def test_a_write_whose_class_isnt_known_here_waits_for_a_process_that_knows_it(behind, source, monkeypatch):
    behind.set_many({"a": 1, "b": 2})
    line = behind.cache._line
    opened = line._opened

    def unknowing(key, sealed):
        if key == "a":
            raise UnknownType("no such class")
        return opened(key, sealed)

    monkeypatch.setattr(line, "_opened", unknowing)
    assert turn(behind) is True
    assert (source.held, behind.pending(), behind.dead_letters()) == ({"b": 2}, 1, [])


def test_a_clock_that_was_set_back_puts_no_retry_off_for_long(behind, source, fake_clock):
    source.bad = {"a"}
    behind.set("a", 1)
    turn(behind)
    source.bad = set()
    fake_clock.step_wall(-1_000_000)
    turn(behind)
    assert source.held == {"a": 1}


def test_failures_are_told_to_hooks(behind, source, cache):
    told = []
    cache.on("trouble", told.append)
    source.bad = {"a"}
    behind.set("a", 1)
    turn(behind)
    (record,) = told
    assert record.where == "write_behind"
    assert "OSError: the source is away" in record.problem


def test_closing_the_cache_delivers_what_is_pending(behind, source, cache):
    behind.set("a", 1)
    cache.close()
    assert source.held == {"a": 1}
    with pytest.raises(CacheError, match="closed"):
        behind.set("a", 2)


def test_what_a_source_that_is_away_didnt_take_waits_for_the_next_process(open_cache, source):
    first = open_cache()
    behind = first.behind(writer=source, attempts=5)
    source.bad = {"a"}
    behind.set("a", 1)
    first.close()
    source.bad = set()
    again = open_cache().behind(writer=source)
    assert (again.pending(), again.get("a")) == (1, 1)
    again.close()
    again.close()
    assert source.held == {}  # it is not due yet


def test_one_delivers_for_all_and_another_takes_over(open_cache, source):
    one, two = open_cache(), open_cache()
    mine, theirs = one.behind(writer=source), two.behind(writer=lambda batch: source([("second", batch)]))
    mine.set("a", 1)
    turn(mine)
    theirs.set("b", 2)
    assert turn(theirs) is False
    assert turn(mine) is True
    assert source.held == {"a": 1, "b": 2}
    one.close()
    theirs.set("c", 3)
    assert turn(theirs) is True
    assert source.held["second"] == [("c", 3)]


def test_an_older_value_in_the_cache_doesnt_outlive_the_delivery_of_a_dead_processs_write(open_cache, source):
    cache, other = open_cache(), open_cache()
    behind, dying = cache.behind(writer=source), other.behind(writer=source)
    turn(behind)
    cache.set("a", "old")
    cache.set("b", "old")
    line = dying.cache._line
    line.queue.put([("a", line._sealed("a", "new"))], cache.core.world.stamp)  # and there it died
    dying.set("b", "new")
    turn(behind)
    assert source.held == {"a": "new", "b": "new"}
    assert (cache.get("a"), cache.get("b")) == (None, "new")


def test_flush_delivers_now_and_says_whether_all_arrived(behind, source):
    behind.set("a", 1)
    assert behind.flush() is True
    source.bad = {"b"}
    behind.set("b", 1)
    assert behind.flush(timeout=0) is False


def test_an_old_value_doesnt_answer_for_one_that_the_cache_may_not_keep(cache, source):
    cache.set("a", 1)
    fleeting = cache.behind(writer=source, ttl=0)
    fleeting.set("a", 2)
    assert cache.get("a") is None
    assert fleeting.get("a") == 2


def test_namespaces_tags_and_names_have_queues_of_their_own(cache, source):
    tenant = cache.namespace("tenant").behind(writer=source, tags=["t"])
    other = cache.behind(writer=source, namespace="other", name="second")
    tenant.set("a", 1)
    other.set("a", 2)
    assert cache.keys(namespace="tenant", tag="t") == ["a"]
    assert cache.get("a", namespace="other") == 2
    assert (tenant.pending(), other.pending(), tenant.get("a")) == (1, 1, 1)
    with pytest.raises(CacheError, match="'second' of namespace 'other' is open already"):
        cache.behind(writer=source, namespace="other", name="second")
    other.close()
    cache.behind(writer=source, namespace="other", name="second")


def test_with_the_cache_off_the_source_gets_its_writes_all_the_same(open_cache, source):
    behind = open_cache(enabled=False).behind(writer=source)
    behind.set("a", 1)
    assert behind.get("a") == 1
    turn(behind)
    assert source.held == {"a": 1}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"writer": 5}, "writer is a function"),
        ({"batch_size": 0}, "batch_size is a whole number"),
        ({"attempts": True}, "attempts is a whole number"),
        ({"interval": 0}, "interval is a time"),
        ({"interval": "never"}, "interval is a time"),
        ({"name": ""}, "name of a queue"),
    ],
)
def test_wrong_arguments_are_named(cache, source, wrong, said):
    with pytest.raises(CacheError, match=said):
        cache.behind(**{"writer": source, **wrong})
    with pytest.raises(InvalidTTL):
        cache.behind(writer=source, backoff="soon")


def test_lists_get_shorter_and_pauses_longer_with_each_failure():
    delivery = Delivery.of(print, 100, "q", 8, interval=1, backoff=2, max_backoff=50, drain_timeout=1)
    assert [delivery.size(attempts) for attempts in range(8)] == [100, 50, 25, 12, 6, 3, 1, 1]
    assert Delivery.of(print, 100, "q", 1, interval=1, backoff=2, max_backoff=50, drain_timeout=1).size(0) == 100
    for attempts, most in enumerate([2, 4, 8, 16, 32, 50, 50]):
        assert all(most / 2 <= delivery.pause(attempts) <= most for _ in range(20))
    assert delivery.pause(10**6) <= 50


def test_a_queue_that_cant_be_made_is_an_error_where_it_is_asked_for(cache, source):
    (cache.core.directory / "queues").write_text("")
    with pytest.raises(CacheError, match="queues"):
        cache.behind(writer=source)


# -- with its thread


def test_the_thread_delivers_by_itself_and_ends_with_the_cache(tmp_path):
    arrived = threading.Event()
    with Cache(directory=tmp_path) as cache:
        behind = cache.behind(writer=lambda batch: arrived.set(), interval=0.01)
        behind.set("a", 1)
        assert arrived.wait(30)
        thread = behind._line._runner._thread
    assert not thread.is_alive()


def test_a_full_list_goes_at_once(tmp_path):
    arrived = threading.Event()
    with Cache(directory=tmp_path) as cache:
        behind = cache.behind(writer=lambda batch: arrived.set(), interval=1000, batch_size=2)
        behind.set("a", 1)
        behind.set("b", 1)
        assert arrived.wait(30)


def test_a_collected_cache_ends_its_thread(tmp_path):
    def use():
        behind = Cache(directory=tmp_path).behind(writer=lambda batch: None, interval=0.01)
        behind.set("a", 1)
        return behind._line._runner._thread, weakref.ref(behind._line)

    thread, line = use()
    for _ in range(1000):  # the thread may be in the middle of a turn, and hold it for that long
        gc.collect()
        thread.join(0.03)
        if not thread.is_alive():
            break
    assert not thread.is_alive()
    assert line() is None


def test_a_writer_that_hangs_doesnt_hold_up_closing_for_ever(tmp_path, caplog):
    begun, go_on = threading.Event(), threading.Event()

    def writer(batch):
        begun.set()
        go_on.wait(30)

    with caplog.at_level(logging.WARNING, "scoutcache"):
        cache = Cache(directory=tmp_path)
        behind = cache.behind(writer=writer, interval=0.01, drain_timeout=0.05)
        behind.set("a", 1)
        assert begun.wait(30)
        cache.close()
        assert "didn't end in 0.05 s" in caplog.text
    thread = behind._line._runner._thread
    go_on.set()
    thread.join(30)
    assert not thread.is_alive()


def test_flush_waits_no_longer_for_a_writer_that_hangs(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def writer(batch):
        begun.set()
        assert go_on.wait(30)

    with Cache(directory=tmp_path) as cache:
        behind = cache.behind(writer=writer, interval=1000)
        behind.set("a", 1)
        with ThreadPoolExecutor(1) as threads:
            flushed = threads.submit(behind.flush, 0.01)
            try:
                assert flushed.result(10) is False
                assert begun.wait(30)
            finally:
                go_on.set()
        assert behind.flush(30) is True


# -- on a loop


def test_a_coroutine_writer_runs_on_the_loop_that_uses_the_cache(tmp_path):
    async def main():
        seen = []

        async def writer(batch):
            seen.append((asyncio.get_running_loop(), batch))

        async with AsyncCache(directory=tmp_path) as cache:
            behind = cache.behind(writer=writer, interval=0.01)
            await behind.set("a", 1)
            assert await behind.flush(30)
            await behind.set("b", 2)
        return seen, asyncio.get_running_loop()

    seen, loop = asyncio.run(main())
    assert [(where is loop, batch) for where, batch in seen] == [(True, [("a", 1)]), (True, [("b", 2)])]


def test_a_cancelled_write_is_acknowledged_to_nobody_and_done_all_the_same(tmp_path):
    async def main():
        async with AsyncCache(directory=tmp_path) as cache:
            behind = cache.behind(writer=lambda batch: None, interval=1000)
            await cache.set("a", "old")
            task = asyncio.ensure_future(behind.set("a", "new"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await behind.set("b", 1)
            while await behind.pending() != 2:
                await asyncio.sleep(0)
            while await cache.get("a") != "new":
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_coroutine_writer_on_a_blocking_cache_is_refused_or_fails(tmp_path, caplog):
    async def writer(batch):
        pass

    with Cache(directory=tmp_path) as cache:
        with pytest.raises(CacheError, match="coroutine function"):
            cache.behind(writer=writer)
        behind = cache.behind(writer=lambda batch: writer(batch), interval=1000, attempts=1)
        behind.set("a", 1)
        behind._line.turn()
        assert "blocking" in behind.dead_letters()[0].error


def test_source_and_cache_agree_on_which_of_two_writes_at_once_is_the_later(tmp_path):
    held, start = {}, threading.Barrier(8)
    with Cache(directory=tmp_path) as cache:
        behind = cache.behind(writer=held.update, interval=0.001)

        def write(number):
            start.wait()
            for step in range(5):
                behind.set("k", number * 10 + step)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(write, range(8)))
        assert behind.flush(30)
        assert cache.get("k") == held["k"]


@pytest.mark.parametrize("given", [{"interval": "soon"}, {"backoff": -1}, {"max_backoff": "never"}, {"interval": 0}])
def test_a_time_that_is_none_names_its_argument(given, tmp_path):
    with Cache(directory=tmp_path) as cache, pytest.raises(CacheError, match=f"^{next(iter(given))}[: ]") as caught:
        cache.behind(writer=print, **given)
    assert "storing" not in str(caught.value)
