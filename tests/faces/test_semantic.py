"""Answers by meaning on both faces, over memory, disk and both, with an embedder made of words."""

from __future__ import annotations

import pytest

pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache.answers.state import state_of
from scoutcache.errors import CacheError, InvalidKey, InvalidTTL
from scoutcache.semantic import compacting
from scoutcache.semantic import index as index_module

from ..semantic.words import embed  # noqa: TID252 - tests are no package

ASKED = "What is the capital of France"
ALIKE = "what is the capital of France?"
OTHER = "How do I bake bread at home"


@pytest.fixture
def cache(open_cache, tiers):
    one = open_cache(tiers)
    one.semantic.use(embed, "words")
    return one


@pytest.fixture
def semantic(cache):
    return cache.semantic


def test_an_answer_serves_the_same_query_and_one_that_means_the_same(semantic):
    key = semantic.add(ASKED, {"text": "Paris"}, model="m")
    exact, near = semantic.get(ASKED, model="m"), semantic.get(ALIKE, model="m")
    assert (exact.response, exact.exact, exact.similarity) == ({"text": "Paris"}, True, 1.0)
    assert (near.response, near.exact, near.key, near.query) == ({"text": "Paris"}, False, key, ASKED)
    assert near.similarity == pytest.approx(1.0, abs=1e-6)
    assert semantic.get(OTHER, model="m") is None


def test_nothing_is_served_across_scopes_or_namespaces(semantic):
    semantic.add(ASKED, "Paris", model="m", system="be brief")
    assert semantic.get(ALIKE, model="m", system="be brief").response == "Paris"
    for scope in ({"model": "n", "system": "be brief"}, {"model": "m"}, {"model": "m", "system": "be long"}):
        assert semantic.get(ASKED, **scope) is None
        assert semantic.get(ALIKE, threshold=0.0, **scope) is None
    assert semantic.get(ASKED, namespace="other", model="m", system="be brief") is None


@pytest.mark.parametrize("scope", [{}, {"model": ""}, {"model": None}, {"system": "s"}])
def test_a_scope_without_a_model_is_refused(semantic, scope):
    with pytest.raises(CacheError, match="names no model"):
        semantic.get(ASKED, **scope)
    with pytest.raises(CacheError, match="names no model"):
        semantic.add(ASKED, "x", **scope)


def test_a_scope_that_holds_the_query_is_refused(semantic):
    with pytest.raises(CacheError, match="holds the query itself as prompt"):
        semantic.get(ASKED, model="m", prompt=ASKED)


def test_wrong_arguments_fail_before_anything_is_stored(semantic):
    with pytest.raises(InvalidKey, match="a query is a text"):
        semantic.add("  ", "x", model="m")
    with pytest.raises(InvalidTTL):
        semantic.add(ASKED, "x", model="m", ttl=-1)
    with pytest.raises(CacheError, match="from 0 to 1"):
        semantic.get(ASKED, model="m", threshold=1.5)
    assert semantic.get(ASKED, model="m") is None


def test_thresholds_0_and_1_mean_whatever_is_nearest_and_nothing_but_the_same(semantic):
    semantic.add(ASKED, "Paris", model="m")
    assert semantic.get(ALIKE, model="m", threshold=1.0) is not None  # the same words
    assert semantic.get(f"{ASKED} today", model="m", threshold=1.0) is None
    assert semantic.get(f"{ASKED} please", model="m", threshold=0.0).response == "Paris"
    semantic.add("tea with milk", "yes", model="n")
    for far in ("completely unrelated words", "zebra", "some more of them"):
        assert semantic.get(far, model="n", threshold=0.0).similarity >= 0


def test_what_ends_an_entry_ends_its_answers(cache, semantic, fake_clock):
    semantic.add(ASKED, "Paris", model="m", ttl="10s", tags=["geo"])
    assert semantic.get(ALIKE, model="m") is not None
    fake_clock.advance(11)
    assert semantic.get(ALIKE, model="m") is None
    semantic.add(ASKED, "Paris", model="m", tags=["geo"])
    assert semantic.get(ALIKE, model="m") is not None
    cache.invalidate(tags=["geo"])
    assert semantic.get(ALIKE, model="m") is None
    key = semantic.add(ASKED, "Paris", model="m")
    assert semantic.get(ALIKE, model="m") is not None
    cache.invalidate("semantic:*")
    assert semantic.get(ALIKE, model="m") is None
    assert semantic.remove(key) is False
    semantic.add(ASKED, "Paris", model="m")
    cache.clear()
    assert semantic.get(ALIKE, model="m") is None


def test_remove_takes_one_answer_and_clear_all_of_a_namespace(semantic):
    key = semantic.add(ASKED, "Paris", model="m")
    semantic.add(OTHER, "flour", model="m")
    semantic.add(ASKED, "Lyon", model="m", namespace="other")
    assert semantic.remove(key) is True
    assert semantic.remove(key) is False
    assert semantic.get(ALIKE, model="m") is None
    assert semantic.get(OTHER, model="m").response == "flour"
    semantic.clear()
    assert semantic.get(OTHER, model="m") is None
    assert semantic.get(ALIKE, model="m", namespace="other").response == "Lyon"
    with pytest.raises(CacheError, match="no key of a semantic answer"):
        semantic.remove("llm:a")


def test_adding_again_replaces_the_answer(semantic):
    first = semantic.add(ASKED, "Lyon", model="m")
    assert semantic.add(ASKED, "Paris", model="m") == first
    assert semantic.get(ALIKE, model="m").response == "Paris"


def test_a_request_counts_once_as_a_hit_or_a_miss(cache, semantic):
    assert semantic.get(ASKED, model="m") is None
    semantic.add(ASKED, "Paris", model="m")
    semantic.get(ASKED, model="m")
    semantic.get(ALIKE, model="m")
    stats = cache.stats()
    assert (stats.total_requests, stats.cache_hits, stats.cache_misses) == (3, 2, 1)


def test_what_was_reported_wrong_is_not_served_again(semantic):
    semantic.add(ASKED, "Lyon", model="m")
    hit = semantic.get(ALIKE, model="m")
    assert semantic.feedback(hit.hit_id, correct=False) is True
    assert semantic.get(ALIKE, model="m") is None
    semantic.add(ASKED, "Paris", model="m")  # another answer, with no past
    assert semantic.get(ALIKE, model="m").response == "Paris"
    assert semantic.feedback(hit.hit_id, correct=False) is False
    for wrong in ("", "abc", "%%%"):
        with pytest.raises(CacheError, match="no id of a hit"):
            semantic.feedback(wrong, correct=True)


def test_gates_keep_near_queries_apart(semantic):
    semantic.add("Should I buy gold in 2024 as a small private investor in Germany", "yes", model="m")
    for other in (
        "Should I sell gold in 2024 as a small private investor in Germany",
        "Should I buy gold in 2025 as a small private investor in Germany",
        "Should I not buy gold in 2024 as a small private investor in Germany",
        "Should I buy gold in 2024 as a small private investor in France",
    ):
        assert semantic.get(other, model="m", threshold=0.5) is None


def test_a_very_long_query_is_answered_by_itself_alone(semantic):
    long = "word " * 5000
    semantic.add(long, "much", model="m")
    assert semantic.get(long, model="m").response == "much"
    assert semantic.get(f"{long} more", model="m", threshold=0.0) is None


def test_an_embedder_that_fails_says_so_and_stores_nothing(cache, semantic):
    def broken(texts):
        return [[0.0, 0.0] for _ in texts]

    semantic.use(broken, "broken")
    with pytest.raises(CacheError, match="vector of zeros"):
        semantic.add(ASKED, "Paris", model="m")
    semantic.use(embed, "words")
    assert semantic.get(ASKED, model="m") is None


def test_an_index_of_another_embedder_is_refused_until_it_is_rebuilt(semantic):
    semantic.add(ASKED, "Paris", model="m")

    def other(texts):
        return embed([f"{text} else" for text in texts])[:, :32]

    semantic.use(other, "other")
    with pytest.raises(CacheError, match="made by the embedder words, and the one in use is other") as raised:
        semantic.get(ALIKE, model="m")
    assert "rebuild" in raised.value.hint
    assert semantic.rebuild() == 1
    assert semantic.get(ALIKE, model="m").response == "Paris"


def test_a_stranger_under_an_answers_key_serves_nothing(cache, semantic):
    key = semantic.add(ASKED, "Paris", model="m")
    stranger = {"v": 1, "query": OTHER, "scope": {"model": "m"}, "vector": b"", "model": "w", "birth": "b"}
    for value in ("text", {"v": 1}, stranger, None):
        cache.set(key, value)
        assert semantic.get(ASKED, model="m") is None
        assert semantic.get(ALIKE, model="m") is None


def test_the_switch_turns_it_off(open_cache):
    cache = open_cache(["memory"], enabled=False)
    cache.semantic.use(embed, "words")
    assert cache.semantic.add(ASKED, "Paris", model="m") is None
    assert cache.semantic.get(ASKED, model="m") is None


def test_an_answer_that_was_invalidated_while_it_was_embedded_is_not_served(cache):
    def late(texts):
        cache.invalidate(tags=["doc"])
        return embed(texts)

    if not cache.is_async:
        cache.semantic.use(late, "late")
        cache.semantic.add(ASKED, "OLD", tags=["doc"], model="m")
        assert cache.semantic.get(ASKED, model="m") is None


def test_behind_many_that_are_gone_the_one_that_is_left_is_found(semantic, cache):
    for at in range(25):
        semantic.add(f"What is the capital of France {'?' * (at + 2)}", "old", model="m", tags=["old"])
    semantic.add(ASKED, "Paris", model="m")
    cache.invalidate(tags=["old"])
    assert semantic.get(ALIKE, model="m").response == "Paris"


def test_feedback_from_another_namespace_changes_nothing(cache, semantic):
    semantic.add(ASKED, "Paris", model="m")
    hit = semantic.get(ALIKE, model="m")
    assert cache.namespace("b").semantic.feedback(hit.hit_id, correct=False) is False
    assert semantic.feedback(hit.hit_id, correct=False, namespace="b") is False
    assert semantic.get(ALIKE, model="m").response == "Paris"
    semantic.add(ASKED, "Lyon", model="m", namespace="b")
    hit = semantic.get(ALIKE, model="m", namespace="b")
    assert semantic.feedback(hit.hit_id, correct=False, namespace="b") is True
    assert semantic.get(ALIKE, model="m", namespace="b") is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [("tll", "ttl"), ("tag", "tags"), ("treshold", "threshold"), ("costs", "cost"), ("depends", "depends_on")],
)
def test_a_misspelled_option_is_no_part_of_the_scope(semantic, name, meant):
    for call in (semantic.get, lambda query, **how: semantic.add(query, "x", **how), semantic.explain):
        with pytest.raises(CacheError, match=f"did you mean {meant}"):
            call(ASKED, model="m", **{name: "1h"})


def test_an_option_of_the_other_call_is_no_part_of_the_scope(semantic):
    with pytest.raises(CacheError, match=r"threshold is an option of semantic\.get"):
        semantic.add(ASKED, "x", model="m", threshold=0.9)
    with pytest.raises(CacheError, match=r"ttl is an option of semantic\.add"):
        semantic.get(ASKED, model="m", ttl="1h")


def test_names_that_are_only_a_little_like_options_part_answers(semantic):
    scope = {"model": "m", "response_format": "json", "country": "de", "host": "a", "stages": 2, "request": "r"}
    semantic.add(ASKED, "x", **scope)
    assert semantic.get(ALIKE, **scope).response == "x"
    assert semantic.get(ALIKE, **{**scope, "country": "fr"}) is None


def test_arguments_of_the_wrong_type_are_named(semantic):
    for wrong in ("high", True, float("nan")):
        with pytest.raises(CacheError, match="from 0 to 1"):
            semantic.get(ASKED, model="m", threshold=wrong)
    with pytest.raises(InvalidKey, match=r"lone surrogate U\+D800 at character 2"):
        semantic.add("a\ud800b", "x", model="m")
    with pytest.raises(InvalidKey, match="model is a text, not int 3"):
        semantic.add(ASKED, "x", model=3)


def test_whole_numbers_in_a_scope_are_such_however_written(semantic):
    semantic.add(ASKED, "x", model="m", temperature=0, penalties=[1, {"a": 2}])
    assert semantic.get(ASKED, model="m", temperature=0.0, penalties=[1.0, {"a": 2.0}]).response == "x"
    assert semantic.get(ASKED, model="m", temperature=False, penalties=[1, {"a": 2}]) is None
    circle = []
    circle.append(circle)
    with pytest.raises(CacheError, match="can't be compared"):
        semantic.get(ASKED, model="m", tools=circle)


def test_what_an_embedder_raises_is_told_with_its_name(semantic):
    semantic.add(ASKED, "Paris", model="m")
    semantic.use(lambda texts: 1 / 0, "mine")
    with pytest.raises(CacheError, match="the embedder mine failed: ZeroDivisionError") as raised:
        semantic.get(OTHER, model="m")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_the_index_is_rid_of_what_has_expired_though_nobody_asks_for_it(cache, semantic, fake_clock, monkeypatch):
    monkeypatch.setattr(index_module, "_MANY", 20)
    monkeypatch.setattr(compacting, "LEAST", 10)
    core = cache.cache._core
    index = state_of(core).index("default")
    for turn in range(6):
        for at in range(20):
            semantic.add(f"question number {at} of turn {turn}", at, model="m", ttl="10s")
        cache.settle()
        index.settle_compacting()
        fake_clock.advance(11)
    assert index.generation() is not None
    assert len(index.places()) <= 60
    assert index.rows.count <= 80
