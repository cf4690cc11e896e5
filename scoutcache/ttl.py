"""How long and how large: the texts that people write for durations and sizes, and what they mean.

A duration is seconds (a number, or text without a unit), or text of numbers with units, largest first by habit but in
any order: ``90s``, ``1h30m``, ``500ms``.  A size is bytes, with decimal units (``100MB`` is 100,000,000) or binary ones
(``64MiB``).  Units of size are read in any case, units of duration too.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from numbers import Real
from typing import Final

from scoutcache.errors import InvalidSize, InvalidTTL

__all__ = ["LONGEST", "parse_duration", "parse_size", "parse_ttl"]

LONGEST: Final = 1000 * 365.25 * 86400.0
"""A thousand years, in seconds.  A longer time to live (`sys.maxsize` is a common idiom) means "never"."""

_ACCEPTED: Final = "seconds (90, 0.5), '500ms', '90s', '30m', '2h', '7d', '1h30m'"
_WRITTEN: Final = (str, int, float, list, dict)
"""What a file or a command line can hold: nobody who wrote one of these could have written a timedelta."""
_SECONDS: Final = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
_NUMBER: Final = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_PLAIN: Final = re.compile(rf"{_NUMBER}(?:e[+-]?[0-9]{{1,3}})?")
_STEP: Final = re.compile(rf"({_NUMBER})\s*([a-z]+)\s*")
_BYTES: Final = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SIZE: Final = re.compile(rf"({_NUMBER})\s*([a-z]*)")
_LONGEST_TEXT: Final = 64  # no honest duration or size is longer; keeps every reading short


def parse_ttl(value: object) -> float:
    """A time to live in seconds: `math.inf` for ``"never"``, 0.0 for "do not store".

    Takes a number of seconds, a `timedelta`, or text.  Raises `InvalidTTL` for what is negative, NaN or unreadable,
    and for None, which callers replace by the default that applies before they ask.
    """
    if isinstance(value, str) and value.strip().lower() == "never":
        return math.inf
    seconds = _seconds(value)
    if seconds is None or not seconds >= 0.0:
        raise InvalidTTL(
            f"{_shown(value)} is no time to live; expected {_accepted(value)}, 'never', or 0 for not storing"
        )
    return seconds if seconds <= LONGEST else math.inf


def parse_duration(value: object) -> float:
    """A finite duration in seconds, in the grammar of `parse_ttl` without ``"never"``.  Raises `InvalidTTL`."""
    seconds = _seconds(value)
    if seconds is None or not 0.0 <= seconds <= LONGEST:
        raise InvalidTTL(f"{_shown(value)} is no duration; expected {_accepted(value)}")
    return seconds


def parse_size(value: object) -> int:
    """A size in bytes from a whole number or text such as ``"100MB"``, ``"1.5GiB"``.  Raises `InvalidSize`."""
    size = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        size = _size_of_text(value.strip().lower().replace("_", ""))
    if size is None or not 0 <= size < 2**63:
        raise InvalidSize(f"{_shown(value)} is no size; expected bytes (1048576), '500KB', '100MB', '1GB', '64MiB'")
    return size


def _accepted(value: object) -> str:
    return _ACCEPTED if isinstance(value, _WRITTEN) else f"{_ACCEPTED}, a timedelta"


def _seconds(value: object) -> float | None:
    if type(value) is float:
        return value
    if isinstance(value, str):
        return _seconds_of_text(value.strip().lower()) if len(value) <= _LONGEST_TEXT else None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, Real)):
        return None
    try:
        return float(value)
    except OverflowError:  # an int past 1.8e308, of either sign
        return math.inf if value > 0 else None  # type: ignore[operator]  # typeshed's Real has no order, the ABC has


def _seconds_of_text(text: str) -> float | None:
    if _PLAIN.fullmatch(text):
        return float(text)
    total, at = 0.0, 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None or step[2] not in _SECONDS:
            return None
        total += float(step[1]) * _SECONDS[step[2]]
        at = step.end()
    return total if text else None


def _size_of_text(text: str) -> int | None:
    read = _SIZE.fullmatch(text)
    if read is None or read[2] not in _BYTES:
        return None
    unit = _BYTES[read[2]]
    # Whole numbers stay whole: past 2**53 a float would lose bytes.
    return int(read[1]) * unit if read[1].isdigit() else int(float(read[1]) * unit)


def _shown(value: object) -> str:
    """The value for a message: short, and without control codes.  ASCII, so that no terminal is moved by it."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"  # its decimal digits cost quadratic time, or are refused
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
