"""Classes by name: dataclasses, enum members and registered types on their way to bytes and back.

Rules:
- A class is found only where it already is: in `sys.modules`, by way of plain namespaces.  Nothing is imported, no
  module's ``__getattr__`` is asked, so bytes can't make this process load code.
- A dataclass is rebuilt without ``__init__`` or ``__post_init__``: an empty object, then its attributes one by one.
  An enum member is looked up by its name.  Code of the user's runs only where it was registered for that.
- A class that isn't here, or whose fields are others by now, is `UnknownType`: the entry is sound, this process is not
  the one to read it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import operator
import sys
from collections.abc import Callable
from types import MemberDescriptorType, ModuleType
from typing import Any, Final, NamedTuple, NoReturn

from scoutcache.errors import ConfigError, CorruptEntry
from scoutcache.wire.unknown import UnknownType

__all__ = [
    "Registered", "build_dataclass", "build_member", "build_registered", "fault_of_dataclass", "find", "is_findable",
    "member_names", "register_type", "registered", "state_of",
]  # fmt: skip

_HEAP_TYPE: Final = 1 << 9
"""The flag of classes made by a class statement: only these can be made empty by `object.__new__`."""

_MISSING_OF_FLAG: Final = enum.Flag.__dict__["_missing_"]


class Registered(NamedTuple):
    """A type that the user taught us."""

    name: tuple[str, str]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_BY_CLASS: dict[type, Registered] = {}
_BY_NAME: dict[tuple[str, str], Registered] = {}


def register_type(cls: type, encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> None:
    """Teach every cache of this process to store instances of exactly *cls*.

    *encode* turns one into anything that can be stored, *decode* turns that back.  What is stored names the class, so
    every process that reads it has to register it as well.  Registering a class again replaces what was there.
    Raises `ConfigError` for what isn't a class or can't be called, and for the types that are stored without being
    taught.
    """
    from scoutcache.wire.tags import BY_TYPE

    if not isinstance(cls, type):
        raise ConfigError(f"register_type needs a class, not {type(cls).__name__}")
    if cls in BY_TYPE or cls in {type(None), bool, float, bytes, list}:
        raise ConfigError(f"register_type: {cls.__qualname__} is stored as it is")
    for name, function in (("encode", encode), ("decode", decode)):
        if not callable(function):
            raise ConfigError(f"register_type: {name} is a function, not {type(function).__name__}")
    entry = Registered((cls.__module__, cls.__qualname__), encode, decode)
    _BY_CLASS[cls] = _BY_NAME[entry.name] = entry


def registered(cls: type) -> Registered | None:
    """What the user taught about exactly this class."""
    return _BY_CLASS.get(cls)


def build_registered(content: Any) -> Any:
    """Give the content to the decoder that was registered under its name."""
    module, qualname, inner = content
    entry = _BY_NAME.get((module, qualname))
    if entry is None:
        raise UnknownType(f"{module}.{qualname} isn't registered in this process",
                          hint="call register_type before reading")  # fmt: skip
    return entry.decode(inner)


def find(module: Any, qualname: Any) -> type:
    """The class of that name, if this process has it.  Raises `UnknownType`."""
    if type(module) is not str or type(qualname) is not str:
        raise CorruptEntry("a class is named by something that isn't text")
    holder: Any = sys.modules.get(module)
    if not issubclass(type(holder), ModuleType):
        _unknown(module, qualname)
    space = object.__getattribute__(holder, "__dict__")
    for part in qualname.split("."):
        holder = space.get(part)
        if not issubclass(type(holder), type):
            _unknown(module, qualname)
        space = type.__getattribute__(holder, "__dict__")
    found: type = holder
    return found


def _unknown(module: str, qualname: str) -> NoReturn:
    raise UnknownType(f"{module}.{qualname} isn't known in this process", hint="import its module before reading")


def is_findable(cls: type) -> bool:
    """Whether `find` would give this very class for its name."""
    try:
        return find(cls.__module__, cls.__qualname__) is cls
    except (UnknownType, CorruptEntry):
        return False


def _look_up(cls: type, name: str) -> Any:
    for base in type.__getattribute__(cls, "__mro__"):
        space = type.__getattribute__(base, "__dict__")
        if name in space:
            return space[name]
    return None


# -- dataclasses


def _field_names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def fault_of_dataclass(cls: type) -> str | None:
    """Why instances of this dataclass couldn't be rebuilt, None when they can."""
    if any(base is not object and not base.__flags__ & _HEAP_TYPE for base in cls.__mro__):
        return "a dataclass built on a built-in type"
    return None


def state_of(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a dataclass instance, and what else it carries (cached properties apart: they come anew).

    Raises `AttributeError` naming a field that isn't set.
    """
    cls = type(value)
    fields = {name: getattr(value, name) for name in _field_names(cls)}
    others = dict(getattr(value, "__dict__", {}))
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in {"__dict__", "__weakref__"} and hasattr(value, name):
                others[name] = getattr(value, name)
    extras = {
        name: each
        for name, each in others.items()
        if name not in fields and not isinstance(_look_up(cls, name), functools.cached_property)
    }
    return fields, extras


def build_dataclass(content: Any) -> Any:
    """Rebuild an instance from `[module, qualname, fields, extras]`."""
    module, qualname, fields, extras = content
    cls = find(module, qualname)
    if _look_up(cls, "__dataclass_fields__") is None:
        raise UnknownType(f"{module}.{qualname} is no dataclass in this process")
    if fields.keys() != set(_field_names(cls)):
        raise UnknownType(f"the fields of {module}.{qualname} are others in this process")
    made: Any = object.__new__(cls)
    for attributes in (fields, extras):
        for name, value in attributes.items():
            _place(made, cls, name, value)
    return made


def _place(made: Any, cls: type, name: str, value: Any) -> None:
    if type(name) is not str:
        raise CorruptEntry("an attribute is named by something that isn't text")
    slot = _look_up(cls, name)
    if type(slot) is MemberDescriptorType:
        slot.__set__(made, value)
    else:
        # Not setattr: a property or `__class__` among hostile names would run code or change the type.
        object.__getattribute__(made, "__dict__")[name] = value


# -- enums


def member_names(member: enum.Enum) -> list[str] | None:
    """The names that make up a member: one, or for a combination of flags several or none.  None: it has no such."""
    cls = type(member)
    if member._name_ in cls.__members__:
        return [str(member._name_)]
    if not isinstance(member, enum.Flag):
        return None
    bits = member._value_
    parts = {name: each._value_ for name, each in cls.__members__.items() if each._value_}
    parts = {name: value for name, value in parts.items() if value & bits == value}
    whole = functools.reduce(operator.or_, parts.values(), 0)
    return list(parts) if whole == bits and _combines(cls) else None


def _combines(cls: type) -> bool:
    """Whether a combination of flags can be made without running code of the user's."""
    return issubclass(cls, enum.Flag) and type(cls) is enum.EnumType and _look_up(cls, "_missing_") is _MISSING_OF_FLAG


def build_member(content: Any) -> enum.Enum:
    """The member from `[module, qualname, [name, …]]`."""
    module, qualname, names = content
    cls = find(module, qualname)
    if not issubclass(type(cls), enum.EnumType):
        raise UnknownType(f"{module}.{qualname} is no enum in this process")
    space = type.__getattribute__(cls, "__dict__")
    known = space["_member_map_"]
    if any(name not in known for name in names):
        raise UnknownType(f"{module}.{qualname} has no such member in this process")
    if len(names) == 1:
        member: enum.Enum = known[names[0]]
        return member
    if not _combines(cls):
        raise UnknownType(f"{module}.{qualname} combines no members in this process")
    combined: enum.Enum = cls(functools.reduce(operator.or_, (known[name]._value_ for name in names), 0))
    return combined
