"""Text as it may be shown: what came from outside made visible, figures made readable.

Rules:

1. On a terminal nothing from outside may act: control codes (C0, C1), direction marks and line separators appear as
   escapes.  Piped text stays as it is, for the next program wants the bytes.
2. Machines get raw figures, people get units.  What a figure is follows from the end of its name: ``_bytes``, ``_s``,
   ``_us``, ``_rate``, ``_usd``.
3. What is unknown is ``-`` to people, ``null`` in JSON and nothing in CSV; it is never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from scoutcache.insight.units import duration, figure, label, micros, size

__all__ = [
    "duration", "figure", "human", "is_figure", "label", "micros", "one_line", "plain", "size", "visible",
    "visible_json", "visible_lines",
]  # fmt: skip

_ACTING: Final = (
    *range(0x20), 0x7F, *range(0x80, 0xA0),
    0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF,
    *range(0xE0000, 0xE0080),
)  # fmt: skip


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_VISIBLE: Final = {code: _escape(code) for code in _ACTING} | {9: "\\t", 10: "\\n", 13: "\\r"}
_VISIBLE_TEXT: Final = {code: shown for code, shown in _VISIBLE.items() if code not in {9, 10}}
_ONE_LINE: Final = {9: "\\t", 10: "\\n", 13: "\\r"}
# Inside JSON only \u escapes exist; C0 is escaped by the encoder already.
_VISIBLE_JSON: Final = {code: f"\\u{code:04x}" for code in _ACTING if 0x20 <= code < 0x10000} | {
    code: "".join(f"\\u{unit:04x}" for unit in (0xD800 + ((code - 0x10000) >> 10), 0xDC00 + (code & 0x3FF)))
    for code in _ACTING
    if code >= 0x10000
}


def visible(text: str) -> str:
    """*text* on one line, with nothing in it that a terminal would obey."""
    return text if text.isascii() and text.isprintable() else text.translate(_VISIBLE)


def visible_lines(text: str) -> str:
    """The same for text of several lines: line feeds and tabs stay."""
    return text if text.isascii() and text.isprintable() else text.translate(_VISIBLE_TEXT)


def visible_json(text: str) -> str:
    """JSON text that still means the same, with nothing in it that a terminal would obey."""
    return text if text.isascii() and "\x7f" not in text else text.translate(_VISIBLE_JSON)


def one_line(text: str) -> str:
    """*text* with its line breaks and tabs as escapes, and nothing else changed: a cell of piped output."""
    return text if text.isprintable() else text.translate(_ONE_LINE)


def plain(value: Any) -> str:
    """A value of a record for machines: raw figures, lists with commas."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _shortened(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={plain(inner)}" for name, inner in value.items()) or "-"
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return ",".join(plain(inner) for inner in value) or "-"
    return one_line(str(value))


def _shortened(value: float) -> str:
    """A fraction without the digits that mean nothing: six that count, or three after the point."""
    if not math.isfinite(value):
        return "never" if value > 0 else "-"
    return str(round(value, 3)) if abs(value) >= 1000 else f"{value:.6g}"


def is_figure(value: Any) -> bool:
    """Is it a number?  True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def human(name: str, value: Any) -> str:
    """A value of a record for people, safe on a terminal."""
    if is_figure(value) and value == value:  # noqa: PLR0124  # not NaN
        return figure(name, value)
    if isinstance(value, Mapping):
        return ", ".join(f"{visible(str(key))} {human(name, inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, str):
        return visible(_moment(name, value))
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return ", ".join(human(name, inner) for inner in value) or "-"
    return visible(plain(value))


def _moment(name: str, value: str) -> str:
    """A time without its fraction: `2026-01-02 03:04:05Z`; anything else as it is."""
    if not name.endswith(("_at", "_until", "_start", "_end", "_run")) and name not in {"at", "time"}:
        return value
    try:
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%SZ}"
    except ValueError:
        return value
