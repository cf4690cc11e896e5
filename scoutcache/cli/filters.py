"""The little language of ``keys``: ``--filter 'ttl<60s'`` and ``--sort size:desc``.

A filter is a field, one of ``< <= > >= =``, and a value in the unit of the field: durations for ttl and age (``60s``,
``2h``, ``never``), sizes for size (``10KB``), numbers for hits.  Several filters must all hold.  What is unknown passes
none.
"""

from __future__ import annotations

import heapq
import math
import operator
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from scoutcache.cli.errors import Usage, did_you_mean, read
from scoutcache.ttl import parse_duration, parse_size, parse_ttl

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

_OPERATORS: Final = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "==": operator.eq,
}  # fmt: skip
_FILTER: Final = re.compile(r"\s*([a-z_]+)\s*(<=|>=|==|<|>|=)\s*(\S.*?)\s*")


def _count(text: str) -> float:
    if not text.isdecimal():
        raise Usage(f"{text!r} is no count; expected a whole number")
    return int(text)


_FIELDS: Final[dict[str, tuple[str, Callable[[str], float]]]] = {
    "ttl": ("ttl_s", parse_ttl),
    "age": ("age_s", parse_duration),
    "size": ("size_bytes", parse_size),
    "hits": ("hits", _count),
}
_SORTABLE: Final = {"key": "key", "tier": "tier", "namespace": "namespace", **{n: f for n, (f, _) in _FIELDS.items()}}


def parse_filter(text: str) -> Test:
    """The test that *text* describes; raises `Usage` naming what is wrong with it."""
    parts = _FILTER.fullmatch(text)
    if parts is None:
        raise Usage(f"filter {text!r} can't be read", hint="write it like 'ttl<60s', 'size>=10KB' or 'hits=0'")
    name, sign, value = parts.groups()
    if name not in _FIELDS:
        raise Usage(f"filter {text!r}: no field {name!r}", hint=did_you_mean(name, _FIELDS, _known(_FIELDS)))
    field, parse = _FIELDS[name]
    limit, compare = read(f"filter {text!r}", parse, value), _OPERATORS[sign]
    return lambda row: row[field] is not None and compare(row[field], limit)


def parse_sort(text: str) -> tuple[str, bool]:
    """The field to sort by and whether downwards."""
    name, _, direction = text.partition(":")
    if name not in _SORTABLE:
        raise Usage(f"can't sort by {name!r}", hint=did_you_mean(name, _SORTABLE, _known(_SORTABLE)))
    if direction not in {"", "asc", "desc"}:
        raise Usage(f"can't sort {direction!r}", hint=f"write {name}:asc or {name}:desc")
    return _SORTABLE[name], direction == "desc"


def ask_for(field: str, chosen: Sequence[str], sort: str | None) -> bool:
    """Does a filter or the order go by *field*?"""
    asked = [parts[1] for text in chosen if (parts := _FILTER.fullmatch(text)) is not None]
    return field in asked or (sort is not None and sort.partition(":")[0] == field)


def _known(names: Iterable[str]) -> str:
    return f"the fields are {', '.join(names)}"


def select(rows: Iterable[Row], filters: Sequence[str], sort: str | None, limit: int | None) -> Iterator[Row]:
    """The rows that pass all *filters*, in order of *sort*, no more than *limit*; unsorted ones stream."""
    tests = [parse_filter(text) for text in filters]
    passing = (row for row in rows if all(test(row) for test in tests))
    if sort is None:
        return islice(passing, None if limit is None else min(limit, sys.maxsize))
    field, down = parse_sort(sort)
    return iter(_ordered(passing, field, limit, down=down))


def _ordered(rows: Iterable[Row], field: str, limit: int | None, *, down: bool) -> list[Row]:
    """Sorted, the unknown last; with a limit no more rows than that are held."""

    def place(row: Row) -> tuple[bool, Any, str]:
        value = row[field]
        unknown = value is None
        if isinstance(value, int | float):
            value = -value if down else value
        return unknown, 0 if unknown else value, row["key"]

    textual = field in {"key", "tier", "namespace"}
    if textual and down:
        best = heapq.nlargest if limit is not None else None
        return best(limit, rows, key=place) if best and limit is not None else sorted(rows, key=place, reverse=True)
    return heapq.nsmallest(limit, rows, key=place) if limit is not None else sorted(rows, key=place)


def finite(seconds: float) -> float | None:
    """Seconds for a row: None for what never ends."""
    return None if math.isinf(seconds) else round(seconds, 3)
