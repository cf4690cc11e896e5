"""Replaying requests, and the reference figures on real traces."""

from __future__ import annotations

import csv
import gzip

import pytest

from scoutcache.eviction import make_policy

from .replaying import replay

EXACT = {"lru": "LRU", "fifo": "FIFO", "sieve": "SIEVE"}
QUICK = ("llm_toolcalls_tau", "mix_lirs_multi3", "web_product12")
"""The traces that take a second; `tests/benchmarks/eviction_quality.py` does all of them."""


@pytest.fixture(scope="session")
def reference(shared):
    """Hit ratios by trace, policy and capacity in entries."""
    with (shared / "reference" / "eviction.csv").open() as file:
        return {
            (row["trace"], row["policy"], int(row["capacity"])): float(row["hit_ratio"])
            for row in csv.DictReader(file)
            if row["unit"] == "objects"
        }


@pytest.fixture(scope="session")
def requests_of(shared):
    """The requests of a trace."""

    def read(trace):
        with gzip.open(shared / "data" / "traces" / f"{trace}.csv.gz", "rt") as file:
            next(file)
            return [(int(line.split(",")[1]), 1) for line in file]

    return read


def capacities(reference, trace):
    return sorted({capacity for (name, _, capacity) in reference if name == trace})


@pytest.mark.parametrize("trace", QUICK)
@pytest.mark.parametrize("strategy", EXACT)
def test_it_reproduces_the_reference(reference, requests_of, trace, strategy):
    requests = requests_of(trace)
    for capacity in capacities(reference, trace):
        ratio = replay(make_policy(strategy, capacity, None), requests).hit_ratio
        assert ratio == pytest.approx(reference[trace, EXACT[strategy], capacity], abs=0.003)


def test_the_default_beats_lru_on_real_traces(reference, requests_of):
    gains = []
    for trace in QUICK:
        requests = requests_of(trace)
        for capacity in capacities(reference, trace):
            ratio = replay(make_policy("adaptive", capacity, None), requests).hit_ratio
            gains.append(100 * (ratio - reference[trace, "LRU", capacity]))
    assert sum(gains) / len(gains) >= 2.0
    assert min(gains) >= -1.0


def test_hits_and_evictions_are_counted():
    outcome = replay(make_policy("lru", 2, None), [("a", 10), ("b", 20), ("a", 10), ("c", 30), ("b", 20)])
    assert outcome == (5, 1, 2)
    assert outcome.hit_ratio == 0.2


def test_what_does_not_fit_is_a_miss_and_is_not_stored():
    outcome = replay(make_policy("lru", None, 10), [("a", 11), ("a", 11), ("b", 10), ("b", 10)])
    assert (outcome.hits, outcome.evictions) == (1, 0)


def test_no_requests_give_a_ratio_of_nought():
    assert replay(make_policy("lru", 1, None), []).hit_ratio == 0.0
