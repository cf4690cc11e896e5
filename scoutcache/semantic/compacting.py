"""Taking dead rows out of the file: once they are many it is written anew without them, beside the calls.

Rule 1: the bulk is copied without the lock.  Inside the lock only what changed since is added: rows that came are
        appended, states that changed are taken over.  Then the file is replaced by a rename, so who is killed at any
        moment leaves the old file or the new one, and a draft, which the next compaction removes.  One process at a
        time compacts; whoever comes meanwhile leaves it to that.
Rule 2: rows get other numbers, so the new file is another generation: whoever has the old one mapped begins anew with
        it at his next look, and nobody keeps a row's number across a look without its generation.
Rule 3: where another process replaced the file meanwhile, what was copied is thrown away.
Rule 4: graphs of the old generation are removed, each under its own lock; they are built anew where they are wanted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import threading
from pathlib import Path
from typing import Any, Final

from scoutcache.errors import CacheError
from scoutcache.semantic.rows import DEAD, HEADER, Rows, header_of, row_type

__all__ = ["LEAST", "SHARE", "Compactor", "compact", "is_wasteful"]

SHARE: Final = 1 / 3
"""The part of the rows that may be dead."""

LEAST: Final = 1000
"""So many dead rows are left alone, however few others there are: 1.6 MB with the default model."""


def is_wasteful(rows: Rows) -> bool:
    """Is it time?  Looks at the state of each row."""
    if rows.count <= LEAST:
        return False
    dead = int((rows.states == DEAD).sum())
    return dead > max(LEAST, SHARE * rows.count)


def compact(folder: Path) -> int:
    """Write the file in *folder* anew without its dead rows, if it is time; how many were taken out.

    It has a view of its own, so any thread may call it.  Raises `OSError`.
    """
    rows = Rows(folder)
    rows.refresh()
    if rows.about is None or not is_wasteful(rows):
        return 0
    fd = os.open(folder / "compact.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.glob(f"{_DRAFT}*"):
            left.unlink(missing_ok=True)
        return _compact(folder, rows)
    except BlockingIOError:
        return 0
    finally:
        os.close(fd)


class Compactor:
    """Compacts *rows* when too many of them are dead: those in *folder* in a thread, those of no folder at once.

    It is told and asked inside the lock of the index.
    """

    def __init__(self, rows: Rows, folder: Path | None) -> None:
        self._rows, self._folder = rows, folder
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked = False

    def after_change(self) -> None:
        """Rows may have died."""
        if self._rows.died > max(LEAST, self._rows.count // 8):
            self.consider()

    def consider(self) -> None:
        """See whether it is time, and begin."""
        self._rows.died = 0
        if self._folder is None:
            about = self._rows.about
            if about is not None and is_wasteful(self._rows):
                self._rows.rewrite(self._rows.alive(), about.model, about.probe, about.dim)
        elif self._rows.count > LEAST:
            self._begin(self._folder)

    def _begin(self, folder: Path) -> None:
        """Compact in a thread; one that is at it looks once more, for what died since is in its file."""
        with self._mutex:
            self._asked = True
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, args=(folder,), name="scoutcache-compacting", daemon=True
                )
                self._thread.start()

    def _run(self, folder: Path) -> None:
        while self._take():
            # A full disk, or a folder that is gone or not ours: the file is larger than it need be.
            with contextlib.suppress(OSError, CacheError):
                compact(folder)

    def _take(self) -> bool:
        """Is it asked for?  Else the thread ends."""
        with self._mutex:
            asked, self._asked = self._asked, False
            if not asked:
                self._thread = None
            return asked

    def settle(self) -> None:
        """Wait until nothing is being compacted."""
        thread = self._thread
        if thread is not None:
            thread.join()


_DRAFT: Final = ".compact."
_STEP: Final = 1000


def _compact(folder: Path, rows: Rows) -> int:
    rows.refresh()
    before = rows.about
    if before is None:
        return 0
    seen, copied, after = rows.count, rows.alive(), before._replace(generation=secrets.token_hex(8))
    draft = folder / f"{_DRAFT}{secrets.token_hex(4)}"
    try:
        with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "r+b") as file:
            file.write(header_of(after))
            for at in range(0, len(copied), _STEP):
                file.write(rows.raw(copied[at : at + _STEP]))
            with rows.locked():
                if rows.about != before:
                    return 0
                _catch_up(file, rows, copied, seen)
                had = rows.count
                rows.put(draft)
        _clear_away(folder, after.generation)
        return had - rows.count
    finally:
        draft.unlink(missing_ok=True)


def _catch_up(file: Any, rows: Rows, copied: Any, seen: int) -> None:
    """Take over what changed since the rows *copied*, of the first *seen*, were read; inside the lock."""
    import numpy as np

    came = np.flatnonzero(rows.states[seen:] != DEAD) + seen
    file.write(rows.raw(came))
    file.flush()
    assert rows.about is not None
    if len(copied):
        table = np.memmap(file, row_type(rows.about.dim), "r+", offset=HEADER, shape=(len(copied),))
        changed = np.flatnonzero(table["state"] != rows.states[copied])
        table["state"][changed] = rows.states[copied[changed]]


def _clear_away(folder: Path, generation: str) -> None:
    """Remove the graphs of other generations, and what was left of killed processes."""
    for old in folder.glob("graph-*.lock"):
        graph = old.with_suffix("")
        with contextlib.suppress(BlockingIOError), old.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else somebody builds it at this moment
            if _generation_of(graph) != generation:
                graph.unlink(missing_ok=True)
                for file in folder.glob(f"{graph.name}.*"):
                    if file != old:
                        file.unlink(missing_ok=True)


def _generation_of(graph: Path) -> str | None:
    try:
        found = json.loads(graph.read_text(encoding="utf-8"))["generation"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
