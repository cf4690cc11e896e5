"""What a tier isn't believed about: what has yet to be done there, and nothing else."""

from __future__ import annotations

import pytest

from scoutcache.engine.debts import Debts
from scoutcache.engine.effects import Clear, Erase, Renew
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, Ref
from scoutcache.patterns import Pattern

K, L, FAR = Ref("ns", "k"), Ref("ns", "l"), Ref("far", "k")
OF_K, OF_L = KEY_MARK + "k", KEY_MARK + "l"
REFS, NAMES = (K, L, FAR), (NAMESPACE_MARK, "red", "blue", OF_K, OF_L)

PATTERN = Erase(1, "ns", Pattern.parse("k*"))
DEBTS = {
    "clear": (Clear(1, "ns"), {K, L}, {OF_K, OF_L}),
    "pattern": (PATTERN, {K}, {OF_K}),
    "tag": (Renew("ns", ["red"]), set(), {"red"}),
    "dependents": (Renew("ns", [OF_K]), set(), {OF_K}),
    "dependents of anything": (Renew("ns", [DEPENDED_MARK]), set(), {OF_K, OF_L}),
    "namespace": (Renew("ns", [NAMESPACE_MARK]), {K, L}, {NAMESPACE_MARK, OF_K, OF_L}),
}


@pytest.fixture
def debts():
    return Debts()


@pytest.mark.parametrize(("debt", "refs", "names"), DEBTS.values(), ids=DEBTS)
def test_a_debt_is_about_entries_and_versions_and_no_others(debts, debt, refs, names):
    assert not debts
    debts.add(debt, 5)
    assert debts
    assert len(debts) == 1
    assert {ref for ref in REFS if debts.covers(ref)} == refs
    assert {name for name in NAMES if debts.owes("ns", [name])} == names
    assert not any(debts.owes("far", [name]) for name in NAMES)
    debts.let_go(debt)
    debts.let_go(debt)
    assert not debts
    assert not any(debts.covers(ref) for ref in REFS)
    assert not debts.owes("ns", NAMES)


def test_an_entry_is_in_doubt_and_so_is_what_depends_on_it(debts):
    debts.refs[K] = 5
    assert {ref for ref in REFS if debts.covers(ref)} == {K}
    assert debts.owes("ns", ["red", OF_K])
    assert not debts.owes("ns", ["red", OF_L, "k"])


def test_many_patterns_are_the_whole_of_their_namespaces(debts):
    for number in range(101):
        debts.add(Erase(1, "ns", Pattern.parse(f"p{number}:*")), 5)
    assert debts.covers(K)
    assert not debts.covers(FAR)
    debts.let_go(Erase(1, "ns", Pattern.parse("p0:*")))
    assert not debts.covers(K)
    assert debts.covers(Ref("ns", "p1:x"))


def test_one_debt_may_be_let_go_of_and_the_others_stay(debts):
    for debt, _, _ in DEBTS.values():
        debts.add(debt, 5)
    debts.let_go(PATTERN)
    debts.let_go(Renew("ns", ["red", NAMESPACE_MARK]))
    assert len(debts) == len(DEBTS) - 3
