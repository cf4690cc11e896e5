"""What died by a tag, its namespace or what it depends on is removed in the background, a little at a time."""

from __future__ import annotations

import sqlite3

import pytest

from scoutcache.entry import NAMESPACE_MARK, Mark


@pytest.fixture
def put_tagged(make_row, fake_clock):
    """Write entries that carry the current versions of some tags, as the engine does."""

    def put(tier, keys, *tags, namespace="default", **options):
        names = [NAMESPACE_MARK, *tags]
        versions = tier.current(namespace, names, create=True)
        marks = tuple(Mark(name, versions[name]) for name in names)
        rows = [make_row(key, marks=marks, namespace=namespace, **options) for key in keys]
        assert tier.write(rows, fake_clock.wall()) == len(rows)

    return put


def keys(tier):
    return {one.header.ref.key for one in tier.scan(None)}


def rest(tier, fake_clock, turns=100):
    """Let the background do all it has to do."""
    for _ in range(turns):
        tier.maintain(fake_clock.wall())


def test_what_died_by_a_tag_is_removed_and_nothing_else(disk, put_tagged, fake_clock):
    put_tagged(disk, ["a", "b"], "red", "blue")
    put_tagged(disk, ["c"], "blue")
    put_tagged(disk, ["d"])
    disk.renew("default", ["red"])
    disk.maintain(fake_clock.wall())
    assert keys(disk) == {"c", "d"}


def test_what_died_with_its_namespace_is_removed(disk, put_tagged, fake_clock):
    put_tagged(disk, ["a"], namespace="one")
    put_tagged(disk, ["b"], namespace="other")
    disk.renew("one", [NAMESPACE_MARK])
    disk.maintain(fake_clock.wall())
    assert keys(disk) == {"b"}


def test_what_was_marked_stale_stays(disk, put_tagged, fake_clock):
    put_tagged(disk, ["a"], "red")
    disk.renew("default", ["red"], soft=True)
    rest(disk, fake_clock, 3)
    assert keys(disk) == {"a"}
    assert disk.reclaim() == 0


def test_what_carries_a_mark_that_was_lost_is_removed(disk, put_tagged, raw_sql, fake_clock):
    put_tagged(disk, ["a", "b"], "red")
    put_tagged(disk, ["c"])
    raw_sql("DELETE FROM Versions WHERE name = 'red'")
    assert disk.reclaim(dry_run=True) == 2
    assert keys(disk) == {"a", "b", "c"}
    assert disk.reclaim() == 2
    assert keys(disk) == {"c"}


def test_many_are_removed_over_some_turns_and_each_turn_does_little(disk, put_tagged, fake_clock):
    for part in range(6):
        put_tagged(disk, [f"old:{part}:{n}" for n in range(1000)], "red", ttl=None)
        put_tagged(disk, [f"new:{part}:{n}" for n in range(1000)], "blue", ttl=None)
    disk.renew("default", ["red"])
    disk.maintain(fake_clock.wall())
    left = disk.usage().entries
    assert 6000 < left < 12_000
    rest(disk, fake_clock)
    assert len(keys(disk)) == 6000
    assert not any(key.startswith("old") for key in keys(disk))


def test_a_store_where_nothing_is_invalidated_is_not_read_again(disk, put_tagged, fake_clock, monkeypatch):
    put_tagged(disk, ["a"], "red")
    rest(disk, fake_clock, 3)
    looked = []
    reclaiming = disk._upkeep.reclaiming
    look = reclaiming._look
    monkeypatch.setattr(reclaiming, "_look", lambda last: looked.append(last) or look(last))
    rest(disk, fake_clock, 3)
    assert looked == []
    disk.renew("default", ["red"])
    rest(disk, fake_clock, 3)
    assert len(looked) == 1
    assert keys(disk) == set()


def test_processes_of_a_directory_share_a_pass(open_tier, put_tagged, fake_clock, raw_sql):
    """One goes on where another stopped."""
    first, second = open_tier(), open_tier()
    for part in range(5):
        put_tagged(first, [f"{part}:{n}" for n in range(1000)], "red", ttl=None)
    rest(first, fake_clock)
    first.renew("default", ["blue"])
    places = []
    for tier in (first, second, first, second):
        tier.maintain(fake_clock.wall())
        places.append(raw_sql("SELECT value FROM Store WHERE name = 'pass_at'"))
    assert places == [[(1000,)], [(2000,)], [(3000,)], [(4000,)]]


def test_an_invalidation_during_a_pass_makes_another_one(disk, put_tagged, fake_clock):
    put_tagged(disk, ["early"], "red")
    for part in range(5):
        put_tagged(disk, [f"{part}:{n}" for n in range(1000)], ttl=None)
    rest(disk, fake_clock)
    disk.renew("default", ["blue"])
    disk.maintain(fake_clock.wall())
    disk.renew("default", ["red"])  # what carries it was passed already
    rest(disk, fake_clock, 10)
    assert "early" not in keys(disk)
    assert len(keys(disk)) == 5000


def test_an_entry_that_was_written_anew_meanwhile_stays(disk, put_tagged, fake_clock, monkeypatch):
    put_tagged(disk, ["a", "b"], "red", start=1)
    disk.renew("default", ["red"])
    reclaiming = disk._upkeep.reclaiming
    look = reclaiming._look

    def look_and_write(last):
        seen = look(last)
        put_tagged(disk, ["a"], "red", start=2_000_000_000)
        return seen

    monkeypatch.setattr(reclaiming, "_look", look_and_write)
    assert reclaiming.turn() == 1
    assert keys(disk) == {"a"}


def test_under_another_authority_marks_are_left_alone(disk, put_tagged, fake_clock):
    put_tagged(disk, ["a"], "red")
    disk.leave_marks()
    disk.renew("default", ["red"])
    rest(disk, fake_clock, 3)
    assert keys(disk) == {"a"}


def test_who_writes_just_now_is_not_waited_for(open_tier, put_tagged, raw_sql, fake_clock, folder):
    tier = open_tier()
    put_tagged(tier, ["a"], "red")
    tier.renew("default", ["red"])
    con = sqlite3.connect(folder / "cache.db", isolation_level=None)
    con.execute("BEGIN IMMEDIATE")
    tier.maintain(fake_clock.wall())
    assert keys(tier) == {"a"}
    con.execute("ROLLBACK")
    con.close()
    tier.maintain(fake_clock.wall())
    assert keys(tier) == set()
