"""Take whole lines of ``time,key,size`` apart at once, by columns of bytes and not cell by cell.

Rule 1: only lines of the plainest form are taken: no quotes, carriage returns or NULs, plain decimal numbers, no key of
        more than `WIDEST` bytes.  Of a block with any other line nothing is said, and its lines are read one by one.
Rule 2: short keys are compared as one number each, so that each key of a block is made an object of once, and not at
        each of its requests: twice as fast as splitting lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

__all__ = ["DIGITS", "WIDEST", "Rows", "take_apart"]

DIGITS: Final = 18
"""Digits of the largest number that is read."""
WIDEST: Final = 128
"""Bytes of the longest key that is taken."""
_WORD: Final = 8
_COMMA, _DOT, _END, _ZERO = b",.\n0"
_LINE: Final = (_COMMA, _COMMA, _END)


class Rows(NamedTuple):
    """Requests for *names*, which had *sizes* then.  *places* says which of them each request is for; None: its own."""

    names: list[bytes]
    sizes: Sequence[int]
    places: Numbers | None


def take_apart(block: bytes) -> Rows | None:
    """The rows of a *block* of whole lines; None where one isn't of the plainest form."""
    import numpy as np

    if any(odd in block for odd in (b'"', b"\r", b"\0")):
        return None
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero((text == _COMMA) | (text == _END))
    if len(ends) % 3 or (text[ends].reshape(-1, 3) != _LINE).any():
        return None
    starts = np.concatenate(([0], ends[:-1] + 1)).reshape(-1, 3)
    lengths = ends.reshape(-1, 3) - starts
    digits = _within(text - _ZERO <= 9, ends)  # bytes below "0" become large ones
    if not _are_times(text, ends, lengths[:, 0], digits[:, 0]):
        return None
    key, size = lengths[:, 1], lengths[:, 2]
    if not key.all() or key.max() > WIDEST or not size.all() or size.max() > DIGITS or (digits[:, 2] != size).any():
        return None
    return _rows(text, starts, lengths)


def _within(chosen: NDArray[np.bool_], ends: Numbers) -> Numbers:
    """How many bytes of each cell are *chosen*; none of those at the *ends* is."""
    import numpy as np

    return np.diff(np.cumsum(chosen, dtype=np.int32)[ends], prepend=0).reshape(-1, 3)


def _are_times(text: NDArray[np.uint8], ends: Numbers, lengths: Numbers, digits: Numbers) -> bool:
    """Is the first cell of each line some *digits*, with a point or without?"""
    if not digits.all() or digits.max() > DIGITS:
        return False
    if (digits == lengths).all():
        return True
    dots = _within(text == _DOT, ends)[:, 0]
    return bool((dots <= 1).all() and (digits + dots == lengths).all())


def _rows(text: NDArray[np.uint8], starts: Numbers, lengths: Numbers) -> Rows:
    import numpy as np

    names = _cells(text, starts[:, 1], lengths[:, 1])
    firsts: Any = slice(None)
    places = None
    if names.shape[1] == _WORD:
        _, seen, groups = np.unique(names.view(np.uint64).ravel(), return_index=True, return_inverse=True)
        order = np.argsort(seen)
        firsts, places = seen[order], np.argsort(order)[groups]
    width = names.shape[1]
    return Rows(names[firsts].view(f"S{width}").ravel().tolist(), _numbers(text, starts, lengths, firsts), places)


def _cells(text: NDArray[np.uint8], starts: Numbers, lengths: Numbers) -> NDArray[np.uint8]:
    """Cells as rows of bytes, filled up with NULs to whole words."""
    import numpy as np

    width = int(lengths.max())
    cells = np.zeros((len(starts), -(-width // _WORD) * _WORD), np.uint8)
    for at in range(width):
        cells[:, at] = text.take(starts + at, mode="clip") * (lengths > at)
    return cells


def _numbers(text: NDArray[np.uint8], starts: Numbers, lengths: Numbers, rows: Any) -> list[int]:
    """The sizes of *rows*."""
    import numpy as np

    begin, length = starts[rows, 2], lengths[rows, 2]
    found = np.zeros(len(begin), np.int64)
    for at in range(int(length.max())):
        digit = text.take(begin + at, mode="clip") - np.uint8(_ZERO)
        found = np.where(length > at, found * 10 + digit, found)
    return found.tolist()
