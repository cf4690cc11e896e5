"""Canonical texts: the same for the same value, different for any two that differ."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from pathlib import PurePosixPath
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from scoutcache.canonical import canonical, digest, shown
from scoutcache.errors import InvalidKey


class Colour(Enum):
    RED = 1
    BLUE = 2


class Level(IntEnum):
    LOW = 1


class Rights(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: int


class Options(BaseModel):
    x: int
    y: int


class Pair(NamedTuple):
    x: int
    y: int


DIFFERENT = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    0.0,
    -0.0,
    float("inf"),
    float("nan"),
    1j,
    "",
    "1",
    "None",
    "True",
    "1.0",
    b"",
    b"1",
    bytearray(b"1"),
    "b'31'",
    Decimal(1),
    Decimal("1.0"),
    Decimal("NaN"),
    [],
    (),
    {},
    [1],
    (1,),
    {1},
    [[1]],
    [1, 2],
    [2, 1],
    ["1,2"],
    ["1", "2"],
    {"a": 1},
    {"a": 1.0},
    {"a": "1"},
    {1: "a"},
    {"1": "a"},
    {"a": {"b": 1}},
    {"a=1": 1},
    '{"a"=1}',
    dt.date(2026, 1, 1),
    dt.datetime(2026, 1, 1),  # noqa: DTZ001  # a time without a zone is a value like any other
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    dt.time(1),
    dt.timedelta(1),
    dt.timedelta(seconds=1),
    "2026-01-01",
    UUID(int=1),
    str(UUID(int=1)),
    Colour.RED,
    Colour.BLUE,
    Level.LOW,
    Rights.READ,
    Rights.READ | Rights.WRITE,
    Rights(0),
    Point(1, 2),
    Point(2, 1),
    Options(x=1, y=2),
    Pair(1, 2),
    (1, 2),
    {"x": 1, "y": 2},
    PurePosixPath("a"),
    "a",
    "é",
    "e\u0301",
    "😀",
    "\ud83d\ude00",
    "\ud800",
    10**5000,
    "x" * 2000,
    "x" * 2001,
    b"x" * 2000,
]


def test_values_that_differ_have_different_texts():
    for one, other in itertools.combinations(DIFFERENT, 2):
        assert canonical(one) != canonical(other), (one, other)
        assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2, "x"}, frozenset(["x", 2, 1])),
        (OrderedDict(a=1), {"a": 1}),
        ({"a": {"c": 1, "b": [{2, 3}]}}, {"a": {"b": [{3, 2}], "c": 1}}),
        (Point(1, 2), Point(1, 2)),
        ({1: 1, "1": 1}, {"1": 1, 1: 1}),
    ],
)
def test_order_of_mappings_and_sets_does_not_matter(one, other):
    assert canonical(one) == canonical(other)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_texts_are_equal_exactly_when_the_values_are(one, other):
    """repr tells types apart as we do, once mappings are in order."""

    def ordered(value):
        if isinstance(value, dict):
            return {key: ordered(value[key]) for key in sorted(value)}
        return type(value)(map(ordered, value)) if isinstance(value, list | tuple) else value

    assert (canonical(one) == canonical(other)) == (repr(ordered(one)) == repr(ordered(other)))


def test_a_long_text_is_neither_shown_nor_copied_into_the_text():
    assert len(canonical({"prompt": "secret " * 100_000})) < 200
    assert "secret" not in canonical({"prompt": "secret " * 1000})


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, object()]}, "parameters['a'][1]"),
        ({"f": len}, "parameters['f']"),
        ({object(): 1}, "a key of parameters"),
        ({"g": (n for n in ())}, "parameters['g']"),
        ({"s": {frozenset([Exception])}}, "parameters['s']{…}{…}"),
    ],
)
def test_what_has_no_canonical_text_is_refused_with_its_place(value, place):
    with pytest.raises(InvalidKey, match="type") as caught:
        canonical(value, "parameters")
    assert str(caught.value).startswith(place)


def test_a_value_that_holds_itself_is_refused():
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(InvalidKey, match="holds itself"):
        canonical(circle)


def test_values_in_messages_are_short_and_without_control_codes():
    assert shown("\x1b[2J") == "'\\x1b[2J'"
    assert len(shown("x" * 10_000)) <= 60
    assert len(shown(list(range(10_000)))) <= 60
