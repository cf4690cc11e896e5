"""Thresholds by labelled pairs: rates, intervals, and the lowest that is precise enough."""

from __future__ import annotations

import pytest

from scoutcache.meaning.calibration import Pair, curve, lowest_for, measure, wilson

PAIRS = [Pair(0.99, True, True), Pair(0.95, True, True), Pair(0.95, True, False), Pair(0.93, False, True),
         Pair(0.97, False, False), Pair(0.80, True, True), Pair(0.70, False, True)]  # fmt: skip


def test_a_hit_needs_similarity_and_open_gates():
    point = measure(PAIRS, 0.9)
    assert (point.hits, point.wrong) == (3, 1)
    assert point.precision == pytest.approx(2 / 3)
    assert point.recall == pytest.approx(2 / 4)
    assert point.false_hit_rate == pytest.approx(1 / 3)


def test_rates_of_nothing_are_unknown():
    point = measure([Pair(0.5, False, True)], 0.9)
    assert (point.precision, point.recall, point.precision_interval, point.false_hit_rate) == (None, None, None, 0.0)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(0, 32, 0.0, 0.1072), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)]
)
def test_wilson_intervals(count, of, low, high):
    assert wilson(count, of) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("of", range(1, 200))
def test_what_none_or_all_did_has_an_exact_end(of):
    none, every = wilson(0, of), wilson(of, of)
    assert (none[0], every[1]) == (0.0, 1.0)
    assert all(0.0 < low < count / of < high < 1.0 for count in range(1, of) for low, high in [wilson(count, of)])


def test_the_lowest_threshold_for_a_precision_holds_from_there_on():
    points = curve(PAIRS)
    assert lowest_for(points, 1.0).threshold == 0.94
    assert lowest_for(points, 0.66).threshold == 0.71  # 3 of 4
    assert lowest_for(curve([Pair(0.9, False, True)]), 0.5) is None
