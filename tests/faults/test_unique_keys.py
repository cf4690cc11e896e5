"""Keys that are asked for once leave nothing behind; ``tests/benchmarks/coherence.py --long`` sends a million."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

from scoutcache import Cache

KEYS = {"memory": 10_000, "disk": 1000}
WARM_UP = 2000
"""After so many every table that has a bound is full."""

BLOCKS_PER_KEY = 0.5
"""A leak is a block of memory for each key, at least."""

MOST = 5_000_000
"""Bytes by which the process may grow."""


def resident():
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def left(cache):
    """Blocks of memory that are in use, and the process's size, when what may wait has been done."""
    cache.flush()
    cache._core.background.turn()
    gc.collect()
    return sys.getallocatedblocks(), resident()


def under_way(cache):
    core = cache._core
    tables = core.world.flights, core.world.refreshes, core.world.moments, core.world.failures, core.ports.beside
    held = () if core.ports.leases is None else core.ports.leases._held
    return [len(table) for table in (*tables, held)]


def ask(cache, name, number):
    for n in range(number):
        cache.get_or_compute(f"{name}:{n}", str)


@pytest.mark.parametrize("tiers", [["memory"], ["memory", "disk"]])
def test_keys_that_went_through_a_small_cache_leave_nothing_behind(tiers, tmp_path):
    keys = KEYS[tiers[-1]]
    settings = {"tiers": tiers, "memory": {"max_entries": 500}, "oplog": {"enabled": False}}
    with Cache(settings, directory=tmp_path) as cache:
        ask(cache, "warm", WARM_UP)
        blocks, size = left(cache)
        ask(cache, "unique", keys)
        more, larger = left(cache)
        assert under_way(cache) == [0] * 6
        assert more - blocks < BLOCKS_PER_KEY * keys
        assert larger - size < MOST
