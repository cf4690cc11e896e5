"""Which values memory may hold by reference: those that nobody can change afterwards, and that can be stored at all.

Rules: types are compared exactly (a subclass may carry attributes); tuples and frozensets count when all inside do, to
a depth of eight; an enum member or a time zone counts when another process could find it.  What fails here is encoded,
and refused there if it must be.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from sys import getsizeof
from typing import Any, Final
from uuid import UUID

from scoutcache.wire.classes import is_findable, member_names, registered
from scoutcache.wire.tags import is_portable_zone

__all__ = ["ATOMS", "resident_size", "written_size"]

_DEPTH: Final = 8
ATOMS: Final = frozenset({str, bytes, int, float, complex, bool, type(None), Decimal, date, timedelta, UUID})


def resident_size(value: Any, depth: int = _DEPTH) -> int | None:
    """Bytes that an immutable value takes in memory, None when the value isn't one."""
    kind = type(value)
    if kind in ATOMS:
        return getsizeof(value)
    if kind is tuple or kind is frozenset:
        return _size_of_items(value, depth) if depth else None
    if kind is datetime or kind is time:
        return getsizeof(value) if is_portable_zone(value.tzinfo) else None
    if issubclass(kind, enum.Enum) and registered(kind) is None:
        # The member is there anyway: an entry adds no more than a reference to it.
        return getsizeof(None) if is_findable(kind) and member_names(value) is not None else None
    return None


def written_size(value: Any) -> int:
    """Bytes of an immutable value as it would be written, as near as can be told without writing it.

    Of text and bytes their own, without what a serializer adds; of what has a type of its own, its text.
    """
    measure = _WRITTEN.get(type(value))
    if measure is not None:
        return measure(value)
    return len(str(value.name if isinstance(value, enum.Enum) else value))


_WRITTEN: Final[dict[type, Callable[[Any], int]]] = {
    str: lambda text: len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")),
    bytes: len,
    int: lambda number: number.bit_length() // 8 + 1,
    float: lambda _: 8,
    bool: lambda _: 1,
    type(None): lambda _: 1,
    tuple: lambda items: 1 + sum(map(written_size, items)),
    frozenset: lambda items: 1 + sum(map(written_size, items)),
}


def _size_of_items(value: tuple[Any, ...] | frozenset[Any], depth: int) -> int | None:
    total = getsizeof(value)
    for item in value:
        size = resident_size(item, depth - 1)
        if size is None:
            return None
        total += size
    return total
