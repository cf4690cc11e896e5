"""What a tier isn't believed about: how much of it, since when, and until when."""

from __future__ import annotations

import pytest

from scoutcache.engine.doubt import Doubt
from scoutcache.engine.effects import Clear, Erase, Renew
from scoutcache.entry import KEY_MARK, NAMESPACE_MARK, Ref
from scoutcache.patterns import Pattern

K, L, FAR = Ref("ns", "k"), Ref("ns", "l"), Ref("far", "k")


@pytest.fixture
def doubt():
    return Doubt(1, capacity=3)


def test_it_is_about_what_was_to_change_and_about_the_latest_change(doubt):
    doubt.about([K], 5)
    doubt.about([K], 3)
    assert doubt.known([K, L]) == {K: 5}
    assert doubt.covers(K)
    assert not doubt.covers(L)


def test_what_came_into_doubt_anew_meanwhile_stays_so(doubt):
    doubt.about([K, L], 5)
    known = doubt.known([K, L])
    doubt.about([K], 7)
    doubt.settle(known)
    assert doubt.refs == {K: 7}


def test_for_more_keys_than_it_may_hold_their_namespaces_are_to_be_cleared_once(doubt):
    doubt.owe(Clear(1, "far"))
    doubt.about([K, L, FAR], 5)
    assert doubt.owed == [Clear(1, "far")]
    doubt.about([Ref("ns", "m")], 5)
    assert sorted(one.namespace for one in doubt.owed) == ["far", "ns"]
    assert not doubt.refs
    assert doubt.owes


def test_for_more_than_it_may_owe_a_namespace_is_to_be_cleared(doubt, monkeypatch):
    monkeypatch.setattr("scoutcache.engine.doubt._MOST_OWED", 2)
    other = Renew("far", ["red"])
    doubt.owe(other)
    for text in ("a*", "a*", "b*"):
        doubt.owe(Erase(1, "ns", Pattern.parse(text)))
    assert doubt.owed == [other, Clear(1, "ns")]
    doubt.owe(Renew("ns", ["blue"]))
    assert doubt.owed == [other, Clear(1, "ns")], "that is more than anything"


def test_where_a_namespace_is_to_be_cleared_nothing_more_is_owed_in_it(doubt):
    doubt.owe(Clear(1, "ns"))
    doubt.owe(Renew("ns", ["red"]))
    doubt.owe(Renew("far", ["red"]))
    assert doubt.owed == [Clear(1, "ns"), Renew("far", ["red"])]


class Also:
    def __bool__(self):
        return True

    def covers(self, ref):
        return ref == FAR


@pytest.mark.parametrize(
    ("why", "about_all"),
    [("owed", True), ("tried", True), ("shut", True), ("also", False)],
)
def test_it_is_about_everything_while_more_than_keys_is_owed_or_tried_or_it_is_shut(doubt, why, about_all):
    assert not doubt
    setattr(doubt, why, {"owed": [Clear(1, "ns")], "tried": Clear(1, "ns"), "shut": True, "also": Also()}[why])
    assert doubt
    assert (doubt.covers(K), doubt.covers(FAR)) == (about_all, True)
    assert doubt.owes == (why == "owed")


def test_what_depends_on_what_it_is_about_was_not_renewed(doubt):
    assert not doubt.owes_marks("ns", [KEY_MARK + "k"])
    doubt.about([K], 5)
    assert doubt.owes_marks("ns", [NAMESPACE_MARK, KEY_MARK + "k"])
    assert not doubt.owes_marks("ns", [NAMESPACE_MARK, KEY_MARK + "l", "k"])
    assert not doubt.owes_marks("far", [KEY_MARK + "k"])
    doubt.settle({K: 5})
    assert not doubt.owes_marks("ns", [KEY_MARK + "k"])


@pytest.mark.parametrize("removal", [Erase(1, "ns", Pattern.parse("k*")), Clear(1, "ns")], ids=["pattern", "clear"])
@pytest.mark.parametrize("tried", [False, True])
def test_of_a_removal_it_is_whatever_depends_on_a_key_of_the_namespace(doubt, removal, tried):
    if tried:
        doubt.tried = removal
    else:
        doubt.owe(removal)
    assert doubt.owes_marks("ns", [KEY_MARK + "k"])
    assert not doubt.owes_marks("ns", [NAMESPACE_MARK, "tag"])
    assert not doubt.owes_marks("far", [KEY_MARK + "k"])


def test_a_renewal_that_is_owed_says_itself_what_it_renews(doubt):
    doubt.owe(Renew("ns", ["red"]))
    assert not doubt.owes_marks("ns", [KEY_MARK + "k"])
