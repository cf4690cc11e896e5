"""Where the cache and a user's configuration live on this platform.

A process may have no home: no HOME and no entry in the user database (containers that run as any number), or a home
that doesn't exist or can't be written (system users).  The cache then goes into a folder of this user's own below the
temporary one; whoever opens it checks that nobody else made it.  A user's configuration then simply isn't there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scoutcache.config import CacheConfig

__all__ = ["PARTS", "default_directory", "directory_of", "holds_cache", "temporary_directory", "user_folder"]

_TELLING: Final = ("disk", "journal", "counters", "oplog")
PARTS: Final = (*_TELLING, "procs", "present", "leases", "warming", "rules", "queues", "semantic")
"""The folders that a cache makes in its directory; whether one has been there the first of them tell."""


def holds_cache(place: Path) -> bool:
    """Whether a cache has been in *place*.  Raises OSError where that can't be found out."""
    return any((place / part).exists() for part in _TELLING)


def directory_of(config: CacheConfig) -> Path:
    """Where the cache of *config* lives, wherever the process goes from here."""
    if config.directory is None:
        return default_directory()
    # Not `Path.expanduser`, which raises where there is no home.
    directory = Path(os.path.expanduser(config.directory))  # noqa: PTH111
    try:
        return directory.absolute()
    except OSError:  # the working directory was removed under our feet: whoever makes the folder says so
        return directory


def default_directory() -> Path:
    """Where the cache lives when no directory is set: the platform's user cache folder."""
    from platformdirs import user_cache_path

    path = _absolute(user_cache_path)
    if path is not None and _can_be_made(path):
        return path
    return temporary_directory()


def temporary_directory() -> Path:
    """Where the cache of a process without a home lives; where it can't live either is told when it is opened."""
    try:
        place = tempfile.gettempdir()
    except FileNotFoundError:  # a container whose root is read-only
        place = "/tmp"  # noqa: S108  # nothing can be written there
    return Path(place) / f"scoutcache-{os.getuid()}"


def user_folder() -> Path | None:
    """Where a user's configuration and profiles live, None for a process without a home."""
    from platformdirs import user_config_path

    return _absolute(user_config_path)


def _absolute(find: Callable[..., Path]) -> Path | None:
    try:
        path = find("scoutcache", appauthor=False)
    except RuntimeError:  # later versions of platformdirs, where nobody knows a home
        return None
    return path if path.is_absolute() else None  # earlier versions leave the "~" as it is


def _can_be_made(path: Path) -> bool:
    """Whether the folder is there for us, or the nearest one above it lets us make it."""
    try:
        there = next(folder for folder in (path, *path.parents) if folder.exists())
    except OSError:
        return False
    return os.access(there, os.W_OK | os.X_OK)
