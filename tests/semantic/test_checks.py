"""Shadow checks under a threshold: what would have been served is compared with what its caller computed."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache import AsyncCache, Cache
from scoutcache.answers.checks import _rules
from scoutcache.core.core import Clocks
from scoutcache.errors import CacheError

from .words import embed

ASKED, ALIKE = "What is the capital of France", "what is the capital of France?"


@pytest.fixture
def settings(tmp_path):
    return {"directory": tmp_path, "semantic": {"check_share": 1.0}}


@pytest.fixture
def cache(settings):
    with Cache(settings) as one:
        one.semantic.use(embed, "words")
        yield one


def check(cache, query, response, near=ALIKE, computed=None, model="m"):
    """Store *response* to *query*, ask what is near, and store what was computed for that."""
    cache.semantic.add(query, response, model=model)
    assert cache.semantic.get(near, model=model) is None
    cache.semantic.add(near, response if computed is None else computed, model=model)


def test_the_rate_of_wrong_hits_of_a_threshold_is_observed(cache):
    check(cache, ASKED, "Paris")
    check(cache, ASKED, "Paris", computed="Lyon", model="n")
    stats = cache.semantic.stats()
    assert (stats["checked"], stats["checked_wrong"], stats["error_rate"]) == (2, 1, 0.5)
    low, high = stats["error_rate_interval"]
    assert 0 < low < 0.5 < high < 1
    assert stats["check_share"] == 1.0
    [rule] = stats["checks"]
    assert rule["rule"].startswith("threshold 0.95, gates numbers negation ")


def test_counts_belong_to_the_rule_that_decided(cache, settings):
    check(cache, ASKED, "Paris")
    cache.close()
    with Cache({**settings, "semantic": {"check_share": 1.0, "threshold": 0.9, "without_gates": ["slots"]}}) as other:
        other.semantic.use(embed, "words")
        stats = other.semantic.stats()
        assert (stats["checked"], stats["error_rate"], stats["error_rate_interval"]) == (0, None, None)
        check(other, ASKED, "Paris", computed="Lyon", model="n")
        stats = other.semantic.stats()
        assert [(one["checked"], one["wrong"]) for one in stats["checks"]] == [(1, 0), (1, 1)]
        assert (stats["checked"], stats["checked_wrong"]) == (1, 1)


def test_only_near_hits_are_checked_and_only_the_share_of_them(settings):
    with Cache({**settings, "semantic": {"check_share": 0.2}}) as cache:
        cache.semantic.use(embed, "words")
        cache._core.world.dice = random.Random(1).random
        cache.semantic.add(ASKED, "Paris", model="m")
        assert all(cache.semantic.get(ASKED, model="m") for _ in range(20))
        served = sum(cache.semantic.get(ALIKE, model="m") is not None for _ in range(200))
        assert 130 < served < 190
        assert cache.semantic.stats()["checked"] == 0


def test_without_a_share_everything_near_is_served(tmp_path):
    with Cache(directory=tmp_path) as cache:
        cache.semantic.use(embed, "words")
        cache._core.world.dice = lambda: 0.0
        cache.semantic.add(ASKED, "Paris", model="m")
        assert cache.semantic.get(ALIKE, model="m").response == "Paris"


def test_what_a_check_found_wrong_is_served_to_nobody_as_far_away(cache):
    check(cache, ASKED, "Paris", computed="Lyon")
    told = cache.semantic.explain(f"{ASKED}!!", model="m")["candidates"]
    assert {one["query"]: one["reason"][:31] for one in told if not one["serves"]} == {
        ASKED: "reported wrong for a query with"
    }


def test_what_was_reported_wrong_is_so_for_as_long_as_its_answer_lives(fake_clock, tmp_path):
    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    with Cache(directory=tmp_path, clocks=clocks) as cache:
        cache.semantic.use(embed, "words")
        key = cache.semantic.add(ASKED, "Paris", model="m", ttl=10)
        assert cache.semantic.feedback(cache.semantic.get(ALIKE, model="m").hit_id, correct=False)
        assert cache.touch(key, 100)
        fake_clock.advance(50)
        assert cache.semantic.get(ASKED, model="m") is not None
        assert cache.semantic.get(ALIKE, model="m") is None


def test_what_is_wrong_for_a_query_that_the_model_takes_for_the_same_is_right_for_its_own(tmp_path):
    with Cache(directory=tmp_path) as cache:
        cache.semantic.use(lambda texts: embed(["same" for _ in texts]), "one")
        cache.semantic.add(ASKED, "Paris", model="m")
        near = cache.semantic.get(ALIKE, model="m")
        assert near.similarity == 1.0
        assert cache.semantic.feedback(near.hit_id, correct=False)
        exact = cache.semantic.get(ASKED, model="m")
        assert exact is not None
        assert cache.semantic.get(ALIKE, model="m") is None
        assert cache.semantic.explain(ASKED, model="m")["exact"]
        assert cache.semantic.feedback(exact.hit_id, correct=False)
        assert cache.semantic.get(ASKED, model="m") is None
        explained = cache.semantic.explain(ASKED, model="m")
        assert (explained["serves"], explained["exact"]) == (False, False)
        assert "reported wrong" in explained["reason"]


def test_what_is_gone_by_then_is_no_check(cache):
    key = cache.semantic.add(ASKED, "Paris", model="m")
    assert cache.semantic.get(ALIKE, model="m") is None
    cache.semantic.remove(key)
    cache.semantic.add(ALIKE, "Lyon", model="m")
    assert cache.semantic.stats()["checked"] == 0


def test_a_function_or_a_judge_compares(cache):
    cache.semantic.use(same=lambda one, other: one.lower() == other.lower())
    check(cache, ASKED, "paris", computed="PARIS")
    told = []

    def judge(query, served, computed):
        told.append((query, served, computed))
        return False

    cache.semantic.use(judge=judge)
    check(cache, ASKED, "paris", computed="Paris", model="n")
    assert told == [(ALIKE, "paris", "Paris")]
    stats = cache.semantic.stats()
    assert (stats["checked"], stats["checked_wrong"]) == (2, 1)


def test_a_judge_that_fails_is_trouble_and_no_check(cache):
    seen = []
    cache.on("trouble", seen.append)

    def judge(query, served, computed):
        raise OSError("no model to be reached")

    cache.semantic.use(judge=judge)
    check(cache, ASKED, "Paris")
    assert cache.semantic.get(ALIKE, model="m").response == "Paris"
    assert cache.semantic.stats()["checked"] == 0
    assert "judge(…) raised OSError('no model to be reached')" in seen[0].problem


@pytest.mark.parametrize(
    ("judge", "said"), [(lambda *_: "yes", "True or False"), ("words", "judge is a function")],
)  # fmt: skip
def test_what_is_no_judge_is_named(cache, judge, said):
    def use():
        cache.semantic.use(judge=judge)
        check(cache, ASKED, "Paris")

    with pytest.raises(CacheError, match=said):
        use()


def test_a_coroutine_can_not_judge_for_a_blocking_cache(cache):
    async def judge(query, served, computed):
        return True

    cache.semantic.use(judge=judge)
    with pytest.raises(CacheError, match="this cache is blocking"):
        check(cache, ASKED, "Paris")


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_no_judge_holds_up_an_event_loop(settings, kind):
    """While it judges, the loop goes on: it is the loop that lets the judge end."""
    released = threading.Event()

    def blocking(query, served, computed):
        return released.wait(20)

    async def awaited(query, served, computed):
        while not released.is_set():
            await asyncio.sleep(0)
        return True

    async def work():
        async with AsyncCache(settings) as cache:
            cache.semantic.use(embed, "words", judge=blocking if kind == "function" else awaited)
            await cache.semantic.add(ASKED, "Paris", model="m")
            assert await cache.semantic.get(ALIKE, model="m") is None
            adding = asyncio.ensure_future(cache.semantic.add(ALIKE, "Paris", model="m"))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not adding.done()
            released.set()
            await adding
            return await cache.semantic.stats()

    stats = asyncio.run(work())
    assert (stats["checked"], stats["checked_wrong"]) == (1, 0)


def test_keys_that_are_questions_are_checked_too(tmp_path):
    policy = {"policy_id": "faq", "name": "faq", "applies_to": ["faq:*"], "strategy": "semantic"}
    with Cache(directory=tmp_path, semantic={"check_share": 1.0}, policies=[policy]) as cache:
        cache.semantic.use(embed, "words")
        answers = {f"faq:{ASKED}": "Paris", f"faq:{ALIKE}": "Lyon"}
        assert [cache.get_or_compute(key, lambda key=key: answers[key]) for key in answers] == ["Paris", "Lyon"]
        assert cache.semantic.stats()["checked_wrong"] == 1


def test_answers_of_models_are_compared_without_what_each_has_anew(tmp_path):
    def answer(text, number):
        return {"id": f"id-{number}", "model": "m", "created": number, "usage": {"total_tokens": number},
                "choices": [{"index": 0, "finish_reason": "stop",
                             "message": {"role": "assistant", "content": text}}]}  # fmt: skip

    def request(text):
        return {"model": "m", "messages": [{"role": "user", "content": text}]}

    with Cache(directory=tmp_path, semantic={"check_share": 1.0}) as cache:
        cache.semantic.use(embed, "words")
        for number, (question, text) in enumerate([(ASKED, "Paris"), (ALIKE, "Paris"), (f"{ASKED}!!", "Lyon")]):
            cache.llm.get_or_call(request(question), lambda t=text, n=number: answer(t, n), semantic=True)
        stats = cache.semantic.stats()
        assert (stats["checked"], stats["checked_wrong"]) == (2, 1)


def test_ids_within_an_answer_make_it_no_other_one_and_an_id_that_was_asked_for_does(tmp_path):
    def response(number):
        return {"id": f"r-{number}", "object": "response", "status": "completed", "model": "m", "created_at": number,
                "output": [{"type": "message", "id": f"m-{number}",
                            "content": [{"type": "output_text", "text": "Paris"}]}]}  # fmt: skip

    with Cache(directory=tmp_path, semantic={"check_share": 1.0}) as cache:
        cache.semantic.use(embed, "words")
        for operation, answer, wrong in (("qa", response, 0), ("qa of ids", lambda number: {"id": number}, 1)):
            for number, text in enumerate((ASKED, ALIKE)):
                asked = {"text": text, "operation": operation, "semantic": True}
                cache.llm.get_or_call(call=lambda n=number, make=answer: make(n), **asked)
            assert cache.semantic.stats()["checked_wrong"] == wrong


@pytest.mark.parametrize("value", [None, 3, {}, {"v": 1}, {"v": 1, "rules": []}, {"v": 1, "rules": {"a": [1, 2]}},
                                   {"v": 1, "rules": {"a": [1, -1]}}, {"v": 1, "rules": {"a": ["1", 0]}},
                                   {"v": 2, "rules": {"a": [1, 1]}}])  # fmt: skip
def test_what_is_no_count_counts_nothing(value):
    assert _rules(value) == {}
