"""Finding and parsing configuration files: TOML, JSON, YAML, by the ending of their name.

Rules.

- A project file is searched from the working directory upwards, up to the home folder or the edge of the file system,
  whichever comes first.  In each folder ``scoutcache.toml`` (or .json, .yaml, .yml) goes before ``pyproject.toml``,
  which counts only when it has a ``[tool.scoutcache]``.  One of them counts; the others are told (`passed_over`).
- A file found by searching must belong to this user or to root: a stranger's file in a shared folder must not steer us.
- A relative path in a file is below the file's own folder, so that it is the same place wherever one works.
- Whatever a file holds, its settings or a `ConfigError` that says where it is wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from scoutcache.canonical import shown
from scoutcache.errors import ConfigError
from scoutcache.wording.os_errors import reason_of

__all__ = [
    "ENDINGS", "check_owner", "find_project_file", "find_user_file", "is_file", "passed_over", "placed",
    "read_settings", "read_text",
]  # fmt: skip

ENDINGS: Final = (".toml", ".json", ".yaml", ".yml")
_MAX_BYTES: Final = 1 << 20
_MAX_SETTINGS: Final = 100_000  # aliases let a short YAML text stand for endlessly many
_MAX_DEPTH: Final = 50
_FILES: Final = {
    "redis": ("password_file", "tls_ca_file", "tls_cert_file", "tls_key_file"), "compression": ("dictionary",),
}  # fmt: skip
"""The settings that name a file, by section."""


def find_project_file(start: Path) -> Path | None:
    """The project's file that governs *start*, if there is one.  Raises `ConfigError` for somebody else's."""
    path = next((path for folder in _upwards(start) for path in _project_files(folder)), None)
    if path is not None:
        check_owner(path)
    return path


def find_user_file(folder: Path | None) -> Path | None:
    """``config.toml`` (or .json, .yaml, .yml) of the user's folder, else ``scoutcache.toml``, as a project's is."""
    return None if folder is None else next(_user_files(folder), None)


def passed_over(path: Path, *, users: bool) -> list[Path]:
    """The files in the folder of *path*, the project's file or the *users*', that it was found before."""
    found = _user_files(path.parent) if users else _project_files(path.parent)
    return [other for other in found if other != path]


def _project_files(folder: Path) -> Iterator[Path]:
    """Those there are, the one that counts first."""
    for name in (*(f"scoutcache{ending}" for ending in ENDINGS), "pyproject.toml"):
        path = folder / name
        if is_file(path) and (name != "pyproject.toml" or _speaks_of_us(path)):
            yield path


def _user_files(folder: Path) -> Iterator[Path]:
    """Those there are, the one that counts first."""
    paths = [folder / f"{name}{ending}" for name in ("config", "scoutcache") for ending in ENDINGS]
    return (path for path in paths if is_file(path))


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a file; of a ``pyproject.toml``, those below ``[tool.scoutcache]``."""
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ConfigError(f"{path} is no configuration file; expected one ending in {', '.join(ENDINGS)}")
    try:
        data = parse(read_text(path), path)
    except RecursionError:
        raise ConfigError(f"{path} nests too deeply") from None
    if path.name == "pyproject.toml":
        tool = data.get("tool")
        data = tool.get("scoutcache", {}) if isinstance(tool, dict) else {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a table of settings, not {type(data).__name__}")
    _check_shape(data, path)
    return placed(data, path.parent)


def placed(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The *settings* of a file in *folder*: what they name by a relative path is below that, wherever one works."""
    found = {**settings}
    for name, value in settings.items():
        if isinstance(value, Mapping) and name in _FILES:
            found[name] = {inner: _below(folder, one) if inner in _FILES[name] else one for inner, one in value.items()}
        elif name == "directory":
            found[name] = _below(folder, value)
        elif name == "tasks" and isinstance(value, list):
            found[name] = [_task_placed(one, folder) for one in value]
    return found


def _task_placed(task: object, folder: Path) -> object:
    """A task finds what its source names in *folder*, or where it says, below that."""
    if not isinstance(task, Mapping):
        return task
    return {**task, "folder": _below(folder.absolute(), task.get("folder") or ".")}


def _below(folder: Path, name: object) -> object:
    return str(folder / name) if isinstance(name, str) and name and not name.startswith("~") else name


def read_text(path: Path) -> str:
    """The text of a file of ours: UTF-8, at most 1 MiB.  Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}", hint="scoutcache config init writes one") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {reason_of(error)}") from None
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB; that is no configuration file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: byte {error.start + 1} can't be read") from None


def _upwards(start: Path) -> Iterator[Path]:
    start = start.absolute()
    home = os.path.expanduser("~")  # noqa: PTH111  # Path.home() raises where there is none
    device = _device(start)
    for folder in (start, *start.parents):
        if _device(folder) != device:
            return
        yield folder
        if str(folder) == home:
            return


def _device(folder: Path) -> int | None:
    try:
        return folder.stat().st_dev
    except OSError:
        return None


def is_file(path: Path) -> bool:
    """Whether there is a file that we may see."""
    try:
        return path.is_file()
    except OSError:  # a folder we may not look into
        return False


def _speaks_of_us(path: Path) -> bool:
    """Whether a pyproject.toml has our table; without parsing, for most have not, and a broken one may be another's."""
    try:
        return re.search(rb"(?m)^\s*\[\s*tool\.scoutcache\s*[\].]", path.read_bytes()) is not None
    except OSError:
        return False


def check_owner(path: Path) -> None:
    """Refuse, with `ConfigError`, a file that neither this user nor root made, or a link that another user made."""
    trusted = {0, os.getuid()}
    if os.getuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))
    for owner in (path.lstat().st_uid, path.stat().st_uid):
        if owner not in trusted:
            raise ConfigError(f"{path} belongs to another user (uid {owner}) and is not used",
                              hint="remove it, or if you trust it, name it with --config")  # fmt: skip


def _toml(text: str, path: Path) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = re.search(r" \(at line (\d+), column (\d+)\)$", message)
        where = f"{path}:{place[1]}:{place[2]}" if place else f"{path}:{text.count(chr(10)) + 1}:1"
        problem = re.sub(r" \(at .*\)$", "", message)
        raise _broken(where, "TOML", problem, "text needs quotes, as in name = 'value'") from None


def _json(text: str, path: Path) -> Any:
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = "names and text need double quotes; no comma after the last item"
        raise _broken(f"{path}:{error.lineno}:{error.colno}", "JSON", error.msg, hint) from None


def _yaml(text: str, path: Path) -> Any:
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise _broken(where, "YAML", error.problem or "unreadable", "check the indentation and the colons") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: such as a date of the 13th month
        problem = str(error).split("\n", maxsplit=1)[0]
        raise _broken(str(path), "YAML", problem, "put text that looks like something else in quotes") from None
    return {} if data is None else data


_PARSERS: Final[dict[str, Callable[[str, Path], Any]]] = {".toml": _toml, ".json": _json, ".yaml": _yaml, ".yml": _yaml}


def _broken(where: str, language: str, problem: str, hint: str) -> ConfigError:
    return ConfigError(f"{where}: this is not {language}: {ascii(problem)[1:-1]}", hint=hint)


def _check_shape(data: dict[Any, Any], path: Path) -> None:
    """Names are text, and there are no more settings than anybody writes."""
    seen = 0
    waiting: list[tuple[Any, int]] = [(data, 0)]
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > _MAX_SETTINGS or depth > _MAX_DEPTH:
            raise ConfigError(f"{path} holds too many settings, or nests them too deeply")
        if isinstance(value, dict):
            for name in value:
                if not isinstance(name, str):
                    raise ConfigError(f"{path}: the name {shown(name)} must be text", hint="put it in quotes")
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
