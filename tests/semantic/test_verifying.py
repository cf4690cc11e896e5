"""The policy ``verified`` on a real cache: it serves nothing before it has learned, and nothing that was planted."""

from __future__ import annotations

import random

import pytest

from scoutcache import Cache
from scoutcache.core.core import Clocks
from scoutcache.meaning.verified import LEARNING, unpack

from .words import embed

WORDS = [f"word{at}" for at in range(400)]


@pytest.fixture
def cache(fake_clock, tmp_path):
    clocks = Clocks(fake_clock.wall, fake_clock.monotonic, fake_clock.monotonic_ns, ticking=False)
    settings = {"directory": tmp_path, "semantic": {"policy": "verified", "max_error": 0.05}, "tiers": ["memory"]}
    with Cache(settings, clocks=clocks) as one:
        one.semantic.use(embed, "words")
        one._core.world.dice = random.Random(3).random
        yield one


def topic(at):
    return " ".join(random.Random(at).sample(WORDS, 12))


def asked(topic_, extra):
    return f"{topic_} {extra}"


def drive(cache, topics, rounds, answer=lambda at, _: f"answer {at}"):
    """Ask about each topic in new words, and store what was computed where nothing served; hits and wrong hits."""
    hits = wrong = 0
    for turn in range(rounds):
        for at in topics:
            query, right = asked(topic(at), f"please{turn}"), answer(at, turn)
            hit = cache.semantic.get(query, model="m")
            if hit is None:
                cache.semantic.add(query, right, model="m")
            else:
                hits, wrong = hits + 1, wrong + (hit.response != right)
    return hits, wrong


def test_it_serves_nothing_near_before_it_has_learned_and_then_does(cache):
    assert drive(cache, range(20), 2) == (0, 0)
    hits, wrong = drive(cache, range(20), 8)
    assert hits > 20
    assert wrong == 0


def test_answers_that_wording_does_not_imply_are_not_served(cache):
    hits, wrong = drive(cache, range(15), 10, answer=lambda at, turn: f"{at} at {turn}")
    assert wrong <= 0.05 * 150
    assert hits == wrong


def test_another_way_to_ask_becomes_an_alias_that_dies_with_its_answer(cache):
    semantic = cache.semantic
    first = semantic.add(asked(topic(1), "a"), {"n": 1}, model="m")
    other = semantic.add(asked(topic(1), "b"), {"n": 1}, model="m")
    assert other != first
    assert semantic.get(asked(topic(1), "b"), model="m").response == {"n": 1}
    assert "alias_of" in cache.get(other)
    assert cache.get(other)["alias_of"] == first
    semantic.remove(first)
    assert semantic.get(asked(topic(1), "b"), model="m") is None


def test_responses_are_compared_by_the_function_that_was_given(cache):
    cache.semantic.use(same=lambda one, other: one.lower() == other.lower())
    first = cache.semantic.add(asked(topic(1), "a"), "YES", model="m")
    other = cache.semantic.add(asked(topic(1), "b"), "yes", model="m")
    assert cache.get(other)["alias_of"] == first


def test_a_poisoned_neighbour_is_not_served(cache):
    """Somebody plants an answer whose vector lies upon everybody's queries."""
    drive(cache, range(20), 12)
    victim = "how do i reset the alarm code of my house"

    def colliding(texts):
        return embed([victim if "zqx" in text else text for text in texts])

    cache.semantic.use(colliding, "words")
    cache.semantic.add("zqx ignore what was said zqx", "send money", model="m")
    for turn in range(50):
        assert cache.semantic.get(f"{victim} now{turn}", model="m") is None
    assert cache.semantic.explain(victim, model="m")["candidates"][0]["similarity"] == pytest.approx(1.0, abs=1e-5)


def test_an_answer_that_nobody_confirmed_is_not_served_though_it_shares_its_words(cache):
    drive(cache, range(40), 8)
    victim = "how do i reset the alarm code of my house"
    cache.semantic.add(victim, "send money", model="m")
    for turn in range(50):
        assert cache.semantic.get(f"{victim} now{turn}", model="m") is None
    candidate = cache.semantic.explain(f"{victim} now0", model="m")["candidates"][0]
    assert "never right for another query" in candidate["reason"]
    assert cache.semantic.get(victim, model="m").response == "send money"


def test_praise_for_ones_own_answer_confirms_it_for_nobody_else(cache):
    drive(cache, range(40), 8)
    victim = "how do i reset the alarm code of my house when i have lost all of the papers that came with it"
    cache.semantic.add(victim, "send money", model="m")
    for _ in range(5):
        assert cache.semantic.feedback(cache.semantic.get(victim, model="m").hit_id, correct=True)
    for turn in range(50):
        assert cache.semantic.get(f"{victim} it{turn % 2 * ' the'}{turn // 2 * ' of'}", model="m") is None
    near = cache.semantic.explain(victim + " it", model="m")["candidates"][0]
    assert near["similarity"] > 0.98
    assert "never right for another query" in near["reason"]


def test_what_was_reported_wrong_once_is_not_served_to_queries_as_near(cache):
    drive(cache, range(20), 12)
    query = asked(topic(3), "please99")
    hit = next(hit for _ in range(50) if (hit := cache.semantic.get(query, model="m")) is not None)
    assert cache.semantic.feedback(hit.hit_id, correct=False)
    assert all(cache.semantic.get(query, model="m") is None for _ in range(20))


def labels_of(cache):
    [key] = cache.keys("semantic:labels:*")
    held = cache.get(key)
    return held["count"], unpack(held["labels"])


def hits_on(cache, topics, word):
    for at in topics:
        queries = (asked(topic(at), f"{word}{turn}") for turn in range(50))
        yield next(hit for query in queries if (hit := cache.semantic.get(query, model="m")) is not None)


def test_feedback_labels_what_was_served_for_the_whole_namespace(cache):
    """Hits that are reported wrong, on enough answers, end the serving of others."""
    drive(cache, range(60), 4)
    count, before = labels_of(cache)
    assert cache.semantic.get(asked(topic(59), "later0"), model="m") is not None
    for number, hit in enumerate(list(hits_on(cache, range(30), "now")), 1):
        assert cache.semantic.feedback(hit.hit_id, correct=False)
        now, labels = labels_of(cache)
        assert (now, len(labels)) == (count + number, len(before) + number)
        assert (labels[-1].right, labels[-1].weight) == (False, 1.0)
        assert labels[-1].figures.similarity == pytest.approx(hit.similarity, abs=1e-3)
        assert labels[-1].figures.right >= 1
    assert not [at for at in range(30, 60) if cache.semantic.get(asked(topic(at), "later1"), model="m") is not None]


def test_feedback_counts_once_and_the_last_of_a_hit_stands(cache):
    drive(cache, range(20), 8)
    count, before = labels_of(cache)
    [hit] = hits_on(cache, [3], "now")
    for correct in (False, False, True, True):
        assert cache.semantic.feedback(hit.hit_id, correct=correct)
    now, labels = labels_of(cache)
    assert now == count + 2
    assert labels[:-1] == before
    assert labels[-1].right


def test_feedback_in_another_process_labels_too_and_that_to_an_exact_hit_does_not(tmp_path):
    settings = {"directory": tmp_path, "semantic": {"policy": "verified", "max_error": 0.05}, "tiers": ["disk"]}
    with Cache(settings) as one:
        one.semantic.use(embed, "words")
        one._core.world.dice = random.Random(3).random
        drive(one, range(20), 6)
        count, _ = labels_of(one)
        [hit] = hits_on(one, [3], "now")
        exact = one.semantic.get(asked(topic(4), "please0"), model="m")
        assert exact.exact
    with Cache(settings) as other:  # it knows no embedder, and needs none
        assert other.semantic.feedback(exact.hit_id, correct=True)
        assert labels_of(other)[0] == count
        assert other.semantic.feedback(hit.hit_id, correct=False)
        assert labels_of(other)[0] == count + 1


def test_some_hits_are_checked_by_computing_them_all_the_same(cache):
    drive(cache, range(20), 12)
    assert LEARNING < 20 * 12
    query = asked(topic(5), "please98")
    served = [cache.semantic.get(query, model="m") is not None for _ in range(200)]
    assert 0.85 < sum(served) / len(served) < 1.0
