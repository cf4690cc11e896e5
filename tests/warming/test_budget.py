"""Calls and money are given out until they are spent, and never more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.errors import ConfigError
from scoutcache.oplog.records import Line
from scoutcache.warming.budget import Budget, Prices, parse_budget
from scoutcache.warming.fill import warm_from


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("100", (100, None)),
        ("$5", (None, 5.0)),
        (" $0.25 ", (None, 0.25)),
        ("2.5usd", (None, 2.5)),
        ("3 $", (None, 3.0)),
    ],
)
def test_a_budget_is_calls_or_money(text, meant):
    assert parse_budget(text) == meant


@pytest.mark.parametrize("text", ["", "many", "-1", "$", "$1.2.3", "1.5", "€5", "$inf", "$-1", "١"])
def test_what_is_neither_says_what_was_expected(text):
    with pytest.raises(ConfigError, match=r"expected a number of calls \(100\) or an amount of money"):
        parse_budget(text)


@given(limit=st.integers(0, 50), prices=st.lists(st.floats(0, 10), max_size=80))
def test_neither_limit_is_ever_passed(limit, prices):
    by_calls, by_money = Budget(calls=limit), Budget(usd=float(limit))
    for number, price in enumerate(prices):
        by_calls.take(str(number))
        by_money.take(str(number), price)
    assert by_calls.calls == min(limit, len(prices))
    assert (by_money.spent_usd or 0.0) <= limit + 1e-6


def test_threads_together_get_no_more_than_there_is():
    budget = Budget(calls=100)
    with ThreadPoolExecutor(8) as threads:
        given_out = list(threads.map(budget.take, map(str, range(500))))
    assert sum(given_out) == budget.calls == 100


def test_a_price_is_that_of_the_key_else_of_its_prefix_else_the_default():
    log = [
        Line(1.0, "set", "llm:a", cost=0.1), Line(2.0, "set", "llm:a", cost=0.3), Line(3.0, "set", "llm:b", cost=0.8),
        Line(4.0, "compute", "llm:c", outcome="hit", cost=9.0),
    ]  # fmt: skip
    prices = Prices(log, default=0.01)
    assert prices.of("llm:a") == pytest.approx(0.2)
    assert prices.of("llm:new") == pytest.approx(0.4)
    assert prices.of("job:1") == 0.01
    assert Prices().of("job:1") is None


def test_money_without_a_price_is_refused_rather_than_guessed(cache):
    with pytest.raises(ConfigError, match="needs a price for 'a'"):
        warm_from(cache, ["a"], call=str.upper, budget=Budget(usd=1.0))


def test_what_is_over_the_budget_is_skipped_and_counted(cache):
    result = warm_from(cache, list("abcd"), call=str.upper, budget=Budget(calls=3), concurrency=1)
    assert (result.warmed, result.skipped, result.over_budget, result.calls) == (3, 1, 1, 3)


def test_values_that_stand_in_the_line_cost_no_call(cache):
    lines = ['{"key": "a", "value": 1}', "b", "c"]
    result = warm_from(cache, lines, call=str.upper, budget=Budget(usd=0.5, price=lambda _: 0.5))
    assert (result.warmed, result.over_budget, result.calls, result.cost_usd) == (2, 1, 1, 0.5)
