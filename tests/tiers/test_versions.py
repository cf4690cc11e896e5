"""The authority inside one process: versions are there as long as something carries them."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from scoutcache import Cache
from scoutcache.coherence.messages import Message
from scoutcache.entry import DEPENDED_MARK, KEY_MARK, NAMESPACE_MARK, Mark
from scoutcache.tiers.versions import LocalVersions, RememberedVersions


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


# -- what is remembered of an authority

PARENT = KEY_MARK + "parent"


@pytest.fixture
def authority(numbers):
    """Of this all are asked; what it was asked for is in `asked`."""

    class Asked(LocalVersions):
        def __init__(self, random_version):
            super().__init__(random_version)
            self.asked = []

        def current(self, namespace, names, *, create=False):
            self.asked += names
            return super().current(namespace, names, create=create)

    return Asked(lambda: next(numbers))


@pytest.fixture
def channel():
    """Its end, and what was announced before it."""
    return [0]


@pytest.fixture
def since(channel):
    return lambda position: (channel[1 + position :], channel[0])


def announce(channel, kind, *names, namespace="ns"):
    channel.append(Message(kind, namespace, names, 1, "you"))
    channel[0] += 1


@pytest.fixture
def carried():
    return {}


@pytest.fixture
def remembered(authority, channel, since, carried):
    return RememberedVersions(authority, lambda: channel[0], since, carried=carried)


def asks(remembered, authority, *names):
    """Is the authority asked for them?"""
    before = len(authority.asked)
    remembered.current("ns", names)
    return len(authority.asked) > before


def test_what_it_was_told_it_remembers_until_that_is_renewed(remembered, authority):
    given = remembered.current("ns", [PARENT], create=True)
    assert remembered.remembered("ns", [PARENT]) == given
    assert not asks(remembered, authority, PARENT)
    remembered.renew("ns", [PARENT])
    assert remembered.current("ns", [PARENT]) != given


MARKS = [NAMESPACE_MARK, DEPENDED_MARK, "red"]
UNTOUCHED = [("written", "parent"), ("key", "k"), ("pattern", "*"), ("mark", "blue", PARENT), ("all", "pk*", "tred")]
RENEWING = [("mark", "blue", "red"), ("mark", DEPENDED_MARK), ("namespace",)]


@pytest.mark.parametrize("message", [*UNTOUCHED, *RENEWING])
@pytest.mark.parametrize("how", ["while it asked", "under way"])
def test_what_may_have_been_renewed_is_not_remembered(remembered, channel, message, how):
    """Rules 2 and 3."""
    begun = remembered.begun()
    announce(channel, *message)
    announce(channel, *message, namespace="elsewhere")
    if how == "under way":
        begun, remembered.under_way = remembered.begun(), lambda: channel[1:]
    versions = dict.fromkeys(MARKS, 5)
    remembered.keep(begun, "ns", MARKS, versions)
    assert remembered.remembered("ns", MARKS) == (versions if message in UNTOUCHED else None)
    remembered.keep(begun, "ns", [PARENT], {PARENT: 5})
    assert remembered.remembered("ns", [PARENT]) is None, "any change of its key renews it"


def test_where_nobody_can_say_what_was_announced_nothing_is_remembered(authority, channel):
    remembered = RememberedVersions(authority, lambda: channel[0], lambda _: (None, channel[0]))
    begun = remembered.begun()
    announce(channel, "written", "k")
    remembered.keep(begun, "ns", ["red"], {"red": 5})
    assert remembered.remembered("ns", ["red"]) is None


def test_that_there_is_none_is_remembered_of_one_name_alone(remembered, authority):
    assert remembered.current("ns", [DEPENDED_MARK]) == remembered.current("ns", [PARENT]) == {}
    assert not asks(remembered, authority, DEPENDED_MARK)
    assert asks(remembered, authority, PARENT)
    assert remembered.current("ns", [DEPENDED_MARK], create=True).keys() == {DEPENDED_MARK}


def test_it_remembers_no_more_than_it_may(authority, channel, since):
    remembered = RememberedVersions(authority, lambda: channel[0], since, capacity=10)
    for number in range(100):
        remembered.current("ns", [f"tag{number}"], create=True)
    assert len(remembered._known) <= 11


@pytest.mark.parametrize(
    ("message", "forgotten"),
    [
        (("mark", ("red",)), {"red"}),
        (("mark", ("red", DEPENDED_MARK)), {"red", PARENT, DEPENDED_MARK}),
        (("namespace", ()), {NAMESPACE_MARK}),
        (("written", ("parent",)), set()),
        (("key", ("parent",)), set()),
    ],
)
@pytest.mark.parametrize("owed", [False, True])
def test_it_forgets_what_a_message_renewed_or_was_to(remembered, message, forgotten, owed):
    names = [NAMESPACE_MARK, DEPENDED_MARK, "red", "blue", PARENT]
    remembered.current("ns", names, create=True)
    kind, named = message
    remembered.apply(Message(kind, "elsewhere", named, 1, "you", owed=owed))
    assert remembered.remembered("ns", names) is not None
    remembered.apply(Message(kind, "ns", named, 1, "you", owed=owed))
    left = {name for name in names if remembered.is_remembered("ns", name)}
    assert left == set(names) - (forgotten | ({PARENT} if owed and kind == "written" else set()))


def test_what_memory_carries_is_known_without_a_version(remembered, carried):
    carried["ns", PARENT] = {1}
    carried["elsewhere", KEY_MARK + "other"] = {1}
    assert remembered.remembered_names("ns", KEY_MARK) == [PARENT]
    assert remembered.is_remembered("ns", PARENT)
    assert remembered.remembered("ns", [PARENT]) is None
