"""What became of runs that cron starts (warming tasks, rules): one small JSON file in the cache's directory.

A file that somebody damaged counts as an empty one, for without it everything is as if it had never run; the next run
writes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scoutcache.oplog.files import make_folder, replace

__all__ = ["RunState", "change_runs", "read_runs"]

RunState = dict[str, dict[str, Any]]
"""What is known of each, by its id."""


def read_runs(path: Path) -> RunState:
    """What *path* holds; nothing where it isn't there."""
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {name: kept for name, kept in data.items() if isinstance(kept, dict)}


def change_runs(path: Path, edit: Callable[[RunState], RunState]) -> None:
    """Replace what *path* holds by what *edit* makes of it.  The caller sees to it that nobody else does so."""
    state = edit(read_runs(path))
    make_folder(path.parent)
    replace(path, json.dumps(state, indent=1).encode())
