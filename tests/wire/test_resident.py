"""Which values memory holds by reference."""

from __future__ import annotations

import datetime as dt
import enum
from uuid import UUID

import pytest

from scoutcache.wire.resident import ATOMS, resident_size, written_size


class Size(enum.Enum):
    S = 1


class Word(str):
    """A str that could carry attributes."""

    __slots__ = ("note",)


class Zone(dt.tzinfo):
    pass


@pytest.mark.parametrize(
    "value", [None, "x" * 1000, (1, ("a", frozenset({2.5}))), Size.S, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 1j, ()]
)
def test_what_cannot_change_is_resident(value):
    assert resident_size(value) >= 16


@pytest.mark.parametrize(
    "value", [[1], {}, set(), bytearray(b"x"), (1, [2]), ((((([],),),),),), Word("x"), (Word("x"),), object(),
              dt.datetime(2026, 1, 1, tzinfo=Zone())],
)  # fmt: skip
def test_what_can_change_or_cannot_be_stored_is_not(value):
    assert resident_size(value) is None


def test_the_size_counts_what_is_inside():
    assert resident_size(("x" * 5000, "y" * 5000)) > 10_000
    assert resident_size("x" * 5000) > 5000


def test_a_tuple_nested_deeper_than_looked_is_not():
    value = ()
    for _ in range(20):
        value = (value,)
    assert resident_size(value) is None


@pytest.mark.parametrize(("value", "size"), [
    ("yes", 3), ("é" * 9, 18), ("\ud800", 3), (b"\0" * 7, 7), (1, 1), (-1 << 40, 6), (True, 1), (None, 1), (2.5, 8),
    (("ab", ("c",), frozenset({"d"})), 7), (Size.S, 1), (dt.date(2026, 1, 2), 10), ((), 1),
])  # fmt: skip
def test_what_is_written_is_told_without_writing_it(value, size):
    assert written_size(value) == size


def test_it_is_told_of_everything_that_is_resident():
    made = {dt.date: dt.date(2026, 1, 2), type(None): None, UUID: UUID(int=1)}
    assert all(written_size(made[kind] if kind in made else kind()) >= 0 for kind in ATOMS)
