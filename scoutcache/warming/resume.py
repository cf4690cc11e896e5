"""What a filling has done already, kept so that one that was broken off can go on.

- A line for each item that is done (stored, or found there), written as it happens: what a kill loses is the line being
  written.  A line is a digest of the item with its value, so that a changed line of the source is done again, and no
  key stands in the file.
- Without ``resume`` a filling begins a new record.  One that came to its end with nothing failed leaves none.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from scoutcache.canonical import digest
from scoutcache.entry import MISSING
from scoutcache.errors import CacheError
from scoutcache.oplog.files import make_folder, open_private
from scoutcache.warming.lines import Item

__all__ = ["Record"]

_DIGITS: Final = 24


class Record:
    """The record of the filling that *name* tells from others, in *folder*.  Raises `CacheError` where none can be."""

    def __init__(self, folder: Path, name: Sequence[str | None], *, resume: bool) -> None:
        self._path = folder / "resume" / digest(list(name))[:_DIGITS]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if resume else os.O_TRUNC)
        try:
            make_folder(self._path.parent)
            self._done = _read(self._path) if resume else frozenset[str]()
            self._handle = open_private(self._path, flags)
        except OSError as problem:
            raise CacheError(f"{self._path}: no record of what is done can be kept: {problem.strerror}") from problem
        self._lock = threading.Lock()
        if resume:
            os.write(self._handle, b"\n")  # a torn last line ends here

    def __len__(self) -> int:
        return len(self._done)

    def has(self, item: Item) -> bool:
        """Was *item*, as it is, done before the interruption?"""
        return bool(self._done) and _mark(item) in self._done

    def add(self, items: Iterable[Item]) -> None:
        """They are done."""
        marks = "".join([f"{_mark(item)}\n" for item in items]).encode()
        with self._lock:
            os.write(self._handle, marks)

    def close(self, *, finished: bool) -> None:
        """Let go of the file; *finished* removes it, for there is nothing to go on with."""
        os.close(self._handle)
        if finished:
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> frozenset[str]:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return frozenset()
    return frozenset(line for line in text.split("\n") if len(line) == _DIGITS)


def _mark(item: Item) -> str:
    value: Any = None if item.value is MISSING else [_text(item.value)]
    return digest([item.key, value, _text(item.options)])[:_DIGITS]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)
