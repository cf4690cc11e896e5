"""Which values memory holds by reference."""

from __future__ import annotations

import datetime as dt
import enum

import pytest

from scoutcache.wire.resident import resident_size


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
