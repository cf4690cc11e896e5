"""The log's files by name: which of them count, in which order, and which go first.

Rule 1: a file of lines is ``<random>.jsonl`` while its process writes it.  Sealed it is ``<random>.parquet``, or
        ``<random>.jsonl.zst`` where Parquet can't be written.  Hidden files are drafts and never count.
Rule 2: what has one name is one file.  Where several forms of it are found, a sealing ended after the new file was
        safe and before the old one was gone: the new one, which comes first in `FORMS`, counts and the others don't.
Rule 3: a file may be sealed while a reader goes through the folder, so the folder is listed twice: a name that the
        first listing missed in its new form was still there in its old one, or is in the second.
Rule 4: age and size go by what lies there, sealed or not; a sealed file keeps the time of its last line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["FOLDER", "FORMS", "LINES", "PACKED", "PARQUET", "LogFile", "beyond", "find_files", "listed", "name_of",
           "present_form", "trim"]  # fmt: skip

FOLDER: Final = "oplog"
PARQUET: Final = ".parquet"
PACKED: Final = ".jsonl.zst"
LINES: Final = ".jsonl"
FORMS: Final = (PARQUET, PACKED, LINES)
"""The one that counts first (Rule 2)."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file of the log.  *changed* is when its last line was written, in seconds since the epoch; *size* is bytes."""

    folder: Path
    name: str
    form: str
    changed: float
    size: int

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / (self.name + self.form)


def name_of(path: Path) -> tuple[str, str] | None:
    """The name and the form of a file, None when it is none of the log's (Rule 1)."""
    for form in FORMS:
        if path.name.endswith(form) and not path.name.startswith(".") and len(path.name) > len(form):
            return path.name.removesuffix(form), form
    return None


def listed(folder: Path) -> list[LogFile]:
    """Every file of the log in every form, in no order; none where there is no such folder."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                named = name_of(Path(entry.name))
                if named is None or not entry.is_file(follow_symlinks=False):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                found.append(LogFile(folder, *named, status.st_mtime, status.st_size))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return found


def find_files(folder: Path, since: float | None = None) -> list[LogFile]:
    """The files of the log that count and that may hold anything since *since*, the oldest first."""
    counting: dict[str, LogFile] = {}
    for one in (*listed(folder), *listed(folder)):
        other = counting.get(one.name)
        if other is None or FORMS.index(one.form) <= FORMS.index(other.form):
            counting[one.name] = one
    found = [one for one in counting.values() if since is None or one.changed >= since]
    return sorted(found, key=lambda one: (one.changed, one.name))


def present_form(file: LogFile) -> Path | None:
    """Where *file*, which was found before, lies by now; None when it was removed."""
    paths = [file.folder / (file.name + form) for form in FORMS]
    return next((path for path in paths if path.exists()), None)


def trim(folder: Path, now: float, *, max_bytes: int | None, max_age: float | None) -> int:
    """Remove the log's oldest files until it is within its limits; return how many went."""
    removed = beyond(listed(folder), now, max_bytes=max_bytes, max_age=max_age)
    for one in removed:
        one.path.unlink(missing_ok=True)
    return len(removed)


def beyond(files: Iterable[LogFile], now: float, *, max_bytes: int | None, max_age: float | None) -> list[LogFile]:
    """Which of *files* are more than the log may keep."""
    kept, found = 0, []
    for one in sorted(files, key=lambda one: (one.changed, one.size, one.name), reverse=True):
        kept += one.size
        if (max_bytes is not None and kept > max_bytes) or (max_age is not None and now - one.changed > max_age):
            found.append(one)
    return found
