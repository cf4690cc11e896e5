"""Sizes, points, processes, errors of samples."""

from __future__ import annotations

import random

import pytest

from scoutcache.errors import ConfigError
from scoutcache.insight.simulation.curves import as_rows, curves, parse_sizes
from scoutcache.insight.simulation.policies import POLICIES
from scoutcache.insight.simulation.requests import Requests


@pytest.fixture
def requests() -> Requests:
    """Two thousand requests for three hundred keys, some much more often than others."""
    dice = random.Random(7)
    keys = [min(299, int(dice.paretovariate(0.7)) - 1) for _ in range(2000)]
    numbers = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    return Requests([numbers[key] for key in keys], [100 + 3 * key for key in numbers], [f"k{key}" for key in numbers])


def test_sizes_are_parts_numbers_and_bytes(requests):
    sizes = parse_sizes(["10%", "7", "64KB", "7"], requests)
    entries = round(0.1 * requests.distinct)
    assert [(size.capacity, size.unit) for size in sizes] == [(64_000, "bytes"), (7, "entries"), (entries, "entries")]
    (half,) = parse_sizes(["50%"], requests, by_bytes=True)
    assert (half.capacity, half.unit, half.share) == (round(requests.distinct_bytes / 2), "bytes", 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [("0", "holds nothing"), ("0%", "is no size"), ("0B", "holds nothing"), ("1.5", "has no unit"),
     ("-3", "is no size"), ("64XB", "is no size"), ("%", "is no size"), ("lots", "is no size"), ("1_000", "no unit")],
)  # fmt: skip
def test_what_is_no_size_is_refused(requests, text, said):
    with pytest.raises(ConfigError, match=said) as error:
        parse_sizes([text], requests)
    assert "64MB" in error.value.hint


def test_a_number_has_no_unit_where_bytes_are_meant(requests):
    with pytest.raises(ConfigError, match="'1000' has no unit") as error:
        parse_sizes(["1000"], requests, by_bytes=True)
    assert "1000KB" in error.value.hint


def test_points_come_in_the_order_asked_for_and_are_the_same_from_several_processes(requests):
    sizes = parse_sizes(["1%", "3%", "10%", "30%", "100%", "5KB"], requests)
    alone = curves(requests, POLICIES, sizes, processes=1)
    assert [(point.policy, point.capacity) for point in alone] == [
        (policy, size.capacity) for policy in POLICIES for size in sizes
    ]
    told = []
    assert curves(requests, POLICIES, sizes, processes=2, progress=lambda done, of: told.append((done, of))) == alone
    assert told[-1][0] == told[-1][1] == len(told)


def test_no_policy_beats_opt_and_more_room_is_no_worse_for_lru(requests):
    sizes = parse_sizes(["1%", "3%", "10%", "30%", "100%"], requests)
    points = curves(requests, POLICIES, sizes)
    best = {point.capacity: point.hit_ratio for point in points if point.policy == "opt"}
    assert all(point.hit_ratio <= best[point.capacity] + 1e-12 for point in points)
    lru = [point.hit_ratio for point in points if point.policy == "lru"]
    assert lru == sorted(lru)


def test_a_sample_is_simulated_smaller_and_says_its_error(requests):
    (size,) = parse_sizes(["20"], requests)
    (whole,) = curves(requests, ["lru"], [size])
    assert whole.error is None
    requests.rate = 0.5
    (point,) = curves(requests, ["lru"], [size])
    (half,) = curves(Requests(requests.keys, requests.sizes, []), ["lru"], parse_sizes(["10"], requests))
    assert point.hit_ratio == half.hit_ratio
    assert 0 < point.error < 1
    assert as_rows([point])[0]["capacity"] == 20


def test_no_requests_give_no_ratio_of_bytes():
    (point,) = curves(Requests([], [], []), ["lru"], [parse_sizes(["1"], Requests([0], [1], []))[0]])
    assert (point.hit_ratio, point.byte_hit_ratio) == (0.0, None)
