"""Counts of requests: exact, of all processes, kept for a time, and silent about prompts."""

from __future__ import annotations

import asyncio
import os

import pytest

from scoutcache import AsyncCache, Cache
from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.llm.ledger import NAMESPACE, PIECE, ledger_of

from .answers import ASK, Model, answer, asking


def test_requests_calls_tokens_and_money_are_counted(llm, fake_clock):
    model = Model()

    def slowly(**request):
        fake_clock.advance(2)
        return model(**request)

    for _ in range(4):
        llm.get_or_call(ASK, slowly)
    llm.get(ASK)
    llm.get(asking("nothing"))
    found = llm.metrics()
    assert (found.requests, found.hits, found.misses, found.calls, found.errors) == (6, 4, 2, 1, 0)
    assert found.hit_rate == pytest.approx(4 / 6)
    assert (found.input_tokens, found.output_tokens, found.tokens) == (1000, 100, 1100)
    assert (found.input_tokens_saved, found.output_tokens_saved, found.tokens_saved) == (4000, 400, 4400)
    assert (found.cost_usd, found.cost_saved_usd) == (pytest.approx(0.003), pytest.approx(0.012))
    assert found.average_latency == pytest.approx(2.0, rel=0.02)
    assert found.p95_latency == pytest.approx(2.0, rel=0.02)
    assert set(found.by_model) == {"gpt-4o"}
    assert found.by_provider["openai"].hits == found.by_operation["chat"].hits == found.by_size["small"].hits == 4


def test_who_joins_the_read_of_an_answer_saves_its_price_as_all_figures_say(tmp_path):
    settings = {"directory": tmp_path, "costs": {"models": {"gpt-4o": {"input": 2, "output": 10}}}}

    async def ask(times):
        async with AsyncCache(**settings) as cache:
            await asyncio.gather(*[cache.llm.get_or_call(ASK, Model()) for _ in range(times)])
            return (await cache.llm.metrics()).cost_saved_usd, await cache.stats()

    asyncio.run(ask(1))
    saved, stats = asyncio.run(ask(10))  # a new process: the answer lies on disk
    assert (saved, stats.api_calls_saved, stats.stats_by_tier["disk"]["hits"]) == (pytest.approx(0.03), 10, 10)
    assert [stats.estimated_cost_saved, stats.stats_by_prefix["llm"]["cost_saved_usd"]] == [pytest.approx(saved)] * 2


def test_money_is_unknown_without_a_price(open_llm):
    llm = open_llm()
    llm.get_or_call(ASK, Model())
    llm.get(ASK)
    found = llm.metrics()
    assert (found.cost_usd, found.cost_saved_usd, found.tokens_saved) == (None, None, 1100)
    assert llm.driven.stats().estimated_cost_saved is None


@pytest.mark.parametrize(("price", "usd"), [({"input": 0}, 0.0), ({"input": 0.1}, None)])
def test_what_is_free_costs_nothing_though_nobody_told_its_tokens(open_llm, price, usd):
    llm, without_usage = open_llm(costs={"models": {"gpt-4o": price}}), answer()
    del without_usage["usage"]
    for _ in range(2):
        llm.get_or_call(ASK, lambda: without_usage)
    found = llm.metrics()
    assert found.cost_usd == found.cost_saved_usd == llm.driven.stats().estimated_cost_saved == usd


def test_a_price_that_came_later_holds_for_what_is_saved_from_then_on(open_llm):
    with_none = open_llm()
    with_none.set(ASK, answer())
    with_none.driven.close()
    llm = open_llm(costs={"models": {"gpt-4o": {"input": 2, "output": 10}}})
    llm.get(ASK)
    assert llm.metrics().cost_saved_usd == pytest.approx(0.003)


def test_texts_are_counted_by_their_length(open_llm):
    llm = open_llm(llm={"text_tiers": [3, 6, 9]})
    for text in ("abc", "abcdef", "abcdefg", "abcdefghij", "abcdefghijk"):
        llm.get(text=text, operation="qa")
    assert {name: one.requests for name, one in llm.metrics().by_size.items()} == {
        "huge": 2, "small": 1, "medium": 1, "large": 1,
    }  # fmt: skip


def test_what_others_asked_can_be_reported(llm):
    llm.record_metrics(answer(), latency="800ms", operation="chatting")
    llm.record_metrics(answer(), request_id="chat-1")  # the id of the first one
    llm.record_metrics(model="gpt-4o", input_tokens=10, output_tokens=5, request_id="r2", provider="azure")
    llm.record_metrics(model="gpt-4o", error=True)
    llm.record_metrics(model="gpt-4o", input_tokens=10, output_tokens=5, cached=True)
    found = llm.metrics()
    assert (found.requests, found.calls, found.errors, found.hits, found.tokens, found.tokens_saved) == (
        4, 3, 1, 1, 1115, 15,
    )  # fmt: skip
    assert found.by_operation["chatting"].p50_latency == pytest.approx(0.8, rel=0.02)
    assert found.by_provider["azure"].calls == 1


def test_more_hours_than_a_calendar_has_are_refused(llm):
    assert llm.metrics(1_000_000).requests == 0
    with pytest.raises(CacheError, match="hours is at most 1,000,000"):
        llm.metrics(1e9)


def test_hits_that_are_reported_count_each_time(llm):
    llm.record_metrics(answer(), cached=True)
    llm.record_metrics(answer())
    for _ in range(2):
        llm.record_metrics(answer(), cached=True)
    llm.record_metrics(answer())
    assert (llm.metrics().requests, llm.metrics().hits, llm.metrics().calls) == (4, 3, 1)


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
def test_a_number_of_tokens_that_no_request_has_is_refused(llm, name):
    for count in (10**400, 10**5000, 2**53 + 1, -(10**5000)):
        with pytest.raises(CacheError, match=name):
            llm.record_metrics(model="m", **{name: count})
    llm.record_metrics({"model": "m", "usage": {"prompt_tokens": 10**400}})
    llm.record_metrics(model="m", **{name: 2**53})
    assert (llm.metrics().calls, llm.metrics().tokens) == (2, 2**53)


def test_hours_say_how_far_back(llm, fake_clock):
    llm.record_metrics(model="m", input_tokens=1)
    fake_clock.advance(2 * 3600)
    llm.record_metrics(model="m", input_tokens=2)
    assert (llm.metrics(1).input_tokens, llm.metrics(3).input_tokens, llm.metrics().input_tokens) == (2, 3, 3)
    assert (llm.metrics(1).period_end - llm.metrics(1).period_start).total_seconds() == pytest.approx(3600)
    fake_clock.advance(25 * 3600)
    assert llm.metrics(100).calls == 0  # metrics_ttl


def test_counts_of_long_ago_are_let_go_of(llm, fake_clock):
    from scoutcache.llm.ledger import ledger_of

    for _ in range(5):
        llm.record_metrics(model="m", input_tokens=1)
        fake_clock.advance(PIECE)
    assert len(ledger_of(llm.driven.core)._counts) <= 3
    assert llm.metrics().input_tokens == 5


def test_a_cache_that_is_off_counts_what_went_past_it_and_stores_nothing(open_llm, fake_clock):
    llm, model = open_llm(enabled=False, costs={"models": {"gpt-4o": {"input": 2, "output": 10}}}), Model()

    def fail():
        raise LookupError("upstream")

    for _ in range(2):
        llm.get_or_call(ASK, model)
    assert llm.get(ASK) is None
    with pytest.raises(LookupError):
        llm.get_or_call(ASK, fail)
    llm.driven.flush()
    fake_clock.advance(3 * PIECE)
    llm.driven.flush()
    found = llm.metrics()
    assert (found.requests, found.hit_rate, found.bypassed, found.calls, found.errors) == (0, None, 4, 3, 1)
    assert (found.tokens, found.cost_usd, found.cost_saved_usd) == (2200, pytest.approx(0.006), None)
    assert not any(tier.usage().entries for tier in llm.driven.core.tiers)
    fake_clock.advance(25 * 3600)
    llm.driven.flush()
    assert ledger_of(llm.driven.core).held() == {}


def test_namespaces_are_counted_apart(llm):
    llm.record_metrics(model="m", input_tokens=1)
    tenant = llm.driven.namespace("tenant")
    assert llm.driven.core is tenant.core
    llm.get(ASK, namespace="tenant")
    theirs = tenant.cache.llm.metrics()
    theirs = llm.driven.runner.run(theirs) if llm.is_async else theirs
    assert (theirs.requests, theirs.input_tokens, llm.metrics().requests) == (1, 0, 1)


def test_counting_is_no_operation_of_the_users(llm):
    llm.get_or_call(ASK, Model())
    llm.driven.flush()
    before = llm.driven.stats()
    assert before.sets == 1
    assert llm.driven.keys() == [llm.key(ASK)]
    assert NAMESPACE not in before.stats_by_namespace
    llm.driven.clear()
    llm.driven.invalidate("*")
    assert llm.metrics().calls == 1


def test_two_processes_add_up(run_python, tmp_path):
    code = f"""
from scoutcache import Cache
with Cache(directory={str(tmp_path)!r}) as cache:
    for _ in range(5):
        cache.llm.get_or_call({ASK!r}, lambda: {answer()!r})
"""
    for child in [run_python(code), run_python(code)]:
        child.communicate(timeout=60)
        assert child.returncode == 0
    with Cache(directory=tmp_path) as cache:
        found = cache.llm.metrics()
    assert (found.requests, found.calls, found.hits) == (10, 1, 9)


def test_what_another_thread_is_just_writing_is_told(llm):
    """It has been taken from what is to be written, and isn't in the store yet."""
    llm.record_metrics(model="m", input_tokens=1)
    ledger_of(llm.driven.cache._core).take()
    assert llm.metrics().input_tokens == 1


def test_a_forked_child_counts_its_own_only(tmp_path):
    with Cache(directory=tmp_path / "cache") as cache:
        cache.llm.get(ASK)
        if (child := os.fork()) == 0:
            code = 1
            try:
                cache.llm.get(ASK)
                cache.flush()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert cache.llm.metrics().misses == 2


def test_what_something_else_wrote_there_is_left_out(llm):
    llm.record_metrics(model="m", input_tokens=1)
    begin = int(llm.driven.core.clocks.wall()) // PIECE * PIECE
    for key, value in ((f"{begin}:x", "text"), (f"{begin}:y", [[1, 2, 3]]), ("z", [])):
        llm.driven.set(key, value, namespace=NAMESPACE)
    assert llm.metrics().input_tokens == 1


def test_all_of_it_can_be_written_as_json(llm):
    import json

    llm.get_or_call(ASK, Model())
    shown = llm.metrics().as_dict()
    assert json.loads(json.dumps(shown, default=str))["by_model"]["gpt-4o"]["calls"] == 1


def test_what_could_not_be_written_is_written_the_next_time_though_an_exception_was_asked_for(tmp_path, monkeypatch):
    def fail(*_):
        raise TierUnavailable("disk", "full")

    with Cache(directory=tmp_path, tiers=["disk"], raise_errors=True) as cache:
        cache.llm.get(ASK)
        monkeypatch.setattr(cache._core.tier("disk"), "write", fail)
        with pytest.raises(TierUnavailable):
            cache.flush()
        monkeypatch.undo()
        cache.flush()
        with Cache(directory=tmp_path, tiers=["disk"]) as other:
            assert other.llm.metrics().requests == 1
