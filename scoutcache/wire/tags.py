"""The types beyond plain data: for each, how it is taken apart and how it is put together again.

A serializer's own types go through as they are (`None`, bool, int, float, str, list, dict with str keys, and bytes in
MessagePack).  Anything else becomes a *tag* with a *content* made of those: a MessagePack extension of that code, or in
JSON an object ``{"$": name, "v": content}``.  Codes and names are on disk: they are never reused.
"""

from __future__ import annotations

import base64
import enum
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import msgspec

from scoutcache.errors import CorruptEntry
from scoutcache.wire import classes
from scoutcache.wire.unknown import UnknownType

if TYPE_CHECKING:
    from scoutcache.wire.walk import Walk

__all__ = ["BY_CODE", "BY_NAME", "BY_TYPE", "DATACLASS", "ENUM", "REGISTERED", "TAGS", "Tag", "is_portable_zone"]


class Tag(NamedTuple):
    """One type.  *take* gives the content of a value, *give* the value of a content."""

    code: int
    name: str
    take: Callable[[Walk, Any], Any]
    give: Callable[[Any], Any]


# -- containers


def _take_items(walk: Walk, value: Any) -> Any:
    return walk.items(value)


def _take_set(walk: Walk, value: Any) -> Any:
    kinds = set(map(type, value))
    # The same set gives the same bytes in every process, whatever its hash seed and where its objects lie.
    if len(kinds) == 1 and kinds <= {str, int, bytes}:
        return walk.inside(value, lambda: [walk.child("{…}", item) for item in sorted(value)])
    trees = walk.inside(value, lambda: [walk.child("{…}", item) for item in value])
    return sorted(trees, key=msgspec.msgpack.encode)  # a tree is made of what it encodes; no two of a set are equal


def _take_pairs(walk: Walk, value: dict[Any, Any]) -> Any:
    def pairs() -> list[Any]:
        nodes = []
        for key, item in value.items():
            nodes.append(walk.child(_Key(key), key))
            nodes.append(walk.child((key,), item))
        return nodes

    return walk.inside(value, pairs)


class _Key(NamedTuple):
    """Marks a path that leads to a key of a dict, not to its value."""

    key: Any


def _give_pairs(content: list[Any]) -> dict[Any, Any]:
    if len(content) % 2:
        raise CorruptEntry("a dict has a key without a value")
    return dict(zip(content[::2], content[1::2], strict=True))


# -- text, bytes and numbers


def _give_bytes(content: bytes | str) -> bytes:
    if isinstance(content, str):
        return base64.b64decode(content, validate=True)
    if not isinstance(content, bytes):  # of a number `bytes` would make so many zeros, be it gigabytes
        raise TypeError(f"bytes were written here, not {type(content).__name__}")
    return content


def _take_complex(walk: Walk, value: complex) -> Any:
    return [walk.node(value.real), walk.node(value.imag)]


def _give_complex(content: Any) -> complex:
    real, imag = content
    return complex(real, imag)


# -- times


def is_portable_zone(zone: tzinfo | None) -> bool:
    """Whether a zone can be written so that any process finds the same again."""
    return zone is None or type(zone) is timezone or (_is_zone_info(zone) and zone.key is not None)  # type: ignore[attr-defined]  # ZoneInfo's, known by name


def _is_zone_info(zone: tzinfo) -> bool:
    # Nobody has an instance of a class in a module that was never imported: 10 ms of start-up saved.
    module = sys.modules.get("zoneinfo")
    return module is not None and type(zone) is module.ZoneInfo


def _take_zone(walk: Walk, zone: tzinfo | None) -> Any:
    if zone is None:
        return None
    if not is_portable_zone(zone):
        walk.refuse(f"has the time zone {type(zone).__qualname__}", "which can't be stored; use zoneinfo or an offset")
    if type(zone) is timezone:
        if zone is UTC:
            return "UTC"
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # what pickle and copy use
        return [*_take_timedelta(walk, offset), *name]
    return [zone.key]  # type: ignore[attr-defined]  # a ZoneInfo: checked above


def _give_zone(content: Any) -> tzinfo | None:
    if content is None:
        return None
    if content == "UTC":
        return UTC
    if len(content) > 1:
        return timezone(timedelta(*content[:3]), *content[3:])
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(content[0])
    except (KeyError, ValueError, OSError) as error:
        raise UnknownType(f"the time zone {content[0]!r:.80} isn't known on this machine") from error


def _take_datetime(walk: Walk, value: datetime | time) -> Any:
    return [value.replace(tzinfo=None).isoformat(), value.fold, _take_zone(walk, value.tzinfo)]


def _give_datetime(content: Any) -> datetime:
    text, fold, zone = content
    return datetime.fromisoformat(text).replace(fold=fold, tzinfo=_give_zone(zone))


def _give_time(content: Any) -> time:
    text, fold, zone = content
    return time.fromisoformat(text).replace(fold=fold, tzinfo=_give_zone(zone))


def _take_timedelta(_: Walk, value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


# -- classes


def _take_member(walk: Walk, value: enum.Enum) -> Any:
    cls = type(value)
    names = classes.member_names(value)
    if names is None or not classes.is_findable(cls):
        walk.refuse(f"is a member of {walk.describe(cls)}", "which can't be found again by that name")
    return [cls.__module__, cls.__qualname__, names]


def _take_dataclass(walk: Walk, value: Any) -> Any:
    cls = type(value)
    if not classes.is_findable(cls):
        walk.refuse(f"is of type {walk.describe(cls)}", "a class that can't be found again by that name")
    if fault := classes.fault_of_dataclass(cls):
        walk.refuse(f"is of type {walk.describe(cls)}", fault)
    try:
        fields, extras = classes.state_of(value)
    except AttributeError as error:
        walk.refuse(f"is of type {walk.describe(cls)}", f"with a field that isn't set: {error}")

    def parts() -> list[Any]:
        return [{name: walk.child(f".{name}", item) for name, item in part.items()} for part in (fields, extras)]

    return [cls.__module__, cls.__qualname__, *map(walk.escape, walk.inside(value, parts))]


def _take_registered(walk: Walk, value: Any) -> Any:
    entry = classes.registered(type(value))
    assert entry is not None
    content = walk.inside(value, lambda: walk.child(".<encoded>", entry.encode(value)))
    return [*entry.name, content]


# -- the table

ENUM: Final = Tag(15, "enum", _take_member, classes.build_member)
DATACLASS: Final = Tag(16, "dataclass", _take_dataclass, classes.build_dataclass)
REGISTERED: Final = Tag(17, "registered", _take_registered, classes.build_registered)

_BY_TYPE: Final[dict[type, Tag]] = {
    tuple: Tag(1, "tuple", _take_items, tuple),
    set: Tag(2, "set", _take_set, set),
    frozenset: Tag(3, "frozenset", _take_set, frozenset),
    bytearray: Tag(4, "bytearray", lambda walk, value: walk.raw(bytes(value)), lambda raw: bytearray(_give_bytes(raw))),
    dict: Tag(5, "dict", _take_pairs, _give_pairs),
    int: Tag(6, "int", lambda _, value: hex(value), lambda text: int(text, 16)),
    str: Tag(7, "str", lambda walk, value: walk.raw(value.encode("utf-8", "surrogatepass")),
             lambda raw: _give_bytes(raw).decode("utf-8", "surrogatepass")),
    complex: Tag(8, "complex", _take_complex, _give_complex),
    Decimal: Tag(9, "decimal", lambda _, value: str(value), Decimal),
    datetime: Tag(10, "datetime", _take_datetime, _give_datetime),
    date: Tag(11, "date", lambda _, value: value.isoformat(), date.fromisoformat),
    time: Tag(12, "time", _take_datetime, _give_time),
    timedelta: Tag(13, "timedelta", _take_timedelta, lambda content: timedelta(*content)),
    UUID: Tag(14, "uuid", lambda _, value: value.hex, UUID),
    float: Tag(18, "float", lambda _, value: repr(value), float),
    bytes: Tag(19, "bytes", lambda walk, value: walk.raw(value), _give_bytes),
}  # fmt: skip
BY_TYPE: Final = _BY_TYPE
TAGS: Final = (*_BY_TYPE.values(), ENUM, DATACLASS, REGISTERED)
BY_CODE: Final = {tag.code: tag.give for tag in TAGS}
BY_NAME: Final = {tag.name: tag.give for tag in TAGS}
