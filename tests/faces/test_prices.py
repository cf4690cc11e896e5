"""What a hit saved: the cost somebody stated, else the price of its model, else the default, whoever tells it."""

from __future__ import annotations

import pytest

from scoutcache.chat.prices import output_rate
from scoutcache.config.sections import ModelPrice
from scoutcache.insight.live.stats import collect_stats
from scoutcache.insight.log.operations import Operations
from scoutcache.insight.report.report import build_report

MODELS = {"big": {"input": 2.5, "output": 10.0}, "own": {"input": 0}, "embedding": {"input": 0.1}}
RATES = {name: output_rate(ModelPrice.model_validate(price)) for name, price in MODELS.items()}
VALUE = "x" * 4000
TAGS = ["model:big"]


def price_of(cache, key):
    return cache.get_entry(key).cost


def savings(cache, tag="model:big"):
    """The money saved by stats, stats by prefix, stats by tag, and the report."""
    default = cache.cache.config.costs.default_call_usd
    cache.flush()
    now = cache.core.world.now()
    total = cache.stats()
    by_tag = collect_stats(cache.core.directory, now=now, by="tag", price=default).groups
    report = build_report(cache.core.directory, now=now, costs=default, models=RATES)
    (row,) = report.section("savings").rows
    tagged = next(one["cost_saved_usd"] for one in by_tag if one["tag"] in {tag, "plain"})
    by_prefix = total.stats_by_prefix["llm"]["cost_saved_usd"]
    return [total.estimated_cost_saved, by_prefix, tagged, row["cost_saved_usd"]], row


SETTINGS = {"models": {"models": MODELS}, "default too": {"models": MODELS, "default_call_usd": 0.5}}


@pytest.mark.parametrize("costs", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("made", ["set", "computed", "by many"])
def test_a_models_price_holds_where_nobody_stated_a_cost(open_cache, tiers, costs, made):
    cache = open_cache(tiers, costs=costs)
    if made == "set":
        cache.set("llm:k", VALUE, tags=TAGS)
    elif made == "by many":
        cache.get_or_compute_many(["llm:k"], lambda keys: dict.fromkeys(keys, VALUE), tags=TAGS)
    else:
        cache.get_or_compute("llm:k", lambda: VALUE, tags=TAGS)
    usd = price_of(cache, "llm:k")
    assert usd == pytest.approx(4000 / 4 * 10 / 1e6, rel=0.05)  # of the bytes that it takes here
    for _ in range(3):
        assert cache.get("llm:k") == cache.get_or_compute("llm:k", pytest.fail) == VALUE
    figures, row = savings(cache)
    assert figures == [pytest.approx(6 * usd)] * 4
    assert (row["based_on"], row["estimated"]) == ("prices of models, at least", True)
    assert row["cost_spent_usd"] == pytest.approx(usd)


@pytest.mark.parametrize(("model", "usd"), [("own", 0.0), ("embedding", None)])
def test_what_is_unknown_is_not_nothing_and_what_is_free_is(open_cache, tiers, model, usd):
    cache, tag = open_cache(tiers, costs={"models": MODELS}), f"model:{model}"
    cache.set("llm:k", VALUE, tags=[tag])
    cache.get("llm:k")
    assert savings(cache, tag)[0] == [usd] * 4


@pytest.mark.parametrize("value", ["yes", "ja " * 30, "é" * 50, 1, {"a": [1, "b"]}, ("x", 2.5)])
def test_a_models_price_is_of_what_is_written_not_of_pythons_objects(open_cache, value):
    cache = open_cache(["memory"], costs={"models": MODELS})
    cache.set("llm:k", value, tags=TAGS)
    assert price_of(cache, "llm:k") <= len(str(value).encode()) / 4 * 10 / 1e6


@pytest.mark.parametrize("value", ["x" * 5000, "ü" * 500, 1, ("a" * 40, 2.5, None), {"a": ["b" * 90]}])
def test_the_log_tells_the_size_of_the_payload_before_compression(open_cache, tiers, value):
    cache = open_cache(tiers)
    cache.set("k", value)
    cache.get_or_compute("made", lambda: value)
    assert cache.get("k") == value
    cache.flush()
    payload = len(cache.core.world.codec.encode(value).payload)
    sizes = {line.size for line in Operations(cache.core.directory) if line.op != "error"}
    assert all(payload - 7 <= size <= payload for size in sizes), (payload, sizes)


def test_a_stated_cost_comes_before_a_models_price(open_cache, tiers):
    cache = open_cache(tiers, costs=SETTINGS["default too"])
    cache.get_or_compute("llm:k", lambda: VALUE, tags=TAGS, cost=2.0)
    assert cache.get("llm:k") == VALUE
    figures, row = savings(cache)
    assert figures == [2.0] * 4
    assert (row["based_on"], row["estimated"]) == ("costs given with the entries", False)


def test_the_default_is_for_what_has_neither(open_cache, tiers):
    cache = open_cache(tiers, costs=SETTINGS["default too"])
    cache.set("llm:k", VALUE, tags=["plain", "model:unknown"])
    assert price_of(cache, "llm:k") is None
    assert cache.get("llm:k") == VALUE
    figures, row = savings(cache)
    assert figures == [0.5] * 4
    assert (row["based_on"], row["estimated"]) == ("default_call_usd", True)


def test_a_factory_may_name_the_model(open_cache):
    cache = open_cache(["memory"], costs={"models": MODELS})

    def answer(ctx):
        ctx.tags = ["model:big-2024-08-06"]
        return VALUE

    cache.get_or_compute("llm:k", answer)
    assert price_of(cache, "llm:k") == pytest.approx(0.01, rel=0.05)
