"""Other processes that take a part in reckoning, as copies of this one.

Rule 1: a fork copies the locks that other threads hold, so only a process without other threads forks.
Rule 2: they end without a word when they are told to, and ^C is their parent's to hear: until they say so, they hear
        neither, for the parent's handlers would run in them, and what those raise while a process is being forked is
        lost: it would go on, and its parent wait for its end for ever.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
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

    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        made = multiprocessing.get_context("fork").Pool(count, _quietly, (heard,))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    with made as pool:
        yield pool


def _quietly(heard: Iterable[int]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a command's own handler would raise, and print where
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, heard)
