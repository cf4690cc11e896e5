"""Saved benchmarks: one JSON file each, by name, in the platform's data folder or where one says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from scoutcache.bench.records import BenchResult
from scoutcache.errors import CacheError, ConfigError
from scoutcache.oplog.files import make_folder, put

__all__ = ["check_name", "default_folder", "load", "save", "saved_names"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_LARGEST: Final = 16 * 1024 * 1024


def default_folder() -> Path:
    """Where results are kept: not in the cache's directory, which people delete to empty the cache.

    Raises `CacheError` for a process that has no home.
    """
    from platformdirs import user_data_path

    path = user_data_path("scoutcache", appauthor=False)
    if not path.is_absolute():
        raise CacheError("there is no home folder to keep benchmarks in", hint="set HOME or XDG_DATA_HOME")
    return path / "benchmarks"


def save(result: BenchResult, name: str, folder: Path | None = None) -> Path:
    """Keep *result* as *name* (letters, digits, dot, dash, underscore), over one of that name; returns the file.

    The file appears whole or not at all.  Raises `ConfigError` for a name that can't be one.
    """
    path = _path(name, folder)
    try:
        make_folder(path.parent)
        put(path, json.dumps(result.as_dict(), indent=1, allow_nan=False).encode() + b"\n")
    except OSError as problem:
        raise CacheError(f"{path}: can't be written: {problem.strerror}") from problem
    return path


def load(name: str, folder: Path | None = None) -> BenchResult:
    """The result saved as *name*, or in the file of that name when it ends in ``.json``.

    Raises `CacheError` when there is none, or something else in it.
    """
    path = Path(name) if name.endswith(".json") else _path(name, folder)
    try:
        if path.stat().st_size > _LARGEST:
            raise CacheError(f"{path} is larger than any saved benchmark")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(saved_names(folder)) or "none yet"
        raise CacheError(f"there is no saved benchmark {name!r}",
                         hint=f"saved: {known}; `bench --save NAME` saves one") from None  # fmt: skip
    except (OSError, ValueError, RecursionError) as problem:
        raise CacheError(f"{path} can't be read as a saved benchmark: {problem}") from problem
    return BenchResult.from_dict(data, str(path))


def saved_names(folder: Path | None = None) -> list[str]:
    """What is saved, in order of the alphabet."""
    return sorted(path.stem for path in (folder or default_folder()).glob("*.json") if not path.name.startswith("."))


def check_name(name: str) -> None:
    """Raise `ConfigError` for a name that a benchmark can't be saved as."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r:.80} can't name a benchmark: expected up to 64 letters, digits, '.', '_' or '-'")


def _path(name: str, folder: Path | None) -> Path:
    check_name(name)
    return (folder or default_folder()) / f"{name}.json"
