"""How old an entry would have been when it was asked for after its time: what a longer ttl would have answered."""

from __future__ import annotations

from math import ceil

from scoutcache.insight.log.logtable import Log

__all__ = ["ages_needed"]

_ROUND = ((60.0, 1.0), (3600.0, 60.0), (86_400.0, 900.0), (float("inf"), 3600.0))
"""Up to so many seconds, rounded up to so many."""


def ages_needed(log: Log, share: float = 0.8) -> dict[str, float]:
    """By prefix the ttl in seconds that would have answered a *share* of the requests whose entry had expired.

    An entry's age counts from its last write before the request; what the log doesn't hold the write of is left out.
    """
    import numpy as np
    import pandas as pd

    late = log.missed & log.says("reason", "expired")
    rows = np.flatnonzero(late | log.written)
    rows = rows[np.lexsort((log.number("time")[rows], log.entry[rows]))]
    entry, times = log.entry[rows], log.number("time")[rows]
    written = np.maximum.accumulate(np.where(log.written[rows], np.arange(len(rows)), -1))
    known = late[rows] & (written >= 0) & (entry[written] == entry) if len(rows) else late[rows]
    ages = pd.Series((times - times[written])[known] if len(rows) else []).astype("float64")
    prefixes = log.names["prefix"].to_numpy(dtype=object)[entry[known]]
    return {str(prefix): _rounded(float(age)) for prefix, age in ages.groupby(prefixes).quantile(share).items()}


def _rounded(seconds: float) -> float:
    step = next(step for limit, step in _ROUND if seconds <= limit)
    return max(1.0, ceil(seconds / step) * step)
