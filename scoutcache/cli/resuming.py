"""Long listings and removals that a Ctrl-C ends between two batches, and that a cursor takes up again.

The first signal asks for an end after the batch at hand, so that the cursor is exact; the second one ends it at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.calls.walking import Place, Walk
from scoutcache.cli.errors import INTERRUPTED, Usage, read
from scoutcache.errors import CacheError
from scoutcache.keys import asked_for
from scoutcache.patterns import Pattern
from scoutcache.ttl import parse_duration

if TYPE_CHECKING:
    from scoutcache.cli.state import Session
    from scoutcache.core.core import Core

Cursor = Annotated[
    str | None, typer.Option("--cursor", metavar="C", help="Continue an interrupted run from the cursor it printed.")
]
Interval = Annotated[
    str, typer.Option("--interval", metavar="S", help="Pause between two batches of a server's keys.")
]
UNPACED: Final = "0"
Matching = Annotated[
    str, typer.Argument(metavar="PATTERN", help="* any text, ? one character, sets in brackets.", show_default=False)
]
HeldBy = Annotated[str | None, typer.Option("--tier", metavar="T", help="Only keys that this tier holds.")]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", help="All namespaces instead of one.")]


def pace(core: Core, walk: Walk) -> None:
    """Let *walk* pace the tiers that know of steps."""
    for tier in core.tiers:
        if hasattr(tier, "pace"):
            tier.pace = walk


@contextmanager
def walking(cursor: str | None, interval: str, *, catching: bool = True) -> Iterator[Walk]:
    """A walk that Ctrl-C breaks off, if it is *catching* that."""
    try:
        begin = None if cursor is None else Place.read(cursor)
    except CacheError as error:
        raise Usage(f"--cursor: {error}", hint=error.hint) from error
    pause = threading.Event()  # wakes at the signal
    walk = Walk(begin, interval=read("--interval", parse_duration, interval), sleep=pause.wait)
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: Any) -> None:  # noqa: ARG001  # the shape of a signal's handler
        walk.stop()
        pause.set()
        signal.signal(signal.SIGINT, before)

    own = catching and threading.current_thread() is threading.main_thread() and callable(before)
    if own:
        signal.signal(signal.SIGINT, stop)
    try:
        yield walk
    finally:
        if own:
            signal.signal(signal.SIGINT, before)


def check_same(walk: Walk, namespace: str | None, patterns: Sequence[str]) -> None:
    """Refuse a cursor that was printed for something else."""
    asked = [asked_for(namespace, Pattern.parse(text).text) for text in patterns]
    if walk.begin is not None and walk.begin.what not in asked:
        raise Usage("--cursor was printed for another pattern or namespace", hint="use the command line it came with")


def ended(session: Session, walk: Walk, command: str, *words: str, **options: Any) -> int | None:
    """The exit code; where the walk was broken off, how to go on is said."""
    if walk.place is None:
        return None
    options = {name: given for name, given in options.items() if (name, given) != ("interval", UNPACED)}
    form = None if session.form == "table" else session.form
    line = session.again(command, *words, **options, format=form, quiet=session.quiet, cursor=walk.place.text())
    session.say_hint(f"interrupted; to continue: {line}")
    return INTERRUPTED
