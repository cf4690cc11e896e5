"""A disk without space: sets fail with one warning, reading and removing go on, and space alone heals it."""

from __future__ import annotations

import os
import shutil
from contextlib import closing

import pytest

from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.patterns import Pattern
from scoutcache.tiers.disk import DiskTier


@pytest.fixture
def warned():
    return []


@pytest.fixture
def codec():
    from scoutcache.wire.codec import Codec

    return Codec()


@pytest.fixture
def full(small_disk, codec, warned, make_row):
    """A tier with forty entries on a disk without a byte left, and the file that takes the space."""
    tier = DiskTier(small_disk / "cache", codec, max_bytes=64 << 20, timeout=0.3, warn=warned.append)
    tier.write([make_row(f"key:{n}", os.urandom(20_000)) for n in range(40)], 2.0)
    tier.maintain(2.0)
    hog = small_disk / "hog"
    _fill(hog)
    yield tier, hog
    tier.close()


def _fill(hog):
    with hog.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def _write_until_it_fails(tier, make_row):
    """There may be room left inside the files."""
    for number in range(1000):
        tier.write([make_row(f"more:{number}", os.urandom(20_000))], 2.0)
    raise AssertionError("the disk never filled")


def test_sets_fail_with_one_warning_and_heal_with_space(full, make_row, value_of, warned):
    tier, hog = full
    for _ in range(3):
        with pytest.raises(TierUnavailable, match="full") as caught:
            _write_until_it_fails(tier, make_row)
    assert "free some space" in caught.value.hint
    assert len(warned) == 1
    assert value_of(tier, "key:3") != "absent"
    hog.unlink()
    assert tier.write([make_row("after", "value")], 2.0) == 1
    assert value_of(tier, "after") == "value"
    _fill(hog)
    with pytest.raises(TierUnavailable, match="full"):
        _write_until_it_fails(tier, make_row)
    assert len(warned) == 2


def test_removing_works_on_a_full_disk_thanks_to_the_ballast(full, make_row, value_of):
    tier, _ = full
    with pytest.raises(TierUnavailable):
        _write_until_it_fails(tier, make_row)
    assert tier.remove([Ref("default", "key:1"), Ref("default", "key:2")]) == 2
    assert value_of(tier, "key:1") == "absent"
    assert value_of(tier, "key:3") != "absent"


def test_no_set_takes_what_removals_need(full, make_row):
    """The ballast is given up for a removal and not for what comes after it."""
    tier, hog = full
    for number in range(8):
        with pytest.raises(TierUnavailable):
            _write_until_it_fails(tier, make_row)
        assert tier.remove([Ref("default", f"key:{number}")]) == 1
        _fill(hog)


def test_what_a_full_disk_can_not_replace_is_gone_at_once(full, make_row, value_of, small_disk, codec):
    tier, _ = full
    with closing(DiskTier(small_disk / "cache", codec, max_bytes=64 << 20)) as other:
        with pytest.raises(TierUnavailable):
            _write_until_it_fails(tier, make_row)
        assert value_of(other, "key:1") != "absent"
        for number in (1, 2):
            with pytest.raises(TierUnavailable, match="full"):
                tier.write([make_row(f"key:{number}", os.urandom(2_000_000), start=9)], 2.0)
            assert value_of(other, f"key:{number}") == "absent"
        assert value_of(other, "key:3") != "absent"


def test_of_what_is_not_there_nothing_is_given_up(full, make_row, small_disk):
    tier, _ = full
    ballast = small_disk / "cache" / "disk.ballast"
    for number in range(3):
        with pytest.raises(TierUnavailable):
            tier.write([make_row(f"fresh:{number}", os.urandom(2_000_000))], 2.0)
    assert ballast.stat().st_size == 1 << 20


def test_clearing_works_on_a_full_disk_and_sets_work_after_it(full, make_row, value_of):
    tier, _ = full
    with pytest.raises(TierUnavailable):
        _write_until_it_fails(tier, make_row)
    assert tier.clear(None) >= 40
    assert tier.usage().entries == 0
    assert tier.write([make_row("after", os.urandom(100_000))], 2.0) == 1
    assert value_of(tier, "after") != "absent"


def test_a_full_disk_can_be_opened_and_read(full, make_row, value_of, codec, small_disk, warned):
    tier, _ = full
    with pytest.raises(TierUnavailable):
        _write_until_it_fails(tier, make_row)
    other = DiskTier(small_disk / "cache", codec, timeout=0.3, warn=warned.append)
    assert value_of(other, "key:3") != "absent"
    other.close()
    tier.close()
    again = DiskTier(small_disk / "cache", codec, timeout=0.3, warn=warned.append)
    assert value_of(again, "key:3") != "absent"
    again.close()


def test_another_process_can_make_room_on_a_disk_that_the_cache_filled_itself(
    small_disk, codec, warned, make_row, in_child
):
    """There is no room for the index that whoever opens it makes of the log of one that was killed."""

    def fill():
        tier = DiskTier(small_disk / "cache", codec, max_bytes=1 << 30, timeout=0.3, warn=warned.append)
        with pytest.raises(TierUnavailable, match="full"):
            _write_until_it_fails(tier, make_row)

    assert in_child(fill) == 0
    (small_disk / "cache" / "cache.db-shm").unlink()  # of a log of 16 MiB the one there is would be too small
    _fill(small_disk / "hog")
    tier = DiskTier(small_disk / "cache", codec, max_bytes=1 << 30, timeout=0.3, warn=warned.append)
    assert tier.remove([Ref("default", "more:1")]) == 1
    assert tier.clear("default") > 100
    tier.close()


SMALL = [(1 << 20, 20_000), (1 << 20, 300), (200_000, 2_000), (5 << 20, 20_000)]


@pytest.fixture(params=SMALL, ids=[f"{limit}-{size}" for limit, size in SMALL])
def small(request, small_disk, codec, warned, make_row):
    """A tier that is full by its own limit, opened anew on a disk on which something else took the rest."""
    limit, size = request.param
    rows = [make_row(f"key:{n}", os.urandom(size)) for n in range(limit // size + 20)]
    with closing(DiskTier(small_disk / "cache", codec, max_bytes=limit, warn=warned.append)) as tier:
        for row in rows:
            tier.write([row], 2.0)
        tier.maintain(2.0)
    _fill(small_disk / "hog")
    with closing(DiskTier(small_disk / "cache", codec, max_bytes=limit, timeout=0.3, warn=warned.append)) as tier:
        yield tier, small_disk


def _entries(tier):
    return [one.header.ref for one in tier.scan(None)]


def test_whatever_the_limit_there_is_room_to_remove(small):
    tier, _ = small
    refs = _entries(tier)
    assert tier.remove(refs[:3]) == 3
    assert tier.remove_each(refs[3:5]) == set(refs[3:5])
    tier.renew("default", ["t"])
    assert tier.remove_matching("default", Pattern.parse("*y:*")) == len(refs) - 5
    assert tier.usage().entries == 0


def test_whatever_the_limit_there_is_room_to_prune_and_to_clear(small):
    tier, _ = small
    there = tier.usage()
    assert tier.prune(3.0, max_bytes=there.size_bytes // 2)["oversize"] > 1
    left = tier.usage().entries
    assert 0 < left < there.entries
    assert tier.clear(None) == left


def test_what_was_removed_is_given_back_to_a_full_disk(small_disk, codec, warned, make_row):
    with closing(DiskTier(small_disk / "cache", codec, max_bytes=5 << 20, warn=warned.append)) as tier:
        for number in range(300):
            tier.write([make_row(f"key:{number}", os.urandom(20_000))], 2.0)
    _fill(small_disk / "hog")
    with closing(DiskTier(small_disk / "cache", codec, max_bytes=5 << 20, timeout=0.3, warn=warned.append)) as tier:
        tier.prune(3.0, max_bytes=100_000)
        assert tier.usage().size_bytes <= 100_000
    assert shutil.disk_usage(small_disk).free > 3 << 20


def test_a_limit_is_lowered_on_a_full_disk(small):
    tier, _ = small
    tier.change_limit(100_000)
    assert tier.usage().max_bytes == 100_000


def test_a_store_made_where_there_is_little_room_has_a_small_ballast(small_disk, codec, warned, make_row):
    hog = small_disk / "hog"
    _fill(hog)
    os.truncate(hog, hog.stat().st_size - (1 << 20))
    tier = DiskTier(small_disk / "cache", codec, max_bytes=64 << 20, timeout=0.3, warn=warned.append)
    ballast = small_disk / "cache" / "disk.ballast"
    assert 1 << 17 <= ballast.stat().st_size <= 1 << 18
    with pytest.raises(TierUnavailable, match="full"):
        _write_until_it_fails(tier, make_row)
    assert tier.remove(_entries(tier)[:3]) == 3
    assert tier.clear("default") > 0
    hog.unlink()
    tier.maintain(2.0)
    assert ballast.stat().st_size == 1 << 20
    tier.close()


def test_the_ballast_comes_back_when_there_is_space_again(full, make_row, small_disk):
    tier, hog = full
    with pytest.raises(TierUnavailable):
        _write_until_it_fails(tier, make_row)
    tier.clear(None)
    ballast = small_disk / "cache" / "disk.ballast"
    ballast.unlink(missing_ok=True)
    tier.maintain(2.0)
    hog.unlink()
    tier.maintain(2.0)
    assert ballast.stat().st_size == 1 << 20


def test_a_new_directory_on_a_full_disk_is_a_tier_away_until_there_is_space(small_disk, codec, warned, make_row):
    hog = small_disk / "hog"
    _fill(hog)
    tier = DiskTier(small_disk / "cache", codec, timeout=0.3, warn=warned.append)
    with pytest.raises(TierUnavailable):
        tier.read(Ref("default", "key"), 2.0)
    assert len(warned) == 1
    hog.unlink()
    tier._database._retry_at = 0.0  # a second has passed
    assert tier.write([make_row("key", "value")], 2.0) == 1
    tier.close()


def test_a_disk_that_is_full_at_the_first_use_is_named(small_disk, codec, warned):
    _fill(small_disk / "hog")
    tier = DiskTier(small_disk / "cache", codec, max_bytes=64 << 20, timeout=0.3, warn=warned.append)
    with pytest.raises(TierUnavailable, match=f"the disk is full: {small_disk / 'cache'}") as caught:
        tier.read(Ref("default", "k"), 2.0)
    assert "use another directory" in caught.value.hint
    assert str(small_disk / "cache") in warned[0]
    tier.close()


def test_on_a_full_disk_a_filling_holds_its_lock_and_a_machine_has_a_name(small_disk):
    from scoutcache.channels.locking import held
    from scoutcache.tiers.disk.holder import machine_of

    _fill(small_disk / "hog")
    with held(small_disk / "warming" / "lock"):
        assert len(machine_of(small_disk)) == 16
    assert not (small_disk / "machine").exists(), "an empty one would be none for ever"
    (small_disk / "hog").unlink()
    assert machine_of(small_disk) == machine_of(small_disk)
