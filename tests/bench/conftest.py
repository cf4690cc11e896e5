from __future__ import annotations

import pytest

from scoutcache.bench.records import METRICS, BenchResult, BenchRow


@pytest.fixture
def make_row():
    """A row whose runs have these figures for every metric (default: 100, 101, 102)."""

    def make(tier="memory", operation="get", figures=(100.0, 101.0, 102.0), **changes):
        middle = sorted(figures)[len(figures) // 2]
        row = {"tier": tier, "operation": operation, "count": 1000, "errors": 0, "hit_rate": 1.0,
               "runs": dict.fromkeys(METRICS, tuple(figures)), **dict.fromkeys(METRICS, middle)}  # fmt: skip
        return BenchRow(**{**row, **changes})

    return make


@pytest.fixture
def make_result(make_row):
    """A result of these rows."""

    def make(*rows, machine=None, **options):
        return BenchResult(
            results=rows or (make_row(),), machine=machine or {"cpu": "c", "cores": 2, "system": "s", "python": "p"},
            version="0", seed=1, options={"workload": "zipf:1.0", "runs": 3, "ratio": (9, 1), **options},
            started_at="2026-01-01T00:00:00+00:00", overhead_ns=50.0, notes=("a note",),
        )  # fmt: skip

    return make
