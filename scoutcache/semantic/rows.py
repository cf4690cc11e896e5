"""The vectors of one namespace on this machine: rows of one size in a mapped file that all its processes share.

A row holds a state, the digest of a scope, the digest of a query, and a vector.  It is no entry and serves nothing: it
says where an entry may be found that answers; the entry lies in the tiers, and is read and checked before it is served.

Rule 1: the length of the file says how many rows there are.  A row is appended under the lock, at a multiple of the
        row's size: what a writer that died left behind a multiple is written over.
Rule 2: states change in place, one byte under the lock, so every process sees them at once.  A row is `PENDING` while
        its entry is being written, then `LIVE`; `REMOVING` while its entry is being removed, then `DEAD`.  Whoever
        opens the file finds by the first and the third where another one died, and asks the tiers (`unsettled`).
Rule 3: the file is replaced as a whole (`rewrite`), by a rename under the lock; who has the old one mapped sees another
        inode at its next look, and opens the new one.  It is never made shorter: a mapped page must not go away.
Rule 4: the header names the embedder, with its vector of a probe text, by which another one is recognised.
Rule 5: nothing in it is trusted: a row of a scope or a query that doesn't exist finds no entry.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from scoutcache.errors import CacheError

if TYPE_CHECKING:
    from scoutcache.semantic.embedding import Vectors

__all__ = ["DEAD", "DIGEST", "HEADER", "LIVE", "PENDING", "REMOVING", "About", "Rows", "header_of", "row_type"]

PENDING, LIVE, REMOVING, DEAD = range(1, 5)

DIGEST: Final = 16
"""Bytes of a digest of a scope or a query."""

HEADER: Final = 8192
"""Bytes before the first row."""
_FORMAT: Final = 1
_WIDEST: Final = 1 << 20
"""Components of a vector; a header that tells of more is damaged."""


class About(NamedTuple):
    """What a file's header says."""

    model: str
    dim: int
    probe: tuple[float, ...]
    generation: str
    """Another one for each file, by which what was derived from its rows knows them."""


class Rows:
    """The rows in *folder*, as this process sees them; `refresh` brings it up to date."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "rows"
        self.about: About | None = None
        self.count = 0
        self.died = 0
        """How many rows this process has made dead."""
        self.states: Any = None
        """The state of each row, as it is now; None before there is a file."""
        self.vectors: Any = None
        """The vector of each row."""
        self._table: Any = None
        self._scopes: Any = None
        self._idents: Any = None
        self._seen: tuple[int, int] = (0, 0)
        self.renew()

    def renew(self) -> None:
        """Called in a forked child: the mutex may have been held by a thread that doesn't exist here."""
        self._mutex = threading.RLock()

    # -- reading

    def refresh(self) -> None:
        """See what became of the file: it grew, it was replaced, or it went away."""
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            self._forget()
            return
        if (stat.st_ino, stat.st_size) != self._seen:
            with self._mutex:
                self._map()

    def _forget(self) -> None:
        self.about, self.count, self._seen = None, 0, (0, 0)
        self._table = self.states = self.vectors = self._scopes = self._idents = None

    def _hold(self, table: Any) -> None:
        """These are the rows."""
        self._table, self.count = table, len(table)
        self.states, self.vectors = table["state"], table["vector"]
        self._scopes, self._idents = table["scope"], table["ident"]

    def _map(self) -> None:
        import numpy as np

        mode: Literal["r", "r+"] = "r+"
        try:
            fd = os.open(self._file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self._forget()
            return
        except PermissionError:  # to be looked at only
            fd, mode = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC), "r"
        with os.fdopen(fd, f"{mode}b") as file:
            stat = os.fstat(file.fileno())
            same = self.about is not None and stat.st_ino == self._seen[0] and stat.st_size >= HEADER
            if not same:
                self.about = _read_header(file.read(HEADER), self._file)
            assert self.about is not None
            kind = row_type(self.about.dim)
            if count := max(stat.st_size - HEADER, 0) // kind.itemsize:
                mapped = np.memmap(file, dtype=kind, mode=mode, offset=HEADER, shape=(count,))
                self._hold(mapped.view(np.ndarray))  # a look into which takes a fifth of the time
            else:
                self._hold(np.empty(0, kind))
            self._seen = stat.st_ino, stat.st_size

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._seen[1]

    def scope(self, row: int) -> bytes:
        """The digest of a row's scope."""
        return self._scopes[row].tobytes()  # type: ignore[no-any-return]

    def ident(self, row: int) -> bytes:
        """The digest of a row's query."""
        return self._idents[row].tobytes()  # type: ignore[no-any-return]

    def of_scope(self, scope: bytes, begin: int = 0) -> Any:
        """The numbers of the rows from *begin* on that belong to *scope* and aren't dead."""
        import numpy as np

        if begin >= self.count:
            return np.empty(0, np.int64)
        part = self._table[begin:]
        wanted = np.frombuffer(scope, f"V{DIGEST}")
        return np.flatnonzero((part["scope"] == wanted[0]) & (part["state"] != DEAD)) + begin

    def unsettled(self) -> list[int]:
        """The rows whose writer is in the middle of something, or died there."""
        import numpy as np

        if not self.count:
            return []
        return [int(row) for row in np.flatnonzero((self.states == PENDING) | (self.states == REMOVING))]

    def alive(self) -> Any:
        """The numbers of all rows that aren't dead."""
        import numpy as np

        return np.flatnonzero(self.states != DEAD) if self.count else np.empty(0, np.int64)

    def raw(self, rows: Any) -> bytes:
        """The bytes of *rows*, as they are in the file."""
        return self._table[rows].tobytes() if len(rows) else b""

    # -- writing

    @contextmanager
    def locked(self, *, anew: bool = False) -> Iterator[None]:
        """The right to write, against every thread and process; what is seen inside is up to date.

        With *anew* nothing is seen inside: the file may be damaged, and is to be replaced.
        """
        with self._mutex:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                self._forget() if anew else self.refresh()
                yield
            finally:
                os.close(fd)  # which gives up the lock

    def create(self, model: str, probe: Sequence[float], dim: int) -> None:
        """Make an empty file, unless there is one; inside `locked`."""
        if self.about is None:
            self._write_file(About(model, dim, tuple(probe), secrets.token_hex(8)), b"")

    def append(self, scope: bytes, ident: bytes, vector: Vectors, state: int) -> int:
        """Append a row and give its number; inside `locked`."""
        import numpy as np

        assert self.about is not None
        row = np.zeros(1, row_type(self.about.dim))
        row["state"], row["vector"] = state, vector
        row["scope"], row["ident"] = np.void(scope), np.void(ident)
        number = self.count
        fd = os.open(self._file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _write_at(fd, row.tobytes(), HEADER + number * row.itemsize)
        finally:
            os.close(fd)
        self.refresh()
        return number

    def set_state(self, rows: Sequence[int], state: int) -> None:
        """Change the states of *rows*; inside `locked`."""
        self.died += len(rows) if state == DEAD else 0
        for row in rows:
            self.states[row] = state

    def rewrite(self, keep: Any, model: str, probe: Sequence[float], dim: int, more: Any = None) -> None:
        """Replace the file by one with the rows *keep*, then the rows *more*; inside `locked`."""
        kept = self.raw(keep) if self.count else b""
        added = b"" if more is None else more.tobytes()
        self._write_file(About(model, dim, tuple(probe), secrets.token_hex(8)), kept + added)

    def table(self, entries: Sequence[tuple[bytes, bytes, Any]], dim: int) -> Any:
        """Rows, all live, made of scopes, queries and vectors; for `rewrite`."""
        import numpy as np

        rows = np.zeros(len(entries), row_type(dim))
        rows["state"] = LIVE
        for at, (scope, ident, vector) in enumerate(entries):
            rows["scope"][at], rows["ident"][at] = np.void(scope), np.void(ident)
            rows["vector"][at] = vector
        return rows

    def _write_file(self, about: About, body: bytes) -> None:
        header = header_of(about)
        draft = self._folder / f".rows.{secrets.token_hex(4)}"
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(header)
                file.write(body)
            self.put(draft)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def put(self, draft: Path) -> None:
        """Let the whole file *draft* take the place of this one; inside `locked`."""
        draft.replace(self._file)
        self.refresh()


def header_of(about: About) -> bytes:
    """What stands before the rows."""
    header = json.dumps({"format": _FORMAT, **about._asdict()}).encode()
    assert len(header) < HEADER
    return header.ljust(HEADER)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


def row_type(dim: int) -> Any:
    """The type of a row, as numpy says it."""
    import numpy as np

    return np.dtype([("state", "u1"), ("-", "V7"), ("scope", f"V{DIGEST}"), ("ident", f"V{DIGEST}"),
                     ("vector", "<f4", (dim,))])  # fmt: skip


def _read_header(data: bytes, file: Path) -> About:
    try:
        fields = json.loads(data)
        about = About(str(fields["model"]), int(fields["dim"]), tuple(fields["probe"]), str(fields["generation"]))
        sound = fields["format"] == _FORMAT and 0 < about.dim <= _WIDEST
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise CacheError(f"the semantic index {file} can't be read: its header is none of this version",
                         hint="scoutcache semantic rebuild makes it again from the entries")  # fmt: skip
    return about
