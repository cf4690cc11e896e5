"""What comes back is what went in, or it was refused by its path: every standard type, through both faces."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from uuid import UUID

import pytest

from scoutcache.errors import ConfigError, SerializationError
from scoutcache.wire.codec import register_serializer


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


VALUES = [
    None, True, 0, -1, 2**63, -(2**200), 1.5, math.inf, "", "text", "🔑", b"", b"bytes", bytearray(b"ba"),
    [], [1, [2]], (), (1, (2, "x")), set(), {1, "a"}, frozenset({1, (2,)}), {}, {"a": {"b": 1}}, {1: "i", (1, 2): "t"},
    datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), datetime(2026, 1, 2, 3, 4, 5, tzinfo=None),  # noqa: DTZ001  # naive
    date(2026, 1, 2), time(3, 4, 5),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))), timedelta(days=-1, microseconds=7),
    Decimal("1.10"), UUID(int=7), Colour.RED, Point(1, 2.0), complex(1, -2),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[f"{type(one).__name__}-{at}" for at, one in enumerate(VALUES)])
def test_every_standard_type_comes_back_as_it_went_in(cache, value):
    assert cache.set("k", value)
    for _ in range(3):  # from where it was put, and from where it was promoted to
        got = cache.get("k")
        assert got == value
        assert type(got) is type(value)
    assert cache.get_or_compute("new", lambda: value) == value
    assert cache.get("new") == value


def test_nan_comes_back(cache):
    cache.set("k", math.nan)
    assert math.isnan(cache.get("k"))


def test_values_inside_keep_their_types(cache):
    value = {"t": (1, 2), "s": {1}, "d": Decimal(1), "n": [Point(1, 2.0), Colour.RED, (b"x", {"y": frozenset()})]}
    cache.set("k", value)
    got = cache.get("k")
    assert got == value
    assert type(got["t"]) is tuple
    assert type(got["n"][2][1]["y"]) is frozenset


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "value"),
        ({"items": [1, 2, object()]}, "value['items'][2]"),
        ({"f": open}, "value['f']"),
        ([{"x": threading.Lock()}], "value[0]['x']"),
    ],
)
def test_a_value_that_cant_be_stored_is_refused_by_its_path_and_stores_nothing(cache, value, path):
    cache.set("k", "before")
    with pytest.raises(SerializationError) as caught:
        cache.set("k", value)
    assert caught.value.path == path
    assert cache.get("k") == "before"


@pytest.mark.parametrize("value", [OrderedDict(a=1), deque([1]), Fraction(1, 3), IPv4Address(1), PurePosixPath("a")])
def test_a_standard_type_comes_back_as_it_was_or_is_refused_but_never_changed(cache, value):
    try:
        cache.set("k", value)
    except SerializationError:
        assert not cache.exists("k")
    else:
        assert cache.get("k") == value
        assert type(cache.get("k")) is type(value)


def test_what_the_caller_does_to_a_value_later_changes_nothing(cache):
    value = {"list": [1]}
    cache.set("k", value)
    value["list"].append(2)
    first = cache.get("k")
    assert first == {"list": [1]}
    first["list"].append(3)
    assert cache.get("k") == {"list": [1]}
    computed = cache.get_or_compute("c", lambda: {"list": [1]})
    computed["list"].append(2)
    assert cache.get("c") == {"list": [1]}
    many = cache.get_many(["k", "c"])
    many["k"]["list"].clear()
    assert cache.get_many(["k"]) == {"k": {"list": [1]}}


def test_an_entry_was_not_asked_for_before_it_was_made(open_cache, fake_clock):
    """Memory takes the time from its last tick."""
    cache = open_cache(["memory"])
    cache.core.memory.tick(fake_clock.monotonic())
    fake_clock.advance(0.4)
    cache.set("k", 1)
    entry = cache.get_entry("k")
    assert entry.accessed_at == entry.created_at


def test_a_serializer_of_ones_own_is_registered_before_the_cache_is_opened(open_cache, monkeypatch):
    """What isn't registered is said in words, with what to do."""
    monkeypatch.setattr("scoutcache.wire.serializers._CUSTOM", {})
    own = {"serializer": {"type": "custom"}}
    with pytest.raises(ConfigError, match="'custom' is not registered") as caught:
        open_cache(["disk"], **own)
    assert "register_serializer('custom', encode, decode)" in caught.value.hint
    register_serializer("custom", lambda value: repr(value).encode(), lambda data: f"read {data.decode()}")
    cache = open_cache(["disk"], **own)
    cache.set("k", [1])
    assert cache.get("k") == "read [1]"
