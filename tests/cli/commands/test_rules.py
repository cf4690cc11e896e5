"""``rules`` and ``events``: what is printed, what is done, and with which exit code."""

from __future__ import annotations

import json

import pytest

from scoutcache import Cache
from scoutcache.channels.locking import held

CONFIG = """
[[rules]]
rule_id = "users"
event_types = ["db.users.*"]
target_pattern = "user:{id}:*"
target_tags = ["user:{id}"]

[[rules]]
rule_id = "nightly"
trigger_type = "time"
schedule = "0 3 * * *"
target_pattern = "llm:*"

[[rules]]
rule_id = "prices"
trigger_type = "dependency"
trigger_config = {keys = ["rate:*"]}
target_pattern = "price:*"

[[rules]]
rule_id = "jobs"
trigger_type = "manual"
target_pattern = "job:*"
priority = 3
"""


@pytest.fixture
def ruled(directory, workplace):
    """The cache of `directory` with rules, and entries for them."""
    (workplace / "scoutcache.toml").write_text(CONFIG)
    with Cache(directory=directory, tiers=["disk"]) as cache:
        for key in ("user:7:a", "user:7:b", "user:8:a", "price:1"):
            cache.set(key, key)
        cache.set("report", 1, tags=["user:7"])
    return directory


def body(ran, code=0):
    assert ran.code == code, ran.err
    return json.loads(ran.out)


def left(cli):
    return cli("keys", "-q", "--sort", "key").out.split()


class TestList:
    def test_rules_are_listed_with_what_sets_them_off(self, ruled, cli):
        lines = [line.split() for line in cli("rules", "list", "--format", "csv").out.replace(",", " ").splitlines()]
        assert lines[0][:6] == ["rule_id", "trigger_type", "on", "target", "action", "priority"]
        assert [line[0] for line in lines[1:]] == ["users", "nightly", "prices", "jobs"]
        table = cli("rules", "list").out
        for text in ("db.users.*", "user:{id}:* tag:user:{id}", "0 3 * * *", "rate:*", "by hand"):
            assert text in table

    def test_json_holds_the_whole_rule_and_its_statistics(self, ruled, cli):
        cli("events", "emit", "db.users.updated", "id=8", "--count")
        cli("rules", "run", "jobs")
        rows = {row["rule_id"]: row for row in body(cli("rules", "list", "--json"))["rules"]}
        assert rows["users"]["runs"] == 1
        assert rows["users"]["total_invalidations"] == 1
        assert rows["jobs"]["total_invalidations"] == 2
        assert rows["nightly"]["due"] is True
        assert rows["nightly"]["last_run"] is None
        assert set(rows["users"]) >= {
            "name", "trigger_type", "trigger_config", "target_pattern", "target_tags", "cascade", "action", "schedule",
            "last_run", "event_types", "priority", "next_run",
        }  # fmt: skip

    def test_without_rules_or_a_cache_there_is_nothing_to_list(self, cli):
        ran = cli("rules", "list", "--directory", "nowhere")
        assert (ran.code, ran.out, ran.err) == (0, "", "no rules are configured\n")
        assert body(cli("rules", "list", "--json")) == {"schema_version": 1, "rules": []}


class TestRun:
    def test_due_rules_run_once_and_quietly(self, ruled, cli):
        assert cli("rules", "run", "--due") == (0, "", "")
        assert "llm:a" not in left(cli)
        assert cli("rules", "run", "--due") == (0, "", "")
        assert cli("rules", "run", "--due", "--verbose") == (0, "", "no rule is due\n")
        assert body(cli("rules", "run", "--json", "-q")) == {"schema_version": 1, "rules": []}
        (row,) = [row for row in body(cli("rules", "list", "--json"))["rules"] if row["rule_id"] == "nightly"]
        assert (row["due"], row["runs"]) == (False, 1)

    def test_a_rule_runs_by_its_id_due_or_not(self, ruled, cli):
        (row,) = body(cli("rules", "run", "jobs", "--json"))["rules"]
        assert row == {
            "rule_id": "jobs", "matched": 2, "invalidated": 2, "by_tier": {"memory": 0, "disk": 2},
            "sample": ["job:1", "job:2"], "action": "delete", "target_pattern": "job:*", "target_tags": [],
        }  # fmt: skip
        assert cli("rules", "run", "jobs").out.split() == [
            "rule_id", "action", "target", "matched", "invalidated", "jobs", "delete", "job:*", "0", "0"
        ]  # fmt: skip

    def test_a_dry_run_changes_nothing(self, ruled, cli):
        before = left(cli)
        rows = body(cli("rules", "run", "--dry-run", "--json"))["rules"]
        assert [(row["rule_id"], row["matched"], row["invalidated"]) for row in rows] == [("nightly", 2, 0)]
        assert left(cli) == before
        assert not (ruled / "rules").exists()

    def test_another_run_at_work_is_exit_code_11(self, ruled, cli):
        with held(ruled / "rules" / "running"):
            ran = cli("rules", "run", "--due")
        assert (ran.code, ran.out) == (11, "")
        assert "--lock-timeout" in ran.err
        assert "llm:a" in left(cli)

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (["jbs"], 2, "there is no rule 'jbs'"),
            (["users"], 2, "rule 'users': the field 'id' is missing"),
            (["jobs", "--due"], 2, "can't be used together"),
            (["jobs", "--lock-timeout", "soon"], 2, "soon"),
        ],
    )
    def test_what_can_t_be_run_is_told(self, arguments, code, said, ruled, cli):
        before = left(cli)
        ran = cli("rules", "run", *arguments)
        assert (ran.code, ran.out) == (code, "")
        assert said in ran.err
        assert left(cli) == before

    def test_where_no_rules_are_configured_that_is_said(self, cli, workplace):
        ran = cli("rules", "run", "nosuch")
        assert (ran.code, ran.out) == (2, "")
        assert "hint: no rules are configured: add [[rules]]" in ran.err

    def test_a_configuration_without_time_rules_has_nothing_to_do(self, cli, workplace):
        ran = cli("rules", "run", "--due", "--directory", "nowhere")
        assert ran == (0, "", "no time rules are configured: nothing to do\n")
        assert not (workplace / "nowhere").exists()

    def test_what_a_rule_s_failing_tier_is_in_exit_codes(self, ruled, cli, monkeypatch):
        from scoutcache.errors import TierUnavailable
        from scoutcache.tiers.disk import DiskTier

        def down(*_):
            raise TierUnavailable("disk", "locked")

        monkeypatch.setattr(DiskTier, "remove_matching", down)
        ran = cli("rules", "run", "--due")
        assert ran.code == 10
        assert "rule nightly: the disk tier could not be asked: locked" in ran.err


class TestEvents:
    def test_an_event_runs_its_rules(self, ruled, cli):
        told = body(cli("events", "emit", "db.users.updated", "id=7", "--count", "--json"))
        assert (told["event"], told["matched"], told["invalidated"]) == ("db.users.updated", 3, 3)
        assert [row["rule_id"] for row in told["rules"]] == ["users"]
        assert {"user:8:a"} == {key for key in left(cli) if key.startswith(("user", "report"))}

    def test_without_count_what_tags_covered_is_null(self, ruled, cli):
        told = body(cli("events", "emit", "db.users.updated", "id=7", "--json"))
        assert told["invalidated"] is None

    def test_a_value_is_never_a_wildcard(self, ruled, cli):
        before = left(cli)
        body(cli("events", "emit", "db.users.updated", "id=*", "--json"))
        assert left(cli) == before

    @pytest.mark.parametrize("command", [["rules", "test"], ["events", "emit", "--dry-run"]])
    def test_trying_shows_what_would_be_hit(self, command, ruled, cli):
        before = left(cli)
        told = body(cli(*command, "db.users.updated", "id=7", "--json"))
        assert (told["matched"], told["invalidated"]) == (3, 0)
        assert told["rules"][0]["sample"] == ["user:7:a", "user:7:b", "report"] or len(told["rules"][0]["sample"]) == 3
        assert left(cli) == before

    def test_an_event_that_nobody_listens_to_is_an_answer(self, ruled, cli):
        assert cli("events", "emit", "deploy") == (0, "", "no rule listens to deploy\n")
        told = body(cli("events", "emit", "deploy", "--json"))
        assert told == {"schema_version": 1, "event": "deploy", "matched": 0, "invalidated": 0, "rules": []}

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["db.users.updated"], "rule 'users': the field 'id' is missing"),
            (["db.users.updated", "name=x"], "given: 'name'"),
            (["db.users.updated", "id="], "the field 'id' is empty"),
            (["db.users.updated", "id"], "write it as FIELD=VALUE"),
            (["db.users.updated", "=7"], "write it as FIELD=VALUE"),
            (["db.users.updated", "id=7", "id=8"], "given twice"),
            (["db.*"], "is a pattern"),
            ([""], "can't be empty"),
        ],
    )
    def test_what_can_t_be_meant_is_refused_and_nothing_is_touched(self, arguments, said, ruled, cli):
        before = left(cli)
        ran = cli("events", "emit", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err
        assert left(cli) == before

    def test_the_reason_stands_in_the_log(self, ruled, cli):
        cli("events", "emit", "db.users.updated", "id=8", "--reason", "ticket 12")
        lines = "".join(path.read_text() for path in (ruled / "oplog").rglob("*.jsonl"))
        assert "rule:users event:db.users.updated ticket 12" in lines

    def test_invalidate_takes_an_event_as_well(self, ruled, cli, workplace):
        (workplace / "scoutcache.toml").write_text(
            CONFIG.replace('target_pattern = "user:{id}:*"', "").replace("{id}", "7")
        )
        told = body(cli("invalidate", "job:1", "--event", "db.users.updated", "--count", "--json"))
        assert told["invalidated"] == 2
        assert {"report", "job:1"}.isdisjoint(left(cli))


def test_a_write_from_the_command_line_sets_off_the_rules_that_watch_it(ruled, cli):
    assert "price:1" in left(cli)
    cli("set", "rate:eur", "2")
    assert "price:1" not in left(cli)
