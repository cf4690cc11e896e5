"""Commands while the server is away: what others hold is shown, what needs it fails by its name, no secret is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scoutcache import Cache

SECRET = "hunter2-secret"
WORDS = Path(__file__).resolve().parents[1] / "semantic"


@pytest.fixture
def server(start_redis):
    return start_redis()


@pytest.fixture
def away(cli, server, workplace, monkeypatch):
    """The command line on a cache of all tiers whose server has died."""
    monkeypatch.setenv("SCOUTCACHE_REDIS__URL", server.url)
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
    for key in ("a", "b"):
        assert cli("set", key, "1", "--tag", "t").code == 0
    server.kill()
    return cli


class TestOtherTiersAnswer:
    @pytest.mark.parametrize("named", ["--tag", "--depends-on"])
    def test_what_is_invalidated_by_one_write_is_done_in_part(self, named, away):
        assert away("invalidate", named, "t").code == 3

    def test_keys_lists_what_the_disk_has_with_one_warning(self, away):
        ran = away("keys", "--json")
        assert ran.code == 3
        assert [(row["key"], row["tier"]) for row in json.loads(ran.out)["keys"]] == [("a", "disk"), ("b", "disk")]
        assert ran.err.count("\n") == 1
        assert ran.err.startswith("warning: redis://127.0.0.1:")

    def test_inspect_does_not_know_whether_it_is_valid(self, away):
        ran = away("inspect", "a", "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["valid"], ran.err.count("\n")) == (3, None, 1)
        redis = next(row for row in found["tiers"] if row["name"] == "redis")
        assert redis["present"] is None
        assert "unreachable" in redis["problem"]

    def test_stats_know_the_rest(self, away):
        ran = away("stats", "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["server"], ran.err.count("\n")) == (3, None, 1)
        assert {row["name"]: row["entries"] for row in found["tiers"]} == {"memory": None, "redis": None, "disk": 2}

    def test_statistics_of_keys_are_not_complete(self, away):
        ran = away("keystats", "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["entries"], found["complete"], ran.err.count("\n")) == (3, 2, False, 1)

    @pytest.mark.parametrize("command", [
        ("top", "--once", "--interval", "0.1", "--json"), ("stats", "--period", "1h"), ("keys", "--quiet"),
        ("stats", "--prom-textfile", "m"), ("keys", "-0"), ("keystats", "--samples", "1"),
        ("inspect", "a", "--tier", "disk"),
    ])  # fmt: skip
    def test_what_is_shown_is_a_part(self, command, away):
        """Machines may have counted more, and the server may have said that the entry is dead."""
        ran = away(*command)
        assert ran.code == 3
        assert ran.out or "m" in command
        assert ran.err.count("unreachable") == 1

    def test_what_models_were_asked_is_told_as_far_as_this_machine_knows(self, cli, server, workplace, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_REDIS__URL", server.url)
        monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
        with Cache() as cache:
            cache.llm.record_metrics(model="gpt-4o", input_tokens=10)
        there = json.loads(cli("llm", "stats", "--json").out)
        server.kill()
        ran = cli("llm", "stats", "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["calls"], found["models"]) == (3, 1, there["models"])
        assert ran.err.count("unreachable") == 1

    def test_answers_by_meaning_are_counted_and_none_is_taken_for_gone(self, cli, server, workplace, monkeypatch):
        pytest.importorskip("faiss")
        monkeypatch.syspath_prepend(str(WORDS))
        monkeypatch.setenv("SCOUTCACHE_SEMANTIC__MODEL", "words:embed")
        monkeypatch.setenv("SCOUTCACHE_REDIS__URL", server.url)
        monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
        assert cli("semantic", "add", "How do I reset my password", "x", "-m", "gpt").code == 0
        server.kill()
        for _ in range(2):
            ran = cli("semantic", "stats", "--json")
            found = json.loads(ran.out)
            assert (ran.code, found["entries"], found["indexed"], found["mended"]) == (3, 1, 1, None)
            assert ran.err.count("unreachable") == 1
            with Cache() as cache:  # which compares its index with what it can ask
                assert cache.semantic.get("How do I reset my password please", model="gpt") is None
                cache.semantic.stats()

    def test_an_alert_goes_before_a_part(self, away):
        ran = away("stats", "--check", "--json")
        assert ran.code == 99
        assert "unreachable" in ran.err

    def test_a_key_that_was_found_nowhere_may_be_there(self, away):
        assert away("inspect", "nothing", "--tier", "disk").code == 4
        ran = away("inspect", "nothing")
        assert (ran.code, ran.out) == (10, "")

    def test_nobody_is_blamed_for_an_invalidation_that_was_none(self, away):
        """What the disk has can't be checked, and may well be valid."""
        assert away("get", "a").code == 10
        assert [row["reason"] for row in json.loads(away("explain", "a", "--json").out)["outcomes"]] == ["unavailable"]
        assert json.loads(away("stats", "--json").out)["misses_by_reason"]["unavailable"] == 1

    @pytest.mark.parametrize("removal", [("invalidate", "a*"), ("delete", "a"), ("clear", "--yes")])
    def test_what_was_removed_meanwhile_may_be_there_too(self, removal, away):
        """Another machine may have written it since; the server isn't even asked for what it has yet to be told of."""
        assert away(*removal).code == 3
        ran = away("get", "a")
        assert (ran.code, ran.out) == (10, "")
        assert "the redis tier can't answer" in ran.err
        assert away("inspect", "a").code == 10

    @pytest.mark.parametrize("command", [("verify",), ("prune",), ("prune", "--dry-run"), ("invalidate", "a*"),
                                         ("invalidate", "--tag", "t", "--dry-run"), ("clear", "--yes"),
                                         ("delete", "a"), ("delete", "nothing")])  # fmt: skip
    def test_what_could_not_be_done_is_a_part(self, command, away):
        ran = away(*command, "--json")
        assert ran.code == 3, ran.err
        assert "unreachable" in json.loads(ran.out)["failed"]["redis"]
        assert ran.err.count("unreachable") == 1
        assert command == ("verify",) or "hint: scoutcache doctor says what is wrong with it\n" in ran.err

    def test_what_can_not_be_warmed_for_a_debt_says_where_to_look(self, away):
        assert away("clear", "--yes").code == 3
        ran = away("warm", "--from", "-", stdin='{"key": "a", "value": 1}\n')
        assert (ran.code, ran.out) == (10, "")
        assert "hint: scoutcache doctor says why" in ran.err

    def test_a_removal_that_waits_is_a_part_as_well(self, away):
        ran = away("invalidate", "a*", "--wait", "1", "--json")
        assert (ran.code, json.loads(ran.out)["by_tier"]["disk"]) == (3, 1)
        assert ran.err.count("can't wait for the other processes") == 1

    def test_what_the_others_had_is_deleted(self, away):
        ran = away("delete", "a", "nothing", "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["deleted"], found["absent"]) == (3, 1, None)  # the server may have the other one
        assert [row["key"] for row in json.loads(away("keys", "--json").out)["keys"]] == ["b"]
        assert "no such key" not in away("delete", "nothing").err

    def test_what_could_not_be_counted_is_unknown(self, away):
        """Of what the disk holds nobody knows whether it is valid."""
        found = json.loads(away("invalidate", "a*", "--dry-run", "--json").out)
        assert (found["matched"], found["by_tier"]) == (None, {"memory": 0, "redis": None, "disk": None})
        assert "redis" not in json.loads(away("invalidate", "a*", "--action", "mark-stale", "--json").out)["by_tier"]

    def test_a_directory_that_can_not_be_used_is_a_part(self, cli, redis_url):
        where = ("--redis-url", redis_url, "--directory", "/proc/nowhere")
        assert cli("set", "a", "1", *where).code == 3
        ran = cli("delete", "a", *where)
        assert (ran.code, ran.err.count("deleted 1 of 1")) == (3, 1)
        assert "the disk tier could not be asked: " in ran.err

    @pytest.mark.parametrize("command", [
        ("rules", "list"), ("tasks", "list"), ("explain", "a"), ("report",), ("events", "emit", "x"),
        ("config", "show"), ("config", "validate"),
    ])  # fmt: skip
    def test_what_needs_no_server_works(self, command, away):
        assert away(*command).code == 0


class TestNobodyAnswers:
    @pytest.mark.parametrize("command", [
        ("keys", "--tier", "redis"), ("inspect", "nothing"), ("get", "nothing"), ("set", "a", "1"),
        ("clear", "--tier", "redis", "--yes"), ("prune", "--tier", "redis"), ("verify", "--tier", "redis"),
        ("bench", "--tier", "redis", "--keys", "10"),
    ])  # fmt: skip
    def test_it_is_an_error_with_a_hint(self, command, away):
        ran = away(*command)
        assert ran.code == 10
        assert "unreachable" in ran.err
        assert ran.err.count("error: ") == 1
        assert "\nhint: " in ran.err

    @pytest.mark.parametrize("command", [("keys",), ("inspect", "a"), ("get", "a"), ("verify",), ("prune",),
                                         ("delete", "a"), ("invalidate", "a*"), ("clear", "--yes")])  # fmt: skip
    def test_alone_it_is_missed_by_every_command(self, command, away, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_TIERS", "redis")
        ran = away(*command)
        assert ran.code == 10
        assert "unreachable" in ran.err

    def test_doctor_names_the_fault_once(self, away):
        ran = away("doctor", "--json")
        checks = {check["name"]: check for check in json.loads(ran.out)["checks"]}
        assert (ran.code, ran.err) == (1, "")
        assert checks["redis connection"]["status"] == "fail"
        assert ": unreachable: " in checks["redis connection"]["detail"]
        assert "redis" not in checks
        assert checks["disk"]["status"] == "ok"


class TestRefused:
    """A server that is full answers, and takes nothing."""

    @pytest.mark.parametrize("command", [("delete", "a"), ("invalidate", "a*"), ("invalidate", "--tag", "t"),
                                         ("clear", "--yes"), ("rules", "run", "all")])  # fmt: skip
    def test_it_is_said_with_its_remedy(self, command, cli, start_redis, workplace, monkeypatch):
        rule = 'rule_id = "all"\ntrigger_type = "time"\nschedule = "0 0 * * *"\ntarget_pattern = "a*"\n'
        (workplace / "scoutcache.toml").write_text(f"[[rules]]\n{rule}")
        server = start_redis("--maxmemory-policy", "noeviction")
        monkeypatch.setenv("SCOUTCACHE_REDIS__URL", server.url)
        monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
        assert cli("set", "a", "1", "--tag", "t").code == 0
        server.cli("CONFIG", "SET", "maxmemory", "1")
        ran = cli(*command)
        assert ran.code == 3, ran.err
        assert "the redis tier refused it: oom: " in ran.err
        assert "maxmemory-policy allkeys-lru" in ran.err
        assert ran.err.count("oom: ") == 1

    def test_what_can_be_pruned_is(self, cli, start_redis, workplace, monkeypatch):
        """A full server removes, and can't be told that a tag is forgotten."""
        server = start_redis("--maxmemory-policy", "noeviction")
        monkeypatch.setenv("SCOUTCACHE_REDIS__URL", server.url)
        monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))
        for key, tags in (("a", ("dead",)), ("b", ("unused",))):
            assert cli("set", key, "1", *(word for tag in tags for word in ("--tag", tag))).code == 0
        assert cli("invalidate", "--tag", "dead").code == 0
        assert cli("delete", "b").code == 0
        server.cli("CONFIG", "SET", "maxmemory", "1")
        ran = cli("prune", "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["pruned"], found["unused_tags"]) == (3, 2, 0), ran.err
        assert list(found["failed"]) == ["redis"]
        assert ran.err.startswith("warning: the redis tier refused it: oom: ")
        assert ran.err.count("oom: ") == ran.err.count("hint: ") == 1
        server.cli("CONFIG", "SET", "maxmemory", "0")
        assert json.loads(cli("prune", "--json").out)["unused_tags"] > 0


COMMANDS = [
    ("stats",), ("keys",), ("inspect", "a"), ("explain", "a"), ("get", "a"), ("set", "a", "1"), ("delete", "a"),
    ("invalidate", "a*"), ("clear", "--yes"), ("prune",), ("verify",), ("doctor",), ("doctor", "--acl"), ("report",),
    ("config", "show"), ("config", "validate"), ("tasks", "list"), ("rules", "list"), ("events", "emit", "x"),
    ("bench", "--tier", "redis", "--keys", "10", "--duration", "0.05", "--runs", "1"),
]  # fmt: skip


class TestSecrets:
    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize("refused", [True, False])
    def test_no_command_shows_the_password(self, command, refused, cli, redis_url, workplace, monkeypatch):
        """In the URL, wrong for a server that answers or for one that isn't there; with all that -v shows."""
        host = redis_url.removeprefix("redis://") if refused else "127.0.0.1:1/0"
        url = f"redis://:{SECRET}@{host}"
        ran = cli(*command, "-v", "--redis-url", url, "--directory", "d")
        assert SECRET not in ran.out + ran.err
        assert ran.err.count("can be read by every user") == 1
        for path in workplace.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes()

    @pytest.mark.parametrize("url", [f"redis://:{SECRET}/x@127.0.0.1/0", f"redis://:{SECRET}#x@127.0.0.1/0",
                                     f"http://:{SECRET}@127.0.0.1/0", f"redis://:x@127.0.0.1:{SECRET}/0"])  # fmt: skip
    def test_nor_does_a_url_that_can_not_be_read(self, url, cli):
        ran = cli("stats", "-v", "--redis-url", url)
        assert ran.code == 2
        assert SECRET not in ran.out + ran.err
        assert "redis.url" in ran.err

    @pytest.mark.parametrize("name", ["PASSWORD", "PASSWORD_FILE"])
    def test_from_the_environment_or_a_file_nothing_is_warned_of(self, name, cli, start_redis, workplace, monkeypatch):
        server = start_redis("--requirepass", SECRET)
        (workplace / "word").write_text(SECRET + "\n")
        monkeypatch.setenv(f"SCOUTCACHE_REDIS__{name}", SECRET if name == "PASSWORD" else str(workplace / "word"))
        ran = cli("set", "a", "1", "--redis-url", server.url, "--directory", "d")
        assert (ran.code, ran.err) == (0, "stored a\n")
        assert SECRET not in cli("config", "show").out

    def test_without_one_the_error_says_noauth(self, cli, start_redis):
        server = start_redis("--requirepass", SECRET)
        ran = cli("set", "a", "1", "--redis-url", server.url, "--directory", "d")
        assert ran.code == 10
        assert "noauth" in ran.err
        assert "password_file" in ran.err

    @pytest.mark.parametrize("user", ["", "default@"])
    def test_a_terminal_is_asked_once_where_the_server_wants_one(self, user, cli, start_redis, monkeypatch):
        server = start_redis("--requirepass", SECRET)
        asked = []
        monkeypatch.setattr("scoutcache.cli.password.getpass", lambda prompt, stream: asked.append(prompt) or SECRET)
        url = server.url.replace("redis://", f"redis://{user}")
        assert cli("set", "a", "1", "--redis-url", url, "--directory", "d").code == 10
        assert asked == []
        monkeypatch.setattr("scoutcache.cli.state.Session.can_ask", True)
        ran = cli("set", "a", "1", "--redis-url", url, "--directory", "d")
        assert ran.code == 0, ran.err
        assert len(asked) == 1
        assert asked[0].startswith("password for redis://")
        assert SECRET not in ran.out + ran.err

    def test_nobody_is_asked_by_a_server_that_wants_none(self, cli, redis_url, monkeypatch):
        monkeypatch.setattr("scoutcache.cli.password.getpass", lambda prompt, stream: pytest.fail(prompt))
        monkeypatch.setattr("scoutcache.cli.state.Session.can_ask", True)
        assert cli("set", "a", "1", "--redis-url", redis_url, "--directory", "d").code == 0

    def test_a_command_to_go_on_with_has_none(self, cli, redis_url):
        url = redis_url.replace("redis://", f"redis://:{SECRET}@")
        ran = cli("get", "a", "--redis-url", url, "--directory", "d")
        assert SECRET not in ran.err

    def test_a_saved_benchmark_has_none(self, cli, start_redis, isolated_environment):
        server = start_redis("--requirepass", SECRET)
        url = server.url.replace("redis://", f"redis://:{SECRET}@")
        ran = cli("bench", "--tier", "redis", "--keys", "10", "--duration", "0.05", "--runs", "1", "--save", "x",
                  "--redis-url", url, "--json")  # fmt: skip
        assert ran.code == 0, ran.err
        saved = b"".join(path.read_bytes() for path in isolated_environment.rglob("x.json"))
        assert saved
        assert SECRET.encode() not in saved + ran.out.encode()


OWING = {"clear": ("clear", "--yes"), "tag": ("invalidate", "--tag", "t"), "key": ("delete", "a"),
         "pattern": ("invalidate", "a*")}  # fmt: skip


class TestBack:
    """Where only commands run, nobody else makes good what one that ended could not do."""

    @pytest.fixture
    def back(self, away, server):
        def owing(*command):
            assert away(*command).code == 3
            server.restart()
            return away

        return owing

    @pytest.mark.parametrize("command", OWING.values(), ids=OWING)
    def test_the_next_command_that_writes_makes_it_good(self, back, command):
        cli = back(*command)
        assert cli("set", "c", "1").code == 0
        assert cli("get", "c").out == "1\n"
        assert cli("get", "a").code == 4
        assert "redis debts" not in cli("doctor", "--json").out

    def test_until_then_the_doctor_knows(self, back):
        cli = back("invalidate", "--tag", "t")
        debts = next(one for one in json.loads(cli("doctor", "--json").out)["checks"] if one["name"] == "redis debts")
        assert (debts["status"], "prune" in debts["fix"]) == ("warn", True)
        assert cli("prune").code == 0
        assert "redis debts" not in cli("doctor", "--json").out
