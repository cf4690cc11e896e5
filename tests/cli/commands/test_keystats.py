"""``keystats`` as operators use it: on every tier, on nothing, with keys that mean harm, broken off and taken up."""

from __future__ import annotations

import json
import shlex

import pytest

from scoutcache import Cache

from ..test_redis_resuming import filled, interrupted  # noqa: F401, TID252  # a fixture; tests are no package

GOLDEN = """\
tier  entries  size_bytes  stale  expired  dead  never_expire  p50_size_bytes  p95_size_bytes  max_size_bytes  """


def body(ran):
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_json_holds_the_rows(directory, cli):
    found = body(cli("keystats", "--json"))
    assert (found["schema_version"], found["entries"], found["complete"], found["cursor"]) == (1, 4, True, None)
    (disk,) = found["keystats"]
    assert (disk["tier"], disk["entries"], disk["never_expire"], disk["expired"]) == ("disk", 4, 1, 0)
    assert found["biggest"][0]["key"] == "llm:b"
    assert {row["prefix"]: row["entries"] for row in found["prefixes"]} == {"llm": 2, "job": 2}
    assert sum(row["entries"] for row in found["histograms"] if row["of"] == "ttl_s") == 4
    assert sum(row["entries"] for row in found["histograms"] if row["of"] == "idle_s") == 4


def test_a_pattern_and_namespaces(directory, cli):
    assert body(cli("keystats", "llm:*", "--json"))["entries"] == 2
    assert body(cli("keystats", "--json", "--namespace", "tenant"))["entries"] == 1
    assert body(cli("keystats", "--json", "--all-namespaces"))["entries"] == 5


def test_off_a_terminal_tables_stand_below_each_other(directory, cli):
    with Cache(directory=directory, tiers=["disk"]) as cache:
        cache.get("llm:a")
    out = cli("keystats", "--top", "1").out
    assert out.startswith(GOLDEN)
    parts = {part.partition("\n")[0]: part.splitlines()[1:] for part in out.split("\n\n")}
    assert list(parts)[1:] == ["sizes", "time left", "age", "idle time", "prefixes", "biggest", "most used"]
    assert parts["time left"][-1].split() == ["disk", "-", "-", "1", parts["time left"][-1].split()[-1]]
    assert [line.split()[0] for line in parts["biggest"]] == ["key", "llm:b"]
    assert [line.split()[0] for line in parts["most used"]] == ["key", "llm:a"]


def test_of_no_cache_there_is_nothing(workplace, cli):
    ran = cli("keystats", "--json", "--directory", str(workplace / "none"))
    assert [(row["tier"], row["entries"]) for row in body(ran)["keystats"]] == [("disk", 0)]
    assert "there is no cache in" in ran.err
    assert not (workplace / "none").exists()


def test_the_memory_of_others_can_not_be_seen(directory, cli):
    ran = cli("keystats", "--tier", "memory", "--json")
    assert (body(ran)["keystats"], ran.err) == ([], "the memory of running processes can't be listed from here\n")
    assert cli("keystats", "--tier", "foo").code == 2


def test_keys_that_mean_harm_are_shown_and_do_nothing(directory, cli, terminal):
    with Cache(directory=directory) as cache:
        cache.set("\u202egnp.exe:[red]x", "y" * 900)
        cache.set("=cmd|' /C calc'!A0", "y" * 800)
    out = terminal("keystats", "--top", "3").out
    assert "\\u202egnp.exe:[red]x" in out
    assert "\u202e" not in out
    assert body(cli("keystats", "--json"))["biggest"][0]["key"] == "\u202egnp.exe:[red]x"
    assert cli("keystats", "--format", "csv").out.startswith("tier,entries,")


def test_samples_end_it_and_the_rest_follows(directory, cli):
    with Cache(directory=directory) as cache:
        cache.set_many({f"n:{number}": number for number in range(1100)})
    first = cli("keystats", "n:*", "--samples", "10", "--json")
    found = body(first)
    assert (found["entries"], found["complete"]) == (500, False)
    again = shlex.split(first.err.partition("to continue: ")[2])[1:]
    assert again[again.index("--cursor") + 1] == found["cursor"]
    again[again.index("--samples") + 1] = "100000"
    rest = body(cli(*again))
    assert (rest["entries"], rest["complete"], rest["resumed"], rest["cursor"]) == (600, False, True, None)


def test_a_cursor_of_something_else_is_refused(directory, cli):
    with Cache(directory=directory) as cache:
        cache.set_many({f"n:{number}": number for number in range(600)})
    cursor = body(cli("keystats", "n:*", "--samples", "1", "--json"))["cursor"]
    assert cli("keystats", "m:*", "--cursor", cursor).code == 2
    assert cli("keystats", "n:*", "--cursor", "nonsense").code == 2


@pytest.mark.parametrize("filled", ["redis", "memory,redis,disk"], indirect=True)
def test_on_a_server_broken_off_it_shows_what_it_saw_and_goes_on(filled, cli, redis_server):  # noqa: F811
    before = redis_server.fields("INFO", "commandstats").get("cmdstat_scan")
    begun = lambda: redis_server.fields("INFO", "commandstats").get("cmdstat_scan") != before  # noqa: E731
    code, out, again = interrupted("keystats", "n:*", "--json", "--interval", "0.4", begun=begun)
    assert code == 130
    first = json.loads(out)
    again[again.index("--interval") + 1] = "0"
    rest = body(cli(*again, "--json"))
    (one, *_), (two, *_) = first["keystats"], rest["keystats"]
    assert one["tier"] == two["tier"] == "redis"
    assert one["entries"] + two["entries"] == 4000
    assert 0 < one["entries"] < 4000
    assert one["idle_unknown"] == 0
    assert rest["resumed"]


def test_a_server_that_is_away_is_left_out(directory, cli, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_REDIS__URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("SCOUTCACHE_TIERS", "memory,redis,disk")
    ran = cli("keystats", "--json")
    assert ran.code == 3
    assert [(row["tier"], row["entries"]) for row in json.loads(ran.out)["keystats"]] == [("disk", 4)]
    assert "can't be used" in ran.err
    assert cli("keystats", "--tier", "redis").code == 10


def test_on_a_cluster_each_node_says_how_long_its_entries_were_idle(redis_cluster, workplace, cli, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_REDIS__NODES", ",".join(f"{host}:{port}" for host, port in redis_cluster.nodes))
    monkeypatch.setenv("SCOUTCACHE_TIERS", "redis")
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
    with Cache() as cache:
        cache.set_many({f"n:{number}": number for number in range(100)})
    (row,) = body(cli("keystats", "n:*", "--json"))["keystats"]
    assert (row["entries"], row["idle_unknown"]) == (100, 0)
