"""The configuration from all its sources, the later over the earlier, checked as a whole.

built-in < profile < user file < project file (or ``--config``) < ``.env`` < environment < options

Tables are merged, name by name; lists and single values replace, and of settings of ``[redis]`` that exclude each
other the one that a stronger source names stands alone, as does a password in its URL.  Every wrong setting of every
source is listed in one `ConfigError`, with the file or variable it stands in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from scoutcache.config import CacheConfig
from scoutcache.config.problems import Place, dotted, wrong_settings
from scoutcache.config.sections import EXCLUSIVE
from scoutcache.errors import ConfigError
from scoutcache.settings.environment import CONFIG_VARIABLE, read_dotenv, settings_from
from scoutcache.settings.files import (
    check_owner,
    find_project_file,
    find_user_file,
    is_file,
    passed_over,
    placed,
    read_settings,
)
from scoutcache.settings.folders import user_folder
from scoutcache.settings.profiles import read_profile

__all__ = ["BUILT_IN", "ENVIRONMENT", "OPTION", "PROFILE", "Loaded", "load_config"]

BUILT_IN: Final = "built-in"
PROFILE: Final = "profile"
ENVIRONMENT: Final = "environment"
OPTION: Final = "option"


@dataclass(frozen=True)
class Loaded:
    """A configuration and where it comes from."""

    config: CacheConfig
    origins: dict[str, str]
    """By setting (``redis.url``): a file, ``environment SCOUTCACHE_REDIS__URL``, `OPTION`, or `BUILT_IN`."""
    files: list[Path]
    """The files that were read, weakest first."""
    sources: Mapping[str, str]
    """By origin what it is part of: a file, `PROFILE`, `ENVIRONMENT` or `OPTION`."""
    searched: frozenset[str]
    """The files among them that were found by searching from the working directory."""
    unused: Mapping[Path, list[Path]]
    """By a file that is used those beside it that would have been without it."""


def load_config(
    *,
    file: str | Path | None = None,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user_dir: Path | None = None,
) -> Loaded:
    """Read everything.  *file* takes the project file's place; *overrides* are nested as in a file.

    Raises `ConfigError`, listing every wrong setting of every source.
    """
    sources = _Sources(os.environ if env is None else env, cwd or _working_directory(), user_dir or user_folder())
    sources.read_files(file)
    sources.read_environment()
    sources.add(overrides or {}, OPTION)
    sources.begin_with_profile(profile)
    return sources.checked()


@dataclass
class _Sources:
    env: Mapping[str, str]
    cwd: Path | None
    user_dir: Path | None
    layers: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    searched: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    unused: dict[Path, list[Path]] = field(default_factory=dict)

    def add(self, settings: Mapping[str, Any], origin: str, source: str | None = None) -> None:
        self.layers.append((settings, origin))
        self.sources[origin] = source or origin

    def read_files(self, file: str | Path | None) -> None:
        named = Path(file) if file else (Path(self.env[CONFIG_VARIABLE]) if self.env.get(CONFIG_VARIABLE) else None)
        project = named.expanduser() if named else self.cwd and find_project_file(self.cwd)
        users = find_user_file(self.user_dir)
        for path in (users, project):
            if path is not None:
                self.add(read_settings(path), str(path))
                self.files.append(path)
        self.note_unused(users, users=True)
        self.note_unused(None if named else project, users=False)
        if named is None and project is not None:
            self.searched.add(str(project))
        self.read_dotenv(project)

    def note_unused(self, path: Path | None, *, users: bool) -> None:
        others = [] if path is None else passed_over(path, users=users)
        if path is not None and (left := [other for other in others if other not in self.files]):
            self.unused[path] = left

    def read_dotenv(self, project: Path | None) -> None:
        folders = [folder for folder in (self.cwd, project and project.parent) if folder is not None]
        path = next((folder / ".env" for folder in folders if is_file(folder / ".env")), None)
        variables = {} if path is None else read_dotenv(path)
        if path is None or not variables:
            return
        check_owner(path)
        if variables.get(CONFIG_VARIABLE, "") not in {"", self.env.get(CONFIG_VARIABLE, "")}:
            self.problems.append(f"{path} {CONFIG_VARIABLE}: names no configuration file from here; "
                                 "set it in the environment, or use --config")  # fmt: skip
        self.add_variables(variables, str(path), path.parent)
        self.files.append(path)
        self.searched.add(str(path))

    def read_environment(self) -> None:
        self.add_variables(self.env, ENVIRONMENT)

    def add_variables(self, variables: Mapping[str, str], source: str, folder: Path | None = None) -> None:
        settings, problems = settings_from(variables)
        self.problems += [f"{source} {problem}" for problem in problems]
        for path, name, value in settings:
            nested: Any = value
            for step in reversed(path):
                nested = {step: nested}
            self.add(nested if folder is None else placed(nested, folder), f"{source} {name}", source)

    def begin_with_profile(self, profile: str | None) -> None:
        """Put the profile under everything else.  The strongest source that names one chooses it."""
        if profile is not None:
            self.add({"profile": profile}, OPTION)
        named = [settings["profile"] for settings, _ in self.layers if isinstance(settings.get("profile"), str)]
        if not named:
            return
        try:
            settings, path = read_profile(named[-1], self.user_dir)
        except ConfigError as error:
            self.problems.append(f"profile: {error}")
        else:
            origin = f"{PROFILE} {named[-1]} ({path})"
            self.layers.insert(0, ({**settings, "profile": named[-1]}, origin))
            self.sources[origin] = PROFILE

    def checked(self) -> Loaded:
        merged: dict[str, Any] = {}
        origins: dict[Place, str] = {}
        for settings, origin in self.layers:
            self._make_way(settings, origin, merged, origins)
            _merge(merged, settings, origin, origins, ())
        try:
            config = CacheConfig.read(merged, lambda place: _origin(place, origins))
        except ConfigError as error:
            self.problems += error.problems
        if self.problems:
            raise wrong_settings(self.problems)
        # The header of an empty table sets nothing; until here it had a place only for the messages about it.
        setting = {place: origin for place, origin in origins.items() if _at(merged, place) != {}}
        told = {dotted(place): _origin(place, setting) or BUILT_IN for place, _ in leaves(config.model_dump())}
        return Loaded(config, told, self.files, self.sources, frozenset(self.searched), self.unused)

    def _make_way(
        self, settings: Mapping[str, Any], origin: str, merged: dict[str, Any], origins: dict[Place, str]
    ) -> None:
        """Take out what weaker sources say where a stronger one says the other thing."""
        given, below = settings.get("redis"), merged.get("redis")
        if not isinstance(given, Mapping) or not isinstance(below, dict):
            return
        said = [name for names in EXCLUSIVE if any(given.get(name) for name in names) for name in names]
        for name in {*said, *_said_by(given.get("url"))} & set(below) - set(given):
            said_by = origins.get(("redis", name), origin)
            if self.sources.get(said_by, said_by) != self.sources.get(origin, origin):
                del below[name]
                origins.pop(("redis", name), None)


def _said_by(url: object) -> list[str]:
    """The settings that a URL speaks of too: who signs in by it doesn't by what a weaker source says."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:  # which is told when it is looked at
        return []
    if parts is None or parts.password is None:
        return []
    return ["password", "password_file", *(["username"] if parts.username else [])]


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # removed under our feet
        return None


def _merge(
    into: dict[str, Any], settings: Mapping[str, Any], origin: str, origins: dict[Place, str], at: Place
) -> None:
    for name, value in settings.items():
        place = (*at, name)
        if isinstance(value, Mapping) and not value and isinstance(into.get(name), dict):
            continue  # an empty table adds nothing to what is there, and takes nothing away
        if isinstance(value, Mapping) and value:
            below = into.get(name)
            into[name] = below = below if isinstance(below, dict) else {}
            origins.pop(place, None)
            _merge(below, value, origin, origins, place)
        else:
            for hidden in [known for known in origins if known[: len(place)] == place]:
                del origins[hidden]
            into[name] = value
            origins[place] = origin


def _at(settings: Mapping[str, Any], place: Place) -> Any:
    found: Any = settings
    for step in place:
        found = found[step]
    return found


def _origin(place: Place, origins: Mapping[Place, str]) -> str:
    """Where a setting stands: its own origin, that of the list it is in, or that of what is set inside it."""
    for end in range(len(place), 0, -1):
        if place[:end] in origins:
            return origins[place[:end]]
    inside = {origin for known, origin in origins.items() if known[: len(place)] == place}
    return ", ".join(sorted(inside))


def leaves(settings: Mapping[str, Any], at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every single setting and its value; a list is one, an empty table too."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*at, name))
        else:
            yield (*at, name), value
