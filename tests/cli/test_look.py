"""Commands that look: what they print, and that they leave no trace."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest


def body(ran):
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


@pytest.fixture
def nothing_tidied(monkeypatch):
    """What has died stays where it lies, or a turn in the background may take it away before it is looked at."""
    from scoutcache.tiers.disk.reclaiming import Reclaiming

    monkeypatch.setattr(Reclaiming, "turn", lambda _: 0)


class TestKeys:
    def test_json_rows_hold_the_fields_of_the_contract(self, directory, cli):
        found = body(cli("keys", "llm:*", "--json"))
        assert found["schema_version"] == 1
        rows = {row["key"]: row for row in found["keys"]}
        assert set(rows) == {"llm:a", "llm:b"}
        assert set(rows["llm:a"]) == {"key", "tier", "size_bytes", "ttl_s", "tags", "namespace"}
        assert rows["llm:a"]["tags"] == ["model:small"]
        assert rows["llm:a"]["tier"] == "disk"
        assert 3500 < rows["llm:a"]["ttl_s"] <= 3600

    def test_an_entry_that_never_expires_has_no_ttl_in_json(self, directory, cli):
        assert body(cli("keys", "job:1", "--json"))["keys"][0]["ttl_s"] is None

    def test_global_options_may_stand_before_and_after_the_command(self, directory, cli):
        assert body(cli("--json", "keys", "job:*")).keys() == body(cli("keys", "job:*", "--format", "json")).keys()

    def test_off_a_terminal_each_key_has_a_line_that_begins_with_it(self, directory, cli):
        ran = cli("keys")
        assert sorted(line.split("\t")[0] for line in ran.out.splitlines()) == ["job:1", "job:2", "llm:a", "llm:b"]
        assert ran.err == ""

    def test_quiet_prints_the_keys_alone(self, directory, cli):
        assert cli("keys", "job:*", "--sort", "key", "--quiet").out == "job:1\njob:2\n"

    def test_null_ends_each_key(self, directory, cli):
        assert cli("keys", "job:*", "--sort", "key", "-0").out == "job:1\0job:2\0"

    def test_filters_sorts_and_limits(self, directory, cli):
        assert cli("keys", "--filter", "ttl<60s", "-q").out == "llm:b\n"
        assert cli("keys", "--sort", "size:desc", "--limit", "1", "-q").out == "llm:b\n"
        assert cli("keys", "--tag", "model:small", "-q").out == "llm:a\n"

    def test_a_namespace_sees_only_itself(self, directory, cli):
        assert body(cli("keys", "--namespace", "tenant", "--json"))["keys"][0]["namespace"] == "tenant"
        assert len(body(cli("keys", "--all-namespaces", "--json"))["keys"]) == 5

    def test_csv_is_read_back_by_any_reader(self, directory, cli):
        rows = list(csv.DictReader(io.StringIO(cli("keys", "--format", "csv").out)))
        assert sorted(row["key"] for row in rows) == ["job:1", "job:2", "llm:a", "llm:b"]

    def test_nothing_found_is_no_failure(self, directory, cli):
        assert body(cli("keys", "none:*", "--json"))["keys"] == []

    def test_an_empty_tag_is_refused(self, directory, cli):
        """As by what invalidates: a variable that a script forgot to set."""
        assert cli("keys", "--tag", "")[:2] == (2, "")

    def test_a_bad_pattern_is_refused(self, directory, cli):
        ran = cli("keys", "a[b")
        assert (ran.code, ran.out) == (2, "")
        assert "a[b" in ran.err

    def test_a_tier_that_is_not_there_is_refused(self, directory, cli):
        ran = cli("keys", "--tier", "dsk")
        assert (ran.code, ran.err) == (2, "error: no such tier: dsk\nhint: the tiers are memory, disk\n")

    def test_on_a_terminal_there_is_a_table_with_units(self, directory, terminal):
        ran = terminal("keys", "llm:*")
        assert ran.code == 0
        assert "─" in ran.out
        assert "59m" in ran.out or "1h 00m" in ran.out  # what is left of an hour, rounded

    def test_head_is_quiet(self, directory):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            cache.set_many({f"many:{number}": number for number in range(3000)})
        script = f"set -o pipefail; {sys.executable} -m scoutcache keys | head -n 1"
        done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 1

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    def test_a_full_disk_under_stdout_is_a_failure_in_one_line(self, directory):
        script = f"{sys.executable} -m scoutcache keys > /dev/full"
        done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr == "error: can't write to standard output: No space left on device\n"


class TestGet:
    def test_text_is_printed_as_it_is(self, directory, cli):
        assert cli("get", "llm:a") == (0, "hello\n", "")

    def test_anything_else_is_printed_as_json(self, directory, cli):
        assert json.loads(cli("get", "llm:b").out)["n"] == [1, 2]

    def test_raw_gives_the_bytes(self, directory, child):
        ran = subprocess.run(
            [sys.executable, "-m", "scoutcache", "get", "job:1", "--raw"], capture_output=True, check=False, timeout=60
        )
        assert (ran.returncode, ran.stdout) == (0, b"\x00\xff")

    def test_a_file_is_written_whole(self, directory, cli, workplace):
        assert cli("get", "job:1", "-o", "out.bin").code == 0
        assert (workplace / "out.bin").read_bytes() == b"\x00\xff"
        assert sorted(path.name for path in workplace.iterdir()) == ["cache", "out.bin"]

    def test_a_link_is_followed_and_stays(self, directory, cli, workplace):
        (workplace / "kept").write_text("before")
        (workplace / "link").symlink_to("kept")
        assert cli("get", "llm:a", "-o", "link").code == 0
        assert (workplace / "link").is_symlink()
        assert (workplace / "kept").read_text() == "hello"
        (workplace / "dangling").symlink_to("made")
        assert cli("config", "init", "dangling").code == 0
        assert (workplace / "dangling").is_symlink()
        assert (workplace / "made").is_file()

    @pytest.mark.parametrize("arguments", [("get", "llm:a", "-o"), ("report", "--html"), ("config", "init", "--force")])
    def test_a_fifo_is_written_into(self, arguments, directory, cli, workplace):
        os.mkfifo(workplace / "pipe")
        reader = os.open(workplace / "pipe", os.O_RDWR)  # keeps it open, so that nobody waits
        os.set_blocking(reader, False)
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            assert cli(*arguments, "pipe").code == 0
            assert pipe.read(5)
        assert (workplace / "pipe").is_fifo()

    def test_json_beside_a_file_names_it(self, directory, cli):
        found = body(cli("get", "job:1", "-o", "out.bin", "--json"))
        assert (found["schema_version"], found["file"], found["size_bytes"]) == (1, "out.bin", 2)

    def test_a_file_that_cannot_be_written_is_named(self, directory, cli):
        ran = cli("get", "llm:a", "-o", "nowhere/out")
        assert (ran.code, ran.err) == (1, "error: can't write nowhere/out: No such file or directory\n")

    def test_json_holds_the_key_and_the_value(self, directory, cli):
        found = body(cli("get", "llm:a", "--json"))
        assert found == {"schema_version": 1, "key": "llm:a", "namespace": "default", "value": "hello"}

    def test_an_unknown_key_ends_with_4(self, directory, cli):
        ran = cli("get", "nope")
        assert (ran.code, ran.out) == (4, "")
        assert ran.err == "error: no such key: nope\nhint: scoutcache explain nope says why\n"

    @pytest.mark.parametrize("key", ["", "a\x1b[2J"])
    def test_a_key_that_cannot_be_one_is_refused(self, key, directory, cli):
        ran = cli("get", key)
        assert (ran.code, ran.out) == (2, "")
        assert "\x1b" not in ran.err

    def test_on_a_terminal_a_value_cannot_act(self, directory, terminal):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            cache.set("evil", "\x1b]52;c;aGk=\x07 \u202e")
        ran = terminal("get", "evil")
        assert "\x1b" not in ran.out
        assert "\\x1b]52" in ran.out


class TestInspect:
    def test_json_holds_the_fields_of_the_contract(self, directory, cli):
        found = body(cli("inspect", "job:2", "--json"))
        assert {
            "key",
            "tiers",
            "tags",
            "depends_on",
            "serializer",
            "compression",
            "created_at",
            "hits",
            "valid",
        } <= set(found)
        assert found["depends_on"] == ["job:1"]
        assert found["valid"] is True
        memory, disk = found["tiers"]
        assert (memory["name"], memory["present"]) == ("memory", None)
        assert (disk["name"], disk["present"]) == ("disk", True)
        assert disk["size_bytes"] > 0

    def test_an_entry_whose_dependency_was_invalidated_is_not_valid(self, directory, cli):
        cli("delete", "job:1")
        ran = cli("inspect", "job:2", "--json")
        assert ran.code == 4 or json.loads(ran.out)["valid"] is False

    def test_an_unknown_key_ends_with_4(self, directory, cli):
        assert cli("inspect", "nope").code == 4

    def test_a_fresh_entry_has_nothing_to_explain(self, directory, cli):
        found = body(cli("inspect", "llm:a", "--json"))
        assert (found["valid"], found["stale"], found["why"]) == (True, False, [])

    @pytest.mark.parametrize(
        ("how", "cause", "name", "told"),
        [
            (("invalidate", "--tag", "t", "--no-cascade"), "tag", "t", r"tag t was invalidated \S+ \S+ ago by .+: why"),
            (("invalidate", "--depends-on", "up"), "dependency", "up", r"up, which .+ on, was invalidated .+: why"),
            (("invalidate", "u*"), "dependency", "up", r"up, which it depends on, was invalidated .+: why"),
        ],
    )
    def test_what_ended_an_entry_is_named_with_who_did_it(
        self, how, cause, name, told, directory, cli, nothing_tidied
    ):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            cache.set("up", 1)
            cache.set("down", 2, ttl="1h", tags=["t"], depends_on=["up"])
        assert cli(*how, "--reason", "why").code == 0
        found = body(cli("inspect", "down", "--json"))
        assert (found["valid"], found["stale"]) == (False, False)
        (why,) = found["why"]
        assert (why["cause"], why["name"], why["stale"]) == (cause, name, False)
        assert (why["by"]["reason"], why["by"]["pid"]) == ("why", os.getpid())
        assert re.fullmatch(told, why["told"])
        assert why["told"] not in cli("inspect", "llm:a").out
        assert re.search(told, cli("inspect", "down").out)

    def test_a_dependency_that_was_written_anew_is_named_as_that(self, directory, cli, nothing_tidied):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            cache.set("job:1", b"another")
        (why,) = body(cli("inspect", "job:2", "--json"))["why"]
        assert (why["cause"], why["by"]["op"]) == ("dependency", "set")
        assert why["told"].startswith("job:1, which it depends on, was written ")

    def test_an_entry_marked_stale_is_valid_and_stale(self, directory, cli):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            cache.set("s", 1, ttl="1h", stale_ttl="1h", tags=["t"])
        cli("invalidate", "--tag", "t", "--action", "mark-stale")
        found = body(cli("inspect", "s", "--json"))
        assert (found["valid"], found["stale"], found["why"][0]["stale"]) == (True, True, True)
        assert found["why"][0]["told"].startswith("tag t was marked stale ")

    @pytest.mark.parametrize("named", ["x:*", "x:1"])
    def test_of_what_a_key_or_a_pattern_marked_stale_it_says_who_did(self, directory, cli, named):
        cli("set", "x:1", "v")
        cli("invalidate", named, "--action", "mark-stale", "--reason", "release")
        cli("get", "x:1")
        (why,) = json.loads(cli("inspect", "x:1", "--json").out)["why"]
        assert (why["cause"], why["name"], why["stale"], why["by"]["reason"]) == ("key", named, True, "release")
        assert why["told"].startswith(f"it was marked stale by {named} ")
        (missed,) = json.loads(cli("explain", "x:1", "--json").out)["outcomes"]
        assert (missed["reason"], missed["by"]["what"], missed["by"]["reason"]) == ("invalidated", named, "release")

    def test_what_had_gone_stale_before_it_was_marked_ended_by_its_time(self, directory, cli, fake_clock):
        from scoutcache import Cache
        from scoutcache.core.core import Clocks

        clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
        fake_clock.step_wall(time.time() - 30 - fake_clock.wall())
        with Cache(directory=directory, clocks=clocks) as cache:
            cache.set("x:1", "v", ttl=10, stale_ttl="1h")
            fake_clock.advance(20)
            cache.invalidate("x:*", action="mark_stale")
        (why,) = json.loads(cli("inspect", "x:1", "--json").out)["why"]
        assert (why["cause"], why["by"]) == ("expired", None)

    def test_one_whose_time_is_over_says_so(self, directory, cli):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            cache.set("s", 1, ttl=0.001, stale_ttl="1h")
        found = body(cli("inspect", "s", "--json"))
        assert (found["valid"], found["stale"], found["why"][0]["cause"]) == (True, True, "expired")
        assert "it may be served stale" in cli("inspect", "s").out


class TestStats:
    FIELDS = frozenset({
        "requests", "hits", "misses", "hit_rate", "evictions", "sets", "deletes", "errors", "expirations",
        "evictions_by_reason", "period_start", "period_end", "hit_p50_us", "hit_p95_us", "miss_p50_us", "miss_p95_us",
        "tiers", "calls_saved", "cost_saved_usd",
    })  # fmt: skip

    def test_json_holds_the_fields_of_the_contract(self, directory, cli):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            cache.get("llm:a"), cache.get("llm:a"), cache.get("nope")
        found = body(cli("stats", "--json"))
        assert set(found) >= self.FIELDS
        assert (found["requests"], found["hits"], found["misses"]) == (3, 2, 1)
        assert found["cost_saved_usd"] is None
        assert {"name", "entries", "size_bytes", "max_bytes", "hits", "hit_p50_us", "hit_p95_us"} <= set(
            found["tiers"][0]
        )

    def test_looking_is_not_counted(self, directory, cli):
        before = body(cli("stats", "--json"))
        for command in (("keys",), ("inspect", "llm:a"), ("stats",), ("doctor",)):
            cli(*command)
        after = body(cli("stats", "--json"))
        for found in (before, after):
            found.pop("period_end")
        assert before == after

    def test_a_get_is_a_request_like_any_other(self, directory, cli):
        before = body(cli("stats", "--json"))
        cli("get", "llm:a"), cli("get", "nope")
        after = body(cli("stats", "--json"))
        assert (after["hits"] - before["hits"], after["misses"] - before["misses"]) == (1, 1)

    @pytest.mark.parametrize(
        ("by", "noun"), [("tier", "tiers"), ("namespace", "namespaces"), ("prefix", "prefixes"), ("tag", "tags")]
    )
    def test_groups(self, by, noun, directory, cli):
        found = body(cli("stats", "--by", by, "--json"))
        assert isinstance(found[noun], list)
        whole = body(cli("stats", "--json"))
        assert whole.keys() <= found.keys()
        assert found["requests"] == whole["requests"]

    def test_an_invalidation_is_no_prefix(self, directory, cli):
        cli("invalidate", "--tag", "model:small")
        cli("clear", "--yes")
        prefixes = body(cli("stats", "--by", "prefix", "--json"))["prefixes"]
        assert {row["prefix"] for row in prefixes} == {"llm", "job"}

    def test_the_memory_of_other_processes_is_unknown_and_not_empty(self, directory, cli):
        memory = body(cli("stats", "--json"))["tiers"][0]
        assert (memory["name"], memory["entries"]) == ("memory", None)

    def test_check_passes_when_nothing_is_wrong(self, directory, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_ALERTS__OPERATION", "1h")  # a busy machine is no alert
        assert cli("stats", "--check").code == 0

    def test_check_ends_with_99_when_a_level_is_passed(self, directory, cli):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            for _ in range(10):
                cache.get("nope")
        ran = cli("stats", "--check", "--json")
        assert ran.code == 99
        assert "the hit rate is 0.000, under 0.5" in ran.err

    def test_a_share_of_few_requests_passes_no_level(self, directory, cli, monkeypatch):
        from scoutcache import Cache

        monkeypatch.setenv("SCOUTCACHE_ALERTS__OPERATION", "1h")  # a busy machine is no alert
        with Cache(directory=directory) as cache:
            cache.get_or_compute("nope", lambda: 1)
        for of in ([], ["--by", "prefix"], ["--period", "1h"]):
            ran = cli("stats", "--check", "--json", *of)
            assert (ran.code, json.loads(ran.out)["alerts"]) == (0, [])

    @pytest.mark.parametrize("period", ["soon", "-1h", ""])
    def test_a_bad_period_is_refused(self, period, directory, cli):
        assert cli("stats", "--period", period).code == 2


class TestExplain:
    def test_the_reasons_of_the_last_misses(self, directory, cli):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            cache.get("never")
        outcomes = body(cli("explain", "never", "--json"))["outcomes"]
        assert [one["reason"] for one in outcomes] == ["cold"]
        assert outcomes[0]["at"]

    @pytest.mark.parametrize(
        ("how", "what"),
        [
            (("invalidate", "llm:*", "--reason", "release 4.2"), "llm:*"),
            (("invalidate", "--tag", "model:small", "--reason", "release 4.2"), "tag:model:small"),
            (("invalidate", "--keys-from", "-", "--reason", "release 4.2"), "llm:a"),
        ],
    )
    def test_who_invalidated_it_and_why(self, how, what, directory, cli):
        assert cli(*how, stdin="llm:a\n").code == 0
        cli("get", "llm:a")
        (miss,) = body(cli("explain", "llm:a", "--json"))["outcomes"]
        assert miss["reason"] == "invalidated"
        by = miss["by"]
        assert (by["what"], by["reason"], by["pid"], by["command"]) == (what, "release 4.2", os.getpid(), "scoutcache")
        assert by["user"]
        line = cli("explain", "llm:a").out.splitlines()[1]
        assert f"invalidate {what} by {by['user']}, process {os.getpid()} (scoutcache): release 4.2" in line

    def test_without_a_miss_it_tells_at_least_who_took_the_key_away(self, directory, cli):
        cli("invalidate", "llm:*", "--reason", "release 4.2")
        ran = cli("explain", "llm:a")
        assert (ran.code, ran.out) == (0, "")
        told = r"the log holds no miss of llm:a; it was removed at \S+: invalidate llm:\* by .+: release 4.2\n"
        assert re.fullmatch(told, ran.err)

    def test_on_a_terminal_it_is_a_table_that_cannot_act(self, directory, terminal, cli):
        cli("invalidate", "llm:*", "--reason", "\x1b[2Jwhy")
        cli("get", "llm:a")
        ran = terminal("explain", "llm:a")
        assert "\x1b[2J" not in ran.out
        assert "\\x1b[2Jwhy" in ran.out
        assert "─" in ran.out

    def test_a_deleted_key_was_invalidated_by_that(self, directory, cli):
        cli("delete", "llm:a")
        cli("get", "llm:a")
        (miss,) = body(cli("explain", "llm:a", "--json"))["outcomes"]
        assert (miss["reason"], miss["by"]["op"]) == ("invalidated", "delete")

    def test_what_failed_names_its_error(self, directory, cli):
        from scoutcache import Cache

        def fails():
            raise LookupError("secret")

        with Cache(directory=directory) as cache, pytest.raises(LookupError):
            cache.get_or_compute("llm:fails", fails)
        header, row = cli("explain", "llm:fails").out.splitlines()
        assert header.split() == ["at", "reason", "op", "error", "by"]
        assert row.split()[1:4] == ["cold", "compute", "LookupError"]
        told = cli("log", "tail", "--key", "llm:fails").out.splitlines()[-1]
        assert "cold, failed: LookupError" in told
        (logged,) = json.loads(cli("log", "tail", "--key", "llm:fails", "--json").out)["operations"]
        assert (logged["reason"], logged["error"]) == ("cold", "LookupError")
        (failed,) = json.loads(cli("report", "--json").out)["failures"]
        assert (failed["error"], failed["failures"], failed["calls"]) == ("LookupError", 1, 1)

    def test_hits_tell_the_tier(self, directory, cli):
        from scoutcache import Cache

        with Cache(directory=directory) as cache:
            cache.get("llm:a")
            cache.get("llm:a")
        found = body(cli("explain", "llm:a", "--hits", "--json"))["outcomes"]
        assert {(one["reason"], one["tier"]) for one in found} == {("fresh", "disk")}
        header, *lines = cli("explain", "llm:a", "--hits").out.splitlines()
        assert header.split() == [
            "at", "reason", "op", "tier", "latency_us", "wait_us", "factory_s", "error", "by",
        ]  # fmt: skip
        assert len(lines) == 2
        assert cli("explain", "nothing", "--hits").out == ""

    def test_a_key_that_never_missed(self, directory, cli):
        ran = cli("explain", "llm:a", "--json")
        assert (ran.code, json.loads(ran.out)["outcomes"]) == (0, [])


class TestReport:
    def test_json_has_the_sections(self, directory, cli):
        assert {"summary", "recommendations"} <= set(body(cli("report", "--json")))

    def test_a_page_and_files(self, directory, cli, workplace):
        assert cli("report", "--html", "r.html", "--csv", "figures").code == 0
        assert "<html" in (workplace / "r.html").read_text()
        assert (workplace / "figures" / "summary.csv").is_file()

    def test_json_beside_files_names_them(self, directory, cli):
        found = body(cli("report", "--html", "r.html", "--csv", "figures", "--json"))
        assert found["schema_version"] == 1
        assert found["files"][0] == "r.html"
        assert any(name.endswith("summary.csv") for name in found["files"])
        assert "summary" in found

    def test_nothing_recorded_is_an_empty_report(self, cli):
        ran = cli("report")
        assert ran.code == 0
        assert "nothing was recorded" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [("keys",), ("stats",), ("doctor",), ("get", "a"), ("inspect", "a"), ("explain", "a"), ("report",),
     ("config", "show"), ("profiles", "list"), ("tasks", "list"), ("verify",), ("prune", "--dry-run")],
)  # fmt: skip
def test_looking_makes_no_directory(arguments, cli, isolated_environment):
    ran = cli(*arguments)
    assert ran.code in {0, 4}, ran.err
    assert list(isolated_environment.rglob("*")) == []


@pytest.mark.parametrize(
    "arguments", [("keys",), ("stats", "--json"), ("doctor",), ("get", "llm:a"), ("config", "show")]
)
def test_without_a_home_commands_work(arguments, child, directory):
    environment = {name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-m", "scoutcache", *arguments],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user to be kept out")
class TestAnotherUser:
    """Root may write everywhere, so these run as a user who may not."""

    @pytest.fixture
    def as_nobody(self, directory, tmp_path, another_user):
        for path in [tmp_path, *tmp_path.parents]:
            if path.stat().st_uid == os.geteuid() and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o055)

        checkout = str(Path(__file__).resolve().parents[2])

        def call(*arguments: str):
            return subprocess.run(
                [sys.executable, "-m", "scoutcache", *arguments],
                user=65534, group=65534, extra_groups=[], capture_output=True, check=False, text=True,
                env={**os.environ, "PYTHONPATH": checkout, "PYTHONDONTWRITEBYTECODE": "1"}, timeout=60, cwd="/",
            )  # fmt: skip

        if call("--version").returncode != 0:
            pytest.skip("another user can't read this interpreter or checkout")
        return call

    def test_a_directory_of_somebody_else_is_refused_by_name(self, as_nobody, directory):
        ran = as_nobody("set", "a", "b")
        assert ran.returncode in {1, 10}
        assert str(directory) in ran.stderr
        assert "Traceback" not in ran.stderr

    @pytest.mark.parametrize("command", [("warm",), ("tasks", "list"), ("rules", "list"), ("keys",)])
    def test_one_that_can_not_be_read_ends_with_10(self, as_nobody, directory, command):
        directory.chmod(0o700)
        ran = as_nobody(*command)
        assert (ran.returncode, ran.stdout) == (10, "")
        assert ran.stderr == f"error: {directory} can't be read: Permission denied\nhint: name another --directory\n"

    def test_doctor_says_so(self, as_nobody):
        ran = as_nobody("doctor", "--json")
        assert ran.returncode == 1, ran.stderr
        assert ran.stdout, ran.stderr
        assert "fail" in {check["status"] for check in json.loads(ran.stdout)["checks"]}

    def test_a_read_only_directory_is_read_or_named(self, as_nobody, directory):
        for path in [directory, *directory.rglob("*")]:
            os.chown(path, 65534, 65534)
            path.chmod(0o500 if path.is_dir() else 0o400)
        # SQLite reads a database without its log there only where the file system lets it: a value, or why not.
        ran = as_nobody("get", "llm:a")
        assert (ran.returncode, ran.stdout) in {(0, "hello\n"), (10, "")}
        ran = as_nobody("set", "a", "b")
        assert ran.returncode in {1, 10}
        assert ran.stderr.startswith("error: ")
        assert "Traceback" not in ran.stderr


def test_a_tier_does_not_go_with_rows_of_other_things(cli):
    ran = cli("stats", "--tier", "disk", "--by", "prefix")
    assert (ran.code, ran.out) == (2, "")
    assert "--by tier" in ran.err


class TestHits:
    """No tier that lasts counts the hits of its entries: the log does."""

    @pytest.fixture(autouse=True)
    def asked(self, cli):
        for number in (1, 2, 3):
            cli("set", f"h:{number}", "v")
        for number in (1, 1, 2):
            cli("get", f"h:{number}")

    @pytest.mark.parametrize(
        ("given", "keys"),
        [
            (("--filter", "hits>0"), ["h:1", "h:2"]),
            (("--filter", "hits=0"), ["h:3"]),
            (("--sort", "hits:desc"), ["h:1", "h:2", "h:3"]),
            (("--sort", "hits"), ["h:3", "h:2", "h:1"]),
        ],
    )
    def test_keys_are_chosen_and_sorted_by_them(self, given, keys, cli):
        assert cli("keys", "-q", "--filter", "size>0", *given).out.split() == keys

    @pytest.mark.parametrize(("key", "times"), [("h:1", 2), ("h:2", 1), ("h:3", 0)])
    def test_inspect_tells_them(self, key, times, cli):
        assert body(cli("inspect", key, "--json"))["hits"] == times

    def test_inspect_finds_them_under_a_redacted_key(self, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_OPLOG__REDACT_KEYS", "true")
        cli("set", "h:4", "v")
        cli("get", "h:4")
        assert body(cli("inspect", "h:4", "--json"))["hits"] == 1

    def test_without_a_log_that_is_said(self, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_OPLOG__ENABLED", "false")
        assert "no operation log is kept" in cli("keys", "--filter", "hits>0").err
