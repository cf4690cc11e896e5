"""Gates: what must agree between two queries besides their vectors."""

from __future__ import annotations

import random
import sys
from string import ascii_uppercase
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.config.sections import GateName
from scoutcache.errors import CacheError
from scoutcache.meaning.gates import GATES, closed_by
from scoutcache.meaning.presets import PRESETS, check_gates, chosen, judge, lifted
from scoutcache.meaning.wording import read, same_words, stem

ALL = tuple(GATES)


@pytest.mark.parametrize(
    ("gate", "one", "other"),
    [
        ("numbers", "Return within 30 days", "Return within 60 days"),
        ("numbers", "a run of 5 km", "a run of 5 miles"),
        ("numbers", "$5 off", "€5 off"),
        ("numbers", "three wishes", "four wishes"),
        ("numbers", "Take it every day", "Take it every other day"),
        ("slots", "the third chapter", "the 3 chapters"),
        ("slots", "emails sent by Anna", "emails sent to Anna"),
        ("slots", "a gift for Anna", "a gift from Anna"),
        ("slots", "¿Cuánto cuesta un vuelo a Madrid?", "¿Cuánto cuesta un vuelo desde Madrid?"),
        ("slots", "un train pour Lyon", "un train depuis Lyon"),
        ("slots", "ein Zug nach Bonn", "ein Zug von Bonn"),
        ("slots", "año", "ano"),
        ("slots", "a book by beginners", "a book for beginners"),
        ("numbers", "5 million people", "5 billion people"),
        ("negation", "Is it safe to swim here", "Is it not safe to swim here"),
        ("negation", "Why does it work", "Why doesn't it work"),
        ("negation", "Welche Lebensmittel darf ich essen", "Welche Lebensmittel darf ich nicht essen"),
        ("negation", "Quels aliments puis-je manger", "Quels aliments ne puis-je pas manger"),
        ("negation", "Puedo viajar con mi perro", "Puedo viajar sin mi perro"),
        ("negation", "Quais alimentos posso comer", "Quais alimentos não posso comer"),
        ("negation", "Какие продукты можно есть", "Какие продукты нельзя есть"),
        ("negation", "List those who have passed", "List only those who have passed"),
        ("negation", "List those who have passed", "List those who have almost passed"),
        ("negation", "who was the wife of King Henry", "who was the first wife of King Henry"),
        ("slots", "find x if 3x + 2 = 7", "find x if 2x + 3 = 7"),
        ("slots", "he moved to Rome from Oslo", "he moved from Rome to Oslo"),
        ("slots", "my car hit your wall", "your car hit my wall"),
        ("antonyms", "what did I spend this month", "what did I spend last month"),
        ("antonyms", "what is due next week", "what is due this week"),
        ("antonyms", "how to enable logging", "how to disable logging"),
        ("antonyms", "is this legal", "is this illegal"),
        ("antonyms", "open on monday", "open on tuesday"),
        ("antonyms", "rates for june", "rates for july"),
        ("antonyms", "deposits into an account", "withdrawals into an account"),
        ("entities", "What is the capital of France", "What is the capital of Spain"),
        ("entities", "restart the API", "restart the CLI"),
        ("order", "trains from london to paris", "trains from paris to london"),
        ("slots", "most of these hotels were built here", "most of these homes were built here"),
        ("slots", "hand the keys over to the neighbour", "hand the keys over from the neighbour"),
        ("slots", "Turn the lamp on at night", "Turn the lamp off at night"),
        ("slots", "customers and their orders", "customers or their orders"),
        ("slots", "does it end if the tenant pays", "does it end unless the tenant pays"),
        ("slots", "is it on when the door is shut", "is it on until the door is shut"),
        ("slots", "can employees take leave", "must employees take leave"),
        ("slots", "who is the president", "who was the president"),
        ("slots", "my car hit my wall", "your car hit my wall"),
        ("order", "who was killed by Macbeth", "who killed Macbeth"),
        ("order", "teams that were beaten by Liverpool", "teams that beat Liverpool"),
        ("order", "flights from the US to India", "flights from India to the US"),
        ("antonyms", "how to upgrade the router", "how to downgrade the router"),
        ("numbers", ".5 mg", "5 mg"),
        ("numbers", "2 + 2", "2 + 2 + 2"),
        ("numbers", "2 and 2", "2 and 2 and 2"),
        ("numbers", "1,5 mg", "15 mg"),
        ("numbers", "5 mg", "5 g"),
        ("numbers", "x > y", "x < y"),
        ("numbers", "a + b", "a * b"),
        ("numbers", "-5 degrees", "5 degrees"),
        ("numbers", "what does chmod +x do", "what does chmod -x do"),
        ("numbers", "what does grep -v do", "what does grep -V do"),
        ("numbers", "`git reset --soft`", "`git reset --hard`"),
        ("numbers", "ls -a", "ls -l"),
        ("numbers", "a line of 10 Mbps", "a line of 10 MBps"),
        ("numbers", "is 100 Mb much", "is 100 MB much"),
        ("numbers", "is a 5 mW laser dangerous", "is a 5 MW laser dangerous"),
        ("entities", "Who was Henry VIII", "Who was Henry VII"),
        ("antonyms", "the cheapest hotel", "the most expensive hotel"),
        ("antonyms", "a stateful widget", "a stateless widget"),
        ("order", "who is my manager", "who is my manager's manager"),
        ("entities", "WHO", "who"),
        ("entities", "what does WHO advise", "what does who advise"),
        ("characters", "如何打开防火墙", "如何关闭防火墙"),
        ("characters", "我的狗病了", "我的猫病了"),
        ("characters", "ค่าธรรมเนียม", "ค่าปรับ"),
        ("characters", "犬を飼う", "猫を飼う"),
        ("characters", "방화벽 열기", "방화벽 닫기"),
        ("characters", "Rate this: 👍", "Rate this: 👎"),
        ("characters", "this 👍", "this"),
        ("order", "我打你", "你打我"),
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
        ("List three benefits of yoga", "List 3 benefits of yoga"),
        ("every other day", "every 2 days"),
        ("what time is it in Tokyo", "which time is it in Tokyo"),
        ("is there a book by Tolkien", "is there a book by tolkien?"),
        ("Who was the first U.S. president?", "Who was the first US president?"),
        ("Meet at 7 p.m. or at 8 P.M.", "Meet at 7 pm or at 8 PM"),
        ("the 11th of May", "May, the eleventh"),
        ("Which houses did IBM sell?", "which house did ibm sell"),
        ("WHO IS THE PRESIDENT", "who is the president"),
        ("HOW ", "HOW  "),
        ("x ≤ 1,000", "x <= 1000"),
        ("0,5 mg", ".5 mg"),
        ("2–3 days", "2-3 days"),
        ("a file of 10 mb", "a file of 10 MB"),
        ("tea - or coffee -- with milk", "tea, or coffee, with milk"),
        ("Who was Henry VIII?", "who was henry viii"),
        ("如何 打开防火墙?", "如何打开防火墙"),
    ],
)
def test_gates_stay_open_for_the_same_in_other_words(one, other):
    assert closed_by(one, other, ALL) == []


SAMPLE = ["buy", "sell", "not", "5", "km", "miles", "London", "Paris", "the", "is", "open", "closed", "50k", "$", "%",
          "illegal", "legal", "WHO", "who", "<", ">", "+", "-", ".5", "1,5", "开", "关", "👍", "👎",
          "house", "houses", "monday"]  # fmt: skip
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
    assert "7" in found.numbers
    assert found.names == {"ada", "3d", "usa"}
    assert found.negated
    assert read("I like it, and I'm here").names == frozenset()


def test_inflections_meet_in_their_stem():
    for words in (("run", "runs", "running"), ("study", "studies", "studied"), ("house", "houses", "house's")):
        assert len(set(map(stem, words))) == 1


FILLER = " ".join(f"Section {at} tells how the ward keeps its records, and who reads them." for at in range(16))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sentence_in_a_long_text_counts(preset):
    one = f"{FILLER} The patient should take aspirin daily. {FILLER}"
    other = f"{FILLER} The patient must avoid aspirin and call a doctor at once. {FILLER}"
    verdict = judge(one, other, 0.994, PRESETS[preset])
    assert not verdict.serves
    assert dict(verdict.closed)["passages"] == "daily, take / avoid, call, doctor, once"
    assert not judge(one, one.replace("should take", "should not take"), 1.0, PRESETS[preset]).serves
    again = one.upper().replace(".", " !").replace("SHOULD TAKE", "should  take")
    assert "passages" not in dict(judge(one, again, 0.994, PRESETS[preset]).closed)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("one", "other"), [("打开", "关闭"), ("👍", "👎"), ("ค่าธรรมเนียม", "ค่าปรับ"), (".5 mg", "5 mg")])
def test_what_a_model_cannot_tell_apart_is_not_served_by_any_preset(preset, one, other):
    assert not judge(one, other, 1.0, PRESETS[preset]).serves


def test_what_is_swapped_in_a_long_text_is_out_of_order():
    one = f"{FILLER} {FILLER} Take aspirin and avoid records."
    other = f"{FILLER} {FILLER} Avoid aspirin and take records."
    assert [closed.gate for closed in closed_by(one, other, ["order", "passages"])] == ["order"]


def test_the_names_of_a_long_text_are_not_compared_each_with_each():
    """Comparing each with each would be 16 million comparisons, and a line is run for each."""
    dice = random.Random(1)
    one, other = (read(" ".join("".join(dice.choices(ascii_uppercase, k=4)) for _ in range(3900))) for _ in "ab")
    lines = 0

    def count(*_: object) -> object:
        nonlocal lines
        lines += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        closed = [GATES[gate](one, other) is not None for gate in ("antonyms", "entities")]
    finally:
        sys.settrace(before)
    assert closed[1]
    assert lines < 1_000_000


LONG = "we talked about the weather of last week and of the week before " * 15

TRAPS = {
    "numbers": ("Return within 30 days", "Return within 60 days"),
    "negation": ("Is it safe to swim here", "Is it not safe to swim here"),
    "antonyms": ("how to enable logging", "how to disable logging"),
    "entities": ("What is the capital of France", "What is the capital of Spain"),
    "order": ("trains from london to paris", "trains from paris to london"),
    "slots": ("most of these hotels were built here", "most of these homes were built here"),
    "language": ("погода завтра", "weather tomorrow"),
    "characters": ("Rate this: 👍", "Rate this: 👎"),
    "passages": (LONG, f"{LONG} and cats"),
}


def test_the_configuration_names_every_gate():
    assert get_args(GateName) == tuple(GATES)


@pytest.mark.parametrize("gate", GATES)
def test_each_gate_can_be_switched_off_alone(gate):
    assert chosen("strict", None, without=[gate]).gates == tuple(name for name in GATES if name != gate)
    assert chosen("recall", 0.5, gates=[gate]) == (0.5, (gate,))
    one, other = TRAPS[gate]
    closed = {found.gate for found in closed_by(one, other, tuple(GATES))}
    assert gate in closed
    assert judge(one, other, 1.0, chosen("strict", None, without=closed)).serves
    assert not judge(one, other, 1.0, chosen("strict", None, without=closed - {gate})).serves


def test_an_unknown_gate_is_named_with_the_nearest():
    with pytest.raises(CacheError, match="there is no gate 'negations'; did you mean 'negation'"):
        check_gates(["negations"], "without_gates")
    with pytest.raises(CacheError, match="a list of names"):
        check_gates("slots", "without_gates")
    check_gates([], "without_gates")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Compute 5!", "Compute 5"), ("What is n!", "What is n"), ('x = "5"', "x = 5"), ("C# books", "C books"),
        ("How do you say thanks?", "How do you say hello?"), ("1,5 mg", "15 mg"), ("ls ..", "ls"), ("?", "!"),
        ("Please!", "Thanks"), ("50% of it", "50 of it"), ("Is it so?", "It is so."), ("", ""),
    ],
)  # fmt: skip
def test_signs_that_say_something_make_other_words(one, other):
    assert not same_words(one, other)
    assert lifted(one, other, 0.9) == 0.9


@given(st.text(), st.text())
def test_the_same_words_are_the_same_either_way(one, other):
    assert same_words(one, other) == same_words(other, one)
    assert lifted(one, other, 0.97) == 0.97
