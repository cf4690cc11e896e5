"""A prediction is judged by what it would have gained, against popularity alone."""

from __future__ import annotations

import random

import pytest

from scoutcache.errors import ConfigError
from scoutcache.oplog.records import Line
from scoutcache.warming.predict_replay import evaluate

HOUR = 3600.0


def asked(time, key):
    return Line(time, "get", key, "ns", outcome="miss", process="p")


def periodic(keys, period, until, seed=1):
    dice = random.Random(seed)
    begins = {f"p:{n}": dice.uniform(0, period) for n in range(keys)}
    return [asked(begin + n * period, key) for key, begin in begins.items() for n in range(int(until / period))]


def zipf(keys, count, until, seed=2):
    dice = random.Random(seed)
    drawn = dice.choices(range(keys), [1 / (rank + 1) for rank in range(keys)], k=count)
    return [asked(dice.uniform(0, until), f"z:{key}") for key in drawn]


def test_it_gains_more_for_each_call_than_popularity_on_periodic_and_zipf_keys():
    until = 48 * HOUR
    log = [*periodic(40, 4 * HOUR, until), *zipf(300, 2500, until)]
    found = evaluate(log, 600, 20, default_ttl=HOUR, steps=80)
    assert found.steps >= 80
    assert found.ratio >= 2
    assert found.ratio_same_calls > 1.3
    assert found.predicted.precision > found.popularity.precision
    assert found.predicted.warmed <= 20 * found.steps
    assert found.predicted.by_reason["periodic"] > 50
    assert found.predicted.recall == found.predicted.hits_gained / found.misses


def test_the_order_of_the_lines_makes_no_difference():
    log = [*periodic(10, 2 * HOUR, 30 * HOUR), *zipf(50, 300, 30 * HOUR)]
    shuffled = random.Random(5).sample(log, len(log))
    assert evaluate(log, 600, 10) == evaluate(shuffled, 600, 10)


def test_perfect_rhythm_is_foreseen_nearly_always():
    log = periodic(20, 3 * HOUR, 60 * HOUR)
    found = evaluate(log, 600, 100, default_ttl=HOUR)
    assert found.predicted.recall > 0.8
    assert found.predicted.precision > 0.8


def test_where_nothing_comes_again_nothing_is_warmed_and_there_is_no_ratio():
    log = [asked(n * 60.0, f"once:{n}") for n in range(500)]
    found = evaluate(log, 600, 100, default_ttl=HOUR)
    assert (found.predicted.warmed, found.predicted.hits_per_call, found.ratio) == (0, None, None)
    assert found.popularity.hits_gained == 0
    assert found.misses == found.requests


def test_the_time_to_live_that_the_log_tells_is_the_one_that_counts():
    """A key that lives longer than its period is always there: nothing is to be gained."""
    stored = [Line(0.0, "set", f"p:{n}", "ns", outcome="stored", ttl=10 * HOUR) for n in range(10)]
    found = evaluate([*stored, *periodic(10, 2 * HOUR, 40 * HOUR)], 600, 100)
    assert found.misses < 30
    assert found.predicted.warmed < 30


def test_a_deletion_ends_an_entry():
    gets = [asked(n * 10.0, "a") for n in range(100)]
    deletes = [Line(n * 10.0 + 1, "delete", "a", "ns") for n in range(100)]
    assert evaluate([*gets, *deletes], 60, 1, default_ttl=HOUR).misses > 40
    assert evaluate(gets, 60, 1, default_ttl=HOUR).misses == 0


@pytest.mark.parametrize("log", [[], [asked(5.0, "a")]])
def test_a_log_of_nothing_is_no_error(log):
    found = evaluate(log, 600, 10)
    assert (found.steps, found.predicted.warmed, found.ratio) == (0, 0, None)


@pytest.mark.parametrize(("horizon", "budget"), [(0, 1), (-1, 1), (float("inf"), 1), (float("nan"), 1), (60, 0)])
def test_impossible_figures_are_refused(horizon, budget):
    with pytest.raises(ConfigError, match="more than 0 seconds"):
        evaluate([], horizon, budget)
