from __future__ import annotations

import pytest

from scoutcache.bench.compare import Threshold, compare, parse_threshold
from scoutcache.errors import CacheError, ConfigError


def change(comparison, metric):
    (found,) = [one for one in comparison.changes if one.metric == metric]
    return found


@pytest.mark.parametrize(
    ("text", "metric", "percent"),
    [("p99:10%", "p99_us", 10), ("P50: 2.5 %", "p50_us", 2.5), ("ops:5", "ops_per_s", 5), ("max_us:0%", "max_us", 0)],
)
def test_a_threshold_is_a_metric_and_a_percentage(text, metric, percent):
    assert parse_threshold(text) == Threshold(metric, percent)


@pytest.mark.parametrize("text", ["", "p99", "p99:", "p98:10%", ":10%", "p99:ten", "p99:-5%", "errors:1%", "p99:10%x"])
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigError, match="p99:10%"):
        parse_threshold(text)


def test_a_change_beyond_the_threshold_and_the_spread_is_missed(make_result, make_row):
    before, after = make_result(make_row()), make_result(make_row(figures=(120.0, 121.0, 122.0)))
    comparison = compare(before, after, "p99:10%")
    assert [found.metric for found in comparison.missed] == ["p99_us"]
    assert change(comparison, "p99_us").worse_percent == pytest.approx(19.8, abs=0.1)
    assert compare(before, after, "p99:25%").missed == ()
    assert compare(before, after).missed == ()


def test_a_change_that_the_spread_explains_is_noise_and_not_missed(make_result, make_row):
    before = make_result(make_row(figures=(100.0, 101.0, 130.0)))
    after = make_result(make_row(figures=(119.0, 121.0, 122.0)))
    found = change(compare(before, after, ["p99:10%", "p50:1%"]), "p99_us")
    assert found.noise
    assert not found.missed


def test_fewer_operations_per_second_are_worse_and_more_are_not(make_result, make_row):
    slow, fast = make_result(make_row(figures=(50.0,))), make_result(make_row(figures=(100.0,)))
    worse = change(compare(fast, slow, "ops:10%"), "ops_per_s")
    assert (worse.change_percent, worse.worse_percent, worse.missed) == (-50.0, 50.0, True)
    assert not change(compare(slow, fast, "ops:10%"), "ops_per_s").missed


def test_without_spread_the_medians_alone_decide(make_result, make_row):
    before, after = make_result(make_row(figures=(100.0,))), make_result(make_row(figures=(111.0,)))
    assert [found.metric for found in compare(before, after, "p50:10%").missed] == ["p50_us"]


def test_what_nobody_measured_has_no_change(make_result, make_row):
    before, after = make_result(make_row(p50_us=None)), make_result(make_row())
    found = change(compare(before, after, "p50:0%"), "p50_us")
    assert (found.change_percent, found.missed) == (None, False)


def test_other_machines_and_workloads_are_warned_of(make_result):
    before = make_result()
    after = make_result(machine={**before.machine, "cpu": "other"}, workload="uniform", ratio=[9, 1])
    warnings = compare(before, after).warnings
    assert any("cpu" in warning for warning in warnings)
    assert any("workload was zipf:1.0, is uniform" in warning for warning in warnings)
    assert len(warnings) == 2
    assert compare(before, before).warnings == ()


def test_results_with_nothing_in_common_can_t_be_compared(make_result, make_row):
    with pytest.raises(CacheError, match="in common"):
        compare(make_result(make_row(tier="disk")), make_result(make_row(tier="memory")))
