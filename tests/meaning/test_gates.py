"""Gates: what must agree between two queries besides their vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.meaning.gates import GATES, closed_by
from scoutcache.meaning.wording import read, stem

ALL = tuple(GATES)


@pytest.mark.parametrize(
    ("gate", "one", "other"),
    [
        ("numbers", "Return within 30 days", "Return within 60 days"),
        ("numbers", "a run of 5 km", "a run of 5 miles"),
        ("numbers", "$5 off", "€5 off"),
        ("numbers", "three wishes", "four wishes"),
        ("numbers", "5 million people", "5 billion people"),
        ("negation", "Is it safe to swim here", "Is it not safe to swim here"),
        ("negation", "Why does it work", "Why doesn't it work"),
        ("antonyms", "how to enable logging", "how to disable logging"),
        ("antonyms", "is this legal", "is this illegal"),
        ("antonyms", "open on monday", "open on tuesday"),
        ("antonyms", "deposits into an account", "withdrawals into an account"),
        ("entities", "What is the capital of France", "What is the capital of Spain"),
        ("entities", "restart the API", "restart the CLI"),
        ("order", "trains from london to paris", "trains from paris to london"),
        ("slots", "most of these hotels were built here", "most of these homes were built here"),
        ("language", "wie kann ich mein konto schließen", "how can i close the account of my"),
        ("language", "погода завтра", "weather tomorrow"),
    ],
)
def test_a_gate_closes_where_the_meaning_changes(gate, one, other):
    assert [closed.gate for closed in closed_by(one, other, [gate])] == [gate]
    assert [closed.gate for closed in closed_by(other, one, [gate])] == [gate]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I reset my password?", "How can I reset my password"),
        ("What's the price of 1,000 shares?", "what is the price of 1000 shares"),
        ("Where can I buy a car", "Where can I purchase a car"),
        ("50k users", "50000 users"),
        ("the 11th of May", "May, the eleventh"),
        ("Which houses did IBM sell?", "which house did ibm sell"),
    ],
)
def test_gates_stay_open_for_the_same_in_other_words(one, other):
    assert closed_by(one, other, ALL) == []


SAMPLE = ["buy", "sell", "not", "5", "km", "miles", "London", "Paris", "the", "is", "open", "closed", "50k", "$", "%",
          "illegal", "legal", "house", "houses", "monday"]  # fmt: skip
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(SAMPLE)).map(" ".join))


@given(texts)
def test_a_text_passes_every_gate_against_itself(text):
    assert closed_by(text, text, ALL) == []
    assert closed_by(text, f"{text} ", ALL) == []


@given(texts, texts)
def test_gates_are_symmetric(one, other):
    assert {closed.gate for closed in closed_by(one, other, ALL)} == {
        closed.gate for closed in closed_by(other, one, ALL)
    }


def test_what_is_read_of_a_text():
    found = read("Does Ada's dog (aged 7) not like 3D films from the USA?")
    assert found.numbers >= {"7"}
    assert found.names == {"ada", "3d", "usa"}
    assert found.negated
    assert read("I like it, and I'm here").names == frozenset()


def test_inflections_meet_in_their_stem():
    for words in (("run", "runs", "running"), ("study", "studies", "studied"), ("house", "houses", "house's")):
        assert len(set(map(stem, words))) == 1
