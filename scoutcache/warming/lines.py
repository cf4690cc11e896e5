"""The lines of a warming source, read one at a time, each into an item or a reason why it isn't one.

- A line that begins with ``{`` is a JSON object: ``{"key": …, "value": …, "ttl": …, "tags": […]}``; also taken are
  ``stale_ttl``, ``depends_on``, ``cost`` and ``namespace``.  Without ``value`` it is a key for a function.
- Any other line is a key for a function, as it stands.  Where no function gives values it is a bad line in JSON Lines,
  that is, if the source is called so or an object stood further up.  Blank lines count for nothing.
- A bad line (not UTF-8, not JSON, a field that nobody knows or that stands there twice, a number too large, an
  impossible key) is reported with its number; the lines after it are read as if it weren't there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Any, Final, NamedTuple, NoReturn

from scoutcache.entry import MISSING
from scoutcache.errors import CacheError
from scoutcache.keys import check_tag, key_text
from scoutcache.ttl import parse_ttl

__all__ = ["WAITING", "BadLine", "Beyond", "Item", "Waiting", "item_of", "lines_at_hand", "read_lines", "strict_json"]

_FIELDS: Final = frozenset({"key", "value", "ttl", "stale_ttl", "tags", "depends_on", "cost", "namespace"})
_OPTIONS: Final = _FIELDS - {"key", "value"}
_NO_OBJECT: Final = "not a JSON object, and no function (--call) to give a key its value"


@dataclass(frozen=True, slots=True)
class Item:
    """A key to warm.  *value* is `MISSING` where a function has to give it; *options* are those of ``set``."""

    line: int | None
    key: str
    value: Any = MISSING
    options: dict[str, Any] = field(default_factory=dict)
    made: bool = False
    """Did a generator give it, so that its value was a call?"""
    size: int = field(default=0, compare=False)
    """Characters or bytes of its line."""


class Beyond(Item):
    """What a generator gave beyond the budget; nothing comes after it."""

    __slots__ = ()


class BadLine(NamedTuple):
    """A line that is no item, and why; *key* where it could be read."""

    line: int | None
    key: str | None
    error: str


class Waiting:
    """Stands in a source where nothing more is at hand, and the next line may take long to come."""


WAITING: Final = Waiting()
_AT_ONCE: Final = 1 << 16


def lines_at_hand(stream: BufferedIOBase) -> Iterator[bytes | Waiting]:
    """The lines of *stream*, each as soon as it is there."""
    begun: list[bytes] = []
    while data := stream.read1(_AT_ONCE):
        *lines, rest = data.split(b"\n")
        if lines:
            yield b"".join([*begun, lines[0]])
            yield from lines[1:]
            begun = []
        begun.append(rest)
        yield WAITING
    if last := b"".join(begun):
        yield last


def read_lines(
    source: Iterable[str | bytes | Waiting], *, called: bool = True, json_lines: bool = False
) -> Iterator[Item | BadLine | Waiting]:
    """Each line's item, or what is wrong with it; memory stays flat.

    *called* says whether a function gives the values of keys that stand alone, *json_lines* that the source is called
    JSON Lines.
    """
    number = 0
    for raw in source:
        if isinstance(raw, Waiting):
            yield raw
            continue
        number += 1
        key: str | None = None
        try:
            text = (raw.decode("utf-8") if isinstance(raw, bytes) else raw).strip("\r\n")
            if number == 1:
                text = text.removeprefix("\ufeff")
            if not text.strip():
                continue
            if text.lstrip().startswith("{"):
                json_lines = True
                data = _object(text)
                key = data["key"] if isinstance(data.get("key"), str) else None
                yield item_of(number, data, len(text))
            elif json_lines and not called:
                yield BadLine(number, None, _NO_OBJECT)
            else:
                key = text
                yield Item(number, key_text(text))
        except (CacheError, ValueError, RecursionError) as problem:
            yield BadLine(number, key, _reason(problem))


def _reason(problem: Exception) -> str:
    if isinstance(problem, UnicodeDecodeError):
        return f"not UTF-8: byte 0x{problem.object[problem.start]:02x} at position {problem.start}"
    return "nested too deeply" if isinstance(problem, RecursionError) else str(problem)


def _object(text: str) -> dict[str, Any]:
    try:
        data = strict_json(text)
    except json.JSONDecodeError as problem:
        raise ValueError(f"not JSON: {problem}") from problem
    assert isinstance(data, dict)  # it began with a brace
    return data


def strict_json(text: str) -> Any:
    """What *text* says in JSON.  Raises ValueError for what would be another value than is written: a number that is
    infinite here, one of two fields of the same name; `json.JSONDecodeError` for what is no JSON.
    """
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole,
                      object_pairs_hook=_unique)  # fmt: skip


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"not JSON: {name} is no JSON number")


def _finite(number: str) -> float:
    if not math.isfinite(found := float(number)):
        raise ValueError(f"{number:.40} is larger than any number here")
    return found


def _whole(number: str) -> int:
    try:
        return int(number)
    except ValueError:  # Python reads so many digits and no more, lest that take for ever
        raise ValueError(f"a number of {len(number)} digits is larger than any number here") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r:.80} appears twice: which one is meant?")
    return found


def item_of(number: int, data: dict[str, Any], size: int = 0) -> Item:
    """The item that an object with these fields is; raises ValueError or `CacheError` for one that can't be."""
    if unknown := sorted(data.keys() - _FIELDS):
        raise ValueError(f"unknown field {unknown[0]!r:.80}: expected {', '.join(sorted(_FIELDS))}")
    if "key" not in data:
        raise ValueError("no field 'key'")
    options = {name: data[name] for name in data.keys() & _OPTIONS if data[name] is not None}
    _check(options)
    return Item(number, key_text(data["key"]), data.get("value", MISSING), options, size=size)


def _check(options: dict[str, Any]) -> None:
    """What ``set`` would refuse later is refused now, so that no function is called for it."""
    for name in ("tags", "depends_on"):
        if not isinstance(texts := options.get(name, []), list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{name}: expected a list of texts")
    for tag in options.get("tags", ()):
        check_tag(tag)
    for name in ("ttl", "stale_ttl"):
        if name in options:
            parse_ttl(options[name])
    cost = options.get("cost", 0.0)
    if isinstance(cost, bool) or not isinstance(cost, int | float) or cost < 0:
        raise ValueError(f"cost: expected a number of 0 or more, not {cost!r:.80}")
