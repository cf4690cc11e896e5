"""Prices: by name, by the name without its date, and never guessed."""

from __future__ import annotations

import pytest

from scoutcache.chat.prices import cost_by_size, cost_of
from scoutcache.config.sections import CostsSection

COSTS = CostsSection(models={"gpt-4o": {"input": 2, "output": 10}, "gpt-4o-2024-05-13": {"input": 5, "output": 15}})


@pytest.mark.parametrize(
    ("model", "usd"),
    [("gpt-4o", 3.0), ("gpt-4o-2024-08-06", 3.0), ("gpt-4o-2024-05-13", 6.5), ("openai/gpt-4o-2024-08-06", 3.0),
     ("gpt-4o-mini", None), (None, None)],
)  # fmt: skip
def test_a_price_is_found_by_the_models_name(model, usd):
    assert cost_of(COSTS, (model,), 1_000_000, 100_000) == usd


def test_without_tokens_or_price_a_call_costs_what_any_call_does():
    assert cost_of(COSTS, ("gpt-4o",), None, None) is None
    any_call = COSTS.model_copy(update={"default_call_usd": 0.5})
    assert cost_of(any_call, ("gpt-4o",), None, None) == cost_of(any_call, ("llama",), 10, 10) == 0.5
    assert cost_of(COSTS, ("gpt-4o",), 1_000_000, None) == 2.0


def test_what_is_free_costs_nothing_whatever_is_known_of_it_and_an_answer_without_a_price_is_unknown():
    costs = CostsSection(models={"own": {"input": 0}, "embedding": {"input": 0.1}}, default_call_usd=0.5)
    assert cost_of(costs, ("own",), None, None) == cost_by_size(costs, ["model:own"], 4000) == 0.0
    assert cost_of(costs, ("embedding",), None, None) == 0.5
    assert cost_by_size(costs, ["model:embedding"], 4000) is None
    assert cost_of(costs, ("embedding",), 1_000_000, None) == 0.1
