"""The list of those that left."""

from __future__ import annotations

from collections import OrderedDict
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.eviction import ghosts
from scoutcache.eviction.base import ghost_name
from scoutcache.eviction.ghosts import Ghosts


def names(number, seed=1):
    random = Random(seed)
    return [random.randrange(1, 1 << 32) for _ in range(number)]


def test_who_was_added_is_found_once():
    found = Ghosts(10)
    found.add(7, 3)
    assert (found.count, found.room) == (1, 3)
    assert found.take(7, 3)
    assert not found.take(7, 3)
    assert (found.count, found.room) == (0, 0)


def test_the_oldest_are_forgotten_first():
    found = Ghosts(10)
    for name in range(1, 31):
        found.add(name, 1)
    assert [name for name in range(1, 31) if found.take(name, 1)] == list(range(21, 31))


def test_taking_one_lets_the_list_reach_back_one_further():
    found = Ghosts(10)
    for name in range(1, 12):
        found.add(name, 1)
    assert not found.take(1, 1)
    found.reset()
    for name in range(1, 11):
        found.add(name, 1)
    found.take(5, 1)
    found.add(11, 1)
    assert found.take(1, 1)


@pytest.mark.parametrize("largest", [1, 100_000])
@pytest.mark.parametrize(("pool", "wrong"), [(30_000, 0.005), (3_000, 0.1)])
def test_it_remembers_nearly_what_an_exact_list_remembers(pool, wrong, largest):
    """A thousand ghosts in a table that grew from eight; one question in thirty, or in three, takes one out."""
    random, keys = Random(5), names(pool)
    rooms = {name: random.randint(1, largest) for name in keys}
    limit = 500 * (1 + largest)
    found, exact, mistakes = Ghosts(limit), OrderedDict(), 0
    for _ in range(20_000):
        name = random.choice(keys)
        mistakes += found.take(name, rooms[name]) != exact.pop(name, False)
        name = next(name for name in iter(lambda: random.choice(keys), None) if name not in exact)
        found.add(name, rooms[name])  # as in life: who leaves was taken off the list when it came
        exact[name] = True
        while sum(map(rooms.__getitem__, exact)) > limit:
            exact.popitem(last=False)
    assert mistakes / 20_000 < wrong
    assert found.count == pytest.approx(len(exact), rel=0.1)
    assert found.room == pytest.approx(limit, rel=0.1)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=300), st.integers(1, 12))
def test_the_count_stays_between_nothing_and_the_limit(steps, limit):
    found = Ghosts(limit)
    for add, name in steps:
        if add:
            found.add(name, 1)
        else:
            found.take(name, 1)
        assert 0 <= found.room <= limit
        assert found.count == pytest.approx(found.room)


def test_a_ghost_costs_few_bytes():
    found = Ghosts(100_000_000)
    for name in names(100_000):
        found.add(name, 1000)
    assert (found._names.itemsize + found._numbers.itemsize) * len(found._names) <= 32 * 100_000


def test_it_starts_over_when_arrivals_can_no_longer_be_numbered(monkeypatch):
    monkeypatch.setattr(ghosts, "_LAST", 5)
    found = Ghosts(10)
    for name in range(1, 8):
        found.add(name, 1)
    assert [name for name in range(1, 8) if found.take(name, 1)] == [5, 6, 7]


def test_a_name_is_never_nought_and_tells_namespaces_apart():
    assert ghost_name(0, "") == 1
    assert ghost_name("key", "tenant-a") != ghost_name("key", "tenant-b")
