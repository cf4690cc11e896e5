"""What a channel has that shows its positions on a page of words: a journal, shared or private."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["BASE", "CURRENT", "END", "INVALIDATED", "MAGIC", "OWED", "Page"]

MAGIC, END, BASE, INVALIDATED, CURRENT, OWED = range(6)
"""The words of the page; *current* is the position at which the segment that is written to begins, *owed* that after
the last message of a debt."""


class Page:
    """The part of a `Channel` that is read off its *words*."""

    index = END
    """The word of `words` that a hit in memory compares."""

    words: memoryview

    def end(self) -> int:
        """The position after the last message."""
        return self.words[END]

    def invalidated(self) -> int:
        """The position after the last invalidation."""
        return self.words[INVALIDATED]

    def settle(self, seen: int, moved: Callable[[int], object]) -> None:
        """Everything up to *seen* has been applied: tell *moved* so, for hits compare that with the page."""
        moved(seen)

    def here(self, seen: int) -> int:
        """Up to where everything in the directory's journal has been applied: this is it."""
        return seen
