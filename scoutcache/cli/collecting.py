"""How the interpreter looks for garbage in circles while a command runs: rarely, for most commands are over soon.

Rule 1: looking through what was loaded, again and again while it grows, and once more at the end of the process, takes
        a tenth of the time of a command that loads much.
Rule 2: what an application would see is measured as it would see it: `bench` looks as usual.
Rule 3: it is set for processes that are commands, not for whoever calls `scoutcache.cli.main.run`.
"""

from __future__ import annotations

import atexit
import gc
from typing import Final

__all__ = ["as_usual", "rarely"]

_USUAL: Final = gc.get_threshold()
_RARELY: Final = 200_000
"""Objects that may become garbage before anybody looks: some 20 MB; loading everything makes half as many."""


def rarely() -> None:
    """Look after many more objects than usual, and not at the end, when all memory is given back at once."""
    gc.set_threshold(_RARELY, *_USUAL[1:])
    atexit.register(gc.freeze)


def as_usual() -> None:
    """Look as often as an interpreter does by itself."""
    gc.set_threshold(*_USUAL)
