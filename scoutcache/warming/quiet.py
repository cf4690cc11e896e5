"""When a cache is little asked for: a window of the day that somebody named, or the quiet hours of the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from scoutcache.schedules import in_window

__all__ = ["is_off_peak", "quiet_hours"]

_QUIET: Final = 0.5
"""Of the mean hour's requests: an hour with fewer is quiet."""
_FEWEST_DAYS: Final = 2.0


def quiet_hours(requests: Sequence[float], days: float) -> frozenset[int]:
    """The hours of the day (UTC) with less than half of the mean hour's *requests*, which are 24 sums over *days*.

    None from less than two days: the hours that haven't come yet would seem quiet.
    """
    mean = sum(requests) / len(requests)
    if days < _FEWEST_DAYS or mean == 0:
        return frozenset()
    return frozenset(hour for hour, count in enumerate(requests) if count < _QUIET * mean)


def is_off_peak(setting: str, now: float, requests: Sequence[float], days: float) -> bool:
    """Is *now* (seconds since the epoch) a time that *setting* (``[warming] off_peak``) allows?"""
    if setting == "always":
        return True
    moment = datetime.fromtimestamp(now, UTC)
    return moment.hour in quiet_hours(requests, days) if setting == "auto" else in_window(setting, moment)
