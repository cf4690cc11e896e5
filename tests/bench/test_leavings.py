"""What a benchmark that was killed leaves on a server: what goes by itself, or with the next one."""

from __future__ import annotations

import math
import signal
import subprocess
import sys

import pytest

from scoutcache.bench.leavings import lasting
from scoutcache.bench.records import BenchOptions
from scoutcache.bench.run import run_bench
from scoutcache.config import CacheConfig
from scoutcache.ttl import LONGEST
from tests.servers.waiting import until

HOUR_MS = 3_600_000
QUICK = {"tiers": ("redis",), "keys": 10, "duration": 0.05, "warmup": 0.0, "runs": 1}


@pytest.fixture
def killed(redis_url, redis_server, isolated_environment):
    """A benchmark was killed on the server while it ran; its prefix."""
    command = [sys.executable, "-m", "scoutcache", "bench", "--tier", "redis", "--redis-url", redis_url,
               "--duration", "60", "--warmup", "60", "--keys", "50"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(redis_server.cli("KEYS", "scoutcache:bench:*:e:*")) == 50, "it is filled")
        until(lambda: redis_server.cli("KEYS", "scoutcache:bench:*:versions:*"), "it runs")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (name,) = {b":".join(name.split(b":")[:3]) for name in redis_server.cli("KEYS", "*")}
    return name + b":"


def test_all_of_it_goes_by_itself_but_what_the_last_write_set(killed, redis_server):
    names = redis_server.cli("KEYS", "*")
    left = {name.removeprefix(killed): redis_server.cli("PTTL", name) for name in names}
    forever = {name for name, ms in left.items() if ms < 0}
    assert forever <= {b"{events}:last", b"position"}
    entries = [ms for name, ms in left.items() if name.startswith(b"e:")]
    assert len(entries) == 50
    assert all(HOUR_MS < ms < 2 * HOUR_MS for ms in entries)


def test_the_next_one_removes_it_and_spares_who_lives(killed, redis_server, redis_url):
    other = "scoutcache:bench:00000000000000ff:"
    spared = [f"{other}{{events}}:members", f"{other}e:5:bench:1", "scoutcache:bench:mine", "scoutcache:e:5:bench:1"]
    for name in spared:
        redis_server.cli("SET", name, "1")
    run_bench(BenchOptions(**QUICK, redis_url=redis_url))
    assert redis_server.cli("KEYS", f"{killed.decode()}e:*") != [], "it may live: it said so less than a minute ago"
    redis_server.cli("DEL", f"{killed.decode()}{{events}}:members")
    run_bench(BenchOptions(**QUICK, redis_url=redis_url))
    assert sorted(redis_server.cli("KEYS", "*")) == sorted(name.encode() for name in spared)


def test_who_says_so_meanwhile_is_spared(redis_server, redis_url):
    begun = "scoutcache:bench:00000000000000ff:"
    redis_server.cli("SET", f"{begun}{{events}}", "1")
    seen = []

    def says(what, *_):
        if "run" in what:
            redis_server.cli("SET", f"{begun}{{events}}:members", "1")
            seen.append(what)

    run_bench(BenchOptions(**QUICK, redis_url=redis_url), progress=says)
    assert seen
    assert len(redis_server.cli("KEYS", f"{begun}*")) == 2


def test_of_a_cluster_it_removes_what_lies_on_all_nodes(redis_cluster, isolated_environment):
    redis_cluster.flush()
    names = [f"scoutcache:bench:00000000000000ff:e:{{{number}}}5:bench:1" for number in range(30)]
    for name in names:
        redis_cluster.master_of(name).cli("SET", name, "1")
    base = CacheConfig(redis={"nodes": [f"{host}:{port}" for host, port in redis_cluster.nodes]})
    (row, *_) = run_bench(BenchOptions(**QUICK, redis_url=redis_cluster.url), base=base).results
    assert row.errors == 0
    assert [name for master in redis_cluster.masters() for name in master.cli("KEYS", "*")] == []


@pytest.mark.parametrize("use_async", [False, True])
def test_a_server_that_refuses_to_limit_it_is_measured_as_well(use_async, start_redis_with_acl, isolated_environment):
    found = start_redis_with_acl("alice", "secret", "~*", "&*", "+@all", "-pexpire")
    (row, *_) = run_bench(BenchOptions(**QUICK, redis_url=found.url, use_async=use_async)).results
    assert row.errors == 0


def test_how_long_it_may_live():
    options = BenchOptions(tiers=("redis", "hybrid"), runs=3, duration=100.0, warmup=10.0, keys=1000)
    assert lasting(options) == 2 * (330 + 10) + 3600
    assert lasting(BenchOptions(duration=1e300)) == LONGEST
    assert math.isfinite(LONGEST)
