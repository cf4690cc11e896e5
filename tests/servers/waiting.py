"""One way to wait for what another process does: a condition, asked again and again until a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which what didn't happen is taken as not happening; nothing waits so long when all is well."""

PAUSE = 0.01
"""Seconds between two questions: whoever asks without a break takes the processor from the process it waits for."""


def until(
    condition: Callable[[], T], what: str = "", *, seconds: float = PATIENCE, ignoring: tuple[type[Exception], ...] = ()
) -> T:
    """Return the first true value that the condition gives; an error that is ignored counts as not yet.

    :raises AssertionError: it gave none within so many seconds; the error that was ignored last is its cause.
    """
    deadline, pause, last = time.monotonic() + seconds, threading.Event(), None
    while True:
        try:
            if found := condition():
                return found
        except ignoring as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}") from last
        pause.wait(PAUSE)
