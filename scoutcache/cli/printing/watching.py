"""Views that go on: redrawn on a terminal, one line or record for each interval elsewhere.

Rule 1: a view ends by a signal (exit code 130 or 143), by its reader's going away (0), or when its maker says so.
Rule 2: on a terminal it has a screen of its own, which is given back whatever ends it; what it showed last stays.
Rule 3: elsewhere a table is a line of ``name=value`` (two blanks between them; a name or a value that holds a blank, a
        quote, ``=`` or ``\\``, or is empty, is a JSON string), json an object a line, jsonl a bare record, csv a row
        below one header.  Each is flushed at once.
Rule 4: views come at fixed times, counted from the first: one that took long shortens the wait for the next, and none
        is made up for.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Protocol

import typer

from scoutcache.cli.errors import Usage, read
from scoutcache.cli.printing import text
from scoutcache.cli.printing.output import SCHEMA_VERSION, Output
from scoutcache.ttl import parse_duration

if TYPE_CHECKING:
    from scoutcache.cli.state import Session
    from scoutcache.core.core import Core

LEAST: Final = 0.1
"""Seconds: whoever wants it more often wants a profiler."""

LONGEST: Final = 86_400.0

EVERY: Final = "2"
"""Seconds, where nobody says."""

Every = Annotated[str, typer.Option("--interval", metavar="S", help="Time between refreshes: 2, 500ms, 1m.")]


class View(Protocol):
    """What is shown at one moment."""

    def draw(self, out: Output) -> None:
        """Print it for people."""

    def record(self) -> Mapping[str, Any]:
        """It as data."""

    def line(self) -> Mapping[str, Any]:
        """What of it stands in a line, single figures only."""

    def rows(self) -> Iterable[Mapping[str, Any]]:
        """What of it are rows, for formats that have only rows."""


class Pace(NamedTuple):
    """How time passes: monotonic seconds, and waiting."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


REAL: Final = Pace()


def interval_of(given: str) -> float:
    """The seconds; raises `Usage` for what is too short, too long or unreadable."""
    seconds = read("--interval", parse_duration, given)
    if not LEAST <= seconds <= LONGEST:
        raise Usage(f"--interval takes {LEAST} seconds to a day, not {given}")
    return seconds


def ticks(interval: float, pace: Pace | None = None) -> Iterator[int]:
    """Numbers from 0 on, each at its time (Rule 4)."""
    pace = pace or REAL
    yield 0
    began, due = pace.monotonic(), 0
    for number in count(1):
        due = max(due + 1, int((pace.monotonic() - began) / interval) + 1)
        pace.sleep(max(0.0, began + due * interval - pace.monotonic()))
        yield number


def at_each(session: Session, interval: float) -> Iterator[Core]:
    """The cache at each tick, open as long as it is the one that is there: one may be made, or replaced, meanwhile."""
    numbers = ticks(interval)
    next(numbers)
    while True:
        there = _cache_in(session)
        with session.core(raising=False) as core:
            while True:
                yield core
                next(numbers)
                if _cache_in(session) != there:
                    break


def _cache_in(session: Session) -> int | None:
    """What tells the cache in the directory from another; None while there is none."""
    try:
        return session.place.stat().st_ino if session.look_for_cache(told=False) else None
    except OSError:
        return None


def show(session: Session, views: Iterable[View]) -> None:
    """Show each of *views* when it comes."""
    if session.out.fancy:
        _redraw(session, views)
        return
    header = True
    for view in views:
        _print(session.out, view, header=header)
        session.out.flush()
        header = False


def _print(out: Output, view: View, *, header: bool) -> None:
    if out.form == "json":
        out.write(f"{out.encode({'schema_version': SCHEMA_VERSION, **view.record()})}\n")
    elif out.form == "jsonl":
        for row in view.rows():
            out.write(f"{out.encode(row)}\n")
    elif out.form == "csv":
        out.csv_rows(view.rows(), header=header)
    else:
        figures = (f"{_word(out, name)}={_word(out, value)}" for name, value in view.line().items())
        out.line("  ".join(figures))


def _word(out: Output, value: Any) -> str:
    """A name or a value on a line of several: what could be taken for more, or for less, is a JSON string."""
    shown = value if isinstance(value, str) else text.plain(value)
    if shown and shown.isprintable() and text.visible(shown) == shown and not any(sign in shown for sign in _APART):
        return shown
    return text.visible_json(out.encode(shown))


_APART: Final = " =\"'\\"
"""What would end a word, or make another of it."""


class _Screen(io.StringIO):
    """Takes what is printed for a terminal."""

    def isatty(self) -> bool:
        return True


def drawn(session: Session, view: View) -> str:
    """The view as a terminal gets it."""
    screen = _Screen()
    view.draw(Output("table", quiet=session.quiet, color=session.color, stream=screen))
    return screen.getvalue()


def _redraw(session: Session, views: Iterable[View]) -> None:
    from rich.text import Text

    last = ""
    try:
        with _live(session) as update:
            for view in views:
                last = drawn(session, view)
                update(Text.from_ansi(last.rstrip("\n"), no_wrap=True, overflow="crop"))
    finally:
        session.out.write(last)
        session.out.flush()


@contextmanager
def _live(session: Session) -> Iterator[Callable[[Any], None]]:
    """A screen of its own, and what puts something on it."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=session.out.stream, force_terminal=True, markup=False, emoji=False, highlight=False,
                      color_system="auto" if session.out.color else None, no_color=not session.out.color)  # fmt: skip
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        yield lambda shown: live.update(shown, refresh=True)
