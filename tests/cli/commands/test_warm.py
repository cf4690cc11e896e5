"""``warm`` with its sources, limits and accounts; where locks and signals matter, with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from scoutcache import Cache
from scoutcache.config import CacheConfig
from scoutcache.core.core import Clocks
from scoutcache.errors import TierUnavailable
from scoutcache.oplog.linelog import LogLimits
from scoutcache.oplog.recorder import OplogSettings, Recorder

JOBS = """
import asyncio, os, sys, time

def load(key):
    if key.endswith("bad"):
        raise ValueError("no " + key)
    return key.upper()

async def aload(key):
    return key.upper()

def ending(key):
    if key.endswith("exit"):
        sys.exit(0)
    if key.endswith("cancel"):
        raise asyncio.CancelledError
    return key

async def aending(key):
    return ending(key)

async def task_ending(key):
    await asyncio.create_task(aending(key))

def pairs():
    yield "p:1", 1
    yield {"key": "p:2", "value": 2, "ttl": "1h"}

def priced():
    try:
        for number in range(10):
            yield {"key": f"g:{number}", "value": number, "cost": 1.0}
    finally:
        open(f"made-{number}", "w").close()

async def apairs():
    yield "q:1", 1

async def aslow(key):
    return slow(key)

def broken_off(key):
    if key == "k:8":
        raise KeyboardInterrupt
    return key

def slow(key):
    with open("begun", "a") as file:
        file.write(key + "\\n")
    while key == "k:2" and not os.path.exists("go"):
        time.sleep(0.01)
    return key
"""


def body(ran, code=0):
    assert ran.code == code, ran.err
    return json.loads(ran.out)


def counts(found):
    return tuple(found[name] for name in ("requested", "warmed", "skipped", "failed"))


@pytest.fixture
def jobs(workplace, monkeypatch):
    (workplace / "warm_jobs.py").write_text(JOBS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield "warm_jobs"
    sys.modules.pop("warm_jobs", None)


@pytest.fixture
def logged(directory):
    """A log in which one key comes every two hours, for the last time nearly two hours ago."""
    wall = [time.time() - 20 * 7200 + 60]
    recorder = Recorder(directory, OplogSettings(), wall=lambda: wall[0], monotonic_ns=lambda: int(wall[0] * 1e9),
                        token=lambda: os.urandom(8).hex())  # fmt: skip
    for _ in range(20):
        for key, times in (("report:daily", 1), ("llm:hot", 3)):
            for _ in range(times):
                now = int(wall[0] * 1e9)
                recorder.record("get", "default", key, tier=None, outcome="miss", reason="cold", began_ns=now,
                                ended_ns=now)  # fmt: skip
        wall[0] += 7200
    recorder.close({})


def asked_for(directory, keys, *, redact=False):
    """A log in which each of *keys* was asked for an hour ago, in vain."""
    began = int((time.time() - 3600) * 1e9)
    settings = OplogSettings(limits=LogLimits(redact_keys=redact))
    recorder = Recorder(directory, settings, wall=time.time, monotonic_ns=time.time_ns,
                        token=lambda: os.urandom(8).hex())  # fmt: skip
    for key in keys:
        recorder.record("get", "default", key, tier=None, outcome="miss", reason="cold", began_ns=began, ended_ns=began)
    recorder.close({})


class TestRedactedLog:
    """Who reads the log need not have the settings of who wrote it: a hash is no key."""

    WAYS = (("--frequent", "5"), ("--expiring", "2h"), ("--predict",), ("--predict", "--evaluate"))

    @pytest.mark.parametrize("way", WAYS)
    def test_where_all_keys_are_hashes_that_is_said_and_nothing_is_called(self, way, directory, jobs, cli):
        asked_for(directory, ["s:a", "b", "s:a"], redact=True)
        ran = cli("warm", *way, *(() if "--evaluate" in way else ("--call", "warm_jobs:load")))
        assert ran.code == 1
        assert "holds no keys (oplog.redact_keys = true)" in ran.err
        assert "hint: set oplog.redact_keys = false" in ran.err
        assert "#" not in cli("keys").out

    def test_keys_beside_them_are_taken(self, directory, jobs, cli):
        asked_for(directory, ["s:a", "s:b", "s:b", "d"], redact=True)
        asked_for(directory, ["s:c"])
        found = body(cli("warm", "--frequent", "5", "--call", "warm_jobs:load", "--json"))
        assert (counts(found), found["keys"]) == ((1, 1, 0, 0), [{"key": "s:c"}])
        told = cli("warm", "--frequent", "5", "--dry-run", "--verbose").err
        assert "left out: 4 records of keys that are logged as hashes (redact_keys)" in told

    def test_its_prices_count_by_prefix(self, directory, jobs, cli, workplace, monkeypatch):
        with Cache(directory=directory, tiers=["disk"], oplog={"redact_keys": True}) as cache:
            cache.set("k:1", 1, cost=1.0)
        found = body(cli("warm", "--from", "-", "--call", "warm_jobs:load", "--budget", "$2", "--json",
                         stdin="k:1\nk:3\nk:4\n"))  # fmt: skip
        assert (found["warmed"], found["over_budget"], found["cost_usd"]) == (2, 1, 2.0)


class TestGenerators:
    CALL = ("warm", "--call", "warm_jobs:priced", "--json")

    @pytest.mark.parametrize("budget", ["3", "$3.5"])
    def test_one_is_ended_at_the_first_value_beyond_the_budget(self, budget, directory, jobs, cli, workplace):
        found = body(ran := cli(*self.CALL, "--budget", budget))
        assert (*counts(found), found["over_budget"], found["calls"]) == (4, 3, 1, 0, 1, 3)
        assert found["cost_usd"] == 3.0
        assert ran.err == "the budget was spent after 3 calls; the generator was stopped there\n"
        assert (workplace / "made-3").exists()

    def test_a_task_s_is_ended_there_too(self, directory, jobs, cli, workplace):
        task = '[[tasks]]\ntask_id = "gen"\nsource = "warm_jobs:priced"\n'
        (workplace / "scoutcache.toml").write_text(task)
        ran = cli("warm", "--task", "gen", "--budget", "$2", "--json", "--config", "scoutcache.toml")
        assert counts(body(ran)) == (3, 2, 1, 0)

    def test_money_needs_prices(self, directory, jobs, cli):
        ran = cli("warm", "--call", "warm_jobs:pairs", "--budget", "$2")
        assert (ran.code, "needs a price for 'p:1'" in ran.err) == (2, True)

    def test_what_a_budget_left_is_done_by_resuming_without_one(self, directory, jobs, cli):
        assert body(cli(*self.CALL, "--budget", "3"))["warmed"] == 3
        ran = cli(*self.CALL, "--budget", "3", "--resume")
        assert (ran.code, "so with a budget --resume gets no further" in ran.err) == (2, True)
        found = body(cli(*self.CALL, "--resume"))
        assert (found["warmed"], found["resumed"]) == (7, 3)


class TestWithoutEffect:
    """An option that would have no effect is refused, naming what it needs."""

    TASKS = """
        tasks = [{task_id = "gen", source = "warm_jobs:priced"}, {task_id = "file", source = "a.jsonl"},
                 {task_id = "load", source = "warm_jobs:load"}]
    """

    def test_retries_of_a_generator(self, directory, jobs, cli):
        ran = cli("warm", "--call", "warm_jobs:priced", "--retries", "2")
        assert ran.code == 2
        assert "--retries works only with values that a function or --http gives key by key" in ran.err

    @pytest.mark.parametrize(("task", "option", "refused"), [
        ("gen", "--retries", True), ("file", "--retries", True), ("load", "--retries", False),
        ("gen", "--budget", False), ("file", "--budget", True), ("load", "--budget", False),
    ])  # fmt: skip
    def test_on_tasks(self, task, option, refused, directory, jobs, cli, workplace):
        (workplace / "c.toml").write_text(self.TASKS)
        (workplace / "a.jsonl").write_text("")
        ran = cli("warm", "--task", task, option, "3", "--config", "c.toml")
        assert (ran.code == 2, "works only with" in ran.err) == (refused, refused), ran.err

    @pytest.mark.parametrize("rate", ["nan", "inf", "0", "-1"])
    def test_a_rate_that_is_none(self, rate, directory, cli):
        ran = cli("warm", "--from", "-", "--rate", rate, stdin='{"key": "a", "value": 1}\n')
        assert (ran.code, f"--rate: expected more than 0 keys a second, not {rate}" in ran.err) == (2, True)

    @pytest.mark.parametrize("command", [("warm", "--frequent", "1", "--since"), ("stats", "--period"),
                                         ("report", "--since")])  # fmt: skip
    def test_a_period_of_no_time(self, command, directory, cli):
        ran = cli(*command, "0s")
        assert (ran.code, f"{command[-1]}: expected more than 0 seconds" in ran.err) == (2, True)

    def test_off_peak_without_times(self, directory, cli):
        ran = cli("warm", "--from", "-", "--off-peak", stdin="a\n")
        assert ran.code == 2
        assert '--off-peak has no effect: warming.off_peak is "always"' in ran.err


class TestPlaces:
    """What a task names is found beside the file that names it, wherever cron works."""

    @pytest.fixture
    def elsewhere(self, directory, jobs, workplace, tmp_path, monkeypatch):
        (workplace / "scoutcache.toml").write_text("""
            tasks = [{task_id = "file", source = "sub/answers.jsonl"}, {task_id = "gone", source = "gone.jsonl"},
                     {task_id = "made", source = "warm_jobs:pairs"}, {task_id = "none", source = "no_such:f"},
                     {task_id = "moved", source = "answers.jsonl", folder = "sub"}]
        """)
        (workplace / "sub").mkdir()
        (workplace / "sub" / "answers.jsonl").write_text('{"key": "a", "value": 1}\n')
        monkeypatch.setenv("SCOUTCACHE_CONFIG", str(workplace / "scoutcache.toml"))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "warm_jobs.py").write_text("raise ImportError('not this one')")
        return workplace

    @pytest.mark.parametrize(("task", "warmed"), [("file", 1), ("moved", 1), ("made", 2)])
    def test_it_is_found(self, task, warmed, elsewhere, cli):
        assert body(cli("warm", "--task", task, "--json"))["warmed"] == warmed

    def test_the_error_says_where_it_was_looked_for(self, elsewhere, cli, tmp_path):
        ran = cli("warm", "--task", "gone")
        assert (ran.code, f"{elsewhere}/gone.jsonl: can't be read" in ran.err) == (2, True)
        ran = cli("warm", "--task", "none")
        assert f"there is no module 'no_such' in {elsewhere}, {tmp_path} or among" in ran.err

    def test_validate_notices_a_file_that_is_not_there(self, elsewhere, cli):
        ran = cli("config", "validate")
        assert ran.code == 2
        assert f"tasks: gone: source: there is no file {elsewhere}/gone.jsonl" in ran.err
        (elsewhere / "gone.jsonl").write_text("")
        assert cli("config", "validate").code == 0


class TestNothingTaken:
    """What no tier would take is not computed: one message and exit code 10, as of `set`."""

    AWAY = ("--redis-url", "redis://127.0.0.1:1")

    @pytest.fixture
    def refusing(self, monkeypatch):
        """A disk that is full once it has taken so many writes of the user's keys."""
        from scoutcache.tiers.disk.tier import DiskTier

        write, left = DiskTier.write, [0]

        def limited(tier, rows, *args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise TierUnavailable("disk", "the disk is full")
            return write(tier, rows, *args, **options)

        monkeypatch.setattr(DiskTier, "write", limited)
        return lambda times: left.__setitem__(0, times)

    @pytest.mark.parametrize("function", ["slow", "aslow"])
    def test_a_server_that_is_away_is_known_before_a_key_is_computed(self, function, directory, jobs, cli, workplace):
        (workplace / "go").touch()
        ran = cli("warm", "--from", "-", "--call", f"warm_jobs:{function}", "--prom-textfile", "w.prom", *self.AWAY,
                  stdin="a\nb\nc\nd\ne\nf\n")  # fmt: skip
        assert ran.code == 10
        assert not (workplace / "begun").exists()
        assert ran.err.count("the redis tier can't answer") == 1
        assert "hint: is the server running" in ran.err
        written = (workplace / "w.prom").read_text()
        assert "scoutcache_warm_last_run_timestamp_seconds " in written
        assert "scoutcache_warm_last_success_timestamp_seconds " not in written

    def test_a_task_says_so_too(self, directory, jobs, cli, workplace):
        (workplace / "c.toml").write_text('[[tasks]]\ntask_id = "t"\nsource = "warm_jobs:priced"\n')
        ran = cli("warm", "--task", "t", "--config", "c.toml", *self.AWAY)
        assert (ran.code, ran.err.count("can't answer")) == (10, 1)
        ran = cli("tasks", "list", "--config", "c.toml", "--json")
        [task] = body(ran)["tasks"]
        assert (task["status"], task["error"][:17]) == ("failed", "the redis tier ca")

    def test_a_disk_that_takes_nothing_ends_it_at_the_first_key(self, directory, jobs, cli, refusing, workplace):
        refusing(0)
        ran = cli("warm", "--from", "-", "--call", "warm_jobs:slow", "--concurrency", "1", stdin="a\nb\nc\n")
        assert (ran.code, ran.err) == (10, "error: the disk tier can't answer: the disk is full\n")
        assert (workplace / "begun").read_text() == "a\n"

    def test_one_that_takes_no_more_ends_it_soon_and_resuming_goes_on(self, directory, jobs, cli, refusing, workplace):
        refusing(3)
        keys = "".join(f"{n}\n" for n in range(20))
        given = ("warm", "--from", "-", "--call", "warm_jobs:slow", "--concurrency", "1")
        ran = cli(*given, stdin=keys)
        assert (ran.code, len((workplace / "begun").read_text().split())) == (10, 6)
        assert ran.err.endswith("hint: 3 keys had been warmed: --resume continues from there\n")
        refusing(100)
        found = body(cli(*given, "--resume", "--json", stdin=keys))
        assert (found["warmed"], found["resumed"]) == (17, 3)


class TestKeysOfATask:
    @pytest.fixture
    def load(self, directory, jobs, workplace, cli):
        task = '[[tasks]]\ntask_id = "load"\nsource = "warm_jobs:load"\npattern = "u:*"\n'
        (workplace / "c.toml").write_text(task)
        return lambda *more: cli("warm", "--task", "load", "--config", "c.toml", *more)

    def test_what_was_asked_for_is_warmed_after_it_was_cleared(self, directory, load, cli):
        asked_for(directory, ["u:b", "u:a", "u:a", "other"])
        asked_for(directory, ["u:hashed"], redact=True)
        assert counts(body(load("--json"))) == (2, 2, 0, 0)
        assert cli("clear", "--yes").code == 0
        found = body(load("--json", "--budget", "1", "--concurrency", "1"))  # or another thread may be the first
        assert (found["warmed"], found["over_budget"]) == (1, 1)
        assert cli("get", "u:a").out == "U:A\n"

    def test_what_is_stored_comes_once_and_keeps_its_tags(self, directory, load, cli):
        asked_for(directory, ["u:a"])
        cli("set", "u:a", "1", "--tag", "t")
        assert counts(body(load("--json"))) == (1, 1, 0, 0)
        assert json.loads(cli("inspect", "u:a", "--json").out)["tags"] == ["t"]

    def test_a_task_that_finds_nothing_says_so(self, directory, load, cli, workplace):
        ran = load()
        assert (ran.code, ran.out) == (0, "")
        assert ran.err == ("warning: load: nothing to warm: no key that matches the pattern u:* is stored, or was "
                           "requested in the last 24 h\n")  # fmt: skip
        (workplace / "empty.jsonl").write_text("")
        (workplace / "c.toml").write_text('[[tasks]]\ntask_id = "load"\nsource = "empty.jsonl"\n')
        assert load().err == "warning: load: nothing to warm: empty.jsonl holds no key\n"


def test_what_a_signal_broke_off_is_counted_to_the_last_key(directory, jobs, cli):
    keys = "".join(f"k:{n}\n" for n in range(20))
    ran = cli("warm", "--from", "-", "--call", "warm_jobs:broken_off", "--concurrency", "1", stdin=keys)
    assert ran.code == 130
    assert "interrupted: standard input: 8 warmed, 0 skipped, 0 failed; --resume continues from there" in ran.err


class TestSources:
    def test_every_failed_key_is_listed_and_some_make_it_3(self, directory, jobs, cli):
        keys = [f"k:{n}" + ("bad" if n % 2 else "") for n in range(60)]
        ran = cli("warm", "--from", "-", "--call", "warm_jobs:load", stdin="\n".join(keys))
        assert ran.code == 3
        assert {line.split(": ")[2] for line in ran.err.splitlines()} == {key for key in keys if key.endswith("bad")}
        found = body(cli("warm", "--from", "-", "--call", "warm_jobs:load", "--json", stdin="\n".join(keys)), 3)
        assert counts(found) == (60, 30, 0, 30)
        assert len(found["errors"]) == 30

    def test_a_key_that_stands_there_twice_is_told_and_no_failure(self, directory, jobs, cli):
        ran = cli("warm", "--from", "-", "--call", "warm_jobs:load", "--concurrency", "1", stdin="a\nb\na\n")
        assert (ran.code, ran.out) == (0, "")
        assert ran.err == "warning: line 3: a: an earlier line has this key too; it counts (1 such line)\n"

    @pytest.mark.parametrize("function", ["ending", "aending"])
    @pytest.mark.parametrize("end", ["exit", "cancel"])
    def test_a_function_that_ends_more_than_its_key_leaves_nothing_undone(self, function, end, directory, jobs, cli):
        given = ("warm", "--from", "-", "--call", f"warm_jobs:{function}", "--json")
        found = body(cli(*given, stdin=f"a\nb:{end}\nc\nd\ne\n"), 3)
        assert counts(found) == (5, 4, 0, 1)
        assert [error["key"] for error in found["errors"]] == [f"b:{end}"]
        assert counts(body(cli(*given, stdin=f"b:{end}\n"), 1)) == (1, 0, 0, 1)

    def test_an_exit_that_cannot_be_held_up_is_a_failure_too(self, directory, jobs, cli):
        ran = cli("warm", "--from", "-", "--call", "warm_jobs:task_ending", stdin="b:exit\n")
        assert ran.code == 1
        assert "the function that computes values exited the process: SystemExit: 0" in ran.err

    def test_an_empty_source_is_told(self, directory, cli, workplace):
        (workplace / "empty.jsonl").write_text("\n\n")
        assert cli("warm", "--from", "empty.jsonl") == (0, "", "empty.jsonl holds no lines to warm from\n")
        assert cli("warm", "--from", "-").err == "standard input holds no lines to warm from\n"

    @pytest.mark.parametrize(("function", "keys"), [("pairs", ["p:1", "p:2"]), ("apairs", ["q:1"])])
    def test_a_generator_needs_no_keys(self, function, keys, directory, jobs, cli):
        assert body(cli("warm", "--call", f"warm_jobs:{function}", "--json"))["warmed"] == len(keys)
        assert [cli("get", key).code for key in keys] == [0] * len(keys)

    def test_another_cache_is_a_source(self, directory, cli, workplace):
        with Cache(directory=workplace / "other") as other:
            other.set("llm:far", "away", ttl="30m", tags=["t"])
            other.set("job:far", "away")
        found = body(cli("warm", "--from-cache", "other", "--pattern", "llm:*", "--json"))
        assert counts(found) == (1, 1, 0, 0)
        shown = body(cli("inspect", "llm:far", "--json"))
        assert shown["tags"] == ["t"]
        assert all(tier["ttl_s"] <= 1800 for tier in shown["tiers"] if tier["present"])

    def test_what_can_not_be_read_there_has_failed_by_its_name(self, directory, cli, workplace):
        with Cache(directory=workplace / "other") as other:
            other.set_many({"a": 1, "b": 2})
            other.namespace("tenant").set("c", 3)
        with Cache(directory=workplace / "other", security={"signing_keys": {"k": "0123456789abcdef"}}) as other:
            other.set("signed", 3)
        ran = cli("warm", "--from-cache", "other", "--json")
        assert (ran.code, counts(json.loads(ran.out))) == (3, (3, 2, 0, 1))
        problem = "it can't be read here: it is signed, and no signing key is configured"
        assert [(row["key"], row["error"]) for row in json.loads(ran.out)["errors"]] == [("signed", problem)]
        assert f"signed: {problem}" in ran.err
        assert cli("get", "signed").code == cli("get", "c", "--namespace", "tenant").code == 4
        assert cli("warm", "--from-cache", "other", "--pattern", "signed").code == 1

    def test_a_server_is_a_source_that_is_left_as_it_is(self, cli, redis_url, redis_server, workplace, monkeypatch):
        with Cache(redis_url=redis_url, directory=workplace / "theirs", tiers=["redis"]) as other:
            other.set("llm:far", {"n": 1}, ttl="30m", tags=["t"])
            other.set("llm:view", 2, depends_on=["llm:far"])
        before = sorted(redis_server.cli("KEYS", "scoutcache:e:*"))
        monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
        found = body(cli("warm", "--from-cache", redis_url, "--json"))
        assert counts(found) == (2, 2, 0, 0)
        assert json.loads(cli("get", "llm:far").out) == {"n": 1}
        assert cli("get", "llm:view").out == "2\n"
        assert sorted(redis_server.cli("KEYS", "scoutcache:e:*")) == before

    def test_the_keys_asked_for_most_often_come_from_the_log(self, directory, logged, jobs, cli):
        assert cli("warm", "--frequent", "1", "--since", "3d", "--dry-run").out == "key\nllm:hot\n"
        found = body(cli("warm", "--frequent", "9", "--since", "3d", "--call", "warm_jobs:aload", "--json"))
        assert counts(found) == (2, 2, 0, 0)
        assert [row["key"] for row in found["keys"]] == ["llm:hot", "report:daily"]

    def test_keys_in_use_that_end_soon_come_from_the_log(self, directory, jobs, cli):
        cli("set", "e:1", "x", "--ttl", "10m")
        cli("get", "e:1")
        assert cli("warm", "--expiring", "15m", "--dry-run").out == "key\ne:1\n"
        assert cli("warm", "--expiring", "5m", "--dry-run").out == ""

    def test_a_task_that_matches_gives_the_values_of_keys_from_the_log(self, directory, logged, jobs, cli, workplace):
        (workplace / "own.toml").write_text('[[tasks]]\nname = "t"\nsource = "warm_jobs:load"\npattern = "llm:*"\n')
        ran = cli("warm", "--frequent", "9", "--since", "3d", "--config", "own.toml")
        assert (ran.code, ran.out) == (0, "")
        assert "no task computes the values of 1 key, such as" in ran.err
        assert cli("get", "llm:hot").out == "LLM:HOT\n"

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (("--from", "-", "--predict"), "--from and --predict can't be used together"),
            (("--evaluate",), "--evaluate needs --predict"), (("--dry-run",), "--dry-run needs"),
            (("--http", "https://h/{key}"), "--http needs keys"),
            (("--http", "https://h/{key}", "--frequent", "1"), "is not an allowed host"),
            (("--http", "https://h/{key}", "--call", "a:b", "--from", "-"), "can't be used together"),
            (("--call", "warm_jobs:load"), "--call needs keys"),
            (("--call", "warm_jobs:pairs", "--from", "-"), "is a generator"),
            (("--from-cache", "nowhere"), "there is no cache in nowhere"), (("--from-cache", "cache"), "to be filled"),
            (("--from", "-", "--budget", "lots"), "expected a number of calls"),
            (("--frequent", "1"), "nothing computes the values"), (("--predict", "--horizon", "0"), "--horizon"),
            (("--predict", "--evaluate", "--budget", "$5"), "budget in calls"),
            (("--from", "-", "--retries", "-1"), "--retries"), (("--expiring", "soon"), "soon"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_meant_so_ends_with_2_and_changes_nothing(self, arguments, named, directory, jobs, cli):
        cli("get", "llm:a")  # so that the log names a key
        ran = cli("warm", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert named in ran.err

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (("--horizon", "5m"), "--horizon works only with --predict"),
            (("--horizon", "5m", "--frequent", "3"), "--horizon works only with --predict"),
            (("--likely", "0.5"), "--likely works only with --predict"),
            (("--since", "1d"), "--since works only with --predict, --frequent or --expiring"),
            (("--since", "1d", "--from", "-"), "--since works only with"),
            (("--pattern", "a*"), "--pattern works only with"),
            (("--pattern", "a*", "--task", "t"), "--pattern works only with"),
            (("--only-missing",), "--only-missing needs something to warm"),
            (("--resume",), "--resume needs something to warm"), (("--rate", "3"), "--rate needs something to warm"),
            (("--resume", "--predict"), "--resume works only with"),
            (("--retries", "3", "--from", "-"), "--retries works only with"),
            (("--budget", "3", "--from-cache", "x"), "--budget works only with"),
            (("--from", "cache"), "is a directory"),
            (("--predict", "--evaluate", "--call", "a:b"), "--call has no effect"),
            (("--predict", "--evaluate", "--only-missing"), "--only-missing has no effect"),
        ],
    )  # fmt: skip
    def test_an_option_that_would_have_no_effect_names_what_it_needs(self, arguments, named, directory, cli):
        ran = cli("warm", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert named in ran.err

    def test_that_none_is_due_is_told_to_who_watches(self, directory, jobs, cli, workplace):
        """Cron mails whatever is said."""
        (workplace / "own.toml").write_text(
            '[[tasks]]\nname = "t"\nsource = "warm_jobs:load"\npattern = "llm:*"\nschedule = "0 0 29 2 *"\n'
        )
        for _ in range(2):  # what never ran is due at once
            assert cli("warm", "--config", "own.toml") == (0, "", "")
        assert cli("warm", "--config", "own.toml", "--verbose").err.endswith("no warming task is due\n")

    def test_tasks_heed_how_they_are_to_be_done(self, directory, jobs, cli, workplace):
        (workplace / "own.toml").write_text(
            '[[tasks]]\nname = "t"\nsource = "warm_jobs:load"\npattern = "llm:*"\nschedule = "* * * * *"\n'
        )
        given = ("--only-missing", "--resume", "--retries", "1", "--rate", "9000", "--budget", "9", "--json")
        assert counts(body(cli("warm", *given, "--config", "own.toml"))) == (2, 0, 2, 0)

    @pytest.mark.parametrize(
        ("source", "said"), [("gone.jsonl", "can't be read"), ("no_such_module:f", "there is no module"),
                             ("warm_jobs:nothing", "has no 'nothing'"), ("https://h/{key}", "is not an allowed host")]
    )  # fmt: skip
    @pytest.mark.parametrize("how", [("--task", "t"), ()])
    def test_a_task_whose_source_is_not_there_is_a_wrong_name(self, source, said, how, directory, jobs, cli, workplace):
        task = f'[[tasks]]\nname = "t"\nsource = "{source}"\npattern = "llm:*"\nschedule = "* * * * *"\n'
        (workplace / "own.toml").write_text(task)
        ran = cli("warm", *how, "--config", "own.toml")
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err
        (row,) = body(cli("tasks", "list", "--config", "own.toml", "--json"))["tasks"]
        assert (row["status"], said in row["error"]) == ("failed", True)
        (workplace / "own.toml").write_text(task + '[[tasks]]\nname = "u"\nsource = "warm_jobs:load"\npattern = "x"\n')
        assert cli("warm", "--task", "t", "--task", "u", "--config", "own.toml").code == 3

    def test_a_pattern_that_matches_nothing_is_what_is_told(self, directory, jobs, cli, workplace):
        (workplace / "a.jsonl").write_text('{"key": "a:1", "value": 1}\n{"key": "a:2", "value": 1}\n')
        said = "none of 2 keys in {} matches the pattern b:*\n"
        assert cli("warm", "--from", "a.jsonl", "--pattern", "b:*") == (0, "", said.format("a.jsonl"))
        ran = cli("warm", "--call", "warm_jobs:pairs", "--pattern", "b:*")
        assert ran == (0, "", said.format("warm_jobs:pairs"))
        assert counts(body(cli("warm", "--call", "warm_jobs:pairs", "--pattern", "*:1", "--json"))) == (1, 1, 0, 0)
        with Cache(directory=workplace / "other") as other:
            other.set("a:1", "x")
        ran = cli("warm", "--from-cache", "other", "--pattern", "b:*")
        assert ran.err == "other holds no entries that match the pattern b:*\n"
        ran = cli("warm", "--from-cache", "other", "--namespace", "elsewhere")
        assert ran.err == "other holds no entries in namespace elsewhere\n"
        ran = cli("warm", "--frequent", "3", "--pattern", "b:*", "--call", "warm_jobs:load")
        assert ran.err == "the log has no key to warm that matches the pattern b:*\n"

    @pytest.mark.parametrize("how", [("--predict",), ("--frequent", "3"), ("--expiring", "1h", "--dry-run"),
                                     ("--predict", "--evaluate")])  # fmt: skip
    def test_who_asks_a_log_that_is_not_there_makes_no_cache(self, how, cli, workplace):
        ran = cli("warm", *how, "--directory", "none")
        assert ran.code == 0
        assert f"there is no cache in {workplace / 'none'} yet" in ran.err
        assert not (workplace / "none").exists()

    def test_a_log_without_keys_ends_with_1(self, directory, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_OPLOG__REDACT_KEYS", "true")
        ran = cli("warm", "--predict")
        assert (ran.code, ran.out) == (1, "")
        assert "holds no keys" in ran.err

    def test_where_nothing_would_last_nothing_is_warmed(self, cli, workplace):
        (workplace / "one.jsonl").write_text('{"key": "k", "value": 1}\n')
        ran = cli("warm", "--from", "one.jsonl", "--profile", "testing")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("error: nothing would be kept: memory is the only tier")
        assert cli("warm", "--profile", "testing").code == 0, "there is nothing to do"


class TestLimits:
    def test_a_budget_is_kept_and_what_is_left_is_told(self, directory, jobs, cli):
        ran = cli("warm", "--from", "-", "--call", "warm_jobs:load", "--budget", "2", stdin="a\nb\nc\n")
        assert ran == (0, "", "the budget was spent after 2 calls; left: 1 key\n")

    @pytest.mark.parametrize("function", ["load", "aload"])
    def test_a_budget_of_money_goes_by_the_known_price(self, function, directory, jobs, cli, monkeypatch):
        given = ("warm", "--from", "-", "--call", f"warm_jobs:{function}", "--budget", "$0.5", "--json")
        ran = cli(*given, stdin="a\nb\nc\n")
        assert (ran.code, ran.out) == (2, "")
        assert re.search("needs a price for '[abc]'", ran.err)  # several are asked for at once
        monkeypatch.setenv("SCOUTCACHE_COSTS__DEFAULT_CALL_USD", "0.2")
        found = body(cli(*given, stdin="a\nb\nc\n"))
        assert (found["warmed"], found["over_budget"], found["cost_usd"]) == (2, 1, pytest.approx(0.4))

    def test_what_failed_is_resumed_alone(self, directory, jobs, cli, workplace):
        (workplace / "keys").write_text("a\nbbad\nc\n")
        assert cli("warm", "--from", "keys", "--call", "warm_jobs:load").code == 3
        found = body(cli("warm", "--from", "keys", "--call", "warm_jobs:load", "--resume", "--json"), 3)
        assert (found["skipped"], found["resumed"], found["failed"]) == (2, 2, 1)

    def test_how_it_went_is_written_for_prometheus(self, directory, jobs, cli, workplace):
        given = ("warm", "--from", "-", "--call", "warm_jobs:load", "--prom-textfile", "warm.prom")
        assert cli(*given, stdin="a\n").code == 0
        first = (workplace / "warm.prom").read_text()
        assert "scoutcache_warm_warmed 1\n" in first
        assert cli(*given, stdin="bad\n").code == 1
        second = (workplace / "warm.prom").read_text()
        assert "scoutcache_warm_failed 1\n" in second
        success = [line for line in first.splitlines() if line.startswith("scoutcache_warm_last_success")]
        assert success[0] in second.splitlines()

    def test_what_a_function_prints_is_no_result(self, directory, cli, workplace):
        (workplace / "printing.py").write_text("def load(key):\n    print('hello')\n    return key\n")
        ran = cli("warm", "--from", "-", "--call", "printing:load", "--json", stdin="a\n")
        assert json.loads(ran.out)["warmed"] == 1
        assert "hello" in ran.err

    def test_where_nothing_can_be_kept_there_is_no_lock(self, cli):
        ran = cli("warm", "--from", "-", "--directory", "/proc/nowhere", stdin='{"key": "a", "value": 1}\n')
        assert (ran.code, ran.out) == (10, "")

    def test_outside_of_the_quiet_hours_nothing_is_done(self, directory, cli, monkeypatch):
        hour = time.gmtime().tm_hour
        monkeypatch.setenv("SCOUTCACHE_WARMING__OFF_PEAK", f"{(hour + 2) % 24:02}:00-{(hour + 4) % 24:02}:00")
        ran = cli("warm", "--from", "-", "--off-peak", "-v", stdin='{"key": "a", "value": 1}\n')
        assert (ran.code, ran.out) == (0, "")
        assert "it is not off-peak" in ran.err
        assert cli("get", "a").code == 4


class TestPredict:
    def test_keys_are_printed_with_their_reasons_where_nothing_gives_their_values(self, logged, cli):
        found = body(cli("warm", "--predict", "--horizon", "10m", "--json"))
        assert counts(found) == (0, 0, 0, 0)
        rows = {row["key"]: row for row in found["keys"]}
        assert set(rows) == {"report:daily", "llm:hot"}
        assert rows["report:daily"]["reason"] == "periodic"
        assert rows["report:daily"]["because"] == "requested every 2 h"
        assert 0.5 < rows["report:daily"]["probability"] <= 1
        ran = cli("warm", "--predict")
        assert ran.out.splitlines()[0].split() == ["key", "probability", "reason", "because", "expected_at"]
        assert "nothing computes the values" in ran.err

    def test_they_are_warmed_within_the_budget_and_then_no_more(self, logged, jobs, cli):
        given = ("warm", "--predict", "--horizon", "10m", "--call", "warm_jobs:load", "--json")
        assert counts(body(cli(*given, "--budget", "1"))) == (1, 1, 0, 0)
        assert counts(body(cli(*given))) == (1, 1, 0, 0)
        ran = cli(*given)
        assert counts(body(ran)) == (0, 0, 0, 0)
        assert "no key is likely enough" in ran.err

    def test_it_can_be_judged_by_the_log(self, logged, cli):
        found = body(cli("warm", "--predict", "--evaluate", "--horizon", "10m", "--json"))
        strategies = {row["strategy"]: row for row in found["strategies"]}
        assert set(strategies) == {"prediction", "popularity", "popularity, same calls"}
        assert strategies["prediction"]["hits_gained"] > 0
        assert {"requests", "misses", "steps", "ratio", "ratio_same_calls"} <= found.keys()
        assert cli("warm", "--predict", "--evaluate").out.startswith("strategy")


class TestProcesses:
    def test_two_never_run_and_a_killed_one_is_resumed(self, directory, jobs, cli, spawn, workplace, until):
        """One is killed by -9 while it works: its lock ends with it, and what it had done is not done again."""
        (workplace / "keys").write_text("".join(f"k:{n}\n" for n in range(6)))
        given = ("warm", "--from", "keys", "--call", "warm_jobs:slow", "--concurrency", "1")
        begun = workplace / "begun"
        with spawn(*given) as process:
            until(lambda: begun.exists() and begun.read_text().endswith("k:2\n"))
            ran = cli("warm", "--from", "-", stdin='{"key": "other", "value": 1}\n')
            assert ran.code == 11
            assert f"process {process.pid}" in ran.err
            process.send_signal(signal.SIGKILL)
        (workplace / "go").touch()
        found = body(cli(*given, "--resume", "--json"))
        assert (counts(found), found["resumed"]) == ((6, 4, 2, 0), 2)
        assert begun.read_text().split() == ["k:0", "k:1", "k:2", "k:2", "k:3", "k:4", "k:5"]

    def test_a_crontab_line_with_no_environment_is_quiet_when_all_is_well(self, workplace):
        (workplace / "values.jsonl").write_text('{"key": "a", "value": 1}\n')
        config = workplace / "cache.toml"
        config.write_text(f'directory = "{workplace}/cache"\n[[tasks]]\nname = "nightly"\n'
                          f'source = "{workplace}/values.jsonl"\nschedule = "* * * * *"\n')  # fmt: skip
        line = f"cd / && {sys.executable} -m scoutcache warm --due --config {config}"
        first = subprocess.run(["/bin/sh", "-c", line], env={}, capture_output=True, text=True, check=False, timeout=60,
                               stdin=subprocess.DEVNULL)  # fmt: skip
        assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
        with Cache(CacheConfig(directory=workplace / "cache"), clocks=Clocks(time.time, time.monotonic,
                   time.monotonic_ns, ticking=False)) as cache:  # fmt: skip
            assert cache.get("a") == 1

    def test_commands_begin_no_warming_beside_what_they_do(self, directory, cli, workplace):
        (workplace / "values.jsonl").write_text('{"key": "started", "value": 1}\n')
        (workplace / "own.toml").write_text(
            f'directory = "{directory}"\n[warming]\non_start = true\n[[tasks]]\nname = "t"\nsource = "values.jsonl"\n'
            "run_at_startup = true\n"
        )
        assert cli("set", "x", "1", "--config", "own.toml").code == 0
        assert cli("get", "started", "--config", "own.toml").code == 4

    def test_progress_is_a_bar_on_a_terminal_only(self, directory, terminal, workplace):
        (workplace / "values.jsonl").write_text("".join(f'{{"key": "k:{n}", "value": {n}}}\n' for n in range(50)))
        said = terminal("warm", "--from", "values.jsonl")
        assert said.code == 0
        assert "[#" in said.out or "] 100%" in said.out or "[--" in said.out
        assert "requested" in said.out
