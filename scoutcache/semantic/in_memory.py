"""The rows of an index that must not lie on a disk: the same, in this process's memory alone.

Rule 1: they end with the process, and with the embedder that made them; no other process sees them.
Rule 2: what they lead to lies in memory too, so what isn't there is gone for good.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scoutcache.semantic.rows import About, Rows, row_type

if TYPE_CHECKING:
    from scoutcache.semantic.embedding import Vectors

__all__ = ["MemoryRows"]

_FIRST: Final = 64


class MemoryRows(Rows):
    """See the module."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))
        self._room: Any = None
        """The table, and room for more."""

    def refresh(self) -> None:
        """Nothing changes but by this process."""

    @property
    def size(self) -> int:
        """Bytes of the rows."""
        return 0 if self._table is None else int(self._table.nbytes)

    @contextmanager
    def locked(self, *, anew: bool = False) -> Iterator[None]:  # noqa: ARG002 - nothing here can be damaged
        """The right to write, against every thread."""
        with self._mutex:
            yield

    def create(self, model: str, probe: Sequence[float], dim: int) -> None:
        """Make an empty table, unless there is one; inside `locked`."""
        if self.about is None:
            self.rewrite((), model, probe, dim)

    def append(self, scope: bytes, ident: bytes, vector: Vectors, state: int) -> int:
        """Append a row and give its number; inside `locked`."""
        import numpy as np

        number = self.count
        if number == len(self._room):
            room = np.zeros(2 * number, self._room.dtype)
            room[:number] = self._table
            self._room = room
        row = self._room[number : number + 1]
        row["state"], row["vector"] = state, vector
        row["scope"], row["ident"] = np.void(scope), np.void(ident)
        self._hold(self._room[: number + 1])
        return number

    def rewrite(self, keep: Any, model: str, probe: Sequence[float], dim: int, more: Any = None) -> None:
        """Replace the table by one with the rows *keep*, then the rows *more*; inside `locked`."""
        import numpy as np

        kind = row_type(dim)
        parts = [self._table[keep]] if self.count and len(keep) else []
        parts += [] if more is None else [more]
        count = sum(map(len, parts))
        room = np.zeros(max(_FIRST, 2 * count), kind)
        if parts:
            room[:count] = np.concatenate(parts)
        self._room = room
        self._hold(room[:count])
        self.about = About(model, dim, tuple(probe), secrets.token_hex(8))
