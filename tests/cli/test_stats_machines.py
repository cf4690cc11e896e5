"""``stats`` where several machines share a server: each sums all of them.  A machine is a directory."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.channels.counts import encode, publish
from scoutcache.config.sections import RedisSection
from scoutcache.oplog.process import Segment
from scoutcache.oplog.tally import Counted
from scoutcache.server.breaker import Breaker
from scoutcache.server.commands import perform
from scoutcache.server.connecting import Source
from scoutcache.server.direct import Direct
from scoutcache.server.layout import Layout

LIVING = """
from scoutcache import Cache
with Cache(directory=sys.argv[1]) as cache:
    cache._core.recorder.sharing.every = 0.05
    cache.set("llm:a", 1)
    for number in range(7):
        cache.get(f"missing:{number}")
    for number in range(11):
        cache.get("llm:a")
    print("here", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def on(cli, redis_url, workplace, monkeypatch):
    """The command line on this machine."""
    monkeypatch.setenv("SCOUTCACHE_REDIS__URL", redis_url)
    monkeypatch.setenv("SCOUTCACHE_REDIS__TIMEOUT", "5")
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "here"))
    return cli


def stats(on, *more):
    ran = on("stats", "--json", *more)
    assert (ran.code, ran.err) == (0, "")
    return json.loads(ran.out)


def use(directory, misses=2, hits=3, **more):
    """A process that is over."""
    with Cache(directory=directory, **more) as cache:
        cache.set("llm:a", 1)
        for number in range(misses):
            cache.get(f"missing:{number}")
        for _ in range(hits):
            cache.get("llm:a")


def figures(found):
    return found["hits"], found["misses"], found["sets"], found["machines"]


class TestSums:
    def test_each_machine_sums_all(self, on, workplace, monkeypatch):
        for name in ("here", "there", "yonder"):
            use(workplace / name)
        for name in ("here", "there", "yonder"):
            monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / name))
            assert figures(stats(on)) == (9, 6, 3, 3)
            assert figures(stats(on, "--period", "5m")) == (9, 6, 3, 3)

    def test_a_machine_that_was_never_here_sees_the_others(self, on, workplace):
        use(workplace / "there")
        assert figures(stats(on)) == (3, 2, 1, 2)
        assert not (workplace / "here").exists()

    def test_what_a_command_asked_counts_everywhere(self, on, workplace, monkeypatch):
        use(workplace / "there", 0, 0)
        assert on("get", "llm:a").code == 0
        monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "yonder"))
        assert stats(on)["hits"] == 1

    def test_groups(self, on, workplace):
        for name in ("here", "there"):
            use(workplace / name)
        prefixes = stats(on, "--by", "prefix")
        assert {row["prefix"]: row["requests"] for row in prefixes["prefixes"]} == {"llm": 6, "missing": 4}
        assert (prefixes["machines"], "25 hours" in prefixes["note"]) == (2, True)
        (row,) = stats(on, "--by", "namespace", "--period", "1h")["namespaces"]
        assert (row["hits"], row["misses"]) == (6, 4)
        tiers = {row["name"]: row["hits"] for row in stats(on, "--by", "tier")["tiers"]}
        assert tiers["memory"] == 6
        assert stats(on, "--namespace", "tenant")["requests"] == 0

    def test_tags_are_this_machine_s_and_that_is_said(self, on, workplace):
        for name in ("here", "there"):
            with Cache(directory=workplace / name) as cache:
                cache.set("llm:a", 1, tags=["small"])
                cache.get("llm:a")
        found = stats(on, "--by", "tag")
        assert [(row["tag"], row["hits"]) for row in found["tags"]] == [("small", 1)]
        assert (found["machines"], "this machine" in found["note"]) == (1, True)
        assert "tags of this machine only" in " ".join(on("stats", "--help").out.split())

    def test_the_table_says_how_many(self, on, workplace):
        use(workplace / "there")
        line = next(line for line in on("stats").out.splitlines() if line.startswith("machines"))
        assert line.split() == ["machines", "2"]

    def test_without_a_server_there_is_one_machine(self, cli, directory):
        found = stats(cli)
        assert (found["machines"], found["note"], found["skipped_segments"]) == (1, None, 0)

    def test_two_caches_on_one_server_know_nothing_of_each_other(self, on, workplace, redis_url, monkeypatch):
        use(workplace / "there", redis={"url": redis_url, "key_prefix": "another:"})
        assert figures(stats(on)) == (0, 0, 0, 1)

    def test_clear_and_prune_keep_counters(self, on, workplace):
        use(workplace / "there")
        for command in (("clear", "--yes"), ("prune",)):
            assert on(*command).code == 0
        assert figures(stats(on))[:2] == (3, 2)
        assert on("keys", "--quiet").out == ""


class TestPrograms:
    def test_stats_of_a_cache_sum_all_machines(self, on, workplace):
        use(workplace / "there")
        with Cache() as cache:
            cache.get("missing")
            found = cache.stats("1h")
            assert (found.cache_hits, found.cache_misses) == (3, 3)
            assert found.stats_by_prefix["llm"]["hits"] == 3
            assert cache.stats().cache_misses == 3

    def test_of_an_asynchronous_one_too(self, on, workplace):
        use(workplace / "there")

        async def ask():
            async with AsyncCache() as cache:
                await cache.get("missing")
                return await cache.stats()

        assert asyncio.run(ask()).cache_misses == 3

    def test_where_the_server_is_away_they_are_those_of_this_machine(self, on, workplace, start_redis, monkeypatch):
        server = start_redis()
        monkeypatch.setenv("SCOUTCACHE_REDIS__URL", server.url)
        use(workplace / "there")
        with Cache() as cache:
            cache.get("missing")
            server.kill()
            assert cache.stats().cache_misses == 1


class TestLivingAndDead:
    def test_a_process_that_was_killed_loses_nothing_it_published(self, on, workplace, run_python, until):
        process = run_python(LIVING, workplace / "there")
        assert process.stdout.readline() == "here\n"
        until(lambda: figures(stats(on)) == (11, 7, 1, 2), "its counters are published")
        found = stats(on)
        assert found["processes"] == 1
        memory = next(row for row in found["tiers"] if row["name"] == "memory")
        assert (memory["entries"], memory["hits"]) == (1, 11)
        process.kill()
        process.wait()
        assert figures(stats(on)) == (11, 7, 1, 2)

    def test_one_that_ended_is_no_process_any_more(self, on, workplace, run_python):
        process = run_python(LIVING, workplace / "there")
        assert process.stdout.readline() == "here\n"
        process.communicate(timeout=30)
        assert process.returncode == 0
        found = stats(on)
        assert (*figures(found), found["processes"]) == (11, 7, 1, 2, 0)
        assert next(row for row in found["tiers"] if row["name"] == "memory")["entries"] is None

    def test_what_is_in_memory_here_and_there_is_added(self, on, workplace):
        with Cache() as here, Cache(directory=workplace / "there") as there:
            for number, cache in enumerate((here, there), 1):
                for key in range(number):
                    cache.set(f"{number}:{key}", 1)
                cache.flush()
                assert cache._core.recorder.sharing.deliver()
            for found in (stats(on), stats(on, "--period", "1m")):
                assert (found["processes"], found["machines"]) == (2, 2)
                assert next(row for row in found["tiers"] if row["name"] == "memory")["entries"] == 3


class TestPeriods:
    @pytest.fixture
    def ago(self, on, redis_url):
        """Let another machine have counted some misses so many minutes ago, and publish them now."""
        source = Source(RedisSection(url=redis_url, timeout=5))
        conduit = Direct(source, Breaker("the server", time.monotonic, lambda _: None))

        def make(minutes, misses):
            now, name = time.time(), f"s{minutes}"
            row = Counted(int(now // 60) - minutes, "default", "llm", "", "get", "miss", "cold", misses)
            value = encode("other", Segment(name, "p", now, now, {}, [row], []))
            perform(publish(Layout("scoutcache:"), "other", "process", {name: value}), conduit)

        yield make
        conduit.close()

    @pytest.mark.parametrize(("period", "misses"), [("5m", 1), ("2h", 11), ("25h", 111), (None, 111)])
    def test_each_period_has_its_minutes(self, period, misses, ago, on):
        for minutes, number in ((1, 1), (90, 10), (24 * 60, 100), (26 * 60, 1000)):
            ago(minutes, number)
        found = stats(on, *(("--period", period) if period else ()))
        assert found["misses"] == misses
        assert found["note"] is None or period is None


class TestTrouble:
    def test_where_the_server_is_away_there_is_one_warning(self, on, workplace, start_proxy, redis_server, monkeypatch):
        proxy = start_proxy(redis_server.port)
        monkeypatch.setenv("SCOUTCACHE_REDIS__URL", proxy.url)
        for name in ("here", "there"):
            use(workplace / name)
        proxy.cut()
        for more in ((), ("--by", "prefix"), ("--by", "tag")):
            ran = on("stats", "--json", *more)
            assert (ran.code, ran.err.count("\n")) == (3, 1)
            assert json.loads(ran.out)["machines"] == 1
        assert figures(json.loads(on("stats", "--json").out)) == (3, 2, 1, 1)

    def test_garbage_is_left_out_and_counted(self, on, workplace, redis_server):
        for name in ("there", "yonder"):
            use(workplace / name)
        (name, *_) = sorted(redis_server.cli("KEYS", "scoutcache:counts:*"))
        redis_server.cli("SET", name, os.urandom(500))
        found = stats(on)
        assert (figures(found), found["skipped_segments"]) == ((3, 2, 1, 2), 1)

    def test_a_frozen_server_delays_closing_by_its_timeout_only(self, on, workplace, start_proxy, redis_server,
                                                                monkeypatch):  # fmt: skip
        proxy = start_proxy(redis_server.port)
        monkeypatch.setenv("SCOUTCACHE_REDIS__URL", proxy.url)
        monkeypatch.setenv("SCOUTCACHE_REDIS__TIMEOUT", "0.25")
        cache = Cache(directory=workplace / "there")
        cache.get("missing")
        proxy.freeze()
        began = time.monotonic()
        cache.close()
        assert time.monotonic() - began < 5


def test_on_a_cluster(cli, redis_cluster, workplace, monkeypatch):
    redis_cluster.flush()
    monkeypatch.setenv("SCOUTCACHE_REDIS__NODES", ",".join(f"{host}:{port}" for host, port in redis_cluster.nodes))
    monkeypatch.setenv("SCOUTCACHE_REDIS__TIMEOUT", "5")
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "here"))
    for name in ("here", "there", "yonder"):
        use(workplace / name)
    found = stats(cli)
    assert (figures(found), found["skipped_segments"]) == ((9, 6, 3, 3), 0)
