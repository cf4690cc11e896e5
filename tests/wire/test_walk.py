"""What can't be stored is refused by name, with its place in the value."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import pathlib
from typing import NamedTuple

import pytest

from scoutcache.errors import SerializationError
from scoutcache.wire.codec import Codec, CodecSettings
from scoutcache.wire.walk import MAX_DEPTH

SERIALIZERS = ("msgpack", "json")


class Pair(NamedTuple):
    a: int


class Text(str):
    __slots__ = ()


class Zone(dt.tzinfo):
    pass


@dataclasses.dataclass
class Box:
    inside: object


@dataclasses.dataclass(frozen=True)
class Name:
    text: str


@dataclasses.dataclass
class Counts(dict):
    total: int = 0


def refusal(value, serializer="msgpack"):
    with pytest.raises(SerializationError) as caught:
        Codec(CodecSettings(serializer=serializer)).hold(value)
    assert str(caught.value).startswith(caught.value.path)
    return caught.value


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "value"),
        ({"items": [1, 2, 3, object()]}, "value['items'][3]"),
        ([[{"a": (1, object())}]], "value[0][0]['a'][1]"),
        ({1: {"b": {2.5: object()}}}, "value[1]['b'][2.5]"),
        ({"a": {1, Text("x")}}, "value['a']{…}"),
        ({Pair(1): 1}, "value{<Pair>}"),
        ({Name("n"): object()}, "value[<Name>]"),
        (Box([Box(object())]), "value.inside[0].inside"),
        ({"it's": object()}, 'value["it\'s"]'),
        ({"Straße": object()}, "value['Straße']"),
        ({"\x1b[31m\u202e": object()}, "value['\\x1b[31m\\u202e']"),
        ({"k" * 100: object()}, f"value['{'k' * 56}…]"),
        ({b"k": object()}, "value[b'k']"),
        ({1 << 100: object()}, "value[<int>]"),
    ],
)
def test_the_path_leads_to_what_is_refused(serializer, value, path):
    assert refusal(value, serializer).path == path


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Pair(1), "Pair, which would come back as plain tuple"),
        (Text("x"), "Text, which would come back as plain str"),
        (collections.OrderedDict(a=1), "collections.OrderedDict, which would come back as plain dict"),
        (collections.UserList, "abc.ABCMeta, which can't be stored"),
        (type("Wide", (list,), {})([1]), "which would come back as plain list"),
        (type("Big", (int,), {})(1), "which would come back as plain int"),
        (pathlib.PurePosixPath("/x"), "PurePosixPath, which can't be stored"),
        (memoryview(b"x"), "memoryview, which can't be stored"),
        (range(3), "range, which can't be stored"),
        (ValueError("x"), "ValueError, which can't be stored"),
        (dt.datetime(2026, 1, 1, tzinfo=Zone()), "time zone Zone"),
        ([dt.time(1, tzinfo=Zone())], "time zone Zone"),
        (Counts(), "built on a built-in type"),
    ],
)
@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_the_message_says_what_and_why(serializer, value, words):
    error = refusal(value, serializer)
    assert words in str(error)
    assert "register_type" in error.hint


@pytest.mark.parametrize(
    "value", [Pair(1), collections.OrderedDict(a=1), collections.deque([1]), pathlib.PurePosixPath("/x")]
)
def test_the_message_itself_says_how_a_type_is_taught(value):
    """A traceback and a log line show no hint."""
    assert f"scoutcache.register_type({type(value).__name__}, encode, decode)" in str(refusal([value]))


@pytest.mark.parametrize("value", [[[[]]] * 3, {"a": 1}])
def test_what_is_no_matter_of_types_gives_no_advice_about_them(value):
    value.append(value) if isinstance(value, list) else value.update(a=value)
    assert refusal(value).hint is None


def test_a_class_that_cannot_be_found_again_is_refused():
    @dataclasses.dataclass
    class Local:
        x: int

    class Kind(enum.Enum):
        ONE = 1

    for value in (Local(1), Kind.ONE, (Kind.ONE,)):
        assert "can't be found again" in str(refusal(value))


def test_a_field_that_is_not_set_is_refused():
    box = Box(1)
    del box.inside
    assert "field that isn't set" in str(refusal([box]))


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_value_that_holds_itself_is_refused(serializer):
    items: list[object] = [1]
    items.append({"again": items})
    assert refusal(items, serializer).path == "value[1]['again']"
    box = Box(None)
    box.inside = (box,)
    error = refusal(box, serializer)
    assert error.path == "value.inside[0]"
    assert "refers to itself" in str(error)
    twice: list[object] = []
    twice += [twice] * 50
    assert "refers to itself" in str(refusal(twice, serializer))


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"a": x}, lambda x: (x, []), lambda x: {1: x}, Box])
def test_the_depth_is_bounded_and_what_is_within_comes_back(serializer, wrap, header, ref):
    codec = Codec(CodecSettings(serializer=serializer))
    value = None
    for _ in range(MAX_DEPTH - 1):
        value = wrap(value)
    assert codec.open(ref, codec.seal(header, *codec.hold(value))).live.value() == value
    for _ in range(2):
        value = wrap(value)
    assert "nested too deep" in str(refusal(value, serializer))
    for _ in range(5000):
        value = wrap(value)
    assert "nested too deep" in str(refusal(value, serializer))


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_the_same_object_in_two_places_is_no_cycle(serializer):
    shared = [(1,)]
    live, _ = Codec(CodecSettings(serializer=serializer)).hold({"a": shared, "b": shared})
    assert live.value() == {"a": [(1,)], "b": [(1,)]}
