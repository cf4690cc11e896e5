"""What a tier isn't believed about: how much of it, since when, and until when."""

from __future__ import annotations

import pytest

from scoutcache.engine.doubt import Doubt
from scoutcache.engine.effects import Clear, Erase, Renew
from scoutcache.entry import KEY_MARK, NAMESPACE_MARK, Header, Ref
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
    assert doubt.is_owing


def test_for_more_patterns_than_it_may_owe_a_namespace_is_to_be_cleared(doubt, monkeypatch):
    monkeypatch.setattr("scoutcache.engine.doubt._MOST_PATTERNS", 2)
    other = Renew("far", ["red"])
    doubt.owe(other)
    for text in ("a*", "a*", "b*"):
        doubt.owe(Erase(1, "ns", Pattern.parse(text)))
    assert len(doubt) == 3
    doubt.owe(Erase(1, "ns", Pattern.parse("c*")))
    assert doubt.owed == [other, Clear(1, "ns")]
    doubt.owe(Erase(1, "ns", Pattern.parse("d*")))
    assert doubt.owed == [other, Clear(1, "ns")], "that is more than any pattern"


def test_for_more_marks_than_it_may_owe_all_of_a_namespace_is_to_be_dead(doubt):
    doubt.owe(Renew("far", ["red"]))
    doubt.owe(Renew("ns", ["red", "blue"]))
    doubt.owe(Renew("ns", ["blue"]))
    assert doubt.owed == [Renew("far", ["red"]), Renew("ns", ["red", "blue"])]
    doubt.owe(Renew("ns", ["green"]))
    assert doubt.owed == [Renew("far", ["red"]), Renew("ns", [NAMESPACE_MARK]), Clear(1, "ns")]
    assert doubt.owes("ns", [NAMESPACE_MARK, "red"])


def test_where_a_namespace_is_to_be_cleared_a_mark_is_owed_even_so(doubt):
    """Of another tier's entries that says nothing, and they may carry it."""
    doubt.owe(Clear(1, "ns"))
    assert not doubt.owes("ns", ["red"])
    doubt.owe(Renew("ns", ["red"]))
    assert doubt.owes("ns", ["red"])


def test_many_marks_are_renewed_some_at_a_time():
    doubt = Doubt(1)
    doubt.owe(Renew("ns", [str(number) for number in range(1_200)]))
    assert [len(one.names) for one in doubt.owed] == [500, 500, 200]


class Also:
    def __bool__(self):
        return True

    def covers(self, ref):
        return ref == FAR


@pytest.mark.parametrize(("why", "value", "about"), [("also", Also(), {FAR}), ("shut", True, {K, L, FAR})])
def test_others_may_know_what_is_in_doubt_and_it_is_all_when_it_is_shut(doubt, why, value, about):
    assert not doubt
    setattr(doubt, why, value)
    assert doubt
    assert {ref for ref in (K, L, FAR) if doubt.covers(ref)} == about
    assert not doubt.is_owing


DEBTS = {"clear": (Clear(1, "ns"), {K, L}), "pattern": (Erase(1, "ns", Pattern.parse("k*")), {K}),
         "tag": (Renew("ns", ["red"]), set()), "namespace": (Renew("ns", [NAMESPACE_MARK]), {K, L})}  # fmt: skip


@pytest.mark.parametrize(("debt", "about"), DEBTS.values(), ids=DEBTS)
def test_what_is_tried_is_in_doubt_until_it_is_done(doubt, debt, about):
    doubt.owe(debt)
    with doubt.trying(debt):
        assert doubt
        assert (doubt.is_owing, doubt.is_trying) == (False, True)
        assert {ref for ref in (K, L, FAR) if doubt.covers(ref)} == about
        assert doubt.owes("ns", [KEY_MARK + "k", "red"])
    assert not doubt
    assert not doubt.covers(K)


def test_what_is_owed_anew_while_it_is_tried_stays_so_and_so_does_what_is_broken_off(doubt):
    debt = Renew("ns", ["red"])
    doubt.owe(debt)
    with doubt.trying(debt):
        doubt.owe(debt)
    assert doubt.owed == [debt]
    with pytest.raises(KeyboardInterrupt), doubt.trying(debt):
        raise KeyboardInterrupt
    assert doubt.owed == [debt]
    assert not doubt.is_trying


def test_what_depends_on_what_it_is_about_was_not_renewed(doubt):
    assert not doubt.owes("ns", [KEY_MARK + "k"])
    doubt.about([K], 5)
    assert doubt.owes("ns", [NAMESPACE_MARK, KEY_MARK + "k"])
    assert not doubt.owes("ns", [NAMESPACE_MARK, KEY_MARK + "l", "k"])
    assert not doubt.owes("far", [KEY_MARK + "k"])
    doubt.settle({K: 5})
    assert not doubt.owes("ns", [KEY_MARK + "k"])


def test_what_a_parent_tries_its_child_owes_for_it_may_fail_there(doubt):
    debt = Renew("ns", ["red"])
    doubt.after_fork()
    assert not doubt
    with doubt.trying(debt):
        doubt.after_fork()
        assert doubt.owed == [debt]
        assert not doubt.is_trying


def test_what_failed_is_tried_after_the_others(doubt):
    one, other = Erase(1, "ns", Pattern.parse("a*")), Erase(1, "ns", Pattern.parse("b*"))
    doubt.owe(one)
    doubt.owe(other)
    with doubt.trying(one):
        doubt.owe(one)
    assert doubt.owed == [other, one]


def test_while_marks_become_their_namespace_they_are_owed_throughout(doubt):
    """Others look meanwhile."""
    seen = []

    class Watched(dict):
        def pop(self, *args):
            seen.append(doubt.owes("ns", [NAMESPACE_MARK, "red"]))
            return super().pop(*args)

    doubt.owe(Renew("ns", ["red", "blue", "green"]))
    doubt.marks = Watched(doubt.marks)
    doubt.owe(Renew("ns", ["white"]))
    assert seen == [True] * 4


def test_what_could_not_be_told_is_told_apart_from_what_it_replaces(doubt):
    def began(start):
        return Header(K, start, 0.0, 1.0, 1.0, ())

    doubt.about([K], 5)
    assert [doubt.is_told_by(began(start), 5) for start in (4, 5, 6)] == [False, True, True]
    doubt.inherit(K, 9)
    assert doubt.refs == {K: 9}
    assert doubt.is_told_by(began(4), 9), "a neighbour wrote it before he said so"
    doubt.about([K], 10)
    assert not doubt.is_told_by(began(4), 10)
