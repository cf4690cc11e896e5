"""What a newcomer runs into: misspelt directories, settings that can't be had, values that would not last."""

from __future__ import annotations

import os

import pytest

READING = (
    ("keys",), ("get", "k"), ("inspect", "k"), ("stats",), ("report",), ("explain", "k"), ("verify",),
)  # fmt: skip


class TestSetKeepsItsWord:
    def test_where_memory_is_the_only_tier_it_refuses(self, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_TIERS", '["memory"]')
        ran = cli("set", "k", "v")
        assert (ran.code, ran.out) == (1, "")
        assert "a command's memory ends with it" in ran.err
        assert "hint: " in ran.err

    def test_the_profile_for_tests_is_such_a_place(self, cli):
        assert cli("set", "k", "v", "--profile", "testing").code == 1

    def test_a_value_that_the_disk_refused_is_not_stored(self, cli, monkeypatch, workplace):
        monkeypatch.setenv("SCOUTCACHE_DISK__MAX_BYTES", "1MB")
        monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "small"))
        ran = cli("set", "k", "-", "--value", "bytes", stdin=os.urandom(5_000_000))
        assert (ran.code, ran.out) == (1, "")
        assert "no tier kept it; disk stores at most 1.0 MB" in ran.err
        assert cli("get", "k").code == 4

    def test_what_a_policy_keeps_in_memory_would_not_last(self, cli, workplace):
        rule = '[[policies]]\npolicy_id = "near"\napplies_to = "m:*"\nallowed_backends = ["memory"]\n'
        (workplace / "scoutcache.toml").write_text(rule)
        ran = cli("set", "m:1", "v")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("error: not stored: m:1: the policy 'near' keeps it in memory, and a command's")
        assert cli("set", "k", "v").code == 0

    def test_a_value_that_expires_at_once_was_stored_all_the_same(self, cli, directory):
        assert cli("set", "k", "v", "--ttl", "0.000001") == (0, "", "stored k\n")

    @pytest.mark.parametrize("value", ["NaN", "[1, -Infinity]", '{"a": Infinity}', "1e999"])
    def test_numbers_that_json_does_not_have_are_refused(self, value, cli, directory):
        ran = cli("set", "k", "--value", "json", "--", value)
        assert (ran.code, ran.out) == (2, "")
        assert "not JSON" in ran.err
        assert cli("get", "k").code == 4


class TestNoCacheThere:
    @pytest.mark.parametrize("command", READING)
    @pytest.mark.parametrize("made", [False, True])
    def test_a_reading_command_says_so_and_leaves_nothing(self, command, made, cli, workplace):
        place = workplace / "typo"
        if made:
            place.mkdir()
        ran = cli(*command, "--directory", str(place))
        assert ran.err.splitlines()[0] == f"there is no cache in {place} yet"
        assert ran.code == (4 if command[0] in {"get", "inspect"} else 0)
        assert sorted(workplace.rglob("*")) == ([place] if made else [])
        assert "no cache in" not in cli(*command, "--directory", str(place), "--quiet").err

    @pytest.mark.parametrize("command", READING)
    def test_where_there_is_one_it_says_nothing(self, command, cli, directory):
        assert "no cache in" not in cli(*command).err

    def test_the_doctor_has_its_own_words(self, cli, workplace):
        assert "no cache in" not in cli("doctor", "--directory", str(workplace / "typo")).err


class TestStoreOutOfReach:
    @pytest.mark.parametrize("command", [*READING, ("set", "k", "v"), ("prune",)])
    def test_a_path_that_is_a_file_ends_with_10(self, command, cli, workplace):
        (workplace / "file").write_text("mine")
        ran = cli(*command, "--directory", str(workplace / "file"))
        assert (ran.code, ran.out) == (10, "")
        assert "is not a directory" in ran.err
        assert "hint: " in ran.err

    @pytest.mark.parametrize("command", [("keys",), ("get", "llm:a"), ("stats",), ("set", "k", "v")])
    def test_another_user_s_directory_ends_with_10_and_names_another_way(self, command, cli, directory):
        if os.geteuid():
            pytest.skip("only root can give a directory away")
        os.chown(directory / "disk", 12345, 12345)
        ran = cli(*command)
        assert (ran.code, ran.out) == (10, "")
        assert "--directory" in ran.err
        assert "chown" not in ran.err


class TestHints:
    @pytest.mark.parametrize("command", ["get", "inspect"])
    def test_a_hint_keeps_the_options_that_say_which_cache(self, command, cli, directory):
        ran = cli(command, "no such", "--directory", str(directory), "--namespace", "tenant")
        assert f"hint: scoutcache explain --directory {directory} --namespace tenant 'no such' says why" in ran.err

    def test_a_hint_for_a_key_like_an_option_can_be_typed(self, cli, directory):
        assert "hint: scoutcache explain -- -k says why" in cli("get", "--", "-k").err


class TestSweeps:
    @pytest.mark.parametrize("pattern", ["*", "**", "?*", "*?", "??", "[^]*"])
    def test_wildcards_alone_need_all(self, pattern, cli, directory):
        ran = cli("invalidate", pattern)
        assert (ran.code, ran.out) == (2, "")
        assert "--all" in ran.err
        assert cli("get", "llm:a").code == 0

    @pytest.mark.parametrize("pattern", ["l*", "?lm:*", r"\**", "[l]*"])
    def test_a_pattern_with_anything_else_does_not(self, pattern, cli, directory):
        assert cli("invalidate", pattern).code == 0

    def test_memory_alone_can_t_be_cleared_from_outside(self, cli, directory):
        ran = cli("clear", "--tier", "memory", "--yes")
        assert (ran.code, ran.out) == (2, "")
        assert "belongs to each process" in ran.err
        assert "invalidate" in ran.err


def test_stats_of_a_tier_that_is_not_there_is_refused_as_by_keys(cli, directory):
    assert cli("stats", "--tier", "foo") == cli("keys", "--tier", "foo")
    assert cli("stats", "--tier", "foo").code == 2


@pytest.mark.parametrize("name", ["", "../../evil"])
def test_a_benchmark_s_name_is_looked_at_before_anything_is_measured(name, cli, monkeypatch):
    def measured(*_, **__):
        raise AssertionError("it was measured")

    monkeypatch.setattr("scoutcache.bench.run.run_bench", measured)
    ran = cli("bench", "--save", name)
    assert (ran.code, ran.out) == (2, "")
    assert "can't name a benchmark" in ran.err


class TestValidate:
    CONFIG = """
[[rules]]
rule_id = "a"
trigger_type = "time"
schedule = "0 3 * * *"
target_pattern = "llm:*"

[[rules]]
rule_id = "b"
trigger_type = "time"
schedule = "every day"
target_pattern = "llm:*"

[[rules]]
rule_id = "c"
event_types = ["db.users.*"]
target_pattern = "user:{id:*"

[[tasks]]
task_id = "c"
source = "keys.jsonl"
schedule = "61 * * * *"
"""

    def test_wrong_schedules_and_rules_are_listed_at_once_with_their_places(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text(self.CONFIG)
        for command in (["config", "validate"], ["stats"]):
            ran = cli(*command)
            assert (ran.code, ran.out) == (2, "")
            assert "3 settings are wrong" in ran.err
            for place in ("rules[1].schedule: 'every day'", "rules[2].target_pattern:", "tasks[0].schedule: '61"):
                assert f"{workplace / 'scoutcache.toml'}: {place}" in ran.err
            assert "expected five fields in UTC" in ran.err
            assert "rules[0]" not in ran.err

    def test_a_strategy_that_can_t_be_had_is_named_with_its_place(self, cli, workplace):
        (workplace / "scoutcache.toml").write_text('[memory]\nstrategy = "predictive"\n')
        ran = cli("config", "validate")
        assert (ran.code, ran.out) == (2, "")
        assert f"{workplace / 'scoutcache.toml'}: memory.strategy: predictive" in ran.err
        assert "adaptive, lru, lfu, ttl, sieve, s3fifo, tinylfu, gdsf, auto\n" in ran.err

    def test_other_commands_name_the_strategy_plainly(self, cli, directory, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_MEMORY__STRATEGY", "semantic")
        ran = cli("get", "llm:a")
        assert ran.code == 2
        assert "memory.strategy: semantic is a strategy of policies ([[policies]] strategy), not" in ran.err
        assert "CacheStrategy" not in ran.err

    def test_the_template_offers_what_there_is(self, cli):
        from scoutcache.cli.checks.available import strategies

        assert f"# {', '.join(strategies())}\n#strategy" in cli("config", "init", "-").out


def test_a_file_that_init_wrote_sets_nothing_and_is_no_origin(cli):
    cli("config", "init")
    ran = cli("config", "show", "--origin", "--format", "jsonl")
    assert ran.code == 0
    assert "scoutcache.toml" not in ran.out
