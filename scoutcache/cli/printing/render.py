"""Tables for people at a terminal, with Rich.

Rules: nothing is cut (long cells fold), nothing from outside is markup, columns of figures stand to the right, and a
table that has no room stands downwards, a row below the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scoutcache.cli.printing import text

if TYPE_CHECKING:
    from scoutcache.cli.printing.output import Output, Row

_LEAST_WIDTH: Final = 40
"""A terminal narrower than this would fold every word."""

_MANY: Final = 6
"""Columns that are readable side by side though some of them fold."""

_FOLDED: Final = 10
"""The width to which a text may be folded; less would be a word in pieces, or nothing at all."""

_STATUS_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


def console(out: Output) -> Console:
    """Rich's console for this output: no markup, no highlighting, and no colours where they are not wanted."""
    shown = Console(
        file=out.stream,
        force_terminal=True,
        color_system="auto" if out.color else None,
        no_color=not out.color,
        markup=False,
        emoji=False,
        highlight=False,
    )
    shown.width = max(shown.width, _LEAST_WIDTH)
    return shown


def table(out: Output, rows: Sequence[Row], columns: Sequence[str], *, header: bool = True) -> None:
    """Rows as a table."""
    columns = columns or tuple(rows[0])
    drawn = Table(box=SIMPLE_HEAD, show_header=header, show_edge=False, pad_edge=False, header_style="bold")
    plain = [{name: _value(row.get(name)) for name in columns} for row in rows]
    widths, room = _widths(plain, columns), console(out).width
    if (len(columns) > _MANY and _needed(widths) > room) or _needed(_folded(plain, widths)) > room:
        for place, row in enumerate(plain):
            out.write("\n" if place else "")
            pairs(out, row)
        return
    for place, name in enumerate(columns):
        right = any(text.is_figure(row[name]) for row in plain)
        drawn.add_column(
            text.label(name),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right,
            style="cyan" if place == 0 else "",
        )
    for row in plain:
        drawn.add_row(*(_cell(name, row[name]) for name in columns))
    console(out).print(drawn)


def _widths(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, int]:
    """What each column takes so that nothing folds."""
    return {
        name: max(len(text.label(name)), *(len(text.human(name, row[name])) for row in rows)) for name in columns
    }  # fmt: skip


def _folded(rows: Sequence[Row], widths: Mapping[str, int]) -> dict[str, int]:
    """What each takes at least: figures don't fold."""
    return {
        name: width if any(text.is_figure(row[name]) for row in rows) else min(width, _FOLDED)
        for name, width in widths.items()
    }


def _needed(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + 3 * (len(widths) - 1)


def sections(
    out: Output, single: Row, lists: Mapping[str, Sequence[Row]], main: str | None, columns: Sequence[str]
) -> None:
    """The rows of *main*, then fields with their names, then each further list under its own."""
    if main is not None and lists[main]:
        table(out, lists[main], columns)
    if single:
        pairs(out, single)
    for name, rows in lists.items():
        if name != main:
            console(out).print(Text(f"\n{text.label(name)}", style="bold"))
            table(out, rows, ())


def pairs(out: Output, fields: Row) -> None:
    """Fields and their values in two columns."""
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(style="cyan", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in fields.items():
        drawn.add_row(Text(text.label(name)), _cell(name, _value(value)))
    console(out).print(drawn)


def _value(value: Any) -> Any:
    from scoutcache.cli.printing.output import jsonable

    return value if isinstance(value, float) else jsonable(value)


def _cell(name: str, value: Any) -> Text:
    style = _STATUS_STYLES.get(str(value), "") if name == "status" else ""
    return Text(text.human(name, value), style=style)
