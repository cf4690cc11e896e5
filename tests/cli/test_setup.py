"""Commands about the installation: config, profiles, doctor, demo, bench, trust."""

from __future__ import annotations

import json
import shutil

import pytest

from scoutcache import Cache
from scoutcache.settings import default_directory


def body(ran):
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


CONFLICT = """
[[policies]]
name = "answers"
applies_to = "llm:*"
ttl_seconds = "1h"
[[policies]]
name = "small"
applies_to = ["job:*", "*:small"]
ttl_seconds = "2h"
"""


class TestConfig:
    def test_every_setting_is_shown_with_its_origin(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text("[memory]\nmax_entries = 5\n")
        rows = {row["setting"]: row for row in body(cli("config", "show", "--json"))["settings"]}
        assert rows["memory.max_entries"]["value"] == 5
        assert rows["memory.max_entries"]["origin"].endswith("scoutcache.toml")
        assert rows["default_ttl"]["origin"] == "built-in"

    def test_of_several_files_one_is_used_and_that_is_said_once(self, cli, workplace, caplog):
        (workplace / "scoutcache.toml").write_text('namespace = "mine"\n')
        (workplace / "scoutcache.yaml").write_text("namespace: other\n")
        said = f"{workplace}/scoutcache.toml is used, not scoutcache.yaml beside it"
        ran = cli("set", "k", "v", "--quiet")
        assert (ran.code, ran.err) == (0, f"warning: {said}\n")
        for _ in range(2):
            Cache(directory=workplace / "cache").close()
        assert caplog.text.count(said) == 1

    def test_a_section_alone_and_without_origins(self, cli):
        lines = cli("config", "show", "memory").out.splitlines()
        assert lines[0].split() == ["setting", "value"]
        assert all(line.startswith("memory.") for line in lines[1:])

    def test_the_directory_is_the_one_in_use_where_none_is_set(self, cli):
        (row,) = body(cli("config", "show", "directory", "--json"))["settings"]
        assert (row["value"], row["origin"]) == (str(default_directory()), "built-in")

    def test_a_section_that_is_not_there(self, cli):
        assert cli("config", "show", "memry").err == "error: no such setting: memry\nhint: did you mean memory?\n"

    def test_secrets_are_masked(self, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_REDIS__URL", "redis://user:hunter2@localhost/0")
        monkeypatch.setenv("SCOUTCACHE_TIERS", "memory,disk")
        for form in ("table", "json", "jsonl", "csv"):
            ran = cli("config", "show", "--origin", "--format", form)
            assert ran.code == 0, ran.err
            assert "hunter2" not in ran.out + ran.err

    def test_a_template_on_standard_output_is_toml_and_nothing_else(self, cli):
        assert cli("config", "init", "-").out.startswith("#")
        ran = cli("config", "init", "-", "--json")
        assert (ran.code, ran.out) == (2, "")
        assert "config init - and --format json would both print to standard output" in ran.err

    def test_the_file_that_init_writes_is_valid(self, cli, workplace):
        assert cli("config", "init").code == 0
        assert cli("config", "validate").code == 0
        assert cli("config", "init").code == 1
        assert cli("config", "init", "--force").code == 0
        assert cli("config", "init", "-").out == (workplace / "scoutcache.toml").read_text()

    @pytest.mark.parametrize("name", ["scoutcache.json", "other.yaml", "other.yml"])
    def test_init_writes_no_toml_into_a_file_that_would_be_read_as_something_else(self, name, cli, workplace):
        ran = cli("config", "init", name)
        assert (ran.code, (workplace / name).exists()) == (2, False)
        assert f"write {name.partition('.')[0]}.toml" in ran.err

    def test_every_wrong_setting_is_listed(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text(
            'default_tll = "1h"\n[memory]\nmax_entries = -1\n[disk]\nmax_bytes = "big"\n'
        )
        ran = cli("config", "validate")
        assert (ran.code, ran.out) == (2, "")
        for wrong in ("default_tll", "default_ttl", "max_entries", "max_bytes", "scoutcache.toml"):
            assert wrong in ran.err

    def test_bad_toml_is_refused_by_every_command(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text("[memory\n")
        for command in (("stats",), ("get", "x"), ("set", "x", "y"), ("config", "show"), ("warm",)):
            ran = cli(*command)
            assert (ran.code, ran.out) == (2, "")
            assert "scoutcache.toml" in ran.err
            assert "Traceback" not in ran.err

    def test_a_named_file_that_is_missing_is_named(self, cli):
        ran = cli("stats", "--config", "nowhere.toml")
        assert ran.code == 2
        assert "nowhere.toml" in ran.err

    def test_conflicting_policies_are_told_and_not_wrong(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text(CONFLICT)
        ran = cli("config", "validate")
        assert ran.code == 0
        assert "warning: policies 'answers' and 'small' conflict" in ran.err
        [conflict] = body(cli("config", "validate", "--json"))["conflicts"]
        assert (conflict["winner"], conflict["loser"], conflict["setting"]) == ("answers", "small", "ttl_seconds")

    @pytest.mark.parametrize("command", [("stats",), ("set", "k", "v", "-q"), ("rules", "run", "--due"), ("warm",)])
    def test_conflicting_policies_are_told_by_other_commands_only_when_asked(self, command, cli, workplace):
        (workplace / "scoutcache.toml").write_text(CONFLICT)
        place = ("--directory", str(workplace / "cache"))
        assert "conflict" not in cli("set", "there", "1", *place).err
        assert "conflict" not in cli(*command, *place).err
        assert "conflict" in cli("get", "there", *place, "--verbose").err

    def test_a_policy_that_opening_would_refuse_is_wrong(self, cli, workplace):
        policy = '[[policies]]\nname = "secret"\napplies_to = "key:*"\nencrypt_at_rest = true\n'
        (workplace / "scoutcache.toml").write_text(policy)
        ran = cli("config", "validate")
        assert ran.code == 2
        assert "scoutcache.toml: policies: the policy 'secret' requires encryption at rest" in ran.err
        (workplace / "scoutcache.toml").write_text(policy + 'allowed_backends = ["memory"]\n')
        assert cli("config", "validate").code == 0

    def test_a_flag_goes_before_everything(self, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_NAMESPACE", "from-environment")
        rows = {row["setting"]: row for row in body(cli("config", "show", "--json", "--namespace", "flag"))["settings"]}
        assert (rows["namespace"]["value"], rows["namespace"]["origin"]) == ("flag", "option")


class TestProfiles:
    def test_the_shipped_ones_are_listed(self, cli):
        names = {row["name"] for row in body(cli("profiles", "list", "--json"))["profiles"]}
        assert {"development", "production", "testing", "llm"} <= names

    def test_one_is_shown(self, cli):
        assert "ttl" in cli("profiles", "show", "llm").out
        assert "ttl" in body(cli("profiles", "show", "llm", "--json"))["settings"]

    def test_an_unknown_one_names_the_nearest(self, cli):
        for command in (("profiles", "show", "prodction"), ("stats", "--profile", "prodction")):
            ran = cli(*command)
            assert ran.code == 2
            assert "production" in ran.err


class TestDoctor:
    @pytest.mark.parametrize("part", ["procs", "leases"])
    def test_a_file_in_the_place_of_a_folder_of_the_cache_is_named(self, directory, cli, part):
        shutil.rmtree(directory / part, ignore_errors=True)
        (directory / part).touch()
        ran = cli("doctor", "--json")
        (check,) = [one for one in json.loads(ran.out)["checks"] if one["name"] == f"directory {part}"]
        assert (ran.code, check["status"], check["fix"]) == (1, "fail", f"remove {directory / part}")

    def test_checks_hold_the_fields_of_the_contract(self, directory, cli):
        checks = body(cli("doctor", "--json"))["checks"]
        assert all(set(check) == {"name", "status", "detail", "fix"} for check in checks)
        assert {check["status"] for check in checks} <= {"ok", "warn"}
        assert {"python", "sqlite", "configuration", "directory", "space", "disk"} <= {
            check["name"] for check in checks
        }

    def test_a_directory_that_can_not_be_made_is_told(self, cli, workplace):
        """Where the mode says nothing of it: to root everything in /proc seems writable."""
        ran = cli("doctor", "--directory", "/proc/xx", "--json")
        checks = {one["name"]: one for one in json.loads(ran.out)["checks"]}
        assert (checks["directory"]["status"], "can't be made" in checks["directory"]["detail"]) == ("fail", True)
        place = workplace / "deep" / "cache"
        checks = {one["name"]: one for one in body(cli("doctor", "--directory", str(place), "--json"))["checks"]}
        assert checks["directory"]["status"] == "ok"
        assert list(workplace.iterdir()) == []

    def test_conflicting_policies_are_a_warning(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text(CONFLICT)
        [found] = [check for check in body(cli("doctor", "--json"))["checks"] if check["name"] == "policies"]
        assert found["status"] == "warn"
        assert "'answers' and 'small' conflict" in found["detail"]

    def test_a_bad_configuration_is_a_failed_check(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text("nonsense = 1\n")
        ran = cli("doctor", "--json")
        assert ran.code == 1
        failed = [check for check in json.loads(ran.out)["checks"] if check["status"] == "fail"]
        assert [check["name"] for check in failed] == ["configuration"]
        assert "nonsense" in failed[0]["detail"]

    def test_off_a_terminal_each_of_many_mistakes_has_its_line(self, cli, workplace):
        wrong = [f"nonsense_{'x' * 60}_{number}" for number in range(30)]
        (workplace / "scoutcache.toml").write_text("".join(f"{name} = 1\n" for name in wrong))
        ran = cli("doctor")
        assert ran.code == 1
        lines = ran.out.splitlines()
        assert "fail  configuration  30 settings are wrong" in lines
        for name in wrong:
            assert sum(f"{name}:" in line for line in lines) == 1, "each once, and whole"
        assert "      fix: correct these settings" in lines
        assert max(map(len, lines)) < 1500

    def test_a_check_has_a_line_and_its_remedy_another(self, directory, cli):
        directory.chmod(0o755)
        lines = cli("doctor").out.splitlines()
        place = lines.index(f"warn  {'directory':14}  {directory} is open to others (mode 0755)")
        assert lines[place + 1] == f"      fix: chmod 700 {directory}"

    def test_no_mode_helps_on_a_file_system_that_is_read_only(self, directory, cli, monkeypatch):
        monkeypatch.setattr("scoutcache.cli.checks.local.is_read_only", lambda place: place == directory)
        directory.chmod(0o755)
        lines = cli("doctor").out.splitlines()
        told = f"{directory} is on a read-only file system"
        [place] = [number for number, line in enumerate(lines) if line.startswith("fail") and line.endswith(told)]
        assert lines[place + 1] == "      fix: remount it writable, or name a --directory elsewhere"

    @pytest.mark.parametrize("content", [b"", b"not a database" * 100])
    def test_a_store_that_was_set_aside_is_told_at_once(self, content, directory, cli):
        for file in (directory / "disk").glob("cache.db*"):
            file.unlink()
        (directory / "disk" / "cache.db").write_bytes(content)
        ran = cli("doctor", "--json")
        checks = {check["name"]: check for check in json.loads(ran.out)["checks"]}
        assert checks["damage"]["status"] == "warn"
        assert ("it is empty" if not content else "file is not a database") in ran.err

    def test_a_cache_in_the_temporary_folder_says_so(self, child, tmp_path):
        home, temporary = tmp_path / "home", tmp_path / "tmp"
        home.write_text("no folder")
        temporary.mkdir()
        env = {"HOME": str(home), "XDG_CACHE_HOME": "", "TMPDIR": str(temporary)}
        checks = {check["name"]: check for check in json.loads(child("doctor", "--json", env=env).out)["checks"]}
        assert checks["directory"]["status"] == "warn"
        assert str(temporary) in checks["directory"]["detail"]
        assert child("keys", env=env).err.count("no writable home folder") == 0
        assert child("keys", "--verbose", env=env).err.count("no writable home folder") == 1

    def test_a_directory_that_is_a_file_is_a_failed_check(self, cli, workplace):
        (workplace / "file").write_text("")
        ran = cli("doctor", "--directory", "file", "--json")
        assert ran.code == 1
        assert {"name": "directory", "status": "fail"}.items() <= next(
            check for check in json.loads(ran.out)["checks"] if check["status"] == "fail"
        ).items()

    @pytest.mark.parametrize(
        ("version", "status"),
        [((3, 6, 23), "ok"), ((3, 7, 0), "warn"), ((3, 40, 1), "warn"), ((3, 51, 2), "warn"), ((3, 51, 3), "ok")],
    )
    def test_sqlite_with_the_log_race_is_a_warning(self, version, status, cli, monkeypatch):
        import sqlite3

        monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
        checks = {check["name"]: check["status"] for check in json.loads(cli("doctor", "--json").out)["checks"]}
        assert checks["sqlite"] == status


class TestTrust:
    CONFIG = 'tiers = ["memory", "nowhere:Tier"]\n'

    def test_code_named_in_a_file_that_was_found_is_refused_where_nobody_can_be_asked(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text(self.CONFIG)
        ran = cli("stats")
        assert (ran.code, ran.out) == (2, "")
        assert "nowhere:Tier" in ran.err
        assert "--config" in ran.err
        assert cli("stats", "--quiet") == ran

    def test_a_task_is_named_with_the_remedy_whatever_the_command(self, cli, workplace):
        place = workplace / "scoutcache.toml"
        place.write_text('[[tasks]]\ntask_id = "morning"\npattern = "page:*"\nsource = "pages:load"\n')
        told = f"error: {place} was found by searching and would run code: tasks: pages:load ({place})\n"
        for command in (("get", "page:a"), ("keys", "-q"), ("set", "page:a", "1"), ("invalidate", "page:*", "--quiet")):
            ran = cli(*command)
            assert (ran.code, ran.err) == (2, f"{told}hint: if you trust it, name it: --config {place}\n")

    def test_what_is_to_be_trusted_is_said_with_the_question(self, workplace, terminal):
        (workplace / "scoutcache.toml").write_text(self.CONFIG)
        assert "nowhere:Tier" in terminal("stats", "--quiet", keys="n\n").out

    def test_a_file_that_was_named_is_trusted(self, cli, workplace):
        (workplace / "named.toml").write_text(self.CONFIG)
        ran = cli("stats", "--config", "named.toml")
        assert "runs code" not in ran.err

    def test_consent_is_asked_once_and_holds_until_the_file_changes(self, cli, workplace, terminal):
        (workplace / "scoutcache.toml").write_text(self.CONFIG)
        assert "trust" in terminal("stats", keys="y\n").out
        assert "runs code" not in cli("stats").err
        (workplace / "scoutcache.toml").write_text(self.CONFIG + "# changed\n")
        assert "would run code" in cli("stats").err

    def test_it_is_asked_for_before_what_the_command_would_do(self, workplace, terminal):
        (workplace / "scoutcache.toml").write_text(self.CONFIG)
        asked = terminal("clear", keys="n\n").out
        assert "trust" in asked
        assert "clear everything" not in asked

    def test_doctor_warns_of_it(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text(self.CONFIG)
        checks = {check["name"]: check["status"] for check in json.loads(cli("doctor", "--json").out)["checks"]}
        assert checks["configuration"] == "warn"


class TestBench:
    QUICK = ("--duration", "0.05", "--warmup", "0", "--runs", "2", "--keys", "50", "--value-size", "100")

    def test_json_holds_the_fields_of_the_contract(self, cli):
        found = body(cli("bench", "--tier", "memory", *self.QUICK, "--json"))
        assert {"results", "machine", "version", "seed"} <= set(found)
        assert {"tier", "operation", "ops_per_s", "p50_us", "p95_us", "p99_us", "p999_us", "max_us", "errors"} <= set(
            found["results"][0]
        )

    def test_results_are_saved_and_compared(self, cli):
        assert cli("bench", "--tier", "memory", *self.QUICK, "--save", "one").code == 0
        assert cli("bench", "compare", "one", "one", "--fail", "p99:10%").code == 0
        assert body(cli("bench", "compare", "one", "one", "--json"))["changes"]

    def test_a_regression_ends_with_99(self, cli, isolated_environment):
        assert cli("bench", "--tier", "memory", *self.QUICK, "--save", "one").code == 0
        saved = next(isolated_environment.rglob("one.json"))
        worse = json.loads(saved.read_text())
        for row in worse["results"]:
            row["p99_us"] *= 10
            row["runs"]["p99_us"] = [figure * 10 for figure in row["runs"]["p99_us"]]
        saved.with_name("two.json").write_text(json.dumps(worse))
        ran = cli("bench", "compare", "one", "two", "--fail", "p99:10%")
        assert ran.code == 99
        assert "p99_us" in ran.err

    @pytest.mark.parametrize(
        "option",
        [("--tier", "disc"), ("--ratio", "nine"), ("--workload", "gauss"), ("--duration", "long"),
         ("--value-size", "x"), ("--clients", "0"), ("--clients", "x"), ("--tier", "redis")],
    )  # fmt: skip
    def test_a_wrong_option_is_refused(self, option, cli):
        ran = cli("bench", *option)
        assert (ran.code, ran.out) == (2, "")
        assert "Traceback" not in ran.err

    def test_an_unknown_result_is_named(self, cli):
        ran = cli("bench", "compare", "nowhere", "nothing")
        assert ran.code == 2
        assert "nowhere" in ran.err

    def test_compression_of_files(self, cli, workplace):
        (workplace / "text.txt").write_text("the same words again and again " * 200)
        found = body(cli("bench", "compression", "text.txt", "--json"))
        assert {"codec", "level", "ratio", "saved_percent", "compress_mb_s", "decompress_mb_s"} <= set(
            found["results"][0]
        )

    def test_compression_of_live_entries(self, cli, directory):
        assert body(cli("bench", "compression", "--pattern", "llm:*", "--codec", "zstd", "--json"))["samples"] == 2

    def test_a_missing_file_is_named(self, cli):
        ran = cli("bench", "compression", "nowhere.txt")
        assert ran.code == 2
        assert "nowhere.txt" in ran.err


def test_demo_shows_the_saving_and_leaves_nothing(cli, isolated_environment):
    ran = cli("demo", "--json")
    found = body(ran)
    assert {"requests", "hits", "hit_rate", "calls_saved", "cost_saved_usd"} <= set(found)
    assert found["calls_saved"] == found["hits"] > 0
    assert "simulat" in ran.err
    assert "scoutcache" in ran.err
    assert list(isolated_environment.rglob("*.db")) == []


def test_reading_from_replicas_of_one_server_is_told(cli, workplace):
    (workplace / "scoutcache.toml").write_text('[redis]\nurl = "redis://127.0.0.1:1"\nread_from = "replica"\n')
    ran = cli("config", "validate")
    assert ran.code == 0
    assert "redis.read_from: replica has no effect" in ran.err
    checks = {check["name"]: check for check in json.loads(cli("doctor", "--json").out)["checks"]}
    assert checks["redis replicas"]["status"] == "warn"


def test_the_environment_counts_among_what_was_read(cli, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_ENABLED", "false")
    assert "the environment" in cli("config", "validate").err
    checks = {check["name"]: check for check in json.loads(cli("doctor", "--json").out)["checks"]}
    assert checks["configuration"]["detail"] == "the environment"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[security]\nencryption = "aes-256-gcm"\nsigning_keys = { k = "0123456789abcdef" }\n',
         "security.encryption is not available"),
        ("[compression]\nlevel = 99\n", "compression: level 99 is outside"),
        ('[compression]\ntype = "zstd"\ndictionary = "/nowhere"\n', "compression.dictionary: /nowhere"),
        ('[redis]\nurl = "redis://h"\npassword_file = "/nowhere"\n', "redis.password_file: /nowhere"),
        ('[redis]\nurl = "rediss://h"\ntls_ca_file = "/nowhere"\n', "redis.tls_ca_file: /nowhere"),
    ],
)  # fmt: skip
def test_what_no_cache_could_be_opened_with_is_not_called_right(text, problem, cli, workplace):
    (workplace / "scoutcache.toml").write_text(text)
    ran = cli("config", "validate")
    assert ran.code == 2
    assert f"{workplace / 'scoutcache.toml'}: {problem}" in ran.err
    assert cli("keys").code != 0, "nor does it open"


def test_a_serializer_of_an_applications_own_is_left_to_it(cli, workplace):
    (workplace / "scoutcache.toml").write_text('[serializer]\ntype = "custom"\n')
    assert cli("config", "validate").code == 0
