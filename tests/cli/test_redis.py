"""Every command with a server among the tiers, alone and above the others."""

from __future__ import annotations

import json

import pytest

TIERS = ("memory,redis,disk", "memory,redis", "redis")


def body(ran):
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


@pytest.fixture(params=TIERS)
def tiers(request):
    return request.param


@pytest.fixture
def on(cli, redis_url, workplace, monkeypatch, tiers):
    """The command line on a cache of these tiers with a few entries, as the environment names it."""
    monkeypatch.setenv("SCOUTCACHE_TIERS", tiers)
    monkeypatch.setenv("SCOUTCACHE_REDIS__URL", redis_url)
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
    for key, *more in (("llm:a", "--tag", "small"), ("llm:b", "--depends-on", "llm:a"), ("job:1", "--ttl", "never")):
        assert cli("set", key, f"value of {key}", *more).code == 0
    return cli


def keys(on, *more):
    return sorted(row["key"] for row in body(on("keys", *more, "--json"))["keys"])


def lower(tiers):
    return [tier for tier in tiers.split(",") if tier != "memory"]


class TestReading:
    def test_each_key_is_listed_once_from_the_highest_tier(self, on):
        rows = body(on("keys", "--json"))["keys"]
        assert sorted(row["key"] for row in rows) == ["job:1", "llm:a", "llm:b"]
        assert {row["tier"] for row in rows} == {"redis"}
        assert keys(on, "llm:*", "--tier", "redis") == ["llm:a", "llm:b"]
        assert keys(on, "--tag", "small") == ["llm:a"]
        assert keys(on, "--filter", "ttl=never") == ["job:1"]
        assert len(body(on("keys", "--sort", "size:desc", "--limit", "1", "--json"))["keys"]) == 1

    def test_a_machine_that_was_never_here_sees_what_the_server_has(self, on, workplace, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "elsewhere"))
        ran = on("keys")
        assert (ran.code, ran.err, len(ran.out.splitlines())) == (0, "", 3)
        assert on("get", "llm:a").out == "value of llm:a\n"
        assert body(on("inspect", "llm:b", "--json"))["depends_on"] == ["llm:a"]

    def test_a_request_counts_where_it_was_made(self, on):
        on("get", "llm:a")
        on("get", "nothing")
        stats = body(on("stats", "--json"))
        assert (stats["hits"], stats["misses"]) == (1, 1)

    def test_inspect_looks_into_each_tier(self, on, tiers):
        found = {row["name"]: row["present"] for row in body(on("inspect", "llm:a", "--json"))["tiers"]}
        assert found == {tier: None if tier == "memory" else True for tier in tiers.split(",")}
        assert on("inspect", "nothing").code == 4

    def test_stats_count_the_own_entries_and_show_the_server(self, on, redis_server):
        redis_server.cli("SET", "foreign", "x" * 10_000)
        stats = body(on("stats", "--json"))
        (row,) = [row for row in stats["tiers"] if row["name"] == "redis"]
        assert row["entries"] == 3
        assert 0 < row["size_bytes"] < 1000
        assert stats["server"]["role"] == "master"
        assert stats["server"]["used_memory"] > 10_000

    def test_explain_and_report_read_the_log(self, on):
        on("invalidate", "llm:a")
        on("get", "llm:a")
        assert body(on("explain", "llm:a", "--json"))["outcomes"][0]["reason"] == "invalidated"
        assert on("report", "--json").code == 0


class TestChanging:
    def test_delete(self, on):
        assert on("delete", "job:1", "nothing").code == 0
        assert keys(on) == ["llm:a", "llm:b"]
        assert on("delete", "nothing").code == 4

    @pytest.mark.parametrize(
        ("named", "left"),
        [(("llm:b",), ["job:1", "llm:a"]), (("llm:*",), ["job:1"]), (("--tag", "small"), ["job:1"]),
         (("llm:a",), ["job:1"]), (("--depends-on", "llm:a"), ["job:1", "llm:a"]), (("--all", "--yes"), [])],
    )  # fmt: skip
    def test_invalidate(self, named, left, on):
        would = body(on("invalidate", *named, "--dry-run", "--json"))
        assert keys(on) == ["job:1", "llm:a", "llm:b"]
        assert would["matched"] >= 1
        body(on("invalidate", *named, "--wait", "5", "--json"))
        assert keys(on) == left

    def test_counts_by_tier_are_those_of_each(self, on, tiers):
        done = body(on("invalidate", "llm:*", "--no-cascade", "--json"))
        assert (done["matched"], done["invalidated"]) == (2, 2)
        assert {tier: done["by_tier"][tier] for tier in lower(tiers)} == dict.fromkeys(lower(tiers), 2)

    def test_clear_one_tier(self, on, tiers):
        assert body(on("clear", "--tier", "redis", "--yes", "--json"))["by_tier"] == {"redis": 3}
        assert keys(on) == (["job:1", "llm:a", "llm:b"] if "disk" in tiers else [])
        assert on("clear", "--tier", "memory", "--yes").code == 2
        assert on("clear", "--tier", "tape", "--yes").code == 2

    def test_clear_spares_other_keys_of_the_server(self, on, redis_server):
        redis_server.cli("SET", "foreign", "1")
        assert body(on("clear", "--yes", "--json"))["cleared"] == 3
        assert keys(on) == []
        assert redis_server.cli("GET", "foreign") == b"1"

    def test_prune_by_size_and_by_death(self, on, tiers):
        on("invalidate", "--tag", "small")
        assert body(on("prune", "--dry-run", "--json"))["dead"] == 2 * len(lower(tiers))
        assert body(on("prune", "--json"))["dead"] == 2 * len(lower(tiers))
        assert body(on("prune", "--max-size", "1", "--tier", "redis", "--json"))["oversize"] == 1
        assert keys(on, "--tier", "redis") == []

    def test_verify_finds_and_removes_what_is_damaged(self, on, redis_server):
        (name,) = [name for name in redis_server.cli("KEYS", "scoutcache:e:*") if name.endswith(b"llm:a")]
        redis_server.cli("SETRANGE", name, "60", b"damage")
        assert on("verify", "--tier", "redis").code == 1
        assert body(on("verify", "--tier", "redis", "--repair", "--json"))["removed"] == 1
        assert on("verify").code == 0

    def test_warm_rules_tasks_and_events(self, on, workplace):
        (workplace / "lines.jsonl").write_text('{"key": "w:1", "value": 1}\n')
        assert body(on("warm", "--from", "lines.jsonl", "--json"))["warmed"] == 1
        assert body(on("warm", "--from", "lines.jsonl", "--only-missing", "--json"))["skipped"] == 1
        assert keys(on, "w:*") == ["w:1"]
        (workplace / "scoutcache.toml").write_text(
            '[[rules]]\nrule_id = "r"\nevent_types = ["moved"]\ntarget_pattern = "w:{id}"\n'
        )
        assert body(on("events", "emit", "moved", "id=1", "--json"))["invalidated"] == 1
        assert keys(on, "w:*") == []
        for command in (("rules", "list"), ("rules", "run", "--due"), ("tasks", "list"), ("profiles", "list")):
            assert on(*command).code == 0

    def test_bench_leaves_nothing(self, on, redis_server):
        before = set(redis_server.cli("KEYS", "*"))
        ran = on("bench", "--tier", "redis", "--tier", "hybrid", "--keys", "50", "--duration", "0.05", "--warmup", "0",
                 "--runs", "1", "--json")  # fmt: skip
        assert {row["tier"] for row in body(ran)["results"]} == {"redis", "hybrid"}
        assert set(redis_server.cli("KEYS", "*")) == before


def test_the_option_and_a_file_do_the_same(cli, redis_url, workplace):
    (workplace / "scoutcache.toml").write_text(f'[redis]\nurl = "{redis_url}"\nkey_prefix = "mine:"\n')
    assert cli("set", "a", "1").code == 0
    assert cli("keys", "--quiet").out == "a\n"
    (workplace / "scoutcache.toml").unlink()
    assert cli("keys", "--quiet", "--redis-url", redis_url, "--directory", "empty").out == ""


def test_bench_without_a_server_says_so(cli):
    ran = cli("bench", "--tier", "redis")
    assert ran.code == 2
    assert "no server is configured; give --redis-url" in ran.err


def test_a_directory_made_beside_a_server_is_the_owners_alone(cli, redis_url, workplace):
    assert cli("set", "a", "1", "--redis-url", redis_url, "--directory", "place").code == 0
    assert (workplace / "place").stat().st_mode & 0o077 == 0


class TestOtherTypes:
    NAMES = ("scoutcache:e:7:default:llm:a", "scoutcache:versions:5:other:", "scoutcache:counts")

    @pytest.fixture
    def mistyped(self, on, redis_server):
        for name in self.NAMES:
            redis_server.cli("UNLINK", name)
            redis_server.cli("LPUSH" if ":e:" in name else "SET", name, "1")
        redis_server.cli("SET", "scoutcache:else:e:1", "of another program")
        return on

    def test_verify_names_each_and_repair_removes_it(self, mistyped, redis_server):
        ran = mistyped("verify", "--tier", "redis", "--json")
        assert ran.code == 1
        (row,) = json.loads(ran.out)["tiers"]
        assert sorted(row["corrupt"]) == sorted([f"{self.NAMES[0]} (a list, not a string)",
                                                 f"{self.NAMES[1]} (a string, not a hash)",
                                                 f"{self.NAMES[2]} (a string, not a zset)"])  # fmt: skip
        assert body(mistyped("verify", "--tier", "redis", "--repair", "--json"))["removed"] == 3
        assert body(mistyped("verify", "--tier", "redis", "--json"))["damaged"] == 0
        assert redis_server.cli("EXISTS", "scoutcache:else:e:1")

    def test_who_meets_one_names_it(self, mistyped, tiers):
        said = f"wrongtype: {self.NAMES[0]} is not an entry"
        ran = mistyped("set", "llm:a", "new")
        assert ran.code == (3 if "disk" in tiers else 10), "3: the disk took it"
        assert said in ran.err
        assert "hint: another program wrote under [redis] key_prefix: scoutcache verify names the key" in ran.err
        ran = mistyped("inspect", "llm:a", "--json")
        if "disk" in tiers:
            assert ran.code == 3
            (row,) = [row for row in json.loads(ran.out)["tiers"] if row["name"] == "redis"]
            assert said in row["problem"]
        else:
            assert (ran.code, said in ran.err) == (10, True)


def test_a_set_that_one_tier_took_and_another_did_not_is_a_part(cli, redis_url, workplace, monkeypatch):
    from scoutcache.errors import TierUnavailable
    from scoutcache.tiers.disk import DiskTier

    def full(self, *_, **__):
        raise TierUnavailable("disk", "the disk is full: /d", hint="free some space there")

    monkeypatch.setenv("SCOUTCACHE_REDIS__URL", redis_url)
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
    assert cli("set", "a", "old").code == 0
    monkeypatch.setattr(DiskTier, "write", full)
    ran = cli("set", "a", "new")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == ("stored a in redis only\nwarning: the disk tier did not store it: the disk is full: /d\n"
                       "hint: free some space there\n")  # fmt: skip
    ran = cli("set", "a", "new", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["tiers"], found["failed"]) == (3, ["redis"], {"disk": "the disk is full: /d"})
    monkeypatch.setenv("SCOUTCACHE_TIERS", "memory,disk")
    monkeypatch.delenv("SCOUTCACHE_REDIS__URL")
    ran = cli("set", "a", "new", "--directory", "other")
    assert (ran.code, ran.out) == (10, "")
