"""Where requests come from: a trace file, the log of a cache's directory, or one file of a log.

Rule 1: a log says of which share of the keys it is.  Of parts with different shares the keys that all of them kept
        count: sampling is by the hash of a key, so those are the keys that the lowest rate keeps.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from scoutcache.errors import CacheError, ConfigError
from scoutcache.insight.log.operations import Operations, files_in, in_order
from scoutcache.insight.simulation.history import as_requests
from scoutcache.insight.simulation.requests import Requests
from scoutcache.insight.simulation.traces import LIMIT, read_requests
from scoutcache.oplog.filing import LogFile, name_of
from scoutcache.oplog.linelog import FOLDER
from scoutcache.oplog.reading import Problems
from scoutcache.oplog.records import Line, kept_at

__all__ = ["Logged", "expect", "is_log", "lines_of", "requests_of"]

_TRACE_FILES: Final = (".csv", ".gz")


def is_log(path: Path) -> bool:
    """Is it (meant as) an operation log, not a trace?"""
    return path.is_dir() or name_of(path) is not None or (not path.exists() and path.suffix not in _TRACE_FILES)


class Logged(NamedTuple):
    """The operations of a log in the order of time, those of the share *rate* of the keys."""

    lines: list[Line]
    rate: float


def lines_of(
    path: Path, since: float | None = None, namespace: str | None = None, left_out: Counter[str] | None = None,
    problems: Problems | None = None, assumed: float = 1.0, until: float | None = None,
) -> Logged:  # fmt: skip
    """The operations in the log at *path* from *since* to *until* (seconds since the epoch), in the order of time.

    *path* is a cache's directory, the log's folder in it, any folder of files of a log, or one such file.  Raises
    `ConfigError` for one that isn't there or holds none, `CacheError` for a file of which nothing can be read.
    *left_out* is told how many records the writers left out, by reason; *problems* what could not be read; *assumed* is
    the rate of what doesn't say it.
    """
    is_file = name_of(path) is not None and not path.is_dir()
    operations = _of_file(path, since) if is_file else _of_directory(path, since)
    operations.until = until
    lines = in_order(operations, namespace)
    if left_out is not None:
        left_out.update(operations.left_out)
    if is_file and not lines and operations.problems.named:
        raise CacheError(f"nothing could be read of {operations.problems.named[0]}",
                         hint="name a cache's directory, or another file of its log")  # fmt: skip
    if problems is not None:
        problems.add(operations.problems)
    return _sampled(lines, operations.rates, assumed)


def _sampled(lines: list[Line], rates: set[float | None], assumed: float) -> Logged:
    """Rule 1.  A log that keeps no key has no requests, and what it says of its rate concerns none."""
    rate = min((one for one in (assumed if told is None else told for told in rates) if one), default=1.0)
    if rate >= 1:
        return Logged(lines, 1.0)
    stay = {key for key in {line.key for line in lines} if not key or kept_at(key) < rate}
    return Logged([line for line in lines if line.op == "invalidate" or line.key in stay], rate)


def _of_directory(path: Path, since: float | None) -> Operations:
    """What a cache's directory holds, or any folder of files of a log.  Raises `ConfigError` where it is neither."""
    if (path / FOLDER).is_dir():
        return Operations(path, since)
    if not path.exists():
        raise ConfigError(f"there is no cache in {path}, and so no log of one",
                          hint="name the directory of a cache that was used, or files of a log")  # fmt: skip
    files = files_in(path)
    return Operations(path, since, files=[file for file in files if since is None or file.changed >= since])


def _of_file(path: Path, since: float | None) -> Operations:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    named = name_of(path)
    files = [] if named is None else [LogFile(path.parent, *named, status.st_mtime, status.st_size)]
    return Operations(path.parent, since, files=files)


def expect(found: Requests, logged: Logged, counted: Callable[[float], int] | None) -> None:
    """Say of which share of the keys *found* is, and how many requests such a share has."""
    found.rate = logged.rate
    if counted is not None and logged.rate < 1 and logged.lines:
        found.expected = counted(logged.lines[0].time) * logged.rate or None


def requests_of(
    path: Path, *, since: float | None = None, namespace: str | None = None, limit: int = LIMIT,
    left_out: Counter[str] | None = None, problems: Problems | None = None, assumed: float = 1.0,
    counted: Callable[[float], int] | None = None, until: float | None = None,
) -> Requests:  # fmt: skip
    """The requests of a trace or a log, with the arguments of `lines_of`.

    *counted* says how many requests the exact counters know of since a time.
    Raises `ConfigError` for what is neither, and for one without requests.
    """
    if not is_log(path):
        return read_requests(path, limit)
    logged = lines_of(path, since, namespace, left_out, problems, assumed, until)
    found = as_requests(logged.lines)
    expect(found, logged, counted)
    if not found.count:
        raise ConfigError(f"{path}: the operation log holds no requests",
                          hint="use the cache with [oplog] enabled first, or give a trace.csv")  # fmt: skip
    return found
