"""Classes by name: found only where they are, rebuilt without running anything."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import subprocess
import sys
import types

import msgspec
import pytest
import xxhash

from scoutcache.entry import Sealed
from scoutcache.errors import ConfigError, CorruptEntry, SerializationError
from scoutcache.wire import envelope
from scoutcache.wire.classes import find, register_type
from scoutcache.wire.codec import Codec, CodecSettings, UnknownType

SERIALIZERS = ("msgpack", "json")
calls: list[str] = []


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


@dataclasses.dataclass
class Loud:
    x: int
    made: str = dataclasses.field(init=False, default="")

    def __post_init__(self):
        calls.append("post_init")
        self.made = "here"
        self.beside = [1, 2]

    def __setattr__(self, name, value):
        calls.append(name)
        object.__setattr__(self, name, value)

    @functools.cached_property
    def costly(self):
        return object()


@dataclasses.dataclass(slots=True, frozen=True)
class Parent:
    a: int


@dataclasses.dataclass(slots=True, frozen=True)
class Child(Parent):
    b: tuple[int, ...] = ()


class Bare(Child):
    """A subclass of a dataclass that is none itself, with room for more."""


class Mood(enum.Enum):
    GOOD = "good"
    FINE = "good"  # noqa: PIE796 - an alias is meant

    @classmethod
    def _missing_(cls, value):
        calls.append("missing")
        return cls.GOOD


class Strange(enum.Flag):
    ONE = 1
    TWO = 2

    @classmethod
    def _missing_(cls, value):
        calls.append("missing")
        return super()._missing_(value)


def round_trip(value, header, ref, serializer="msgpack"):
    codec = Codec(CodecSettings(serializer=serializer))
    live, encoded = codec.hold(value)
    return codec.open(ref, codec.seal(header, live, encoded)).value


def forge(content, code, header, ref):
    """Open an entry that holds one extension made by hand."""
    payload = msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode(content)))
    head = envelope.write(header, envelope.Body(2, 0, 0, len(payload)), b"", payload)
    return Codec().open(ref, Sealed(head + xxhash.xxh3_64_digest(head))).value


HERE = __name__
DATACLASS, ENUM = 16, 15


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_dataclass_is_rebuilt_without_running_its_code(serializer, header, ref):
    loud = Loud(3)
    assert loud.costly is loud.costly
    calls.clear()
    again = round_trip([loud], header, ref, serializer)[0]
    assert calls == []
    assert type(again) is Loud
    assert vars(again) == {"x": 3, "made": "here", "beside": [1, 2]}


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_slots_frozen_classes_and_subclasses_come_back(serializer, header, ref):
    bare = Bare(1, (2,))
    bare.__dict__["more"] = {3}
    again = round_trip([Child(1, (2,)), bare], header, ref, serializer)
    assert again[0] == Child(1, (2,))
    assert (type(again[1]), again[1].b, vars(again[1])) == (Bare, (2,), {"more": {3}})


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_an_attribute_may_have_any_name(serializer, header, ref):
    bare = Bare(1)
    bare.__dict__.update({"$": (1,), "v": 2})
    assert vars(round_trip([bare], header, ref, serializer)[0]) == {"$": (1,), "v": 2}


def test_enum_members_are_looked_up_by_name_without_running_code(header, ref):
    assert round_trip([Mood.FINE], header, ref) == [Mood.GOOD]
    combined = [re.IGNORECASE | re.DOTALL, re.RegexFlag(0)]
    assert round_trip(combined, header, ref) == combined
    with pytest.raises(UnknownType, match="no such member"):
        forge([HERE, "Mood", ["BAD"]], ENUM, header, ref)
    assert calls == []


def test_a_combination_that_only_code_could_make_is_refused(header, ref):
    both = Strange.ONE | Strange.TWO
    calls.clear()
    with pytest.raises(SerializationError, match="can't be found again"):
        round_trip([both], header, ref)
    with pytest.raises(UnknownType, match="combines no members"):
        forge([HERE, "Strange", ["ONE", "TWO"]], ENUM, header, ref)
    assert calls == []


def test_a_class_unknown_to_this_process_is_unknown_and_not_corrupt(header, ref, monkeypatch):
    codec = Codec()
    sealed = codec.seal(header, *codec.hold([Parent(1), 2]))
    monkeypatch.delattr(sys.modules[HERE], "Parent")
    with pytest.raises(UnknownType, match="Parent isn't known in this process") as caught:
        codec.open(ref, sealed)
    assert not isinstance(caught.value, CorruptEntry)


@pytest.mark.parametrize("fields", [{}, {"a": 1, "z": 2}, {"z": 1}])
def test_a_class_whose_fields_have_changed_is_unknown(fields, header, ref):
    with pytest.raises(UnknownType, match="fields"):
        forge([HERE, "Parent", fields, {}], DATACLASS, header, ref)


def test_nothing_is_imported(header, ref):
    absent = next(name for name in ("antigravity", "this", "turtledemo") if name not in sys.modules)
    for code in (DATACLASS, ENUM, 17):
        with pytest.raises(UnknownType):
            forge([absent, "X", {}, {}] if code == DATACLASS else [absent, "X", []], code, header, ref)
    assert absent not in sys.modules


def test_a_module_that_makes_names_up_is_not_asked(monkeypatch):
    class Lazy(types.ModuleType):
        def __getattr__(self, name):
            calls.append(name)
            return Parent

    monkeypatch.setitem(sys.modules, "lazy_one", Lazy("lazy_one"))
    with pytest.raises(UnknownType):
        find("lazy_one", "Parent")
    assert calls == []


@pytest.mark.parametrize("name", ["subprocess.Popen", "os.system", "types.FunctionType", "builtins.eval"])
def test_what_is_no_dataclass_is_never_made(name, header, ref):
    assert subprocess
    module, _, attribute = name.rpartition(".")
    for code in (DATACLASS, ENUM):
        with pytest.raises(UnknownType):
            forge([module, attribute, {}, {}] if code == DATACLASS else [module, attribute, ["x"]], code, header, ref)


@pytest.mark.parametrize("name", ["__class__", "__dict__", "costly", "x\0"])
def test_a_hostile_attribute_lands_in_the_instance_and_nowhere_else(name, header, ref):
    made = forge([HERE, "Loud", {"x": 1, "made": ""}, {name: 5}], DATACLASS, header, ref)
    assert type(made) is Loud
    assert object.__getattribute__(made, "__dict__")[name] == 5


@pytest.mark.parametrize(
    "content",
    [
        None, 5, "abc", [], [HERE], [1, 2, {}, {}], [HERE, "Parent", 5, {}], [HERE, "Parent", {"a": 1}, {1: 2}],
        [HERE, "Parent", {"a": 1}, {"b": 1}], [[], {}, {}, {}],
    ],
)  # fmt: skip
def test_nonsense_where_a_dataclass_was_announced_is_corrupt(content, header, ref):
    with pytest.raises(CorruptEntry):
        forge(content, DATACLASS, header, ref)


class Third:
    pass


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_registered_type_must_be_registered_where_it_is_read(serializer, header, ref, monkeypatch):
    register_type(Third, lambda _: [1], lambda _: Third())
    codec = Codec(CodecSettings(serializer=serializer))
    sealed = codec.seal(header, *codec.hold({"x": Third()}))
    assert type(codec.open(ref, sealed).value["x"]) is Third
    monkeypatch.setattr("scoutcache.wire.classes._BY_NAME", {})
    with pytest.raises(UnknownType, match="isn't registered"):
        codec.open(ref, sealed)


@pytest.mark.parametrize("functions", [(1, Third), (Third, None)])
def test_a_type_is_taught_by_functions_only(functions):
    with pytest.raises(ConfigError, match="is a function, not"):
        register_type(Third, *functions)


def test_what_an_encoder_gives_is_checked_and_a_failing_decoder_is_corrupt(header, ref):
    register_type(Third, lambda _: {"a": object()}, lambda _: Third())
    with pytest.raises(SerializationError) as caught:
        Codec().hold([Third()])
    assert caught.value.path == "value[0].<encoded>['a']"
    register_type(Third, lambda _: 1, lambda _: 1 / 0)
    with pytest.raises(CorruptEntry, match="ZeroDivisionError"):
        round_trip([Third()], header, ref)
    register_type(Third, lambda _: 1 / 0, lambda _: 1)
    with pytest.raises(SerializationError, match="ZeroDivisionError"):
        Codec().hold([Third()])


@pytest.mark.parametrize("cls", [dict, list, str, type(None), 5])
def test_types_that_need_no_teaching_are_not_taught(cls):
    with pytest.raises(ConfigError, match="register_type"):
        register_type(cls, str, str)
