"""Text from outside made safe for where it is shown: HTML pages, spreadsheets.

Rule 1: whatever does not print (control codes, direction marks, line separators, lone surrogates) appears as an escape.
Rule 2: in HTML every text is escaped, in attributes too.
Rule 3: a text in a spreadsheet never begins a formula: ``= + - @``, tab and carriage return get an apostrophe before
        them, also behind blanks and in their full-width forms.  So does a text that begins with an apostrophe: whoever
        reads a cell takes one off.  Numbers are numbers and stay as they are.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["as_cell", "as_html", "begins_formula", "printable"]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
LONGEST: Final = 120
"""Characters of a text in a page; a key may have 65,536."""


def printable(text: str) -> str:
    """*text* on one line, with what does not print as escapes (Rule 1)."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _escape(ord(one)) for one in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def as_html(text: str, longest: int = LONGEST) -> str:
    """*text* as HTML, cut at *longest* characters."""
    import html

    shown = printable(text)
    return html.escape(shown if len(shown) <= longest else shown[: longest - 1] + "…", quote=True)


def begins_formula(text: str) -> bool:
    """Would a cell with *text* be taken for a formula, or an apostrophe of its own for the mark of none (Rule 3)?"""
    return text.lstrip(" ").startswith(_FORMULA) or text.startswith("'")


def as_cell(value: Any) -> Any:
    """*value* as a cell of a CSV file (Rule 3); None is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if begins_formula(value) else shown
