"""Messages: any bytes give a message or `CorruptEntry`, and what they name is decided in one place."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.coherence.messages import (
    Message,
    concerns,
    concerns_source,
    decode,
    encode,
    intersection,
    invalidates,
)
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, Header, Mark, Ref
from scoutcache.errors import CorruptEntry

REF = Ref("ns", "llm:1")
NAMES = st.lists(st.text(max_size=8), max_size=3).map(tuple)


def header(*marks: str) -> Header:
    return Header(REF, 1, 0.0, 1.0, 1.0, tuple(Mark(name, 7) for name in (NAMESPACE_MARK, *marks)))


def message(kind, *names, namespace="ns"):
    return Message(kind, namespace, names, 1, "me")


@given(st.sampled_from(["key", "mark", "namespace", "written"]), st.text(max_size=8), NAMES, st.integers(0, 2**63 - 1))
def test_a_message_comes_back_as_it_went(kind, namespace, names, stamp):
    sent = Message(kind, namespace, names, stamp, "me", "because")
    assert decode(encode(sent)) == sent


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_corrupt(data):
    with contextlib.suppress(CorruptEntry):
        assert isinstance(decode(data), Message)


@given(st.data())
def test_any_damage_to_a_message_is_a_message_or_corrupt(data):
    good = bytearray(encode(message("pattern", "llm:*", "[a-c]?")))
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptEntry):
        assert isinstance(decode(bytes(good)), Message)


def test_a_pattern_that_is_none_is_corrupt_so_that_nobody_fails_applying_it():
    with pytest.raises(CorruptEntry):
        decode(encode(message("pattern", "[a-")))


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (message("key", "llm:1"), True),
        (message("key", "llm:2"), False),
        (message("key", "llm:1", namespace="other"), False),
        (message("pattern", "llm:*"), True),
        (message("pattern", "job:*", "*:1"), True),
        (message("pattern", "job:*"), False),
        (message("pattern", "*", namespace="other"), False),
        (message("mark", "red"), True),
        (message("mark", "blue"), False),
        (message("mark", "red", namespace="other"), False),
        (message("mark", KEY_MARK + "db:1"), True),
        (message("key", "db:1"), True),
        (message("pattern", "db:*"), True),
        (message("namespace", NAMESPACE_MARK), True),
        (message("namespace", NAMESPACE_MARK, namespace="other"), False),
        (message("written", "llm:1"), False),
        (message("written", "db:1"), False),
    ],
)
def test_what_invalidates_an_entry_tagged_red_that_depends_on_another(said, named):
    assert invalidates(said, header("red", KEY_MARK + "db:1")) is named


@pytest.mark.parametrize(
    ("patterns", "keys", "tags", "named"),
    [
        (["llm:*"], [], ["red"], True),
        (["llm:*", "*:1"], ["llm:1", "x"], ["red", "hot"], True),
        (["llm:*"], [], ["blue"], False),
        (["llm:*"], [], ["red", "blue"], False),
        (["job:*"], [], ["red"], False),
        (["llm:*", "job:*"], [], [], False),
        (["llm:*"], ["llm:2"], [], False),
        ([], [], ["red"], True),
        (["db:*"], [], ["blue"], True),  # what it depends on may carry any tag
        (["db:*"], ["llm:1"], [], False),
    ],
)
def test_an_intersection_names_what_satisfies_all_of_it(patterns, keys, tags, named):
    said = message("all", *intersection(patterns, keys, tags))
    assert decode(encode(said)) == said
    assert invalidates(said, header("red", "hot", KEY_MARK + "db:1")) is named
    assert not invalidates(message("all", *said.names, namespace="other"), header("red", "hot"))


def test_an_intersection_with_a_pattern_that_is_none_is_corrupt():
    with pytest.raises(CorruptEntry):
        decode(encode(message("all", *intersection(["[a-"], [], []))))


def test_a_write_concerns_the_key_and_what_depends_on_it():
    assert concerns(message("written", "llm:1"), REF, [])
    assert concerns(message("written", "db:1"), REF, [KEY_MARK + "db:1"])
    assert not concerns(message("written", "db:1"), REF, ["red"])
    same = Message("written", "ns", ("db:1", "llm:1"), 1, "me", same=("db:1", "llm:1"))
    assert not concerns(same, Ref("ns", "other"), [KEY_MARK + "db:1"]), "nothing changed for it"
    assert concerns(same, REF, [])


def test_what_is_owed_of_a_write_is_what_depends_on_another_value():
    written = Message("written", "ns", ("a", "b"), 1, "me", same=("b",))
    assert written.unrenewed == []
    assert written.owing.unrenewed == [KEY_MARK + "a"]
    assert message("key", "a").owing.unrenewed == []
    assert written.owing.dependents.names == (KEY_MARK + "a",)


@pytest.mark.parametrize(
    ("said", "unresolved", "ends"),
    [
        (message("mark", "red", DEPENDED_MARK), True, {"llm:1", "job:1"}),
        (message("mark", DEPENDED_MARK), False, set()),
        (message("mark", "red"), False, set()),
        (message("pattern", "llm:*"), False, set()),
        (message("pattern", "llm:*").owing, True, {"llm:1"}),
    ],
)
def test_where_nobody_could_say_what_depends_on_it_whatever_may_goes(said, unresolved, ends):
    assert said.is_unresolved is unresolved
    if unresolved:
        assert {key for key in ("llm:1", "job:1") if said.may_end(KEY_MARK + key)} == ends
        assert not said.may_end("red")


def test_any_tag_may_have_been_one_of_a_key_that_nobody_can_be_asked_about():
    assert concerns_source(message("mark", "any"), REF, [])
    assert not concerns_source(message("mark", "any", namespace="other"), REF, [])
    assert not concerns_source(message("mark", DEPENDED_MARK), REF, [])
