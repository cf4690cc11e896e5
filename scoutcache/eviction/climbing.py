"""How W-TinyLFU's window finds its share of the room: by hill climbing, the same in the policy and in its model.

Einziger, Eizenberg, Friedman, Manes, "Adaptive Software Cache Management", Middleware 2018.
"""

from __future__ import annotations

from typing import Final

__all__ = ["PROTECTED", "SAMPLE", "START", "STEP", "climbed"]

PROTECTED: Final = 0.8
"""The part of main that those asked for again may fill."""
SAMPLE: Final = 10
"""Counts are halved, and the window's share moved, after so many requests per entry."""
START: Final = 0.01
"""The window's share, at first."""
STEP: Final = 0.0625
_LEAST: Final = 0.01
_MOST: Final = 0.8
_FADING: Final = 0.98
_RESTART: Final = 0.05
"""A hit ratio that changed by so much starts the search for the share anew."""


def climbed(share: float, step: float, change: float) -> tuple[float, float]:
    """The next share and step where the hit ratio has changed by *change*: on, as long as that is for the better."""
    amount = step if change >= 0 else -step
    step = (STEP if amount >= 0 else -STEP) if abs(change) >= _RESTART else _FADING * amount
    return min(_MOST, max(_LEAST, share + amount)), step
