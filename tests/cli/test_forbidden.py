"""Entries that lie where a policy, made later, keeps them out."""

from __future__ import annotations

import json

import pytest

POLICY = """
[[policies]]
policy_id = "secrets"
applies_to = "secret:*"
allowed_backends = "memory"
"""


@pytest.fixture
def run(cli, workplace):
    """A command of who goes by the policy, or not yet; two entries are there."""

    def call(*arguments, policy=POLICY):
        (workplace / "scoutcache.toml").write_text(policy)
        return cli(*arguments, "--directory", str(workplace / "cache"), "--config", "scoutcache.toml")

    for key in ("secret:a", "secret:b", "other"):
        assert call("set", key, "in plain", policy="").code == 0
    return call


def body(ran):
    return json.loads(ran.out)


@pytest.mark.parametrize("key", ["secret:a", "secret:new"])
def test_set_says_that_nothing_lasts_and_leaves_nothing_older(run, key):
    ran = run("set", key, "new")
    assert (ran.code, ran.out) == (1, "")
    assert f"not stored: {key}: the policy 'secrets' keeps it in memory" in ran.err
    assert run("get", key, policy="").code == 4


def test_keys_and_inspect_call_it_no_entry_that_can_be_read(run):
    assert [row["key"] for row in body(run("keys", "--json"))["keys"]] == ["other"]
    ran = run("inspect", "secret:a", "--json")
    shown = body(ran)
    disk = next(tier for tier in shown["tiers"] if tier["name"] == "disk")
    assert (shown["valid"], disk["present"]) == (None, True)
    assert disk["problem"] == "the policy 'secrets' keeps it out of here, so it is not read"
    assert "hint: scoutcache prune removes it" in ran.err


def test_doctor_names_it_and_prune_removes_it(run):
    def told():
        return [row for row in body(run("doctor", "--json"))["checks"] if row["name"] == "disk policies"]

    [check] = told()
    assert (check["status"], check["fix"]) == ("warn", "scoutcache prune removes them")
    assert "2 entries that a policy now excludes from this tier, such as secret:" in check["detail"]
    for more in ("--dry-run", "--tier=disk"):
        pruned = body(run("prune", more, "--json"))
        assert (pruned["forbidden"], pruned["pruned"]) == (2, 2)
    assert told() == []
    assert body(run("prune", "--json"))["forbidden"] == 0
    assert [row["key"] for row in body(run("keys", "--json", policy=""))["keys"]] == ["other"]
