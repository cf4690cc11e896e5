from __future__ import annotations

import gzip
import tempfile

import pytest

from scoutcache.bench.compression import samples_from_cache
from scoutcache.bench.records import METRICS, BenchOptions
from scoutcache.bench.run import run_bench
from scoutcache.cache import Cache
from scoutcache.config import CacheConfig
from scoutcache.errors import ConfigError

SHORT = {"duration": 0.03, "warmup": 0.0, "runs": 2, "keys": 50, "value_size": 100}


@pytest.fixture
def own_temporary(tmp_path, monkeypatch):
    """The folder that temporary folders are made in."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("use_async", [False, True])
def test_each_tier_gives_a_row_for_each_operation(use_async, own_temporary, isolated_environment):
    steps = []
    options = BenchOptions(**SHORT, clients=2, ratio=(1, 1), use_async=use_async)
    result = run_bench(options, progress=lambda *step: steps.append(step))
    places = [(row.tier, row.operation) for row in result.results]
    assert places == [(tier, name) for tier in ("memory", "disk", "hybrid") for name in ("get", "set", "all")]
    for row in result.results:
        assert row.errors == 0
        assert row.count > 0
        assert 0 < row.p50_us <= row.p99_us <= row.max_us * 1.02
        assert row.ops_per_s > 0
        assert all(len(row.runs[metric]) == 2 for metric in METRICS)
    assert [done for _, done, _ in steps] == list(range(9))
    assert list(own_temporary.iterdir()) == [], "the caches were in a folder of their own, which is gone"
    assert not (isolated_environment / "cache").exists(), "the user's cache was not touched"


def test_every_read_of_a_filled_tier_is_a_hit():
    (row,) = run_bench(BenchOptions(**SHORT, tiers=("disk",), ratio=(1, 0))).results
    assert (row.operation, row.hit_rate) == ("get", 1.0)


def test_a_trace_starts_empty_and_misses_are_filled(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"timestamp,key,size\n" + b"".join(b"%d,k%d,1\n" % (n, n) for n in range(20))))
    options = BenchOptions(**SHORT, tiers=("memory",), workload=f"trace:{path}", ratio=(1, 0))
    rows = {row.operation: row for row in run_bench(options).results}
    assert rows["get"].hit_rate > 0.5
    assert rows["get"].count > 0


def test_an_open_loop_reports_what_was_done_and_notes_what_was_not():
    options = {**SHORT, "duration": 0.1, "tiers": ("memory",), "ratio": (1, 0)}
    (kept,) = run_bench(BenchOptions(**options, rate=200.0)).results
    assert kept.ops_per_s <= 240
    late = run_bench(BenchOptions(**options, rate=1e9))
    assert any("of 1000000000 operations per second were done" in note for note in late.notes)


def test_a_single_run_and_a_busy_machine_are_noted():
    result = run_bench(BenchOptions(**{**SHORT, "runs": 1}, tiers=("memory",)))
    assert any("single run" in note for note in result.notes)
    assert result.overhead_ns > 0
    assert result.machine["cores"] >= 1


def test_the_configuration_s_tiers_and_directory_are_not_used(tmp_path):
    base = CacheConfig(directory=tmp_path / "mine", tiers=["disk"], enabled=False, compression={"type": "zstd"})
    (row, *_) = run_bench(BenchOptions(**SHORT, tiers=("memory",)), base=base).results
    assert row.hit_rate == 1.0
    assert not (tmp_path / "mine").exists()


def test_impossible_options_are_refused_before_anything_is_done(own_temporary):
    with pytest.raises(ConfigError):
        run_bench(BenchOptions(tiers=("floppy",)))
    assert list(own_temporary.iterdir()) == []


def test_live_entries_can_be_samples(tmp_path):
    with Cache(directory=tmp_path) as cache:
        cache.set_many({f"llm:{number}": {"text": "x" * number} for number in range(30)})
        cache.set("other", 1)
        assert len(samples_from_cache(cache, "llm:*").values) == 30
        assert len(samples_from_cache(cache, "*", limit=7).values) == 7
        assert all(b"text" in value for value in samples_from_cache(cache, "llm:*").values)
