"""What a call costs, from ``[costs]``: unknown without a price, never guessed.

A model's price is found by its name, then by the name without its date or release, then without a vendor before it, so
that the price of ``gpt-4o`` holds for ``gpt-4o-2024-08-06`` unless that one has its own.  Discounts (cached prompts,
batches) are not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from scoutcache.chat.answers import DATE, bare
from scoutcache.config.sections import CostsSection, ModelPrice

__all__ = ["BYTES_PER_TOKEN", "cost_by_size", "cost_of", "model_in", "named", "output_rate", "price_of"]

P = TypeVar("P")

BYTES_PER_TOKEN: Final = 4
"""English text has about four bytes to a token, by OpenAI's rule of thumb; others have fewer."""
_TAG: Final = "model:"


def price_of(costs: CostsSection, *models: str | None) -> ModelPrice | None:
    """The price of the first of *models*, by the first of its names, that has one."""
    return next((price for model in models if (price := named(costs.models, model)) is not None), None)


def named(prices: Mapping[str, P], model: str | None) -> P | None:
    """What stands in *prices* for *model*, by the first of its names that is there."""
    if not prices or not model:
        return None
    return next((prices[name] for name in _names(model) if name in prices), None)


def model_in(tag: str) -> str | None:
    """The model that a tag names, None for another tag."""
    return tag.removeprefix(_TAG) if tag.startswith(_TAG) else None


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
    if price is not None and _is_free(price):
        return 0.0
    if price is None or (input_tokens is None and output_tokens is None):
        return costs.default_call_usd
    return ((input_tokens or 0) * price.input + (output_tokens or 0) * price.output) / 1_000_000


def cost_by_size(costs: CostsSection, tags: Iterable[str], size: int) -> float | None:
    """What a call cost whose answer has *size* bytes as written, by the model that one of its *tags* names.

    Nobody said how many tokens were asked: they count nothing.  Of plain text it is a lower bound; of other values what
    stands around the text, the frames of a recorded stream above all, counts as if it were text.  None without a model
    that has a price, and where only what is asked has one: what isn't known is not 0.

    >>> costs = CostsSection(models={"big": {"input": 2.5, "output": 10}})
    >>> cost_by_size(costs, ["model:big"], 4000), cost_by_size(costs, ["team:a"], 4000)
    (0.01, None)
    """
    price = price_of(costs, *map(model_in, tags))
    rate = None if price is None else output_rate(price)
    return None if rate is None else size / BYTES_PER_TOKEN * rate / 1e6


def output_rate(price: ModelPrice) -> float | None:
    """US dollars for a million tokens of an answer, None where only what is asked has a price."""
    return None if price.output == 0 and not _is_free(price) else price.output


def _is_free(price: ModelPrice) -> bool:
    return price.input == price.output == 0
