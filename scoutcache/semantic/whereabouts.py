"""Where a model is, told before the libraries are loaded that would look for it: they take seconds to say no.

Rule 1: a name is looked for where the hub's library keeps what it fetched, by the variables that it documents.  Any
        file there counts: what is lacking the library says itself.
Rule 2: a name without an organisation is one of sentence-transformers, or one of the oldest, which have none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final

__all__ = ["Whereabouts", "is_path", "offline_by", "whereabouts"]

ORGANISATION: Final = "sentence-transformers/"

_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_CACHES: Final = ("SENTENCE_TRANSFORMERS_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")


class Whereabouts(Enum):
    """Where a model can be had."""

    HERE = "in a folder, or fetched before"
    NO_FOLDER = "there is no such folder"
    OFFLINE = "it is not on this machine, which is offline"
    AWAY = "it is not on this machine"


def whereabouts(model: str) -> Whereabouts:
    """Where the model of that name or path is."""
    if Path(model).is_dir():
        return Whereabouts.HERE
    if is_path(model) or Path(model).is_file():
        return Whereabouts.NO_FOLDER
    if _was_fetched(model):
        return Whereabouts.HERE
    return Whereabouts.OFFLINE if offline_by() else Whereabouts.AWAY


def is_path(model: str) -> bool:
    """Can *model* be nothing but a folder's path?  A name has an organisation before it at most."""
    return model.startswith(("/", "./", "../", "~")) or model.count("/") > 1


def offline_by() -> str | None:
    """The variable that forbids the network to the hub's library, with its value; None where none does."""
    name = next((name for name in _OFFLINE if os.environ.get(name)), None)
    said = "" if name is None else os.environ[name]
    return f"{name}={said}" if said.upper() in {"1", "ON", "YES", "TRUE"} else None


def _was_fetched(model: str) -> bool:
    names = (model,) if "/" in model else (ORGANISATION + model, model)
    return any(
        any((cache / f"models--{name.replace('/', '--')}").glob("snapshots/*/*"))
        for cache in _caches() for name in names
    )  # fmt: skip


def _caches() -> Iterator[Path]:
    """Where models may have been kept: the folders that were named, or else the usual one."""
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    named = [os.environ[name] for name in _CACHES if os.environ.get(name)]
    for folder in (*named, f"{home}/hub"):
        # Not `Path.expanduser`, which raises where there is no home.
        yield Path(os.path.expanduser(os.path.expandvars(folder)))  # noqa: PTH111
