"""Pairs that people labelled: evidence of answers, other ways to ask, and what the policy ``verified`` learns from."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache import Cache
from scoutcache.errors import CacheError
from scoutcache.meaning.verified import LEARNING, unpack

from .words import embed

ASKED, OTHERWISE, ELSE = "What is the capital of France", "France's capital", "What was the capital of France"


@pytest.fixture(params=["threshold", "verified"])
def cache(request, tmp_path):
    with Cache(directory=tmp_path, semantic={"policy": request.param, "threshold": 0.6, "gates": []}) as one:
        one.semantic.use(embed, "words")
        yield one


def test_a_pair_that_is_the_same_becomes_another_way_to_ask(cache):
    key = cache.semantic.add(ASKED, "Paris", model="m", ttl="1h")
    assert cache.semantic.label([(OTHERWISE, ASKED, True)], model="m") == (1, 1, 1, 1)
    hit = cache.semantic.get(OTHERWISE, model="m")
    assert (hit.response, hit.exact) == ("Paris", True)
    assert cache.semantic.get(OTHERWISE, model="n") is None
    assert cache.ttl(hit.key) <= 3600
    cache.semantic.remove(key)
    assert cache.semantic.get(OTHERWISE, model="m") is None


def test_a_pair_that_differs_is_not_served_that_far_away(tmp_path):
    with Cache(directory=tmp_path, semantic={"threshold": 0.6, "gates": []}) as cache:
        cache.semantic.use(embed, "words")
        cache.semantic.add(ASKED, "Paris", model="m")
        assert cache.semantic.get(ELSE, model="m").response == "Paris"
        assert cache.semantic.label([(ASKED, ELSE, False)], model="m") == (1, 1, 1, 0)  # either way round
        assert cache.semantic.get(ELSE, model="m") is None
        assert cache.semantic.get(f"{ASKED}?", model="m").response == "Paris"


def test_the_same_pairs_again_change_nothing(cache):
    cache.semantic.add(ASKED, "Paris", model="m")
    pairs = [(OTHERWISE, ASKED, True), (ELSE, ASKED, False), (ELSE, "something else", False)]
    first = cache.semantic.label(pairs, model="m")
    assert (first.pairs, first.learned, first.evidence, first.aliases) == (3, 3, 2, 1)
    [key] = cache.keys("semantic:labels:*")
    held = cache.get(key)
    assert cache.semantic.label(pairs, model="m")._replace(evidence=0) == (3, 0, 0, 0)
    assert cache.get(key) == held
    assert len(unpack(held["labels"])) == 3


def test_pairs_nobody_answered_teach_all_the_same(cache):
    assert cache.semantic.label([(ELSE, ASKED, False)], model="m") == (1, 1, 0, 0)
    assert cache.semantic.get(ELSE, model="m") is None


def test_verified_serves_by_labels_alone(tmp_path):
    """Questions in many wordings, labelled beforehand: the first near request is a hit, a wrong one is none."""
    words = [f"word{at}" for at in range(300)]
    dice = random.Random(1)
    topics = [" ".join(dice.sample(words, 12)) for _ in range(12)]
    pairs = [(f"{topic} please{at}", topic, True) for topic in topics for at in range(8)]
    pairs += [(topics[at - 1], topic, False) for at, topic in enumerate(topics)]
    dice.shuffle(pairs)
    with Cache(directory=tmp_path, semantic={"policy": "verified", "max_error": 0.05}) as cache:
        cache.semantic.use(embed, "words")
        cache._core.world.dice = lambda: 1.0
        for at, topic in enumerate(topics):
            cache.semantic.add(topic, f"answer {at}", model="m")
        assert cache.semantic.get(f"{topics[3]} thanks", model="m") is None
        assert len(pairs) > LEARNING
        cache.semantic.label(pairs, model="m")
        assert cache.semantic.get(f"{topics[3]} thanks", model="m").response == "answer 3"
        assert cache.semantic.get("something else altogether", model="m") is None


@pytest.mark.parametrize(
    ("pairs", "said"),
    [([("a", "b")], r"pair 1 is no \(query, other, same\)"), (["abc"], "pair 1"), ([("a", "b", 1)], "True or False"),
     ([("a", "b", True), ("", "b", True)], "a query is a text"), ([("a", "x" * 20_001, True)], "more than 20,000")],
)  # fmt: skip
def test_what_is_no_pair_is_named_and_nothing_is_taken(cache, pairs, said):
    with pytest.raises(CacheError) as raised:
        cache.semantic.label(pairs, model="m")
    assert pytest.importorskip("re").search(said, f"{raised.value} {raised.value.hint}")
    assert list(cache.keys("semantic:labels:*")) == []


def test_labels_need_a_scope_as_answers_do(cache):
    with pytest.raises(CacheError, match="names no model"):
        cache.semantic.label([(ELSE, ASKED, False)])
