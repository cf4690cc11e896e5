"""The canonical text of a value: equal for values that are the same, different for any two that differ.

Every type has a form of its own, so that 1, 1.0, True, "1" and Decimal(1) never meet; strings are quoted, so that no
content can imitate structure; mappings and sets are sorted by the canonical text of what they hold.  A list and a tuple
differ, as they do in Python; a set and a frozenset don't.  A string over 1 KiB stands as its SHA-256, computed in
slices, so that long texts are neither copied nor shown.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import Enum
from json.encoder import encode_basestring
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from scoutcache.errors import InvalidKey

__all__ = ["canonical", "digest", "shown"]

_LONG_TEXT: Final = 1024
_SLICE: Final = 65536
_DEEPEST: Final = 100


def canonical(value: object, where: str = "value") -> str:
    """The canonical text.  Raises `InvalidKey` for a type it doesn't know, naming the place, which begins *where*."""
    return _text(value, where, 0)


def digest(value: object, where: str = "value") -> str:
    """SHA-256 of the canonical text, in hex."""
    return hashlib.sha256(canonical(value, where).encode(errors="surrogatepass")).hexdigest()


def shown(value: object) -> str:
    """A value for a message: ASCII, so that no terminal is moved by it, and short."""
    text = ascii(value[:60] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _text(value: object, where: str, depth: int) -> str:
    if value is None or value is True or value is False:
        return str(value)
    kind = type(value)
    simple = _SIMPLE.get(kind)
    if simple is not None:
        return simple(value)
    if depth > _DEEPEST:
        raise InvalidKey(f"{where} is nested deeper than {_DEEPEST} levels, or holds itself")
    return _nested(value, where, depth + 1)


def _nested(value: object, where: str, depth: int) -> str:
    if isinstance(value, Enum):  # before str and int, which enumerations may also be
        return f"{_name(value)}.{value._name_ or value._value_}"  # a combination of flags may have no name
    named = _fields(value)
    if named is not None:
        return _name(value) + _mapping(named, where, depth)
    if isinstance(value, Mapping):
        return _mapping(value, where, depth)
    if isinstance(value, AbstractSet):
        return f"{{{','.join(sorted(_text(item, f'{where}{{…}}', depth) for item in value))}}}"
    if isinstance(value, list | tuple):
        items = ",".join(_text(item, f"{where}[{at}]", depth) for at, item in enumerate(value))
        return f"[{items}]" if isinstance(value, list) else f"({items})"
    return _subclass(value, where)


def _subclass(value: object, where: str) -> str:
    """What derives from a simple type counts as that type."""
    for kind, simple in _SIMPLE.items():
        if isinstance(value, kind):
            return simple(value)
    raise InvalidKey(f"{where} is of type {_name(value)}, which can't be part of a key",
                     hint="use numbers, text, dates, lists, mappings, sets or dataclasses")  # fmt: skip


def _fields(value: object) -> dict[str, object] | None:
    """The fields of a record: a dataclass, a pydantic model or a named tuple."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, BaseModel):
        return dict(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    return None


def _mapping(value: Mapping[Any, object], where: str, depth: int) -> str:
    pairs = []
    for key, item in value.items():
        # Where something stands is put together only for what may need it: it costs more than all the rest.
        name = _string(key) if type(key) is str else _text(key, f"a key of {where}", depth)
        simple = _SIMPLE.get(type(item))
        pairs.append((name, _text(item, f"{where}[{shown(key)}]", depth) if simple is None else simple(item)))
    pairs.sort()
    return f"{{{','.join(f'{key}={item}' for key, item in pairs)}}}"


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _string(value: str) -> str:
    if len(value) <= _LONG_TEXT:
        return encode_basestring(value)
    sha = hashlib.sha256()
    for at in range(0, len(value), _SLICE):
        sha.update(value[at : at + _SLICE].encode(errors="surrogatepass"))
    return f"sha256'{sha.hexdigest()}'"


def _bytes(value: bytes | bytearray) -> str:
    return f"b'{value.hex()}'" if len(value) <= _LONG_TEXT else f"b-sha256'{hashlib.sha256(value).hexdigest()}'"


_SIMPLE: Final[dict[type, Callable[[Any], str]]] = {
    str: _string,
    int: lambda value: hex(value) if value.bit_length() > 4096 else int.__repr__(value),  # long decimals are refused
    float: float.__repr__,
    bytes: _bytes,
    bytearray: lambda value: f"array-{_bytes(value)}",
    dt.datetime: lambda value: f"datetime'{value.isoformat()}{'+fold' * value.fold}'",  # before date, its parent
    dt.date: lambda value: f"date'{value.isoformat()}'",
    dt.time: lambda value: f"time'{value.isoformat()}{'+fold' * value.fold}'",
    dt.timedelta: lambda value: f"timedelta'{value.days}d{value.seconds}s{value.microseconds}us'",
    Decimal: lambda value: f"Decimal'{value}'",
    UUID: lambda value: f"UUID'{value}'",
    complex: lambda value: f"complex'{complex.__repr__(value)}'",
    PurePath: lambda value: f"{type(value).__name__}{encode_basestring(str(value))}",
}
