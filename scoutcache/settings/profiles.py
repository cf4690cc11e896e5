"""Profiles: named sets of settings to begin from, one TOML file each.

A user's own (``profiles/`` in the user's configuration folder) go before those that come with the package.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from scoutcache.canonical import shown
from scoutcache.config.problems import nearest
from scoutcache.errors import ConfigError
from scoutcache.settings.files import read_settings

__all__ = ["list_profiles", "read_profile"]

_PACKAGE: Final = Path(__file__).parent.parent
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # never a path


def list_profiles(user_dir: Path | None = None) -> dict[str, Path]:
    """The files of all profiles by name, sorted."""
    found: dict[str, Path] = {}
    for folder in (_shipped(), *([user_dir / "profiles"] if user_dir else [])):
        try:
            paths = list(folder.glob("*.toml"))
        except OSError:  # a folder we may not look into holds no profiles for us
            paths = []
        found |= {path.stem: path for path in paths if _NAME.fullmatch(path.stem)}
    return dict(sorted(found.items()))


def read_profile(name: str, user_dir: Path | None = None) -> tuple[dict[str, Any], Path]:
    """The settings of a profile and its file.  Raises `ConfigError` for a name that none has."""
    profiles = list_profiles(user_dir)
    if name not in profiles:
        meant = nearest(name, profiles)
        raise ConfigError(f"there is no profile {shown(name)}; there are: {', '.join(profiles)}"
                          + (f"; did you mean {meant!r}?" if meant else ""))  # fmt: skip
    return read_settings(profiles[name]), profiles[name]


def _shipped() -> Path:
    """Inside the package once installed; in a source checkout, beside it."""
    installed = _PACKAGE / "profiles"
    return installed if installed.is_dir() else _PACKAGE.parent / "profiles"
