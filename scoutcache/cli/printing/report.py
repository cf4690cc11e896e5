"""A report as people read it: tables and sparklines on a terminal, plain text elsewhere.

Rules:

1. The numbers are those of the sections; only the units, and which columns and rows there is room for, are chosen here.
   What is left out is said, and where it is.
2. Sections that have nothing to tell are named in one line at the end.
3. Off a terminal there are no boxes and no colours, every column and every row is there, and figures are raw.
4. A long series is drawn with fewer blocks than it has values: each stands for the mean of its share of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from scoutcache.cli.printing import text
from scoutcache.insight.report.sections import SERIES, Report, Section, shown_figure
from scoutcache.insight.units import blocks
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from rich.console import Console

    from scoutcache.cli.printing.output import Output

ROWS: Final = 12
"""Rows of a table on a terminal; the others are in the files."""
SERIES_WIDTH: Final = 24
FOLDED: Final = 16
LONGEST: Final = 40
"""Characters after which a text folds where there is little room, and where there is more."""
WHOLE: Final = frozenset({"at", SERIES})
"""Texts that never fold."""


def show(out: Output, report: Report) -> None:
    """Print the report in the format for people."""
    view = _Fancy(out) if out.fancy else _Plain(out)
    view.head(report)
    empty = []
    for section in report.sections:
        if section.rows:
            view.section(section)
        else:
            empty.append(section.title)
    if empty and not report.empty:
        view.nothing(empty)


def _head(report: Report) -> str:
    since = "the beginning" if report.since is None else text.human("at", _iso(report.since))
    until = text.human("at", _iso(report.until))
    line = f"scoutcache report, {since} to {until}; {counted(report.records, 'log record')}"
    line += "; of this machine only" if report.one_machine else ""
    return f"{line}; skipped {report.skipped}" if report.skipped else line


def _nothing(titles: Sequence[str]) -> str:
    return f"Nothing to report: {', '.join(titles)}"


def _iso(seconds: float) -> str:
    from scoutcache.oplog.totals import moment

    return moment(seconds)


def _fewer(values: Sequence[float | None], width: int) -> list[float | None]:
    """At most *width* values (Rule 4)."""
    if len(values) <= width:
        return list(values)
    bounds = [len(values) * place // width for place in range(width + 1)]
    return [_mean(values[start:end]) for start, end in pairwise(bounds)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


class _Plain:
    """Aligned text with raw figures."""

    def __init__(self, out: Output) -> None:
        self._out = out
        encoding = getattr(out.stream, "encoding", None) or "utf-8"
        self._digits = not encoding.lower().replace("-", "").startswith("utf")

    def head(self, report: Report) -> None:
        self._out.write(f"{_head(report)}\n")

    def section(self, section: Section) -> None:
        rows = [self._drawn(row) for row in section.rows]
        self._out.section(section.title, rows, section.columns, f"from the {section.source}. {section.note}".rstrip())

    def nothing(self, titles: Sequence[str]) -> None:
        self._out.write(f"\n{_nothing(titles)}\n")

    def _drawn(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._series(value) if name == SERIES else value for name, value in row.items()}

    def _series(self, values: Sequence[float | None]) -> str:
        return blocks(_fewer(values, SERIES_WIDTH), 1.0, plain=self._digits).replace(" ", "_")


class _Fancy:
    """Tables of Rich."""

    def __init__(self, out: Output) -> None:
        from scoutcache.cli.printing import render

        self._out = out
        self._console: Console = render.console(out)

    def head(self, report: Report) -> None:
        self._print(_head(report), "bold")

    def section(self, section: Section) -> None:
        self._out.write("\n")
        self._print(section.title, "bold cyan")
        if section.about:
            self._print(section.about, "dim")
        drawing = {"summary": self._summary, "recommendations": self._advice, "over_time": self._over_time}
        drawing.get(section.name, self._table)(section)

    def nothing(self, titles: Sequence[str]) -> None:
        self._out.write("\n")
        self._print(_nothing(titles))

    def _print(self, shown: str, style: str = "") -> None:
        from rich.text import Text

        self._console.print(Text(text.visible(shown), style=style))

    def _summary(self, section: Section) -> None:
        from rich.table import Table
        from rich.text import Text

        (row,) = section.rows
        pairs = [(text.label(name), self._cell(name, row)) for name in section.columns]
        half = (len(pairs) + 1) // 2
        drawn = Table.grid(padding=(0, 2))
        for _ in range(2 if self._console.width >= 60 else 1):
            drawn.add_column(style="cyan", no_wrap=True)
            drawn.add_column(justify="right", no_wrap=True)
        if self._console.width < 60:
            for pair in pairs:
                drawn.add_row(*map(Text, pair))
        else:
            for left, right in zip(pairs[:half], [*pairs[half:], ("", "")], strict=False):
                drawn.add_row(*map(Text, (*left, *right)))
        self._console.print(drawn)

    def _advice(self, section: Section) -> None:
        from rich.table import Table
        from rich.text import Text

        drawn = Table.grid(padding=(0, 1))
        drawn.add_column(justify="right", no_wrap=True)
        drawn.add_column(overflow="fold")
        for number, row in enumerate(section.rows, start=1):
            told = Text(f"{text.visible(row['advice'])}\n", style="bold")
            because = f"{row['about']}: {row['figure']} is {shown_figure('value', row)}"
            because += f"; {counted(row['calls'], 'call')}" if row["calls"] else ""
            because += f", worth {text.human('_usd', row['worth_usd'])}" if row["worth_usd"] is not None else ""
            told.append(text.visible(because), style="not bold")
            drawn.add_row(Text(f"{number:2}."), told)
        self._console.print(drawn)

    def _over_time(self, section: Section) -> None:
        rows = section.rows
        width = max(10, min(len(rows), self._console.width - 40))
        rates = [row["hit_rate"] for row in rows]
        known = [rate for rate in rates if rate is not None]
        asked = [row["requests"] for row in rows]
        span = f"{_rate(min(known))} to {_rate(max(known))}, last {_rate(known[-1])}"
        lines = (
            ("hit rate", blocks(_fewer(rates, width), 1.0), span),
            ("requests", blocks(_fewer(asked, width)), f"at most {max(asked):,}"),
        )  # fmt: skip
        for name, drawn, told in lines:
            self._print(f"  {name}  {drawn}  {told}")
        self._print(f"  {text.human('at', rows[0]['at'])} to {text.human('at', rows[-1]['at'])}. {section.note}", "dim")

    def _table(self, section: Section) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        shown = section.rows[:ROWS]
        columns = self._columns(section, shown)
        drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for place, name in enumerate(columns):
            figures = any(text.is_figure(row[name]) for row in shown)
            drawn.add_column(
                text.label(name), justify="right" if figures else "left", overflow="fold",
                no_wrap=figures or name in WHOLE, style="cyan" if place == 0 else "",
                min_width=None if figures else min(FOLDED, self._width(name, shown)),
            )  # fmt: skip
        for row in shown:
            drawn.add_row(*(Text(self._cell(name, row)) for name in columns))
        self._console.print(drawn)
        if section.note:
            self._print(f"  {section.note}", "dim")
        if len(section.rows) > ROWS:
            self._print(f"  the first {ROWS} of {len(section.rows)}; --csv, --html and --json have the others", "dim")

    def _columns(self, section: Section, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """The columns that there is room for: all of which anything is known, else those of a narrow terminal.

        Of these the last are left out first.
        """
        columns = [name for name in section.columns if name != "unit" and _is_known(name, rows)]
        if self._fits(columns, rows):
            return columns
        columns = [name for name in section.brief if _is_known(name, rows)] or columns
        while len(columns) > 2 and not self._fits(columns, rows, FOLDED):
            columns.pop()
        return columns

    def _fits(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], longest: int = LONGEST) -> bool:
        """Is there room for them, when texts fold after *longest* characters?"""
        widths = []
        for name in columns:
            width = self._width(name, rows)
            folds = name not in WHOLE and not any(text.is_figure(row[name]) for row in rows)
            widths.append(min(width, longest) if folds else width)
        return sum(widths) + 3 * (len(columns) - 1) <= self._console.width

    def _width(self, name: str, rows: Sequence[Mapping[str, Any]]) -> int:
        return max(len(text.label(name)), *(len(self._cell(name, row)) for row in rows))

    def _cell(self, name: str, row: Mapping[str, Any]) -> str:
        if name == SERIES:
            return blocks(_fewer(row[name], SERIES_WIDTH), 1.0)
        return shown_figure(name, row) or text.human(name, row[name])


def _is_known(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(row[name] is not None for row in rows)


def _rate(share: float) -> str:
    return text.human("hit_rate", share)
