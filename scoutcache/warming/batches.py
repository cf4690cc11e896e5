"""Lines in a row that hold values of the same options, taken together: one write instead of hundreds.

- Nothing waits for company: before a source waits for more it says so (`WAITING`), and what has gathered is done.
- A line that depends on others, or has no value, stays alone.
- A batch is bounded by lines and by bytes, so that what is held in memory, or lost by an interrupt, is little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from scoutcache.entry import MISSING
from scoutcache.warming.lines import BadLine, Beyond, Item, Waiting

__all__ = ["Batch", "batched", "unbatched"]

MOST: Final = 200
"""Lines of a batch."""
MOST_BYTES: Final = 1 << 20
"""Bytes of lines from which on a batch is full."""


class Batch(NamedTuple):
    """Two items or more, with values and of equal options, to be stored together."""

    items: list[Item]


def batched(read: Iterable[Item | BadLine | Waiting]) -> Iterator[Item | BadLine | Batch]:
    """The same, in the same order, with those together that can be stored together."""
    row: list[Item] = []
    size = 0
    try:
        for item in read:
            fits = _fits(item)
            if row and not (fits and _joins(item, row, size)):
                yield _together(row)
                row, size = [], 0
            if isinstance(item, Item) and fits:
                row.append(item)
                size += item.size
            elif not isinstance(item, Waiting):
                yield item
    except Exception:
        if row:  # the source ended: what came before it counts
            yield _together(row)
        raise
    if row:
        yield _together(row)


def _fits(item: Item | BadLine | Waiting) -> bool:
    if not isinstance(item, Item) or isinstance(item, Beyond):
        return False
    return item.value is not MISSING and not item.options.get("depends_on")


def _joins(item: Item | BadLine | Waiting, row: list[Item], size: int) -> bool:
    return isinstance(item, Item) and item.options == row[0].options and len(row) < MOST and size < MOST_BYTES


def _together(row: list[Item]) -> Item | Batch:
    return row[0] if len(row) == 1 else Batch(row)


def unbatched(read: Iterable[Item | BadLine | Waiting]) -> Iterator[Item | BadLine]:
    """The same, each alone."""
    return (item for item in read if not isinstance(item, Waiting))
