"""Commands that change something: set, delete, invalidate, clear, prune, verify, warm."""

from __future__ import annotations

import json

import pytest


def body(ran):
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def left(cli, *more):
    return cli("keys", "-q", "--sort", "key", *more).out.split()


class TestSet:
    def test_text_comes_back_as_text(self, directory, cli):
        assert cli("set", "k", "1") == (0, "", "stored k\n")
        assert cli("get", "k").out == "1\n"

    def test_json_comes_back_as_its_type(self, directory, cli):
        cli("set", "k", '{"a": [1, null]}', "--value", "json")
        assert body(cli("get", "k", "--json"))["value"] == {"a": [1, None]}

    def test_json_says_what_it_is_kept_as(self, directory, cli):
        found = body(cli("set", "k", "v", "--ttl", "90s", "--json"))
        assert (found["schema_version"], found["key"], found["stored"], found["tiers"]) == (1, "k", True, ["disk"])
        assert 80 < found["ttl_s"] <= 90
        assert found["size_bytes"] > 0

    def test_a_dash_reads_stdin_as_it_is(self, directory, cli):
        cli("set", "k", "-", stdin="two\nlines\n\n")
        assert body(cli("get", "k", "--json"))["value"] == "two\nlines\n\n"

    def test_bytes_are_stored_when_asked_for(self, directory, cli, workplace):
        ran = cli("set", "k", "-", stdin=b"\xff\x00")
        assert ran.code == 2
        assert "--value bytes" in ran.err
        assert cli("set", "k", "-", "--value", "bytes", stdin=b"\xff\x00").code == 0
        cli("get", "k", "-o", "out")
        assert (workplace / "out").read_bytes() == b"\xff\x00"

    def test_ttl_and_tags(self, directory, cli):
        cli("set", "k", "v", "--ttl", "90s", "--tag", "x", "--tag", "y")
        row = body(cli("keys", "k", "--json"))["keys"][0]
        assert row["tags"] == ["x", "y"]
        assert 80 < row["ttl_s"] <= 90

    @pytest.mark.parametrize("ttl", ["soon", "-5", "nan", "5 parsecs", ""])
    def test_a_bad_ttl_is_refused_and_nothing_is_stored(self, ttl, directory, cli):
        ran = cli("set", "k", "v", "--ttl", ttl)
        assert (ran.code, ran.out) == (2, "")
        assert "expected" in ran.err
        assert cli("get", "k").code == 4

    def test_bad_json_is_refused(self, directory, cli):
        assert cli("set", "k", "{", "--value", "json").code == 2

    def test_a_ttl_of_nothing_stores_nothing_and_says_so(self, directory, cli):
        ran = cli("set", "k", "v", "--ttl", "0")
        assert (ran.code, ran.err) == (1, "error: not stored: k: the ttl is 0\n")

    def test_a_cache_that_is_switched_off_says_so(self, directory, cli, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_ENABLED", "false")
        assert cli("set", "k", "v").err == "error: not stored: k: the cache is switched off\n"


class TestDelete:
    def test_keys_go_and_what_depends_on_them(self, directory, cli):
        assert cli("delete", "job:1").code == 0
        assert left(cli) == ["llm:a", "llm:b"]

    def test_absent_keys_are_told(self, directory, cli):
        found = body(cli("delete", "llm:a", "nope", "--json"))
        assert (found["deleted"], found["absent"]) == (1, ["nope"])

    def test_none_of_them_there_ends_with_4(self, directory, cli):
        assert cli("delete", "nope").code == 4


class TestInvalidate:
    def test_by_pattern(self, directory, cli):
        found = body(cli("invalidate", "llm:*", "--json"))
        assert (found["matched"], found["invalidated"]) == (2, 2)
        assert {"matched", "invalidated", "by_tier", "sample"} <= set(found)
        assert left(cli) == ["job:1", "job:2"]

    def test_by_tag_uncounted_and_counted(self, directory, cli):
        assert body(cli("invalidate", "--tag", "model:small", "--json"))["invalidated"] is None
        assert body(cli("invalidate", "--tag", "model:big", "--count", "--json"))["invalidated"] == 1
        assert left(cli) == ["job:1", "job:2"]

    def test_what_depends_on_a_key_goes_and_the_key_stays(self, directory, cli):
        assert body(cli("invalidate", "--depends-on", "job:1", "--count", "--json"))["sample"] == ["job:2"]
        assert left(cli, "job:*") == ["job:1"]

    def test_by_keys_from_stdin(self, directory, cli):
        cli("invalidate", "--keys-from", "-", stdin="llm:a\0job:2\0")
        assert left(cli) == ["job:1", "llm:b"]
        cli("invalidate", "--keys-from", "-", stdin="llm:b\n")
        assert left(cli) == ["job:1"]

    def test_no_keys_on_stdin_is_nothing_to_do(self, directory, cli):
        assert body(cli("invalidate", "--keys-from", "-", "--json"))["invalidated"] == 0
        assert len(left(cli)) == 4

    def test_all_that_is_named_at_once(self, directory, cli):
        cli("invalidate", "llm:*", "--tag", "model:big", "--match", "all")
        assert left(cli) == ["job:1", "job:2", "llm:a"]

    def test_without_cascade_dependents_stay(self, directory, cli):
        cli("invalidate", "--keys-from", "-", "--no-cascade", stdin="job:1\n")
        assert left(cli, "job:*") == ["job:2"]

    def test_a_dry_run_counts_and_removes_nothing(self, directory, cli):
        found = body(cli("invalidate", "llm:*", "--dry-run", "--json"))
        assert (found["matched"], found["invalidated"]) == (2, 0)
        assert sorted(found["sample"]) == ["llm:a", "llm:b"]
        assert len(left(cli)) == 4

    def test_more_than_allowed_is_refused(self, directory, cli):
        ran = cli("invalidate", "llm:*", "--max", "1")
        assert (ran.code, ran.out) == (1, "")
        assert "2 matching keys, more than --max 1" in ran.err
        assert len(left(cli)) == 4

    def test_when_no_store_can_be_asked_it_ends_with_10(self, cli):
        ran = cli("invalidate", "llm:*", "--directory", "/proc/nowhere", "--json")
        assert ran.code == 10
        assert "disk" in json.loads(ran.out)["failed"]
        assert "warning: the disk tier could not be asked" in ran.err

    @pytest.mark.parametrize("pattern", ["*", "**"])
    def test_everything_needs_all(self, pattern, directory, cli):
        ran = cli("invalidate", pattern)
        assert (ran.code, ran.out) == (2, "")
        assert "--all" in ran.err
        assert len(left(cli)) == 4

    def test_all_needs_yes_off_a_terminal(self, directory, cli):
        ran = cli("invalidate", "--all")
        assert ran.code == 2
        assert "--yes" in ran.err
        assert len(left(cli)) == 4
        assert cli("invalidate", "--all", "--yes").code == 0
        assert left(cli) == []
        assert left(cli, "--namespace", "tenant") == ["llm:a"]

    def test_naming_nothing_is_refused(self, directory, cli):
        assert cli("invalidate").code == 2

    @pytest.mark.parametrize("option", [("--action", "remove"), ("--match", "some")])
    def test_a_wrong_choice_names_the_right_ones(self, option, directory, cli):
        ran = cli("invalidate", "x", *option)
        assert ran.code == 2
        assert "is none of" in ran.err


class TestClear:
    def test_off_a_terminal_it_needs_yes(self, directory, cli):
        ran = cli("clear")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.endswith("hint: pass --yes to confirm\n")
        assert len(left(cli)) == 4

    def test_the_namespace_goes_and_no_other(self, directory, cli):
        assert body(cli("clear", "--yes", "--json"))["cleared"] == 4
        assert left(cli) == []
        assert left(cli, "--namespace", "tenant") == ["llm:a"]

    def test_a_prefix_alone(self, directory, cli):
        assert body(cli("clear", "--prefix", "llm", "--yes", "--json"))["cleared"] == 2
        assert left(cli) == ["job:1", "job:2"]

    def test_a_colon_behind_a_prefix_says_nothing_else(self, directory, cli):
        assert body(cli("clear", "--prefix", "llm:", "--yes", "--json"))["cleared"] == 2
        assert left(cli) == ["job:1", "job:2"]

    @pytest.mark.parametrize("prefix", ["", ":", "llm:a", "a:b:"])
    def test_what_no_key_has_as_its_prefix_is_refused(self, directory, cli, prefix):
        ran = cli("clear", "--prefix", prefix, "--yes")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith(f"error: {prefix!r} is no prefix")
        assert len(left(cli)) == 4

    def test_a_prefix_is_text_and_no_pattern(self, directory, cli):
        cli("clear", "--prefix", "*", "--yes")
        assert len(left(cli)) == 4

    def test_a_tier_alone(self, directory, cli):
        assert body(cli("clear", "--tier", "disk", "--yes", "--json"))["by_tier"] == {"disk": 4}

    def test_on_a_terminal_it_asks_and_no_is_no(self, directory, terminal, cli):
        ran = terminal("clear", keys="n\n")
        assert ran.code == 1
        assert "? [y/N]" in ran.out
        assert "nothing was changed" in ran.out
        assert len(left(cli)) == 4

    def test_on_a_terminal_yes_is_yes(self, directory, terminal, cli):
        assert terminal("clear", keys="y\n").code == 0
        assert left(cli) == []

    def test_no_input_never_asks(self, directory, terminal):
        ran = terminal("clear", "--no-input")
        assert ran.code == 2
        assert "[y/N]" not in ran.out


def test_a_changed_limit_is_told_by_doctor_and_applied_by_the_command_it_names(directory, cli, monkeypatch):
    limit = body(cli("stats", "--json"))["tiers"]
    before = next(tier["max_bytes"] for tier in limit if tier["name"] == "disk")
    monkeypatch.setenv("SCOUTCACHE_DISK__MAX_BYTES", "7MB")
    checks = {check["name"]: check for check in body(cli("doctor", "--json"))["checks"]}
    assert "says 7000000" in checks["disk limits"]["detail"]
    remedy = checks["disk limits"]["fix"].split()[1:]
    assert cli(*remedy, "--dry-run").code == 0
    assert "disk limits" in {check["name"] for check in body(cli("doctor", "--json"))["checks"]}
    done = cli(*remedy)
    assert done.code == 0
    assert "is 7.0 MB" in done.err
    assert "disk limits" not in {check["name"] for check in body(cli("doctor", "--json"))["checks"]}
    after = next(tier["max_bytes"] for tier in body(cli("stats", "--json"))["tiers"] if tier["name"] == "disk")
    assert (before != after, after) == (True, 7_000_000)


def test_there_is_no_limit_to_apply_without_a_disk_tier(directory, cli, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_TIERS", '["memory"]')
    done = cli("prune", "--apply-limit")
    assert done.code != 0
    assert "no disk tier" in done.err


def test_prune_tells_what_it_removed_by_tier(directory, cli):
    found = body(cli("prune", "--older-than", "0s", "--dry-run", "--json"))
    assert found["older"] == 5
    assert found["dry_run"] is True
    assert len(left(cli)) == 4
    assert body(cli("prune", "--older-than", "0s", "--json"))["pruned"] == 5
    assert left(cli) == []


@pytest.mark.parametrize("part", [[], ["--prefix", "job"]], ids=["whole", "prefix"])
def test_what_was_cleared_from_a_tier_is_put_down_to_that(part, directory, cli):
    assert cli("set", "job:3", "x").code == 0
    assert cli("clear", "--tier", "disk", "--yes", *part).code == 0
    assert cli("get", "job:3").code == 4
    (missed,) = body(cli("explain", "job:3", "--json"))["outcomes"]
    assert (missed["reason"], missed["by"]["reason"]) == ("invalidated", "tier disk alone")


def test_what_prune_removed_is_counted(directory, cli, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_TIERS", '["disk"]')  # memory may see it expire as well, and counts its own
    assert cli("set", "job:3", "x", "--ttl", "1ms").code == 0
    assert body(cli("prune", "--older-than", "0s", "--json"))["older"] == 5  # the other one the background may take
    found = body(cli("stats", "--json"))
    assert (found["expirations"], found["evictions"], found["evictions_by_reason"]) == (1, 5, {"older": 5})


def test_what_a_single_set_had_to_evict_is_counted(workplace, cli):
    place = ("--directory", str(workplace / "small"))
    (workplace / "scoutcache.toml").write_text('[disk]\nmax_bytes = "400KB"\n[compression]\ntype = "none"\n')
    for number in range(6):
        assert cli(*place, "set", f"k:{number}", "-", stdin="x" * 100_000).code == 0
    left = len(body(cli(*place, "keys", "--json"))["keys"])
    assert body(cli(*place, "stats", "--json"))["evictions"] == 6 - left > 0


def test_prune_forgets_tags_that_nothing_carries(directory, cli):
    assert cli("set", "tagged", "1", "--tag", "nobody-else").code == 0
    before = body(cli("prune", "--dry-run", "--json"))["unused_tags"]
    assert cli("delete", "tagged").code == 0
    assert body(cli("prune", "--dry-run", "--json"))["unused_tags"] == before + 1
    assert body(cli("prune", "--json"))["unused_tags"] == before + 1
    assert body(cli("prune", "--json"))["unused_tags"] == 0


@pytest.mark.parametrize("option", [("--older-than", "soon"), ("--max-size", "big")])
def test_prune_refuses_what_it_cannot_read(option, directory, cli):
    assert cli("prune", *option).code == 2


class TestVerify:
    @pytest.fixture
    def damaged(self, directory):
        import sqlite3

        con = sqlite3.connect(next(directory.rglob("*.db")))
        con.execute("UPDATE Cache SET value = substr(value, 1, length(value) - 3) || x'000000' WHERE key LIKE '%llm:b'")
        con.commit()
        con.close()

    def test_a_whole_store_passes(self, directory, cli):
        found = body(cli("verify", "--json"))
        assert (found["checked"], found["damaged"]) == (5, 0)

    def test_damage_ends_with_1_and_is_removed_by_repair(self, directory, damaged, cli):
        ran = cli("verify", "--json")
        assert (ran.code, json.loads(ran.out)["damaged"]) == (1, 1)
        assert body(cli("verify", "--repair", "--json"))["removed"] == 1
        assert body(cli("verify", "--json"))["damaged"] == 0

    def test_doctor_sees_it(self, directory, damaged, cli):
        ran = cli("doctor", "--json")
        assert ran.code == 1
        assert any(
            check["name"] == "disk integrity" and check["status"] == "fail" for check in json.loads(ran.out)["checks"]
        )


class TestWarm:
    LINES = '{"key": "w:1", "value": {"a": 1}, "ttl": "1h", "tags": ["t"]}\n{"key": "w:2", "value": 2}\n'

    def test_lines_fill_the_cache(self, directory, cli):
        found = body(cli("warm", "--from", "-", "--json", stdin=self.LINES))
        assert (found["requested"], found["warmed"], found["skipped"], found["failed"]) == (2, 2, 0, 0)
        assert left(cli, "w:*") == ["w:1", "w:2"]

    def test_off_a_terminal_it_says_nothing_when_all_is_well(self, directory, cli):
        assert cli("warm", "--from", "-", stdin=self.LINES) == (0, "", "")

    def test_some_failures_end_with_3_and_are_named_by_line(self, directory, cli):
        ran = cli("warm", "--from", "-", stdin=self.LINES + "nonsense\n")
        assert ran.code == 3
        assert "line 3" in ran.err

    def test_only_failures_end_with_1(self, directory, cli):
        assert cli("warm", "--from", "-", stdin="nonsense\n").code == 1

    def test_what_is_there_is_skipped_when_asked(self, directory, cli):
        cli("warm", "--from", "-", stdin=self.LINES)
        assert body(cli("warm", "--from", "-", "--only-missing", "--json", stdin=self.LINES))["skipped"] == 2

    def test_without_tasks_there_is_one_line_and_no_failure(self, directory, cli):
        assert cli("warm") == (0, "", "no warming tasks are configured: nothing to do\n")

    def test_without_tasks_json_is_an_object_all_the_same(self, directory, cli):
        found = body(cli("warm", "--json"))
        assert (found["schema_version"], found["requested"], found["warmed"], found["errors"]) == (1, 0, 0, [])

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (("--from", "nowhere.jsonl"), "nowhere.jsonl"),
            (("--from", "-", "--call", "nothing"), "nothing"),
            (("--from", "-", "--call", "no.such.module:function"), "no module 'no'"),
            (("--from", "-", "--call", "json:nothing"), "nothing"),
            (("--from", "-", "--call", "json:__doc__"), "not a function"),
            (("--task", "nihgtly"), "nihgtly"),
            (("--task", "nightly", "--from", "-"), "can't be used together"),
            (("--from", "-", "--concurrency", "0"), "--concurrency"),
            (("--from", "-", "--concurrency", "1025"), "--concurrency: expected 1 to 1024"),
            (("--from", "-", "--lock-timeout", "long"), "long"),
        ],
    )
    def test_what_cannot_be_meant_so_ends_with_2(self, arguments, named, directory, cli):
        ran = cli("warm", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert named in ran.err

    def test_what_a_function_s_module_raises_is_its_failure(self, directory, cli, workplace):
        (workplace / "broken_jobs.py").write_text("raise RuntimeError('no')\n")
        ran = cli("warm", "--from", "-", "--call", "broken_jobs:load", stdin="a\n")
        assert ran.code == 1
        assert "RuntimeError: no" in ran.err

    def test_a_held_lock_ends_with_11(self, directory, cli):
        from scoutcache import Cache
        from scoutcache.warming.fill import warm_from

        def lines():
            assert cli("warm", "--from", "-", stdin=self.LINES).code == 11
            yield b'{"key": "w:9", "value": 9}\n'

        with Cache(directory=directory) as cache:
            assert warm_from(cache, lines(), concurrency=1).warmed == 1

    def test_tasks_are_listed_and_run_by_name(self, directory, cli, workplace):
        (workplace / "lines.jsonl").write_text(self.LINES)
        (workplace / "scoutcache.toml").write_text(
            '[[tasks]]\nname = "nightly"\nsource = "lines.jsonl"\nschedule = "0 3 * * *"\n'
        )
        assert body(cli("tasks", "list", "--json"))["tasks"][0]["task"] == "nightly"
        assert body(cli("warm", "--task", "nightly", "--json"))["warmed"] == 2
        assert body(cli("tasks", "list", "--json"))["tasks"][0]["status"] == "completed"
        ran = cli("warm", "--task", "nihgtly")
        assert (ran.code, ran.err.splitlines()[1]) == (2, "hint: did you mean nightly?")


def test_what_prune_counts_is_there_whatever_tier_is_named(cli):
    cli("set", "a:1", "x")
    every, one = (json.loads(cli("prune", "--json", *given).out) for given in ((), ("--tier", "memory")))
    assert set(every) == set(one)
    assert one["dead"] == one["expired"] == one["orphaned"] == 0


def test_a_value_as_it_is_and_in_a_format_are_two_things(cli, workplace):
    cli("set", "a:1", "x")
    ran = cli("get", "a:1", "--raw", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert json.loads(cli("get", "a:1", "--raw", "--json", "-o", "file").out)["size_bytes"] == 1
    assert (workplace / "file").read_text() == "x"


def test_that_the_cache_is_switched_off_is_told_to_who_reads(cli, monkeypatch):
    cli("set", "a:1", "x")
    monkeypatch.setenv("SCOUTCACHE_ENABLED", "false")
    ran = cli("get", "a:1")
    assert ran.code == 4
    assert "switched off" in ran.err
