"""Other processes that take a part in reckoning, as copies of this one.

Rule 1: a fork copies the locks that other threads hold, so only a process without other threads forks.
Rule 2: they end without a word when they are told to, and ^C is their parent's to hear.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.pool import Pool

__all__ = ["forked", "may_fork"]


def may_fork() -> bool:
    """May another process take a part (Rule 1)?"""
    import multiprocessing
    import threading

    return threading.active_count() == 1 and "fork" in multiprocessing.get_all_start_methods()


@contextmanager
def forked(count: int) -> Iterator[Pool]:
    """*count* processes, which are gone afterwards."""
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(count, initializer=_quietly) as pool:
        yield pool


def _quietly() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a command's own handler would raise, and print where
    signal.signal(signal.SIGINT, signal.SIG_IGN)
