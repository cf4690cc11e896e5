"""What ``stats`` and ``doctor`` say of a server, and policies that want a protected one."""

from __future__ import annotations

import json
import subprocess

import pytest

from scoutcache.cli.checks.server import server_checks
from scoutcache.config import CacheConfig
from scoutcache.config.sections import RedisSection
from scoutcache.core.keeping import check_protection
from scoutcache.errors import PolicyError
from scoutcache.insight.rights import acl_line

from .test_redis import body

VIEW = {"product", "version", "role", "keyspace_hits", "keyspace_misses", "used_memory", "maxmemory", "evicted_keys",
        "connected_clients", "maxmemory_policy", "mem_fragmentation_ratio", "replicas", "uptime_s"}  # fmt: skip


def nodes(cluster):
    return ",".join(f"{host}:{port}" for host, port in cluster.nodes)


def checks(section, **more):
    return {check.name: check for check in server_checks(RedisSection(**section), **more)}


class TestStats:
    def test_the_server_is_described(self, cli, redis_url):
        server = body(cli("stats", "--json", "--redis-url", redis_url))["server"]
        assert set(server) == VIEW
        assert (server["role"], server["replicas"]) == ("master", [])
        assert server["used_memory"] > 0
        assert server["uptime_s"] >= 0

    def test_the_table_has_a_block_of_it(self, cli, redis_url):
        assert "\nserver\n" in cli("stats", "--redis-url", redis_url).out

    def test_without_a_server_there_is_nothing(self, cli):
        assert body(cli("stats", "--json"))["server"] is None
        assert "\nserver\n" not in cli("stats").out

    def test_replicas_lag(self, cli, start_redis, until):
        primary = start_redis()
        start_redis("--replicaof", "127.0.0.1", str(primary.port))
        until(lambda: "state=online" in primary.fields("INFO", "replication").get("slave0", ""), "it follows")
        (replica,) = body(cli("stats", "--json", "--redis-url", primary.url))["server"]["replicas"]
        assert replica["state"] == "online"
        assert replica["lag_bytes"] >= 0
        assert replica["lag_s"] is not None

    def test_what_may_not_be_asked_is_null(self, cli, start_redis_with_acl):
        server = start_redis_with_acl("cache", "word", "~*", "&*", "+@all", "-info")
        assert body(cli("stats", "--json", "--redis-url", server.url))["server"] is None

    def test_a_cluster_has_nodes(self, cli, redis_cluster, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_REDIS__NODES", nodes(redis_cluster))
        server = body(cli("stats", "--json"))["server"]
        assert len(server["nodes"]) == 3
        assert all(set(node) == VIEW | {"name"} for node in server["nodes"])


class TestDoctor:
    def test_a_server_as_it_should_be(self, redis_url):
        found = checks({"url": redis_url})
        assert {check.status for check in found.values()} == {"ok"}
        assert set(found) == {f"redis {name}" for name in (
            "security", "key_prefix", "connection", "latency", "clock", "version", "persistence", "eviction", "rights",
            "writes")}

    def test_it_leaves_nothing(self, redis_server, redis_url):
        checks({"url": redis_url})
        assert redis_server.cli("DBSIZE") == 0

    def test_a_server_that_is_full(self, start_redis):
        server = start_redis("--maxmemory", "1kb")
        found = checks({"url": server.url})
        assert found["redis eviction"].status == "warn"
        assert found["redis writes"].status == "fail"
        assert ": oom: " in found["redis writes"].detail

    @pytest.mark.parametrize(("policy", "word"), [("allkeys-lru", "noticed"), ("volatile-ttl", "never expire")])
    def test_policies_of_eviction_are_explained(self, policy, word, start_redis):
        check = checks({"url": start_redis("--maxmemory", "100mb", "--maxmemory-policy", policy).url})["redis eviction"]
        assert check.status == "ok"
        assert word in check.detail

    def test_a_replica_is_readonly(self, start_redis):
        replica = start_redis("--replicaof", "127.0.0.1", "1")
        assert ": readonly: " in checks({"url": replica.url})["redis writes"].detail

    def test_a_server_that_can_not_save(self, start_redis, until):
        server = start_redis("--save", "1000 1000", "--dbfilename", "x.rdb")
        server.cli("SET", "a", "1")
        (server.directory / "x.rdb").mkdir()
        server.cli("BGSAVE")
        until(lambda: server.fields("INFO", "persistence")["rdb_last_bgsave_status"] == "err", "saving failed")
        found = checks({"url": server.url})
        assert found["redis persistence"].status == "warn"
        assert ": misconf: " in found["redis writes"].detail
        assert "stop-writes-on-bgsave-error no" in (found["redis writes"].fix or "")

    def test_noauth_and_noperm(self, start_redis, start_redis_with_acl):
        assert ": noauth: " in checks({"url": start_redis("--requirepass", "word").url})["redis connection"].detail
        server = start_redis_with_acl("cache", "word", "~other:*", "+@all")
        assert ": noperm: " in checks({"url": server.url})["redis writes"].detail

    @pytest.mark.parametrize("more", [{"publish": True}, {"tracking": True}, {}])
    def test_each_right_that_is_missing_is_named(self, more, start_redis):
        server = start_redis()
        word = "a-word-of-the-tests"
        section = {"url": f"redis://scoutcache@127.0.0.1:{server.port}/0", "password": word, **more}
        server.cli(*acl_line(RedisSection(**section), word=word).split())
        found = checks(section)["redis rights"]
        assert (found.status, found.fix) == ("ok", None), found
        taken = {"publish": "-publish", "tracking": "-client|tracking"}.get(next(iter(more), ""), "-zadd")
        server.cli("ACL", "SETUSER", "scoutcache", taken)
        found = checks(section)["redis rights"]
        assert found.status == "fail"
        assert found.detail.startswith(f"the user lacks rights: {taken[1:]} (")
        assert found.fix is not None
        assert "doctor --acl" in found.fix
        server.cli("ACL", "SETUSER", "scoutcache", "resetkeys", "~other:*", "resetchannels")
        detail = checks(section)["redis rights"].detail
        assert "get (entries, positions)" in detail
        assert "subscribe (what others publish)" in detail

    def test_a_full_server_and_a_replica_say_what_to_do(self, start_redis):
        full = checks({"url": start_redis("--maxmemory", "1kb").url})["redis writes"]
        assert full.fix is not None
        assert "maxmemory-policy allkeys-lru" in full.fix
        replica = checks({"url": start_redis("--replicaof", "127.0.0.1", "1").url})["redis writes"]
        assert replica.fix is not None
        assert "name the primary" in replica.fix

    def test_a_server_that_loads_its_data_is_told_of_once(self, start_redis, until):
        server = start_redis("--save", "1000 1000", "--dbfilename", "x.rdb")
        server.cli("EVAL", "for n = 1, 2000 do redis.call('SET', n, string.rep(n, 500)) end", 0)
        server.cli("SAVE")
        server.kill()
        server.options += ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
        with server.log.open("wb") as log:
            server.process = subprocess.Popen(server.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: "Loading RDB" in server.said(), "it loads")
        found = checks({"url": server.url, "timeout": 5})
        server.kill()
        failed = {name: check.detail for name, check in found.items() if check.status == "fail"}
        assert failed == {"redis connection": f"{server.url}: loading: it is loading its data"}

    def test_a_right_that_is_missing_is_one_line(self, cli, start_redis_with_acl, workplace):
        server = start_redis_with_acl("cache", "word", "~*", "&*", "+@all", "-scan")
        (workplace / "word").write_text("word")
        environment = ("--redis-url", f"redis://cache@127.0.0.1:{server.port}/0", "--directory", "d")
        (workplace / "scoutcache.toml").write_text('[redis]\npassword_file = "word"\n')
        ran = cli("doctor", "--json", *environment)
        failed = [check["name"] for check in json.loads(ran.out)["checks"] if check["status"] == "fail"]
        assert (ran.code, failed, ran.err) == (1, ["redis rights"], "")
        ran = cli("keys", *environment)
        assert ran.code == 3
        assert "refuses some commands (noperm: " in ran.err

    def test_what_fails_on_a_server_silences_no_warning_of_another_thing(self, cli, redis_url, directory, monkeypatch):
        monkeypatch.setattr("scoutcache.cli.checks.server.OLDEST", (99, 0))
        (store,) = directory.rglob("*.db")
        store.write_bytes(b"torn" * 4096)
        ran = cli("doctor", "--json", "--redis-url", redis_url)
        failed = [check["name"] for check in json.loads(ran.out)["checks"] if check["status"] == "fail"]
        assert failed == ["redis version"]
        assert "damaged" in ran.err

    def test_a_server_that_does_not_answer(self, start_redis):
        server = start_redis()
        server.pause()
        try:
            assert ": timeout: " in checks({"url": server.url})["redis connection"].detail
        finally:
            server.resume()

    def test_a_clock_that_is_wrong(self, redis_url):
        import time

        check = checks({"url": redis_url}, wall=lambda: time.time() + 5)["redis clock"]
        assert check.status == "warn"
        assert "behind" in check.detail

    @pytest.mark.parametrize(("section", "status"), [
        ({"url": "redis://:word@far.example/0"}, "warn"), ({"url": "redis://far.example/0"}, "warn"),
        ({"url": "rediss://:word@far.example/0"}, "ok"), ({"url": "redis://:word@localhost/0"}, "ok"),
        ({"url": "rediss://:word@far.example/0", "tls_verify": False}, "warn"), ({"url": "unix:///run/x"}, "ok"),
    ])  # fmt: skip
    def test_a_password_in_plain_over_a_network_is_a_warning(self, section, status):
        assert next(server_checks(RedisSection(**section, connect_timeout=0.01))).status == status

    def test_a_cluster_is_looked_at_node_by_node(self, redis_cluster):
        found = checks({"nodes": nodes(redis_cluster)})
        assert found["redis cluster"].status == "ok"
        assert "16384 of 16384" in found["redis cluster"].detail
        assert sum(name.startswith("redis connection") for name in found) == 6
        assert found["redis writes"].status == "ok"

    def test_a_node_of_a_cluster_that_is_named_alone_is_called_so(self, cli, redis_cluster):
        url = redis_cluster.members[0].url
        found = checks({"url": url})["redis cluster"]
        assert found.status == "fail"
        assert "redis.nodes" in found.fix
        ran = cli("set", "a:1", "b", "--redis-url", url)
        assert ran.code == 10
        assert "cluster: it is a node of a cluster" in ran.err
        assert "[redis] nodes" in ran.err

    def test_braces_in_the_prefix_of_a_cluster_fail(self):
        found = list(server_checks(RedisSection(nodes="127.0.0.1:1", key_prefix="{a}:")))
        assert found[1].status == "fail"
        assert found[-1].name == "redis connection"

    @pytest.mark.parametrize(("case", "says", "fix"), [
        ("no authority", "self-signed certificate", "set [redis] tls_ca_file"),
        ("rogue authority", "self-signed certificate", "set [redis] tls_ca_file"),
        ("expired", "certificate has expired", "renew the server's certificate"),
        ("wrong host", "not valid for 'localhost'", "get a certificate for this name"),
        ("no certificate", "", "set [redis] tls_cert_file to one that it trusts"),
        ("rogue certificate", "", "set [redis] tls_cert_file to one that it trusts"),
        ("no PEM", "no certificate or crl", "tls_ca_file holds no certificate"),
        ("no key", "PEM lib", "both in PEM form; one of them doesn't"),
        ("another's key", "key values mismatch", "is not the key of tls_cert_file"),
    ])  # fmt: skip
    def test_tls_that_is_wrong_is_called_so_with_what_to_do(self, case, says, fix, redis_tls, tmp_path):
        (tmp_path / "no.pem").write_text("no certificate")
        url, own = redis_tls.url, {"tls_ca_file": redis_tls.ca_file}
        match case:
            case "no authority":
                own = {}
            case "rogue authority":
                own = {"tls_ca_file": redis_tls.rogue_ca_file}
            case "expired":
                url = redis_tls.start_expired().url
            case "wrong host":
                url = redis_tls.start_for_wrong_host().url
            case "no certificate":
                url = redis_tls.start("--tls-auth-clients", "yes").url
            case "rogue certificate":
                url = redis_tls.start("--tls-auth-clients", "yes").url
                own |= {"tls_cert_file": redis_tls.rogue_cert_file, "tls_key_file": redis_tls.rogue_key_file}
            case "no PEM":
                own = {"tls_ca_file": tmp_path / "no.pem"}
            case "no key":
                own |= {"tls_cert_file": redis_tls.cert_file}
            case "another's key":
                own |= {"tls_cert_file": redis_tls.cert_file, "tls_key_file": redis_tls.rogue_key_file}
        found = checks({"url": url, **own, "timeout": 5})["redis connection"]
        assert found.status == "fail"
        assert ": tls: " in found.detail
        assert says in found.detail
        assert "_ssl.c" not in found.detail
        assert fix in (found.fix or "")

    def test_who_speaks_tls_to_one_that_does_not_is_asked_whether_it_does(self, redis_tls, redis_url):
        found = checks({"url": redis_tls.url.replace("rediss", "redis"), "timeout": 5})["redis connection"]
        assert "Use rediss://" in (found.fix or "")
        found = checks({"url": redis_url.replace("redis:", "rediss:"), "tls_ca_file": redis_tls.ca_file})
        assert "does the server speak TLS" in (found["redis connection"].fix or "")


class TestPolicies:
    @pytest.mark.parametrize(("redis", "protected"), [
        ({"url": "redis://server"}, False), ({"url": "rediss://server"}, True),
        ({"url": "redis://server", "tls": True}, True),
        ({"nodes": "a:1"}, False), ({"nodes": "a:1", "tls": True}, True),
    ])  # fmt: skip
    def test_tls_can_be_required(self, redis, protected):
        config = CacheConfig(redis=redis, policies=[{"policy_id": "p", "require_tls": True}])
        if protected:
            check_protection(config)
        else:
            with pytest.raises(PolicyError, match="'p' requires TLS"):
                check_protection(config)
        elsewhere = {"policy_id": "p", "require_tls": True, "allowed_backends": ["memory", "disk"]}
        check_protection(CacheConfig(redis=redis, policies=[elsewhere]))

    @pytest.mark.parametrize(
        ("requirement", "word"), [("require_tls", "rediss://"), ("require_authentication", "password_file")]
    )
    def test_no_entry_is_written_in_plain(self, requirement, word, cli, redis_url, redis_server, workplace):
        (workplace / "scoutcache.toml").write_text(
            f'[redis]\nurl = "{redis_url}"\n'
            f'[[policies]]\npolicy_id = "secret"\napplies_to = "s:*"\n{requirement} = true\n'
        )
        for command in (("set", "s:1", "1"), ("set", "other", "1")):
            ran = cli(*command)
            assert ran.code == 2
            assert "'secret'" in ran.err
            assert word in ran.err
        ran = cli("config", "validate")
        assert ran.code == 2
        assert "'secret'" in ran.err
        assert "\nhint: set redis." in ran.err
        ran = cli("doctor", "--json")
        (check,) = [check for check in json.loads(ran.out)["checks"] if check["status"] == "fail"]
        assert (ran.code, check["name"]) == (1, "configuration")
        assert word in check["fix"]
        assert redis_server.cli("DBSIZE") == 0
