"""The authority inside one process: versions are there as long as something carries them."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from scoutcache import Cache
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, Mark
from scoutcache.tiers.versions import LocalVersions


class Carrier(NamedTuple):
    marks: tuple[Mark, ...]


@pytest.fixture
def numbers():
    return itertools.count(1 << 30, 1 << 30)


def test_a_number_is_drawn_for_a_new_name_alone(numbers):
    versions = LocalVersions(lambda: next(numbers))
    first = versions.current("ns", ["a"], create=True)
    assert versions.current("ns", ["a", "b"], create=True) == {**first, "b": 2 << 30}
    assert next(numbers) == 3 << 30


def test_what_nothing_carries_any_more_is_forgotten(numbers):
    held = {("ns", "held"): []}
    versions = LocalVersions(lambda: next(numbers), held)
    kept = versions.current("ns", [NAMESPACE_MARK, DEPENDED_MARK, "held"], create=True)
    for number in range(5000):
        versions.current("ns", [NAMESPACE_MARK, f"tag{number}"], create=True)
    assert len(versions) < 1100
    assert versions.current("ns", list(kept)) == kept


def test_where_it_isnt_known_what_carries_them_all_stay(numbers):
    versions = LocalVersions(lambda: next(numbers))
    for number in range(3000):
        versions.current("ns", [f"tag{number}"], create=True)
    assert len(versions) == 3000


@pytest.mark.parametrize("ask", ["current", "create", "names", "soft"])
def test_one_forgotten_on_its_entrys_way_is_found_by_the_entry(numbers, ask):
    held = {}
    versions = LocalVersions(lambda: next(numbers), held)
    name = KEY_MARK + "parent"
    given = versions.current("ns", [name], create=True)
    for number in range(3000):
        versions.current("ns", [f"tag{number}"], create=True)
    assert versions.current("ns", [name]) == {}
    held["ns", name] = {Carrier((Mark("other", 5), Mark(name, given[name])))}
    if ask == "names":
        assert name in versions.names("ns", KEY_MARK)
    elif ask == "soft":
        versions.renew("ns", [name], soft=True)
        assert versions.current("ns", [name])[name] > given[name]
    else:
        assert versions.current("ns", [name], create=ask == "create") == given


def test_a_cache_of_memory_alone_keeps_no_more_versions_than_it_needs(tmp_path):
    with Cache(tiers=["memory"], memory={"max_entries": 10}, directory=tmp_path) as cache:
        for number in range(5000):
            cache.set(f"k{number}", number, tags=[f"tag{number}"])
        assert len(cache._core.ports.versions._authority) < 1200
        assert cache.invalidate(tags=["tag4999"])
        assert cache.get("k4999") is None
        cache.set("parent", 1)
        cache.set("child", 1, depends_on=["parent"])
        for number in range(3000):
            cache.set("k", number, tags=[f"new{number}"])
        cache.set("parent", 2)
        assert cache.get("child") is None
