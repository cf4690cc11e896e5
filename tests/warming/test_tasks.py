from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from scoutcache.cache import Cache
from scoutcache.channels.locking import held
from scoutcache.config import CacheConfig
from scoutcache.errors import ConfigError, LockTimeout, WarmingError
from scoutcache.models import TaskStatus
from scoutcache.warming.fill import state_folder
from scoutcache.warming.tasks import due_tasks, list_tasks, run_tasks

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def make_config(tmp_path):
    """A configuration with these tasks over the same directory."""

    def make(*tasks):
        return CacheConfig(directory=tmp_path / "cache", tasks=list(tasks))

    return make


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "values.jsonl"
    path.write_text('{"key": "llm:a", "value": 1}\n{"key": "job:b", "value": 2}\n')
    return str(path)


def run(config, *args, at=NOON, **kwargs):
    with Cache(config) as cache:
        return run_tasks(cache, *args, now=lambda: at, **kwargs)


def due(config, at):
    return [task.task_id for task in due_tasks(config, at)]


def test_a_task_is_due_when_it_never_ran_and_then_by_its_schedule(make_config, source):
    config = make_config({"task_id": "hourly", "source": source, "schedule": "0 * * * *"})
    assert due(config, NOON) == ["hourly"]
    assert [one.result.warmed for one in run(config)] == [2]
    assert due(config, NOON + timedelta(minutes=59)) == []
    assert due(config, NOON + timedelta(minutes=60)) == ["hourly"]
    assert due(config, NOON + timedelta(days=3)) == ["hourly"]


def test_a_run_that_a_clock_ahead_noted_delays_none(make_config, source):
    config = make_config({"task_id": "hourly", "source": source, "schedule": "0 * * * *"})
    run(config, at=NOON + timedelta(days=1))
    assert due(config, NOON) == ["hourly"]
    assert [one.task_id for one in run(config, unless_since=NOON - timedelta(minutes=1))] == ["hourly"]
    assert due(config, NOON) == []


def test_a_task_that_failed_is_due_until_it_succeeds(make_config, tmp_path):
    late = tmp_path / "late.jsonl"
    config = make_config({"task_id": "daily", "source": str(late), "schedule": "0 6 * * *"})
    for minute in range(2):  # the file isn't there yet
        (failed,) = run(config, at=NOON + timedelta(minutes=minute))
        assert "can't be read" in failed.error
    late.write_text('{"key": "a", "value": 1}\n{\n')
    (partly,) = run(config, at=NOON + timedelta(minutes=2))
    assert (partly.result.warmed, partly.result.failed) == (1, 1)
    assert due(config, NOON + timedelta(minutes=2)) == ["daily"]
    late.write_text('{"key": "a", "value": 1}\n')
    (done,) = run(config, at=NOON + timedelta(minutes=3))
    assert (done.result.warmed, done.result.failed) == (1, 0)
    assert due(config, NOON + timedelta(minutes=3)) == []
    assert due(config, NOON + timedelta(days=1)) == ["daily"]


def test_a_task_that_failed_and_has_no_schedule_is_not_due(make_config):
    config = make_config({"task_id": "byhand", "source": "no/such/file.jsonl"})
    run(config, ["byhand"])
    assert due(config, NOON + timedelta(days=1)) == []


def test_a_task_that_was_killed_is_due(make_config, source):
    config = make_config({"task_id": "t", "source": source, "schedule": "0 6 * * *"})
    run(config)
    path = state_folder(config) / "tasks.json"
    state = json.loads(path.read_text())
    state["t"]["status"] = "running"
    path.write_text(json.dumps(state))
    assert due(config, NOON) == ["t"]
    with held(state_folder(config) / "lock"):
        assert due(config, NOON) == []


def test_missed_times_count_once(make_config, source):
    config = make_config({"task_id": "t", "source": source, "schedule": "* * * * *"})
    run(config)
    assert len(run(config, at=NOON + timedelta(hours=5))) == 1
    assert run(config, at=NOON + timedelta(hours=5)) == []


def test_without_a_schedule_a_task_runs_by_name_only(make_config, source):
    config = make_config({"task_id": "byhand", "name": "By hand", "source": source})
    assert run(config) == []
    assert run(config, ["byhand"])[0].result.warmed == 2
    assert run(config, ["By hand", "byhand"])[0].result.warmed == 2


def test_without_tasks_nothing_is_due_and_no_lock_is_needed(make_config):
    config = make_config()
    with held(state_folder(config) / "lock"):
        assert run(config) == []


def test_a_file_gives_the_keys_that_match(make_config, source):
    config = make_config({"task_id": "t", "source": source, "pattern": "llm:*"})
    assert run(config, ["t"])[0].result.requested == 1
    with Cache(config) as cache:
        assert list(cache.keys()) == ["llm:a"]


def test_a_function_renews_the_keys_that_match(make_config, module):
    name = module("def value(key):\n    return key.upper()\n", name="task_jobs")
    config = make_config({"task_id": "t", "source": f"{name}:value", "pattern": "llm:*"},
                         {"task_id": "one", "source": f"{name}:value", "pattern": "single"})  # fmt: skip
    with Cache(config) as cache:
        cache.set_many({"llm:a": 1, "llm:b": 2, "{odd": 3})
    assert [one.result.warmed for one in run(config, ["t", "one"])] == [2, 1]
    with Cache(config) as cache:
        assert cache.get_many(["llm:a", "llm:b", "{odd", "single"]) == {
            "llm:a": "LLM:A", "llm:b": "LLM:B", "{odd": 3, "single": "SINGLE"}  # fmt: skip


def test_a_generator_gives_keys_and_values_itself(make_config, module):
    name = module("def values():\n    yield 'llm:a', 1\n    yield 'job:a', 2\n", name="task_generator")
    config = make_config({"task_id": "t", "source": f"{name}:values", "pattern": "llm:*"})
    assert run(config, ["t"])[0].result.warmed == 1
    with Cache(config) as cache:
        assert cache.get_many(["llm:a", "job:a"]) == {"llm:a": 1}


def test_what_became_of_a_task_is_kept(make_config, source):
    config = make_config({"task_id": "t", "source": source, "schedule": "0 0 * * *"})
    (before,) = list_tasks(config, NOON)
    assert (before.task.status, before.due, before.task.started_at) == (TaskStatus.PENDING, True, None)
    run(config)
    (after,) = list_tasks(config, NOON)
    assert (after.task.status, after.task.keys_warmed, after.due) == (TaskStatus.COMPLETED, 2, False)
    assert after.task.started_at == after.task.completed_at == NOON
    assert after.next_run == datetime(2026, 3, 2, tzinfo=UTC)


def test_a_task_that_fails_says_why_and_does_not_end_the_others(make_config, source):
    config = make_config({"task_id": "gone", "source": "no/such/file.jsonl"},
                         {"task_id": "missing", "source": "no_such_module:f", "pattern": "k"},
                         {"task_id": "good", "source": source})  # fmt: skip
    gone, missing, good = run(config, ["gone", "missing", "good"])
    assert "can't be read" in gone.error
    assert "no_such_module" in missing.error
    assert good.error is None
    states = {info.task.task_id: info.task for info in list_tasks(config, NOON)}
    assert states["gone"].status is TaskStatus.FAILED
    assert "can't be read" in states["gone"].errors[0]
    assert states["good"].status is TaskStatus.COMPLETED


def test_errors_of_lines_are_kept_with_their_numbers_and_there_are_not_too_many(make_config, tmp_path):
    (tmp_path / "bad.jsonl").write_text("{\n" * 500)
    config = make_config({"task_id": "t", "source": str(tmp_path / "bad.jsonl")})
    run(config, ["t"])
    (info,) = list_tasks(config, NOON)
    assert info.task.errors[0].startswith("line 1: not JSON")
    assert len(info.task.errors) == 20


def test_a_task_that_was_killed_is_not_running_for_ever(make_config, source):
    config = make_config({"task_id": "t", "source": source})
    run(config, ["t"])
    path = state_folder(config) / "tasks.json"
    state = json.loads(path.read_text())
    state["t"]["status"] = "running"
    path.write_text(json.dumps(state))
    (info,) = list_tasks(config, NOON)
    assert info.task.status is TaskStatus.FAILED
    with held(state_folder(config) / "lock"):
        (info,) = list_tasks(config, NOON)
    assert info.task.status is TaskStatus.RUNNING


def test_tasks_wait_for_the_lock_and_look_again_what_is_due(make_config, source, fake_clock):
    config = make_config({"task_id": "t", "source": source, "schedule": "0 * * * *"})
    with held(state_folder(config) / "lock"), pytest.raises(LockTimeout):
        run(config, lock_timeout=3.0, clock=fake_clock.monotonic, wait=fake_clock.sleep)
    assert sum(fake_clock.slept) == pytest.approx(3.0)


def test_an_unknown_name_says_which_are_known(make_config, source):
    config = make_config({"task_id": "t", "source": source})
    with pytest.raises(WarmingError, match="'other'") as caught:
        run(config, ["other"])
    assert "t" in caught.value.hint


@pytest.mark.parametrize("schedule", ["often", "* * * *", "61 * * * *", "0 0 31 2 *", ""])
def test_a_schedule_that_is_no_cron_expression_is_named(make_config, source, schedule):
    with pytest.raises(ConfigError, match=r"tasks\[0\]\.schedule: .* is no cron expression .*expected five fields"):
        make_config({"task_id": "t", "source": source, "schedule": schedule})


@pytest.mark.parametrize("content", [b"", b"[]", b'{"t": 3}', b'{"t": {"status": "odd", "started_at": 1e99}}', b"\xff"])
def test_a_damaged_record_counts_as_none(make_config, source, content):
    config = make_config({"task_id": "t", "source": source, "schedule": "0 * * * *"})
    state_folder(config).mkdir(parents=True)
    (state_folder(config) / "tasks.json").write_bytes(content)
    assert due(config, NOON) == ["t"]
    run(config)
    assert due(config, NOON) == []


def test_removed_tasks_are_forgotten(make_config, source):
    run(make_config({"task_id": "old", "source": source}), ["old"])
    run(make_config({"task_id": "new", "source": source}), ["new"])
    assert set(json.loads((state_folder(make_config()) / "tasks.json").read_text())) == {"new"}
