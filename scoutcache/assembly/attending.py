"""What a configuration asks to be done beside the calls, by a room of a floor above this one.

Imports go down, so that room is named here as a tier of one's own is in a configuration, and loaded only for a cache
that asks for it: most don't, and opening one costs nothing more.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from scoutcache.config import CacheConfig
from scoutcache.core.core import Core

__all__ = ["asks_for_warming", "attend"]

_ATTENDANT: Final = "scoutcache.warming.attendant"


def asks_for_warming(config: CacheConfig) -> bool:
    """Is there anything to be filled beside the calls?"""
    return config.enabled and bool(
        config.warming.on_start
        or config.warming.patterns
        or any(task.run_at_startup for task in config.tasks)
        or any(policy.strategy == "predictive" for policy in config.policies)
    )


def attend(core: Core) -> None:
    """Begin what *core*'s configuration asks for, unless its clock is moved by hand or it is only looked into."""
    if core.clocks.ticking and not core.clocks.looking and asks_for_warming(core.config):
        import_module(_ATTENDANT).begin(core)
