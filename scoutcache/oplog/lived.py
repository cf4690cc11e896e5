"""What a process counted in segments that are written down and gone from its tally: the last hour, and all of it.

For alerts, which judge the last hour, and for whoever exposes a process's counters, which must never fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from scoutcache.oplog.tally import Tally

__all__ = ["HOUR", "Lived"]

HOUR: Final = 60
"""Minutes for which single minutes are kept."""


class Lived:
    """The segments of a process that are over; not thread-safe."""

    def __init__(self) -> None:
        self._recent: list[tuple[int, Tally]] = []
        self._whole = Tally()

    def keep(self, tally: Tally, minute: int) -> None:
        """Remember *tally*, which was over at *minute*."""
        self._recent = [one for one in self._recent if one[0] >= minute - HOUR]
        self._recent.append((minute, tally))
        _add(self._whole, tally, None)

    def with_(self, present: Sequence[Tally], since_minute: int | None) -> Tally:
        """That and what is *present*: by the minute since *since_minute*, or all of it at minute 0."""
        found = Tally()
        if since_minute is None:
            found.take_in(self._whole)
        for one in (*([] if since_minute is None else [kept for _, kept in self._recent]), *present):
            _add(found, one, since_minute)
        return found


def _add(found: Tally, tally: Tally, since_minute: int | None) -> None:
    if since_minute is None:
        found.merge(
            (msgspec.structs.replace(row, minute=0) for row in tally.counted()),
            (msgspec.structs.replace(row, minute=0) for row in tally.spread_rows()),
        )
        return
    found.merge(
        (row for row in tally.counted() if row.minute >= since_minute),
        (row for row in tally.spread_rows() if row.minute >= since_minute),
    )
