"""What the disk of a machine is not believed about until what other machines announced was removed there."""

from __future__ import annotations

import sys

import pytest

from scoutcache.coherence.messages import Message
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.tiers.disk import holder as noting
from scoutcache.tiers.disk.holder import Before, DiskHolder

MANY = 2000


def message(kind, *names, namespace="default", source="other.1"):
    return Message(kind, namespace, names, 1, source)


@pytest.fixture
def holder(disk, tmp_path):
    return DiskHolder(disk, tmp_path, "mine")


def covered(holder, *keys, namespace="default"):
    return [key for key in keys if holder.covers(Ref(namespace, key))]


def steps(function):
    """How many functions *function* calls in all."""
    called = []
    sys.setprofile(lambda _, event, __: called.append(event) if event == "call" else None)
    try:
        function()
    finally:
        sys.setprofile(None)
    return len(called)


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("key", ["a:1", "b"], ["a:1", "b"]),
        ("written", ["a:1"], ["a:1"]),
        ("pattern", ["a:*"], ["a:1", "a:2"]),
        ("pattern", ["*:1", "b"], ["a:1", "b"]),
        ("pattern", ["a:1*", "a:?"], ["a:1", "a:2"]),
        ("pattern", ["*"], ["a:1", "a:2", "b"]),
        ("namespace", [""], ["a:1", "a:2", "b"]),
        ("mark", ["a:1"], []),
    ],
)
def test_what_is_named_is_not_believed_until_it_is_removed(holder, put, disk, kind, names, expected):
    keys = ["a:1", "a:2", "b"]
    for key in keys:
        put(disk, key, 1)
    holder.apply(message(kind, *names))
    assert covered(holder, *keys) == expected
    assert covered(holder, *keys, namespace="elsewhere") == []
    holder.work(lambda: Before(b"1-1", b"name"))
    assert covered(holder, *keys) == []
    assert sorted(listed.header.ref.key for listed in disk.scan("default")) == [
        key for key in keys if key not in expected
    ]


def test_what_comes_while_the_rest_is_removed_stays_noted(holder, disk, monkeypatch):
    remove = disk.remove
    monkeypatch.setattr(disk, "remove", lambda refs: holder.apply(message("pattern", "later*")) or remove(refs))
    holder.apply(message("key", "k"))
    holder.work(lambda: Before(b"1-1", b"name"))
    assert covered(holder, "k", "later:1") == ["later:1"]
    holder.work(lambda: Before(b"1-2", b"name"))
    assert not holder
    assert covered(holder, "k", "later:1") == []


@pytest.mark.parametrize("kind", ["key", "written", "pattern"])
def test_a_read_costs_no_more_the_more_is_noted(holder, kind):
    for number in range(MANY):
        holder.apply(message(kind, f"k{number}*" if kind == "pattern" else f"k{number}"))
    assert steps(lambda: holder.covers(Ref("default", "else"))) < 50
    assert covered(holder, f"k{MANY - 1}", "else") == [f"k{MANY - 1}"]


def test_what_was_missed_while_everything_is_removed_is_to_be_removed_again(holder, disk, put, monkeypatch):
    """It may have named what was written after the removal."""
    clear = disk.clear

    def clearing(namespace):
        removed = clear(namespace)
        put(disk, "k", 1)
        holder.drop()
        return removed

    holder.drop()
    monkeypatch.setattr(disk, "clear", clearing)
    holder.work(lambda: Before(b"1-1", b"name"))
    monkeypatch.undo()
    assert covered(holder, "k") == ["k"]
    holder.work(lambda: Before(b"1-2", b"name"))
    assert not holder
    assert not list(disk.scan(None))


def test_while_nothing_can_be_removed_no_more_is_kept_than_matters(holder, disk, put, monkeypatch):
    """On a disk that takes no writes others may invalidate for hours."""

    def refuse(*_):
        raise TierUnavailable("disk", "read-only")

    monkeypatch.setattr(noting, "MANY", MANY)
    monkeypatch.setattr(disk, "clear", refuse)
    monkeypatch.setattr(disk, "remove", refuse)
    put(disk, "k", 1)
    for number in range(3 * MANY):
        holder.apply(message("key", f"k{number}"))
        if number % MANY == 0:
            with pytest.raises(TierUnavailable):
                holder.work(lambda: Before(b"1-1", b"name"))
    assert len(holder._pending) <= MANY
    assert covered(holder, "k", "k0") == ["k", "k0"]
    monkeypatch.undo()
    holder.work(lambda: Before(b"1-1", b"name"))
    assert not holder
    assert not list(disk.scan(None))
