"""Figures as people read them: bytes, times, shares and money with their units, and series as a line of blocks.

Rule 1: what a figure is follows from the end of its name: ``_bytes``, ``_s``, ``_us``, ``_rate``, ``share``, ``_usd``.
Rule 2: a figure is rounded to what can be told apart by eye.  Machines get it as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["blocks", "duration", "figure", "label", "micros", "percent", "size"]

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_DIGITS: Final = "01234567"
"""The same steps where blocks can't be written."""


def size(count: float) -> str:
    """Bytes as people read them, in decimal units: ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds as people read them: ``850 ms``, ``4.2 s``, ``3m 20s``, ``2h 05m``, ``7d 01h``, ``never``."""
    if math.isinf(seconds):
        return "never"
    if abs(seconds) < 60:
        return micros(seconds * 1e6)
    whole = round(seconds)
    for large, small, letters in ((86_400, 3_600, "dh"), (3_600, 60, "hm"), (60, 1, "ms")):
        if abs(whole) >= large:
            return f"{whole // large}{letters[0]} {whole % large // small:02}{letters[1]}"
    return f"{whole} s"


def micros(us: float) -> str:
    """Microseconds as people read them: ``0.8 us``, ``240 us``, ``3.1 ms``, ``1.2 s``."""
    for limit, divisor, unit in ((1_000, 1, "us"), (1_000_000, 1_000, "ms")):
        if abs(us) < limit:
            shown = us / divisor
            return f"{shown:.1f} {unit}" if 0 < abs(shown) < 10 else f"{shown:.0f} {unit}"
    return f"{us / 1_000_000:.1f} s"


def percent(share: float) -> str:
    """A share (0-1) as people read it: ``59.2 %``."""
    return f"{share * 100:.1f} %"


def _dollars(amount: float) -> str:
    sign, amount = "-" if amount < 0 else "", abs(amount)
    return f"{sign}${amount:,.2f}" if amount >= 1 or amount == 0 else f"{sign}${amount:.4f}"


_UNITS: Final[tuple[tuple[str, Callable[[float], str]], ...]] = (
    ("bytes", size), ("_s", duration), ("seconds", duration), ("seconds_saved", duration),
    ("_us", micros),
    ("_rate", percent), ("_ratio", percent), ("share", percent),
    ("_percent", lambda share: f"{share:.1f} %"), ("_usd", _dollars), ("_times", lambda times: f"{times:.2f}x"),
)  # fmt: skip


def figure(name: str, value: float) -> str:
    """A number with the unit that its *name* says, and thousands apart."""
    for ending, shown in _UNITS:
        if name.endswith(ending) and not name.endswith("per_s"):
            return shown(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def label(name: str) -> str:
    """A field's name as people read it: ``size_bytes`` is ``size``."""
    for ending in ("_bytes", "_us", "_usd", "_s", "_times"):
        if name.endswith(ending) and not name.endswith("per_s"):
            name = name[: -len(ending)]
    return name.replace("_per_s", "/s").replace("_", " ")


def blocks(values: Sequence[float | None], top: float | None = None, *, plain: bool = False) -> str:
    """A series as one character a value, from 0 to *top* (None: its largest); a gap where nothing is known.

    *plain* writes digits from 0 to 7, for streams that can't hold blocks.

    >>> blocks([0.0, 0.5, None, 1.0])
    '▁▅ █'
    """
    known = [value for value in values if value is not None]
    highest = top if top is not None else max(known, default=0)
    steps = _DIGITS if plain else _BLOCKS
    return "".join(" " if value is None else _step(steps, value, highest) for value in values)


def _step(steps: str, value: float, highest: float) -> str:
    share = min(max(value / highest, 0.0), 1.0) if highest > 0 else 0.0
    return steps[min(len(steps) - 1, int(share * len(steps)))]
