"""Where requests come from: a trace file, the log of a cache's directory, or one file of a log."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Final

from scoutcache.errors import ConfigError
from scoutcache.insight.operations import Operations
from scoutcache.insight.simulation.history import as_requests, in_order
from scoutcache.insight.simulation.requests import Requests
from scoutcache.insight.simulation.traces import LIMIT, read_requests
from scoutcache.oplog.linelog import FOLDER
from scoutcache.oplog.records import Line

__all__ = ["is_log", "lines_of", "requests_of"]

_LOG_FILES: Final = (".jsonl", ".parquet")
_TRACE_FILES: Final = (".csv", ".gz")


def is_log(path: Path) -> bool:
    """Is it (meant as) an operation log, not a trace?"""
    return path.is_dir() or path.suffix in _LOG_FILES or (not path.exists() and path.suffix not in _TRACE_FILES)


def lines_of(
    path: Path, since: float | None = None, namespace: str | None = None, left_out: Counter[str] | None = None
) -> list[Line]:
    """The operations in the log at *path* since *since* (seconds since the epoch), in the order of time.

    *path* is a cache's directory, the log's folder in it, or one file of a log.  Raises `ConfigError` for another.
    *left_out* is told how many records the writers left out, by reason.
    """
    left_out = Counter() if left_out is None else left_out
    if path.suffix not in _LOG_FILES or path.is_dir():
        directory = path.parent if path.name == FOLDER and not (path / FOLDER).is_dir() else path
        operations = Operations(directory, since)
        lines = in_order(operations, namespace)
        left_out.update(operations.left_out)
        return lines
    with TemporaryDirectory(prefix="scoutcache-") as place:
        folder = Path(place) / FOLDER
        folder.mkdir()
        try:
            copyfile(path, folder / path.name)
        except OSError as error:
            raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
        operations = Operations(Path(place), since)
        lines = in_order(operations, namespace)
        left_out.update(operations.left_out)
        if not lines and (operations.skipped_files or operations.skipped_lines):
            raise ConfigError(f"{path}: not a file of an operation log", hint="name a cache's directory, or a .csv")
        return lines


def requests_of(
    path: Path, *, since: float | None = None, namespace: str | None = None, limit: int = LIMIT,
    left_out: Counter[str] | None = None,
) -> Requests:  # fmt: skip
    """The requests of a trace or a log.  Raises `ConfigError` for what is neither, and for one without requests."""
    if not is_log(path):
        return read_requests(path, limit)
    found = as_requests(lines_of(path, since, namespace, left_out))
    if not found.count:
        raise ConfigError(f"{path}: the operation log holds no requests",
                          hint="use the cache with [oplog] enabled first, or give a trace.csv")  # fmt: skip
    return found
