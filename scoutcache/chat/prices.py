"""What a call costs, from ``[costs]``: unknown without a price, never guessed.

A model's price is found by its name, then by the name without its date or release, then without a vendor before it, so
that the price of ``gpt-4o`` holds for ``gpt-4o-2024-08-06`` unless that one has its own.  Discounts (cached prompts,
batches) are not known here.
"""

from __future__ import annotations

from collections.abc import Iterator

from scoutcache.chat.answers import DATE, bare
from scoutcache.config_sections import CostsSection, ModelPrice

__all__ = ["cost_of", "price_of"]


def price_of(costs: CostsSection, *models: str | None) -> ModelPrice | None:
    """The price of the first of *models*, by the first of its names, that has one."""
    for model in models if costs.models else ():
        for name in _names(model) if model else ():
            if (price := costs.models.get(name)) is not None:
                return price
    return None


def _names(model: str) -> Iterator[str]:
    yield model
    yield DATE.sub("", model)
    yield bare(model)
    yield DATE.sub("", bare(model))


def cost_of(
    costs: CostsSection, models: tuple[str | None, ...], input_tokens: int | None, output_tokens: int | None
) -> float | None:
    """US dollars for a call: tokens at the model's price, else ``default_call_usd``, else None.

    >>> costs = CostsSection(models={"gpt-4o": {"input": 2.5, "output": 10}})
    >>> cost_of(costs, ("gpt-4o-2024-08-06",), 1000, 100), cost_of(costs, ("llama",), 1000, 100)
    (0.0035, None)
    """
    price = price_of(costs, *models)
    if price is None or (input_tokens is None and output_tokens is None):
        return costs.default_call_usd
    return ((input_tokens or 0) * price.input + (output_tokens or 0) * price.output) / 1_000_000
