from __future__ import annotations

import asyncio

import pytest

from scoutcache.bench import clients
from scoutcache.bench.clients import Latencies, Pace, Tally, run_tasks, run_threads, rush_tasks, rush_threads
from scoutcache.bench.workload import Access
from scoutcache.entry import MISSING
from scoutcache.errors import TierUnavailable
from scoutcache.oplog.histogram import middle_of

READ, WRITE = Access(False, "k", "v"), Access(True, "k", "v")


class Store(dict):
    def set(self, key, value):
        self[key] = value


class Broken:
    def get(self, key, default=None):
        raise TierUnavailable("disk", "gone")

    set = get


class AsyncStore:
    def __init__(self):
        self.held = {}

    async def get(self, key, default=None):
        return self.held.get(key, default)

    async def set(self, key, value):
        self.held[key] = value


def script(plan):
    tally = Tally()
    steps = clients._script(plan, tally)
    return tally, steps, next(steps)


def test_a_read_that_finds_nothing_is_followed_by_the_write_that_fills_it():
    tally, steps, first = script([READ])
    assert first == READ
    assert steps.send((MISSING, 100)) == WRITE
    assert steps.send((True, 200)) == READ
    assert (tally.hits, tally.misses) == (0, 1)
    assert (tally.reads.histogram().count, tally.writes.histogram().largest) == (1, 200)


def test_an_operation_that_raised_counts_as_an_error_and_gives_no_latency():
    tally, steps, _ = script([READ, WRITE])
    steps.send((TierUnavailable("disk", "gone"), 100))
    steps.send((TierUnavailable("disk", "gone"), 100))
    assert (tally.read_errors, tally.write_errors) == (1, 1)
    assert tally.reads.histogram().count == tally.writes.histogram().count == 0


def test_latencies_short_and_long_are_all_counted():
    latencies = Latencies()
    for ns in (-5, 0, 150, 65_535, 65_536, 10**9):
        latencies.add(ns)
    histogram = latencies.histogram()
    assert (histogram.count, histogram.largest) == (6, 10**9)
    assert histogram.quantile(0.5) == pytest.approx(150, rel=0.02)


def test_clients_of_an_open_loop_keep_its_rate_together_and_out_of_step():
    paces = [clients._pace(number, 4, 1000.0, 0) for number in range(4)]
    due = sorted(next_ for pace in paces for next_, _ in zip(pace.due(), range(3), strict=False))
    assert due == [number * 1_000_000 for number in range(12)]
    assert clients._pace(0, 4, None, 0) is None


def test_the_latency_of_a_late_operation_counts_from_when_it_was_due(monkeypatch):
    """A stall of one operation is charged to each that had to wait for it, not hidden behind it."""
    now = [0]

    def wait(seconds):
        now[0] += round(seconds * 1e9) or 1000

    monkeypatch.setattr(clients, "perf_counter_ns", lambda: now[0])
    monkeypatch.setattr(clients, "sleep", wait)

    class Stalling:
        calls = 0

        def get(self, key, default=None):
            self.calls += 1
            now[0] += 50_000_000 if self.calls == 1 else 1000
            return "v"

        set = get

    tally = Tally()
    clients._work(Stalling(), [READ], 100_000_000, Pace(0, 10_000_000), tally)
    latencies = tally.reads.histogram()
    assert latencies.count == 11
    waited = [ns for ns in (50, 40, 30, 20, 10) if any(abs(middle_of(b) / 1e6 - ns) < 1 for b in latencies.buckets)]
    assert waited == [50, 40, 30, 20, 10]


@pytest.mark.parametrize("number", [1, 3])
def test_threads_replay_their_plans_and_fill_what_is_missing(number):
    store = Store()
    tallies = run_threads(store, [[READ, WRITE]] * number, 0.01, None)
    assert len(tallies) == number
    assert all(tally.hits and tally.seconds > 0 for tally in tallies)
    assert store == {"k": "v"}
    assert rush_threads(store, [[READ]] * number, 0.01) > 0


def test_tasks_replay_their_plans_side_by_side():
    async def both():
        store = AsyncStore()
        return await run_tasks(store, [[READ, WRITE]] * 3, 0.01, None), await rush_tasks(store, [[READ]] * 3, 0.01)

    tallies, speed = asyncio.run(both())
    assert all(tally.hits for tally in tallies)
    assert speed > 0


def test_an_open_loop_of_tasks_does_not_do_more_than_was_due():
    tallies = asyncio.run(run_tasks(AsyncStore(), [[READ]] * 2, 0.05, 200.0))
    assert sum(tally.reads.histogram().count for tally in tallies) <= 12


def test_a_tier_that_is_away_is_counted_and_does_not_end_the_run():
    (tally,) = run_threads(Broken(), [[READ, WRITE]], 0.01, None)
    assert tally.read_errors > 0
    assert tally.write_errors > 0
    assert rush_threads(Broken(), [[READ]], 0.01) == 0


def test_a_bug_in_the_cache_is_raised_and_not_counted():
    class Buggy(Store):
        def get(self, key, default=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_threads(Buggy(), [[READ]] * 2, 0.01, None)


def test_a_bug_in_an_async_cache_is_raised_as_itself():
    class Buggy(AsyncStore):
        async def get(self, key, default=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_tasks(Buggy(), [[READ], [READ]], 0.01, None))
