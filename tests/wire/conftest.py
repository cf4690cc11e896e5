"""What the tests of the wire room share: a header, values of every type, and a comparison that misses nothing."""

from __future__ import annotations

import dataclasses
import enum
import string
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import xxhash
from hypothesis import strategies as st

from scoutcache.entry import NEVER, Header, Mark, Ref, Sealed
from scoutcache.errors import CorruptEntry
from scoutcache.wire import envelope
from scoutcache.wire.codec import Codec, UnknownType


class Colour(enum.Enum):
    RED = "r"
    BLUE = ("b", 2)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Fixed:
    name: str
    parts: tuple[Any, ...] = ()


@dataclasses.dataclass(slots=True)
class Slotted:
    left: Any
    right: Any


def canon(value: Any) -> Any:
    """A text that two values share exactly when they are of the same types and content, all the way down."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, enum.Enum):
        return f"{name}.{value!r}"
    if kind in {list, tuple}:
        return f"{name}({', '.join(map(canon, value))})"
    if kind in {set, frozenset}:
        return f"{name}({', '.join(sorted(map(canon, value)))})"
    if kind is dict:
        return f"{name}({', '.join(f'{canon(key)}: {canon(item)}' for key, item in value.items())})"
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return f"{name}{canon(fields)}"
    if kind is Decimal:
        return f"{name}{value.as_tuple()}"
    return f"{name}:{value!r}"


_zones = st.sampled_from([
    None, UTC, timezone(timedelta(hours=-3, minutes=30)), timezone(timedelta(seconds=3601), "odd"),
    ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"),
])  # fmt: skip
_texts = st.text(max_size=20) | st.text(st.characters() | st.just("\ud800"), max_size=5) | st.just("$")
_wide = st.integers(-(1 << 200), 1 << 200) | st.sampled_from([1 << 64, (1 << 64) - 1, -(1 << 63) - 1])
_numbers = st.integers() | _wide
_folds = st.integers(0, 1)
_hashable_leaves = st.one_of(
    st.none(), st.booleans(), _numbers, st.floats(), _texts, st.binary(max_size=20), st.complex_numbers(),
    st.decimals().filter(lambda number: not number.is_snan()), st.dates(),
    st.builds(lambda at, fold: at.replace(fold=fold), st.datetimes(timezones=_zones), _folds),
    st.builds(lambda at, fold, zone: at.replace(fold=fold, tzinfo=zone), st.times(), _folds, _zones),
    st.timedeltas(), st.uuids(), st.sampled_from([*Colour, *Level, *Right, Right.READ | Right.RUN, Right(0)]),
)  # fmt: skip
_hashables = st.recursive(
    _hashable_leaves,
    lambda inner: st.lists(inner, max_size=3).map(tuple)
    | st.frozensets(inner, max_size=3)
    | st.builds(Fixed, _texts, st.lists(inner, max_size=2).map(tuple)),
    max_leaves=4,
)
_values = st.recursive(
    _hashables | st.binary(max_size=20).map(bytearray) | st.just(Decimal("sNaN123")),
    lambda inner: st.lists(inner, max_size=4)
    | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(_texts, inner, max_size=4)
    | st.dictionaries(_hashables, inner, max_size=3)
    | st.sets(_hashables, max_size=3)
    | st.builds(Point, inner, inner)
    | st.builds(Slotted, inner, inner),
    max_leaves=12,
)
_names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=30)
_marks = st.builds(Mark, _names | _names.map("\0key:".__add__), st.integers(0, (1 << 64) - 1))
_headers = st.builds(
    Header,
    ref=st.builds(Ref, _names, _names),
    start=st.integers(-(1 << 63), (1 << 63) - 1),
    created=st.floats(allow_nan=False),
    fresh_until=st.floats(allow_nan=False),
    expires=st.floats(allow_nan=False),
    marks=st.lists(_marks, max_size=4).map(tuple),
    cost=st.none() | st.floats(allow_nan=False),
    provenance=st.none() | st.text(string.printable, max_size=20),
)


@pytest.fixture(scope="session")
def same() -> Callable[[Any, Any], bool]:
    return lambda left, right: canon(left) == canon(right)


@pytest.fixture(scope="session")
def values() -> st.SearchStrategy[Any]:
    """Every type that can be stored, in every container."""
    return _values


@pytest.fixture(scope="session")
def headers() -> st.SearchStrategy[Header]:
    return _headers


@pytest.fixture(scope="session")
def one_of_each() -> dict[str, Any]:
    """A value of each type, by the type's name."""
    return {
        "NoneType": None, "bool": True, "int": -7, "big int": 1 << 100, "float": -0.0, "infinity": float("-inf"),
        "nan": float("nan"), "str": "żółw", "surrogate": "a\udcffb", "bytes": b"\x00\xff", "bytearray": bytearray(b"x"),
        "list": [1, [2]], "tuple": (1, (2, [3])), "dict": {"a": {"b": None}}, "int keys": {1: "a", (2, 3): "b"},
        "dollar": {"$": "tuple", "v": [1]}, "set": {1, "a"}, "frozenset": frozenset({(1, 2)}), "complex": 1 - 2j,
        "Decimal": Decimal("1.500"), "datetime": datetime(2026, 1, 2, 3, 4, 5, 678901),  # noqa: DTZ001 - naive is meant
        "aware": datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), "date": date(1, 1, 1),
        "time": time(23, 59, 59, 999999, tzinfo=UTC), "timedelta": timedelta(-1, 5, 7), "UUID": UUID(int=5),
        "Enum": Colour.BLUE, "IntEnum": Level.HIGH, "Flag": Right.READ | Right.WRITE,
        "dataclass": Point(1, {"a": (2,)}), "frozen": Fixed("n", (1,)), "slots": Slotted([1], {2}),
    }  # fmt: skip


@pytest.fixture(scope="session")
def ref() -> Ref:
    return Ref("default", "llm:answer")


@pytest.fixture(scope="session")
def header(ref: Ref) -> Header:
    marks = (Mark("model:gpt-4", (1 << 63) + 1), Mark("\0key:other", 7))
    return Header(ref, 17, created=1.25, fresh_until=2.5, expires=NEVER, marks=marks, cost=0.002, provenance="api")


@pytest.fixture(scope="session")
def outcome() -> Callable[[Codec, Ref, Sealed], str]:
    def outcome(codec: Codec, ref: Ref, sealed: Sealed) -> str:
        """A value or a named error; anything else fails the test."""
        try:
            codec.open(ref, sealed).live.value()
        except CorruptEntry:
            return "corrupt"
        except UnknownType:
            return "unknown"
        return "value"

    return outcome


@pytest.fixture(scope="session")
def forge() -> Callable[..., Sealed]:
    def forge(header: Header, serializer: int, payload: bytes, **options) -> Sealed:
        fields = {"compression": 0, "dictionary": 0, "raw_size": len(payload)} | options
        head = envelope.write(header, envelope.Body(serializer=serializer, **fields), b"", payload)
        return Sealed(head + xxhash.xxh3_64_digest(head))

    return forge
