"""What stands for versions that nobody knows: the same for whoever shares a token, and for nothing that was renewed."""

from __future__ import annotations

import pytest

from scoutcache.coherence.messages import Message
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, STAND_INS, Mark
from scoutcache.tiers.stand_ins import StandIns
from scoutcache.tiers.versions import LocalVersions, RememberedVersions


def sharing(token=b"token", renewed=(), **options):
    one = StandIns(**options)
    one.share(token, renewed)
    return one


def test_they_follow_from_the_token_the_namespace_and_the_name():
    first = sharing().of("ns", "T")
    assert first == sharing().of("ns", "T") >= STAND_INS
    assert first.bit_length() == 64
    others = [sharing(b"other").of("ns", "T"), sharing().of("ns2", "T"), sharing().of("ns", "U")]
    assert len({first, *others}) == 4


def test_without_a_token_there_are_none():
    one = StandIns()
    assert (one.of("ns", "T"), one.shared) == (None, None)
    one.apply(Message("mark", "ns", ("T",), 1, "other"))
    one.share(b"token")
    assert one.shared == (b"token", [])
    one.drop()
    assert (one.of("ns", "T"), one.shared) == (None, None)


@pytest.mark.parametrize("name", [KEY_MARK + "source", DEPENDED_MARK])
def test_what_stands_for_keys_has_none(name):
    assert sharing().of("ns", name) is None


def test_what_was_renewed_has_none_any_more():
    one = sharing(renewed=[("ns", "told")])
    one.apply(Message("mark", "ns", ("T", KEY_MARK + "k"), 1, "other"))
    one.apply(Message("namespace", "cleared", (), 1, "other"))
    one.apply(Message("key", "ns", ("U",), 1, "other"))
    assert [one.of("ns", "T"), one.of("ns", "told"), one.of("cleared", NAMESPACE_MARK)] == [None] * 3
    assert None not in (one.of("ns", "U"), one.of("ns2", "T"), one.of("ns", NAMESPACE_MARK))
    assert sorted(one.shared[1]) == [("cleared", NAMESPACE_MARK), ("ns", "T"), ("ns", "told")]


def test_of_more_than_it_can_remember_it_knows_none():
    one = sharing(capacity=2)
    one.apply(Message("mark", "ns", ("a",), 1, "other"))
    assert one.of("ns", "c") is not None
    one.apply(Message("mark", "ns", ("b",), 1, "other"))
    assert one.of("ns", "c") is None


def remembering(*messages, **known):
    versions = RememberedVersions(LocalVersions(lambda: 1), lambda: 0, lambda _: ([], 0))
    versions.take_over({"ns": known}, lambda: messages)
    return versions


def test_what_is_known_goes_before_them():
    versions = remembering(T=7)
    assert versions.without_authority("ns", ["T", "U"]) is None
    versions.share(b"token", [], list)
    there = versions.without_authority("ns", ["T", "U"])
    assert there == {"T": 7, "U": sharing().of("ns", "U")}
    marks = [Mark(*pair) for pair in there.items()]
    assert versions.are_current("ns", marks)
    assert versions.are_current("ns", marks[1:])
    versions.apply(Message("mark", "ns", ("U",), 1, "other"))
    assert not versions.are_current("ns", marks)
    assert not versions.are_current("ns", marks[1:])


@pytest.mark.parametrize("message", [
    Message("mark", "ns", ("T",), 1, "other"),
    Message("written", "ns", ("k",), 1, "other", owed=True),
    Message("pattern", "ns", ("k*",), 1, "other", owed=True),
])  # fmt: skip
def test_what_was_renewed_since_is_not_taken_over(message):
    name = "T" if message.kind == "mark" else KEY_MARK + "k"
    assert remembering(message, **{name: 7, "stays": 8}).known() == {"ns": {"stays": 8}}


def test_nothing_is_taken_over_where_messages_are_gone():
    versions = remembering()
    versions.take_over({"ns": {"T": 7}}, lambda: None)
    versions.share(b"token", [], lambda: None)
    assert (versions.known(), versions.stand_ins.shared) == ({}, None)


def test_what_this_process_knows_itself_stays():
    versions = remembering(T=7)
    versions.take_over({"ns": {"T": 9, "U": 3}}, list)
    assert versions.known() == {"ns": {"T": 7, "U": 3}}


def test_who_missed_a_message_goes_by_none():
    versions = remembering(T=7)
    versions.share(b"token", [], list)
    versions.drop()
    assert versions.without_authority("ns", ["T"]) is None
