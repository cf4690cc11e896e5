from __future__ import annotations

import json

import pytest

from scoutcache.bench.records import BenchOptions, BenchResult
from scoutcache.errors import CacheError, ConfigError


def test_every_wrong_option_is_named_at_once():
    options = BenchOptions(tiers=("memory", "floppy"), keys=0, value_size=0, ratio=(0, 0), clients=0, duration=0,
                           warmup=-1, runs=0, rate=0)  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        options.check()
    assert len(caught.value.problems) == 9
    for name in ("floppy", "keys", "value size", "ratio", "clients", "duration", "warm-up", "runs", "rate"):
        assert name in str(caught.value)


def test_the_redis_tier_needs_a_server():
    with pytest.raises(ConfigError, match="--redis-url"):
        BenchOptions(tiers=("redis",)).check()
    BenchOptions(tiers=("redis",), redis_url="redis://localhost").check()


def test_the_defaults_are_possible():
    BenchOptions().check()


def test_a_result_comes_back_from_json_as_it_was(make_result, make_row):
    result = make_result(make_row(), make_row(operation="set", p50_us=None, hit_rate=None))
    again = BenchResult.from_dict(json.loads(json.dumps(result.as_dict())))
    assert again.results == result.results
    assert (again.machine, again.notes, again.seed) == (result.machine, result.notes, result.seed)


def test_the_contract_names_are_in_the_json(make_result):
    data = make_result().as_dict()
    assert {"results", "machine", "version", "seed"} <= data.keys()
    names = {"tier", "operation", "ops_per_s", "p50_us", "p95_us", "p99_us", "p999_us", "max_us", "errors"}
    assert names <= data["results"][0].keys()


@pytest.mark.parametrize("data", [None, [], {}, {"format": 1}, {"format": 1, "results": [3]}, "text", {"format": 99}])
def test_something_else_is_no_saved_benchmark(data):
    with pytest.raises(CacheError, match="here"):
        BenchResult.from_dict(data, "here")


def test_the_spread_is_how_far_runs_lie_apart(make_row):
    assert make_row(figures=(90.0, 100.0, 110.0)).spread("p50_us") == pytest.approx(0.2)
    assert make_row(figures=(100.0,)).spread("p50_us") is None
