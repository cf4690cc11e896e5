"""Showing the configuration: each setting with its origin, a commented template, and what would run code.

Secrets are masked: a `CacheConfig` serialises itself so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from scoutcache.config.problems import dotted
from scoutcache.policies import SerializationType
from scoutcache.settings.folders import directory_of
from scoutcache.settings.loading import BUILT_IN, ENVIRONMENT, OPTION, PROFILE, Loaded, leaves

__all__ = ["Explained", "explain", "needs_trust", "sources", "template", "unused"]

_CALLABLE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Explained(NamedTuple):
    """A setting, its value as JSON would hold it (secrets masked), and where it came from."""

    setting: str
    value: Any
    origin: str


def explain(loaded: Loaded) -> list[Explained]:
    """Every setting, in the order of the sections; the directory that is used where none is set."""
    found = loaded.config.model_dump(mode="json")
    rows = leaves(found | {"directory": found["directory"] or str(directory_of(loaded.config))})
    return [Explained(dotted(place), value, loaded.origins.get(dotted(place), BUILT_IN)) for place, value in rows]


def sources(loaded: Loaded) -> str:
    """In a line, where settings came from: files, the profile, the environment, options."""
    said = {origin: loaded.sources.get(origin) for origin in loaded.origins.values()}
    kinds = [str(path) for path in loaded.files]
    kinds += sorted(origin for origin, source in said.items() if source == PROFILE)
    kinds += ["the environment"] if ENVIRONMENT in said.values() else []
    kinds += ["options"] if OPTION in said else []
    return ", ".join(kinds) or "no files, built-in settings"


def unused(loaded: Loaded) -> list[str]:
    """Sentences on configuration files that are passed over for another one in their folder."""
    return [
        f"{path} is used, not {' or '.join(other.name for other in others)} beside it"
        for path, others in loaded.unused.items()
    ]


def needs_trust(loaded: Loaded) -> list[str]:
    """Settings that would run code of the file's choosing, where that file was found by searching, not named.

    Modules named as tiers, as sources of tasks or as embedders, and pickle.  Before acting on them, ask the user once.
    """
    config = loaded.config
    running = [("tiers", tier) for tier in config.tiers if _CALLABLE.fullmatch(tier)]
    running += [("tasks", task.source) for task in config.tasks if task.runs_code]
    if _CALLABLE.fullmatch(config.semantic.model):
        running.append(("semantic.model", config.semantic.model))
    if config.serializer.type is SerializationType.PICKLE:
        running.append(("serializer.type", "pickle"))
    return [
        f"{setting}: {what} ({loaded.origins[setting]})"
        for setting, what in running
        if loaded.sources.get(loaded.origins[setting]) in loaded.searched
    ]


def template() -> str:
    """A configuration file in TOML that holds every setting, commented out, with its default and its meaning."""
    return Path(__file__).with_name("template.toml").read_text(encoding="utf-8")
