from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.oplog.histogram import Histogram, bucket_of, middle_of

values = st.lists(st.integers(0, 10**12), min_size=1, max_size=200)


def filled(numbers: list[int]) -> Histogram:
    histogram = Histogram()
    for number in numbers:
        histogram.add(number)
    return histogram


@given(st.integers(0, (1 << 62) - 1))
def test_a_value_is_within_1_6_percent_of_the_middle_of_its_bucket(value: int) -> None:
    assert abs(middle_of(bucket_of(value)) - value) <= max(value / 64, 0)


@given(st.integers(0, 1 << 61), st.integers(0, 1 << 61))
def test_a_larger_value_never_falls_into_a_lower_bucket(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert bucket_of(low) <= bucket_of(high)


@given(values, st.floats(0.01, 1.0))
def test_a_quantile_is_within_3_percent_of_the_value_of_that_rank(numbers: list[int], q: float) -> None:
    rank = next(at for at in range(1, len(numbers) + 1) if at >= q * len(numbers))
    exact = sorted(numbers)[rank - 1]
    found = filled(numbers).quantile(q)
    assert found is not None
    assert abs(found - exact) <= 0.03 * exact


@given(values, values)
@settings(max_examples=50)
def test_merging_gives_what_recording_everything_in_one_gives(one: list[int], other: list[int]) -> None:
    merged = Histogram.merged([filled(one), filled(other)])
    assert merged.to_list() == filled(one + other).to_list()
    assert merged.count == len(one) + len(other)


@given(values)
def test_the_compact_form_comes_back_as_it_was(numbers: list[int]) -> None:
    histogram = filled(numbers)
    back = Histogram.from_list(histogram.to_list())
    assert (back.to_list(), back.count, back.mean) == (
        histogram.to_list(),
        histogram.count,
        sum(numbers) / len(numbers),
    )


@given(st.lists(st.integers(-(10**20), 10**20), max_size=12))
def test_whatever_the_numbers_they_are_a_histogram_or_a_ValueError(numbers: list[int]) -> None:
    try:
        found = Histogram.from_list(numbers)
    except ValueError:
        return
    assert found.count == sum(numbers[3::2])


def test_nothing_recorded_has_no_quantile_and_no_mean() -> None:
    assert (Histogram().quantile(0.5), Histogram().mean) == (None, None)


@pytest.mark.parametrize("value", [-5, 0])
def test_a_clock_that_stepped_back_counts_as_no_time(value: int) -> None:
    assert filled([value]).to_list() == [0, 0, 0, 1]


def test_values_beyond_all_buckets_count_in_the_last() -> None:
    assert filled([1 << 80]).count == 1
    Histogram.from_list(filled([1 << 80]).to_list())
