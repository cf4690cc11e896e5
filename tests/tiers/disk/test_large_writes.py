"""What is much of the limit at once is stored, at the cost of what is older and of nothing else."""

from __future__ import annotations

import threading

import pytest

from scoutcache.entry import Ref

from .test_space import directory_bytes, incompressible

LIMITS = [2_000_000, 50_000_000]
PARTS = 50
"""Into how many parts of a fiftieth of the limit a full store and a batch are divided."""


@pytest.fixture(params=LIMITS)
def limit(request):
    """A small and a larger limit."""
    return request.param


@pytest.fixture
def full(limit, open_tier, put):
    """A store that has had to evict."""
    tier = open_tier(max_bytes=limit)
    for number in range(PARTS + PARTS // 4):
        put(tier, f"old:{number}", incompressible(number, limit // PARTS - 500), ttl=None, start=number + 1)
    assert tier.usage().size_bytes > 0.8 * limit
    return tier


def keys_of(tier, prefix):
    return {ref.key for ref in (one.header.ref for one in tier.scan(None)) if ref.key.startswith(prefix)}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_large_value_is_stored_and_evicts_what_it_needs(full, put, get, limit, share):
    value = incompressible("new", int(limit * share))
    assert put(full, "new", value, ttl=None, start=1000) == 1
    assert get(full, "new") == value
    assert limit * min(0.85, share) <= full.usage().size_bytes <= limit
    left = keys_of(full, "old:")
    assert left == {f"old:{number}" for number in range(PARTS + PARTS // 4 - len(left), PARTS + PARTS // 4)}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_large_batch_is_stored_whole(full, make_row, limit, share):
    batch = [f"new:{number}" for number in range(int(PARTS * share))]
    value = incompressible("new", limit // PARTS - 500)
    rows = [make_row(key, value, ttl=None, start=1000) for key in batch]
    assert full.write(rows, 0.0) == len(batch)
    assert keys_of(full, "new:") == {*batch}
    assert limit * min(0.85, share * 0.95) <= full.usage().size_bytes <= limit


def test_a_batch_that_writes_old_keys_again_keeps_them(full, make_row, limit):
    """Their rows stand where they came first, which is where the hand begins."""
    value = incompressible("again", limit // PARTS * 3 // 2)
    keys = sorted(keys_of(full, "old:"), key=lambda key: int(key.split(":")[1]))[: PARTS // 2]
    assert full.write([make_row(key, value, ttl=None, start=1000) for key in keys], 0.0) == len(keys)
    assert keys_of(full, "old:") >= {*keys}


def test_a_value_over_the_limit_is_not_taken_and_nothing_goes_for_it(full, put, limit):
    before = keys_of(full, "old:")
    assert put(full, "new", incompressible("new", int(limit * 1.1)), ttl=None, start=1000) == 0
    assert keys_of(full, "") == before


def test_a_value_that_the_database_itself_leaves_no_room_for_is_not_taken(open_tier, put):
    limit = 10_000_000
    tier = open_tier(max_bytes=limit)
    put(tier, "old", b"x", ttl=None)
    put(tier, "new", b"x", ttl=None)
    assert put(tier, "new", incompressible("new", int(limit * 0.97)), ttl=None, start=1000) == 0
    assert keys_of(tier, "") == {"old"}, "and what it should have replaced is gone"


def test_of_a_batch_over_the_limit_is_stored_what_fits(full, make_row, limit, codec):
    batch = [f"new:{number}" for number in range(int(PARTS * 1.2))]
    value = incompressible("new", limit // PARTS - 500)
    taken = full.write([make_row(key, value, ttl=None, start=1000) for key in batch], 0.0)
    assert 0.8 * PARTS <= taken <= PARTS
    assert keys_of(full, "new:") == {*batch[:taken]}
    found = full.read_many([Ref("default", key) for key in batch], 0.0)
    assert all(codec.open(ref, sealed).value == value for ref, sealed in found.items())


def test_concurrent_sets_that_do_not_fit_together_are_all_stored_one_after_the_other(open_tier, put, limit):
    """None of them is told that it doesn't fit: by itself it does."""
    tier = open_tier(max_bytes=limit, timeout=60.0)
    value = incompressible("new", limit // 10)
    taken = []
    tier._database.writing.acquire()
    threads = [
        threading.Thread(target=lambda n=n: taken.append(put(tier, f"new:{n}", value, ttl=None, start=n + 1)))
        for n in range(15)
    ]
    for thread in threads:
        thread.start()
    while len(tier._writer._queue) < len(threads):
        threads[0].join(0.001)
    tier._database.writing.release()
    for thread in threads:
        thread.join()
    assert taken == [1] * len(threads)
    assert 5 <= len(keys_of(tier, "new:")) <= 9


@pytest.mark.parametrize("limit", LIMITS[1:])
def test_a_large_write_takes_space_beyond_the_limit_only_until_the_next_one(full, put, folder, limit):
    put(full, "new", incompressible("new", int(limit * 0.6)), ttl=None, start=1000)
    put(full, "small", b"x", ttl=None, start=1001)
    for _ in range(20):
        full.maintain(0.0)
    assert "new" in keys_of(full, "")
    assert directory_bytes(folder) <= 1.1 * limit
