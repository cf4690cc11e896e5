"""The one walk through a value at the time it is stored: plain data is recognised, the rest is tagged or refused.

Rules:
- Types are compared exactly.  A subclass (a named tuple, an OrderedDict, a str of one's own) would come back as its
  base, so it is refused; so is what nobody taught us.  Nothing is ever turned into text for want of something better.
- A refusal says where: ``value['items'][3].when``.
- At most `MAX_DEPTH` containers lie in one another; a value that holds itself is refused.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, TypeVar

from scoutcache.errors import SerializationError
from scoutcache.wire import classes
from scoutcache.wire.tags import BY_TYPE, DATACLASS, ENUM, REGISTERED, Tag, _Key

__all__ = ["MAX_DEPTH", "TAG", "Walk", "is_plain"]

MAX_DEPTH: Final = 100
"""Decoding a level costs up to five of the interpreter's 1,000 frames; half of them are the application's."""

TAG: Final = "$"
"""The key that makes a JSON object a tag; a dict of the user's that has it is tagged itself."""

_TEACH: Final = "register_type teaches the cache a type"

_WIDEST: Final = (1 << 64) - 1
_LOWEST: Final = -(1 << 63)
_CONTAINERS: Final = frozenset({list, dict})
_TEXT_KEYS: Final = frozenset({str})

T = TypeVar("T")


def is_plain(value: Any, scalars: frozenset[type], *, finite: bool) -> bool:
    """Whether a value is made of *scalars*, lists and dicts with str keys alone.

    *finite* demands that of floats.  Whether each int and str fits is left to the encoder, which says so faster.
    """
    kind = type(value)
    if kind is dict or kind is list:
        return _holds_plain(kind, value, scalars, scalars | _CONTAINERS, finite, MAX_DEPTH)
    return kind in scalars and not (finite and kind is float and not math.isfinite(value))


def _holds_plain(
    kind: type, value: Any, scalars: frozenset[type], inner: frozenset[type], finite: bool, depth: int
) -> bool:
    if not depth:
        return False
    items = value
    if kind is dict:
        if not _TEXT_KEYS.issuperset(map(type, value)):
            return False
        items = value.values()
    kinds = set(map(type, items))
    if not kinds <= inner or (finite and float in kinds and not _all_finite(items)):
        return False
    if not kinds <= scalars:
        for item in items:
            kind = type(item)
            if kind in _CONTAINERS and not _holds_plain(kind, item, scalars, inner, finite, depth - 1):
                return False
    return True


def _all_finite(items: Iterable[Any]) -> bool:
    return all(math.isfinite(item) for item in items if type(item) is float)


class Walk:
    """Builds the tree that a serializer takes, out of one value.

    *wrap* makes a tag of its code, name and content; *binary* says whether the serializer knows bytes and every float.
    """

    def __init__(self, wrap: Callable[[Tag, Any], Any], *, binary: bool) -> None:
        self._wrap = wrap
        self._binary = binary
        self._trail: list[Any] = []
        self._open: set[int] = set()

    def node(self, value: Any) -> Any:
        """The tree of one value."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is list:
            return self.items(value)
        if kind is dict and self._has_plain_keys(value):
            return self.inside(value, lambda: {key: self.child((key,), item) for key, item in value.items()})
        if kind in BY_TYPE:
            return value if self._fits(kind, value) else self._tagged(BY_TYPE[kind], value)
        return self._tagged(self._tag_of(kind), value)

    def _tagged(self, tag: Tag, value: Any) -> Any:
        return self._wrap(tag, tag.take(self, value))

    def _fits(self, kind: type, value: Any) -> bool:
        fits: bool = kind is bytes and self._binary
        if kind is str:
            fits = _is_text(value)
        elif kind is int:
            fits = _LOWEST <= value <= _WIDEST
        elif kind is float:
            fits = self._binary or math.isfinite(value)
        return fits

    def _has_plain_keys(self, value: dict[Any, Any]) -> bool:
        if not self._binary and TAG in value:
            return False
        return all(type(key) is str and _is_text(key) for key in value)

    def _tag_of(self, kind: type) -> Tag:
        if classes.registered(kind) is not None:
            return REGISTERED
        if issubclass(kind, enum.Enum):
            return ENUM
        if dataclasses.is_dataclass(kind):
            return DATACLASS
        base = next((base for base in (*BY_TYPE, list) if issubclass(kind, base)), None)
        why = "which can't be stored" if base is None else f"which would come back as plain {base.__name__}"
        # In the message itself: of a traceback or a log line nobody sees the hint.
        taught = f"; scoutcache.register_type({kind.__qualname__}, encode, decode) teaches the cache the type"
        return self.refuse(f"is of type {self.describe(kind)}", f"{why}{taught}")

    # -- what the tags use

    def items(self, value: Iterable[Any]) -> list[Any]:
        """The trees of a list or tuple."""
        return self.inside(value, lambda: [self.child(index, item) for index, item in enumerate(value)])

    def child(self, step: Any, value: Any) -> Any:
        """The tree of something inside, *step* further on the path."""
        self._trail.append(step)
        tree = self.node(value)
        self._trail.pop()
        return tree

    def inside(self, container: Any, build: Callable[[], T]) -> T:
        """Build a container's content, seeing that it isn't too deep and not inside itself."""
        mark = id(container)
        if mark in self._open:
            self.refuse("refers to itself", "and has no end", None)
        if len(self._open) >= MAX_DEPTH:
            self.refuse("is nested too deep", f"more than {MAX_DEPTH} levels", None)
        self._open.add(mark)
        content = build()
        self._open.discard(mark)
        return content

    def raw(self, data: bytes) -> Any:
        """Bytes as a content."""
        if self._binary:
            return data
        import base64

        return base64.b64encode(data).decode()

    def escape(self, tree: dict[str, Any]) -> Any:
        """A dict of ours as a content, safe from being taken for a tag."""
        if self._binary or TAG not in tree:
            return tree
        return self._wrap(BY_TYPE[dict], [part for pair in tree.items() for part in pair])

    @staticmethod
    def describe(kind: type) -> str:
        """A class by its full name."""
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"

    def refuse(self, what: str, why: str, hint: str | None = _TEACH) -> NoReturn:
        """Say where, what and why."""
        path = "value" + "".join(map(_step, self._trail))
        raise SerializationError(f"{path} {what}, {why}", path=path, hint=hint)


def _is_text(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _step(step: Any) -> str:
    if isinstance(step, _Key):
        return f"{{{_short(step.key)}}}"
    if isinstance(step, str):
        return step
    return f"[{_short(step[0] if isinstance(step, tuple) else step)}]"


def _short(key: Any) -> str:
    """A key as it is written in a path; only types whose repr is the language's own, and never more than a line."""
    if type(key) not in {str, int, float, bytes, bool, type(None)}:
        return f"<{type(key).__name__}>"
    text = repr(key) if type(key) is not int or abs(key) <= _WIDEST else "<int>"
    return text if len(text) <= 60 else f"{text[:57]}…"
