"""How a filling went, as a file that the Prometheus node exporter's textfile collector reads.

- It is replaced in one step, so that no scrape sees half of it, and readable by all, for the collector is another user.
  A device is written into.
- The time of the last success is carried over from the file that stood there when this filling was none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scoutcache.errors import CacheError
from scoutcache.oplog.files import put, to_replace

__all__ = ["write_textfile"]

_SUCCESS: Final = "scoutcache_warm_last_success_timestamp_seconds"
_FIGURES: Final = (
    ("requested", "Keys of the last run."),
    ("warmed", "Keys that the last run stored."),
    ("skipped", "Keys that the last run left as they were."),
    ("failed", "Keys that the last run could not store."),
    ("seconds", "How long the last run took."),
)


def write_textfile(path: Path, figures: Mapping[str, float], now: float, *, success: bool) -> None:
    """Write *figures* (those of a `WarmResult`) to *path* at *now*.  Raises `CacheError`."""
    last = now if success else _last_success(path)
    lines = []
    for name, meaning in _FIGURES:
        lines += _gauge(f"scoutcache_warm_{name}", meaning, figures[name])
    lines += _gauge("scoutcache_warm_last_run_timestamp_seconds", "When the last run ended.", now)
    if last is not None:
        lines += _gauge(_SUCCESS, "When a run last ended without failures.", last)
    try:
        put(path, "\n".join([*lines, ""]).encode(), mode=0o644)
    except OSError as problem:
        raise CacheError(f"--prom-textfile: {path}: can't be written: {problem.strerror}") from problem


def _gauge(name: str, meaning: str, value: float) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", f"{name} {value:.17g}"]


def _last_success(path: Path) -> float | None:
    try:
        if to_replace(path) is None:  # a device may have no end
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{_SUCCESS} ([0-9.e+]+)$", text, re.MULTILINE)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None
