"""Entries that are signed with a key which this process hasn't, or unsigned where it has one."""

from __future__ import annotations

import json

import pytest

from scoutcache import Cache

KEY, OTHER = {"k1": "0123456789abcdef"}, {"k2": "fedcba9876543210"}
PLACES = ("disk", "redis")
WAYS = {
    "no key": (KEY, {}, "it is signed, and no signing key is configured"),
    "another key": (KEY, OTHER, "it is signed with a key that isn't configured: 'k1'"),
    "unsigned": ({}, KEY, "it is unsigned, and a signing key is configured"),
}


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture(params=PLACES)
def opened(request, tmp_path):
    """A cache with these keys, on the disk or on a server."""
    options = {"tiers": [request.param], "directory": str(tmp_path / "cache")}
    if request.param == "redis":
        options["redis"] = {"url": request.getfixturevalue("redis_url")}
    return lambda keys: Cache(security={"signing_keys": keys}, **options)


def test_it_is_a_miss_of_its_own_and_stays_for_who_has_the_key(opened, way, caplog):
    writes, reads, problem = WAYS[way]
    with opened(writes) as writer, opened(reads) as stranger:
        writer.set_many({"a": 1, "b": "x" * 3_000_000, "c": 3})
        missed = []
        stranger.on("miss", missed.append)
        assert (stranger.get("a"), stranger.get_many(["a", "b"]), stranger.get("c")) == (None, {}, None)
        assert {miss.reason for miss in missed} == {"unverified"}
        assert writer.get_many(["a", "b", "c"]) == {"a": 1, "b": "x" * 3_000_000, "c": 3}
    assert problem in caplog.text
    assert "stays for processes that can read it" in caplog.text


def test_what_is_computed_instead_replaces_it(opened, way):
    writes, reads, _ = WAYS[way]
    with opened(writes) as writer, opened(reads) as stranger:
        writer.set("a", "theirs")
        assert stranger.get_or_compute("a", lambda: "ours") == "ours"
        assert stranger.get("a") == "ours"
        assert writer.get("a") is None


def test_repair_leaves_it_and_removes_what_is_damaged(opened, way):
    writes, reads, _ = WAYS[way]
    with opened(writes) as writer, opened(reads) as stranger:
        writer.set_many({"a": 1, "b": 2})
        stranger.set("c", 3)
        [tier] = stranger._core.tiers
        found = tier.verify(repair=True)
        assert (found["entries"], found["unverified"], found["corrupt"], found["removed"]) == (3, 2, [], 0)
        assert writer.get("a") == 1


@pytest.fixture
def run(cli, workplace, monkeypatch):
    """A command, as one configured with these keys; one that is signed is there already."""

    def call(*arguments, keys):
        lines = [f'{name} = "{key}"' for name, key in keys.items()]
        (workplace / "scoutcache.toml").write_text("\n".join(["[security.signing_keys]", *lines]))
        return cli(*arguments, "--directory", str(workplace / "cache"), "--config", "scoutcache.toml")

    assert call("set", "a", "one", "--tag", "t", keys=KEY).code == 0
    return call


def test_commands_say_that_it_is_there_and_what_to_do(run):
    got = run("get", "a", keys={})
    assert (got.code, got.out) == (1, "")
    assert "a is stored, but can't be read here: it is signed, and no signing key is configured" in got.err
    assert "hint: give this process the key in [security] signing_keys" in got.err
    inspected = run("inspect", "a", "--json", keys={})
    shown = json.loads(inspected.out)
    assert (shown["tags"], shown["valid"]) == (["t"], True)
    assert [tier["problem"] for tier in shown["tiers"] if tier["name"] == "disk"] == [WAYS["no key"][2]]
    assert "hint: give this process the key" in inspected.err


def test_verify_and_doctor_name_it_and_leave_it(run):
    told = "not checked: 1 entry, signed with a key that isn't configured here or unsigned where one is"
    repaired = run("verify", "--repair", "--json", keys={})
    assert (repaired.code, json.loads(repaired.out)["removed"]) == (0, 0)
    assert told in repaired.err
    checks = {row["name"]: row for row in json.loads(run("doctor", "--json", keys={}).out)["checks"]}
    assert (checks["disk integrity"]["status"], checks["disk integrity"]["detail"]) == ("warn", told)
    assert "signing_keys" in checks["disk integrity"]["fix"]
    assert run("get", "a", keys=KEY).out == "one\n"


def test_marking_it_stale_ends_it_for_nobody_here_can_seal_it_anew(run):
    assert run("invalidate", "a", "--action", "mark-stale", keys={}).code == 0
    assert run("get", "a", keys=KEY).code == 4


def test_the_log_counts_it_apart(run, workplace):
    (workplace / "scoutcache.toml").unlink()
    with Cache(directory=str(workplace / "cache")) as stranger:
        assert stranger.get("a") is None
    figures = json.loads(run("stats", "--json", keys={}).out)
    assert (figures["misses_by_reason"], figures["errors"]) == ({"unverified": 1}, 0)
