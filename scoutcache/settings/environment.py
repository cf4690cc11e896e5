"""Settings from the environment: ``SCOUTCACHE_REDIS__URL`` is ``redis.url``.

``__`` goes one level down; names become lower-case; a value that begins with ``[`` or ``{`` is JSON; lists of names
may be written ``a,b``; an empty value counts as not set (compose files pass those on).  ``SCOUTCACHE_PROFILE`` and
``SCOUTCACHE_CONFIG`` stand for ``--profile`` and ``--config``.  ``.env`` files say the same in lines ``NAME=value``,
but for ``SCOUTCACHE_CONFIG``: where they lie goes by the configuration file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scoutcache.config import CacheConfig
from scoutcache.config.problems import nearest, setting_names
from scoutcache.errors import ConfigError
from scoutcache.settings.files import read_text

__all__ = ["CONFIG_VARIABLE", "PREFIX", "read_dotenv", "settings_from"]

PREFIX: Final = "SCOUTCACHE_"
CONFIG_VARIABLE: Final = "SCOUTCACHE_CONFIG"
_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_OPEN: Final = frozenset({("ttl",), ("security", "signing_keys"), ("costs", "models"), ("llm", "operation_ttls"),
                          ("llm", "model_aliases")})  # fmt: skip
"""Tables whose names are the user's own."""

Setting = tuple[tuple[str, ...], str, Any]
"""Where it goes, the variable it came from, and its value."""


def settings_from(variables: Mapping[str, str]) -> tuple[list[Setting], list[str]]:
    """The settings among some variables, and what is wrong with those that aren't."""
    settings: list[Setting] = []
    problems: list[str] = []
    known = set(setting_names(CacheConfig))
    # Short names first, so that SCOUTCACHE_REDIS as JSON doesn't undo SCOUTCACHE_REDIS__URL.
    for name in sorted(variables, key=lambda name: (name.count("__"), name)):
        text = variables[name]
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or not text.strip():
            continue
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if path not in known and not any(path[: len(table)] == table and len(path) > len(table) for table in _OPEN):
            problems.append(_unknown(name, known))
            continue
        try:
            settings.append((path, name, _value(text)))
        except ValueError:
            problems.append(f"{name}: begins like JSON, but is not valid")
    return settings, problems


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a ``.env`` file; lines that name none of ours are not our business."""
    variables: dict[str, str] = {}
    for number, raw in enumerate(read_text(path).splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        read = _LINE.fullmatch(line)
        if read is not None:
            variables[read[1]] = _unquoted(read[2])
        elif PREFIX in line:
            raise ConfigError(f"{path}:{number}: expected NAME=value")
    return {name: value for name, value in variables.items() if name.startswith(PREFIX)}


def _unquoted(value: str) -> str:
    """The value without quotes, or without the comment after it."""
    quoted = re.fullmatch(r"""(['"])(.*?)\1\s*(?:#.*)?""", value)
    return quoted[2] if quoted else re.split(r"\s+#", value, maxsplit=1)[0].strip()


def _value(text: str) -> Any:
    try:
        return json.loads(text) if text.lstrip().startswith(("[", "{")) else text
    except RecursionError:
        raise ValueError(text) from None


def _unknown(name: str, known: set[tuple[str, ...]]) -> str:
    # Without what all of them begin with, by which every name is like every other.
    meant = nearest(name.removeprefix(PREFIX), ["__".join(path).upper() for path in sorted(known)])
    return f"{name}: no such setting" + (f"; did you mean {PREFIX}{meant}?" if meant else "")
