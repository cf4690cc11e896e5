"""Lines with values are stored together, and everything is told and kept of each as if it were alone."""

from __future__ import annotations

import io
import json
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoutcache import Cache
from scoutcache.errors import TierUnavailable, WarmingError
from scoutcache.warming import batches
from scoutcache.warming.batches import Batch, batched
from scoutcache.warming.fill import warm_from
from scoutcache.warming.lines import WAITING, Waiting, lines_at_hand, read_lines
from scoutcache.warming.records import NothingTaken


def line(key, value=1, **options):
    return json.dumps({"key": key, "value": value, **options})


def shape(lines, **options):
    """How many items stand together: 1 for one that is alone."""
    found = batched(read_lines(lines, **options))
    return [len(one.items) if isinstance(one, Batch) else 1 for one in found]


class Counted:
    """Writes of the disk tier, and how many rows each took."""

    def __init__(self, cache, monkeypatch):
        self.rows = []
        disk = cache._core.tier("disk")
        write = disk.write

        def counted(rows, *more):
            self.rows.append(len(rows))
            return write(rows, *more)

        monkeypatch.setattr(disk, "write", counted)


def test_lines_in_a_row_of_equal_options_stand_together():
    lines = [line("a"), line("b"), line("c", ttl="1h"), line("d", ttl="1h"), "e", line("f"), "{", line("g"), line("h")]
    assert shape(lines) == [2, 2, 1, 1, 1, 2]


def test_what_depends_on_others_stands_alone():
    assert shape([line("a"), line("b"), line("c", depends_on=["a"]), line("d", depends_on=["a"])]) == [2, 1, 1]


def test_a_batch_is_bounded_by_lines_and_by_bytes(monkeypatch):
    monkeypatch.setattr(batches, "MOST", 3)
    assert shape([line(str(n)) for n in range(7)]) == [3, 3, 1]
    monkeypatch.setattr(batches, "MOST_BYTES", 100)
    assert shape([line(str(n), "x" * 90) for n in range(3)]) == [1, 1, 1]


def test_nobody_waits_for_company():
    assert shape([line("a"), WAITING, line("b"), line("c"), WAITING]) == [1, 2]


@given(st.lists(st.binary(max_size=12), max_size=8))
def test_lines_are_the_same_however_they_arrive(parts):
    class Arriving(io.BytesIO):
        left = iter([part for part in parts if part])

        def read1(self, size=-1, /):
            return next(self.left, b"")

    found = [one for one in lines_at_hand(Arriving()) if not isinstance(one, Waiting)]
    assert found == [one.rstrip(b"\n") for one in io.BytesIO(b"".join(parts))]


def test_they_are_stored_by_one_write(cache, monkeypatch):
    written = Counted(cache, monkeypatch)
    result = warm_from(cache, [line(f"k:{n}", n, ttl="1h", tags=["t"]) for n in range(100)])
    assert (result.requested, result.warmed, written.rows) == (100, 100, [100])
    assert cache.get_many([f"k:{n}" for n in range(100)]) == {f"k:{n}": n for n in range(100)}
    assert (cache.get_entry("k:7").tags, round(cache.ttl("k:7"), -2)) == (("t",), 3600)


def test_each_failed_key_is_named_and_the_others_are_stored(tmp_path):
    with Cache({"policies": [{"name": "small", "applies_to": "*", "max_entry_size": 50}]}, directory=tmp_path) as cache:
        lines = [line("a"), line("b", "x" * 100), "no json {", line("c"), '{"key": "d", "value": 1, "ttl": "soon"}']
        result = warm_from(cache, lines, call=None)
        assert {one.key for one in result.errors} == {"b", None, "d"}
        assert (result.warmed, result.failed) == (2, 3)
        assert cache.get_many(["a", "b", "c"]) == {"a": 1, "c": 1}


def test_those_that_are_there_are_left_alone(cache, monkeypatch):
    cache.set("k:1", "mine")
    written = Counted(cache, monkeypatch)
    result = warm_from(cache, [line(f"k:{n}", n) for n in range(4)], only_missing=True)
    assert (result.warmed, result.skipped, written.rows) == (3, 1, [3])
    assert cache.get("k:1") == "mine"


def test_a_rate_lets_them_in_one_by_one(cache, monkeypatch, fake_clock):
    written = Counted(cache, monkeypatch)
    warm_from(cache, [line(str(n)) for n in range(4)], rate=2, concurrency=1, clock=fake_clock.monotonic,
              wait=fake_clock.sleep)  # fmt: skip
    assert written.rows == [1] * 4
    assert sum(fake_clock.slept) == pytest.approx(1.5)


def test_what_was_stored_together_is_not_done_again(cache, monkeypatch):
    lines = [line(str(n)) for n in range(10)]
    with pytest.raises(KeyboardInterrupt):
        warm_from(cache, chain(lines[:6], interrupted()), resume=False)
    written = Counted(cache, monkeypatch)
    result = warm_from(cache, lines, resume=True)
    assert (result.resumed, result.warmed, written.rows) == (6, 4, [4])


def interrupted():
    raise KeyboardInterrupt
    yield


def test_what_came_before_a_source_broke_is_stored(cache):
    def source():
        yield from (line("a"), line("b"))
        raise WarmingError("the disk has gone")

    with pytest.raises(WarmingError):
        list(batched(read_lines(source())))
    with pytest.raises(WarmingError):
        warm_from(cache, source(), concurrency=1)
    assert cache.get_many(["a", "b"]) == {"a": 1, "b": 1}


def test_a_pipe_is_stored_as_far_as_it_has_come(cache):
    """Before more is waited for, what is there is in the cache."""
    seen = []

    class Pipe(io.BytesIO):
        left = iter([f"{line('a')}\n{line('b')}\n{line('c')[:9]}".encode(), f"{line('c')[9:]}\n".encode()])

        def read1(self, size=-1, /):
            seen.append(sorted(cache.get_many(["a", "b", "c"])))
            return next(self.left, b"")

    result = warm_from(cache, Pipe(), concurrency=1)
    assert (result.warmed, seen) == (3, [[], ["a", "b"], ["a", "b", "c"]])


def test_where_no_tier_takes_them_the_filling_ends(tmp_path, monkeypatch):
    with Cache(directory=tmp_path, raise_errors=True) as cache:
        disk = cache._core.tier("disk")

        def away(*_):
            raise TierUnavailable("disk", "it has gone")

        monkeypatch.setattr(disk, "write", away)
        with pytest.raises(NothingTaken, match="it has gone"):
            warm_from(cache, [line(str(n)) for n in range(4)], concurrency=1)
