"""Warming beside the calls: at the start, before entries end, in the quiet hours; and never in an application's way."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.channels.locking import held
from scoutcache.config import CacheConfig
from scoutcache.core.core import Clocks
from scoutcache.oplog.recorder import OplogSettings, Recorder
from scoutcache.oplog.records import redacted
from scoutcache.warming import attendant as attendants
from scoutcache.warming.attendant import Attendant
from scoutcache.warming.fill import state_folder
from scoutcache.warming.tasks import list_tasks

DAY = 86400.0


@pytest.fixture
def clocks(fake_clock):
    return Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)


@pytest.fixture
def opened(tmp_path, clocks):
    """A cache with a clock that is moved by hand, and its attendant, whose looks are taken by hand."""
    caches = []

    def make(**settings):
        config = CacheConfig(directory=tmp_path / "cache", **settings)
        cache = Cache(config, clocks=clocks)
        caches.append(cache)
        return cache, Attendant(cache._core)

    yield make
    for cache in caches:
        cache.close()


def troubles(cache):
    heard = []
    cache.on("trouble", lambda record: heard.append(record.problem))
    return heard


# -- before entries end


def test_a_cached_function_is_called_again_before_its_result_ends_if_somebody_asked(opened, fake_clock):
    cache, attendant = opened(warming={"patterns": ["*"], "interval": 60})
    calls = []

    @cache.cached(ttl=600, key=lambda n: f"n:{n}")
    def answer(n):
        calls.append(n)
        return len(calls)

    answer(1), answer(2), answer(1)
    attendant.turn()
    attendant.turn()
    assert calls == [1, 2]  # neither ends soon
    fake_clock.advance(520)
    attendant.turn()
    assert calls == [1, 2, 1]  # nobody has asked for 2 since it was stored
    assert cache.ttl("n:1") == pytest.approx(600, abs=2)
    assert answer(1) == 3
    fake_clock.advance(530)
    attendant.turn()
    assert calls == [1, 2, 1, 1]
    fake_clock.advance(530)
    attendant.turn()
    assert calls == [1, 2, 1, 1]  # it was not asked for any more


def test_keys_that_match_no_pattern_are_left_alone(opened, fake_clock):
    cache, attendant = opened(warming={"patterns": ["llm:*"], "interval": 60})
    calls = []

    @cache.cached(ttl=90, key=lambda n: n)
    def answer(n):
        calls.append(n)
        return n

    for _ in range(2):
        answer("llm:a"), answer("job:b")
    attendant.turn()
    attendant.turn()
    assert sorted(calls) == ["job:b", "llm:a", "llm:a"]


def test_a_coroutine_function_is_called_on_its_own_loop(tmp_path):
    async def main():
        config = CacheConfig(directory=tmp_path / "c", warming={"patterns": ["*"], "interval": 60})
        async with AsyncCache(config, attended=False) as cache:
            loops = []

            @cache.cached(ttl=80, key="k")
            async def answer():
                loops.append(asyncio.get_running_loop())
                return len(loops)

            await answer(), await answer()
            attendant = Attendant(cache._core)
            attendant._started = True
            await asyncio.to_thread(attendant.turn)
            assert loops == [asyncio.get_running_loop()] * 2
            assert await answer() == 2

    asyncio.run(main())


def test_a_function_that_raises_is_told_once_and_the_next_is_called(opened, caplog):
    cache, attendant = opened(warming={"patterns": ["*"], "interval": 60})
    calls = []

    @cache.cached(ttl=60, key=lambda n: n)
    def answer(n):
        calls.append(n)
        if len(calls) > 2 and n == "bad":
            raise ValueError("down")
        return n

    heard = troubles(cache)
    for n in ("bad", "good") * 2:
        answer(n)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            attendant.turn()
    assert calls[2:] == ["bad", "good", "bad"]  # the good one lives on, and the bad one's old value until its end
    assert heard == ["a cached function raised ValueError: down"] * 2
    assert caplog.text.count("ValueError: down") == 1


def test_keys_of_a_task_are_renewed_by_its_source_and_keep_their_tags(opened, module, fake_clock):
    name = module("asked = []\ndef value(key):\n    asked.append(key)\n    return key.upper()\n", "attended_jobs")
    cache, attendant = opened(
        warming={"patterns": ["llm:*"], "interval": 60},
        tasks=[{"task_id": "t", "source": f"{name}:value", "pattern": "*"}],
    )
    cache.set("llm:a", 1, ttl=70, tags=["red"])
    cache.set("llm:idle", 1, ttl=70)
    cache.set("job:b", 1, ttl=70)
    cache.get("llm:a"), cache.get("job:b")
    attendant.turn()
    attendant.turn()
    assert cache.get("llm:a") == "LLM:A"
    assert (cache.get("llm:idle"), cache.get("job:b")) == (1, 1)
    assert cache.get_entry("llm:a").tags == ("red",)


def test_one_look_renews_no_more_than_its_budget(opened):
    cache, attendant = opened(warming={"patterns": ["*"], "interval": 60, "budget": 3})
    calls = []

    @cache.cached(ttl=60, key=lambda n: f"n:{n}")
    def answer(n):
        calls.append(n)
        return n

    for n in [*range(10), *range(10)]:
        answer(n)
    attendant.turn()
    attendant.turn()
    assert len(calls) == 13


def test_who_finds_the_lock_held_leaves_the_tasks_for_the_next_look(opened, module):
    name = module("def value(key):\n    return 2\n", "attended_jobs")
    cache, attendant = opened(warming={"patterns": ["*"], "interval": 60},
                              tasks=[{"task_id": "t", "source": f"{name}:value"}])  # fmt: skip
    cache.set("a", 1, ttl=60)
    cache.get("a")
    heard = troubles(cache)
    with held(state_folder(cache.config) / "lock"):
        attendant.turn()
        attendant.turn()
    assert cache.get("a") == 1
    attendant.turn()
    assert (cache.get("a"), heard) == (2, [])


# -- at the start


def test_startup_tasks_run_once_however_many_start(opened, tmp_path):
    (tmp_path / "values.jsonl").write_text('{"key": "a", "value": 1}\n')
    tasks = [
        {"task_id": "start", "source": str(tmp_path / "values.jsonl"), "run_at_startup": True},
        {"task_id": "other", "source": "no/such/file", "schedule": "* * * * *"},
    ]
    cache, attendant = opened(tasks=tasks)
    attendant.turn()
    assert cache.get("a") == 1
    cache.delete("a")
    Attendant(cache._core).turn()  # another worker, a moment later
    assert cache.get("a") is None
    states = {info.task.task_id: info.task.status.value for info in list_tasks(cache.config, datetime.now(UTC))}
    assert states == {"start": "completed", "other": "pending"}


def test_on_start_runs_what_is_due_and_looks_at_the_patterns_at_once(opened, tmp_path):
    (tmp_path / "values.jsonl").write_text('{"key": "a", "value": 1}\n')
    cache, attendant = opened(
        warming={"on_start": True, "patterns": ["*"], "interval": 60},
        tasks=[{"task_id": "due", "source": str(tmp_path / "values.jsonl"), "schedule": "0 0 * * *"}],
    )
    calls = []

    @cache.cached(ttl=60, key="k")
    def answer():
        calls.append(1)
        return 1

    answer(), answer()
    attendant.turn()
    assert (cache.get("a"), len(calls)) == (1, 2)


def test_a_task_that_fails_is_told_and_does_no_harm(opened, caplog):
    cache, attendant = opened(tasks=[{"task_id": "start", "source": "no/such/file.jsonl", "run_at_startup": True}])
    heard = troubles(cache)
    attendant.turn()
    assert len(heard) == 1
    assert "start: no/such/file.jsonl: can't be read" in heard[0]
    assert "start: no/such/file.jsonl" in caplog.text


# -- in the quiet hours


def write_log(directory, fake_clock, key, period, count):
    recorder = Recorder(directory, OplogSettings(), wall=fake_clock.wall, monotonic_ns=fake_clock.monotonic_ns,
                        token=lambda: os.urandom(8).hex())  # fmt: skip
    for _ in range(count):
        now = fake_clock.monotonic_ns()
        recorder.record("get", "default", key, tier=None, outcome="miss", reason="cold", began_ns=now, ended_ns=now)
        fake_clock.advance(period)
    recorder.close({})


def test_what_is_foreseen_for_a_predictive_policy_is_computed_in_the_quiet_hours(tmp_path, module, clocks, fake_clock):
    name = module("def value(key):\n    return key.upper()\n", "attended_jobs")
    write_log(tmp_path / "cache", fake_clock, "llm:a", 7200.0, 20)
    write_log(tmp_path / "cache", fake_clock, "job:b", 7200.0, 20)
    settings = {
        "policies": [{"name": "p", "applies_to": "llm:*", "strategy": "predictive"}],
        "tasks": [{"task_id": "t", "source": f"{name}:value", "pattern": "*"}], "directory": tmp_path / "cache",
    }  # fmt: skip
    fake_clock.advance(-20 * 7200.0 - 300)  # five minutes before "llm:a" would have come again
    hour = datetime.fromtimestamp(fake_clock.wall(), UTC).hour
    for window, expected in ((f"{(hour + 3) % 24:02}:00-{(hour + 5) % 24:02}:00", None),
                             (f"{hour:02}:00-{(hour + 2) % 24:02}:00", "LLM:A")):  # fmt: skip
        with Cache(CacheConfig(**settings, warming={"off_peak": window}), clocks=clocks) as cache:
            attendant = Attendant(cache._core)
            attendant._started = True
            heard = troubles(cache)
            attendant.turn()
            assert heard == []
            assert (cache.get("llm:a"), cache.get("job:b")) == (expected, None)


def test_a_log_without_keys_is_told(opened):
    cache, attendant = opened(policies=[{"name": "p", "strategy": "predictive"}], oplog={"redact_keys": True})
    heard = troubles(cache)
    attendant.turn()
    attendant.turn()
    assert heard == ["the operation log holds no keys (oplog.redact_keys = true), so none can be taken from it"]


def test_hashes_that_others_logged_are_no_keys(tmp_path, module, opened, fake_clock):
    name = module("def value(key):\n    return key\n", "attended_jobs")
    write_log(tmp_path / "cache", fake_clock, redacted("default", "llm:a"), 7200.0, 20)
    fake_clock.advance(-300)
    cache, attendant = opened(policies=[{"name": "p", "strategy": "predictive"}],
                              tasks=[{"task_id": "t", "source": f"{name}:value"}])  # fmt: skip
    heard = troubles(cache)
    attendant.turn()
    attendant.turn()
    assert heard == ["the operation log holds no keys (oplog.redact_keys = true), so none can be taken from it"]
    assert list(cache.keys()) == []


# -- the thread


def threads():
    return [one for one in threading.enumerate() if one.name == "scoutcache-warming"]


def test_opening_starts_a_thread_and_closing_ends_it(tmp_path, until):
    (tmp_path / "values.jsonl").write_text('{"key": "a", "value": 1}\n')
    config = CacheConfig(directory=tmp_path / "cache", tasks=[
        {"task_id": "start", "source": str(tmp_path / "values.jsonl"), "run_at_startup": True}
    ])  # fmt: skip
    with Cache(config) as cache:
        until(lambda: cache.get("a") == 1)
        assert len(threads()) == 1
    assert threads() == []
    with Cache(config, attended=False):
        assert threads() == []


def test_without_a_wish_for_it_there_is_no_thread_and_nothing_is_loaded(tmp_path):
    code = (
        "import sys, threading\nfrom scoutcache import Cache\n"
        f"with Cache(directory={str(tmp_path)!r}):\n"
        "    print([t.name for t in threading.enumerate()], [m for m in sys.modules if 'warming' in m])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "scoutcache-warming" not in ran.stdout
    assert ran.stdout.strip().endswith("[]")


def test_closing_waits_for_a_function_that_hangs_only_so_long(tmp_path, module, monkeypatch, until):
    name = module("import threading\ngo, began = threading.Event(), threading.Event()\n"
                  "def value(key):\n    began.set()\n    go.wait(20)\n    return 1\n", "attended_jobs")  # fmt: skip
    monkeypatch.setattr(attendants, "LONGEST_END", 0.05)
    config = CacheConfig(directory=tmp_path / "cache", tasks=[
        {"task_id": "start", "source": f"{name}:value", "pattern": "k", "run_at_startup": True}
    ])  # fmt: skip
    cache = Cache(config)
    until(lambda: sys.modules[name].began.is_set(), ignoring=(KeyError, AttributeError))  # while it is imported
    [thread] = threads()
    cache.close()
    sys.modules[name].go.set()
    thread.join(20)
    assert not thread.is_alive()
