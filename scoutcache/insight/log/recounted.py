"""Counters made from a log, for logs that were taken from elsewhere and have no counters beside them.

Rule 1: they count what the log holds: a sampled or capped log gives a part.
Rule 2: an operation counts where the counters would have counted it: in the minute it ended, an invalidation without
        its reason, a hit in memory with what its key is known to cost, for such a record doesn't say.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from scoutcache.insight.log.logtable import Log
from scoutcache.oplog.counting import timed_as
from scoutcache.oplog.histogram import Histogram
from scoutcache.oplog.process import Segment
from scoutcache.oplog.tally import Tally

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["segment_of"]

_NAMES = ("namespace", "prefix", "tier", "op", "outcome", "reason")
_TIMED = ("namespace", "tier", "op", "outcome", "reason")
NAME = "log"
BY_MINUTE = 26 * 60
"""Minutes up to which they are counted one by one, as the counters' own are; a longer time is counted by the hour."""


def segment_of(log: Log) -> Segment:
    """The counters of a log, as a process would have published them."""
    import numpy as np

    tally = Tally()
    times, took = log.number("time"), log.number("latency_us")
    minutes = ((times + np.nan_to_num(took) / 1e6) // 60).astype("int64")
    if len(minutes) and minutes.max() - minutes.min() > BY_MINUTE:
        minutes -= minutes % 60
    _count(tally, log, *_kinds(minutes, [log.words(name) for name in _NAMES]))
    _time(tally, log, *_kinds(minutes, [log.words(name) for name in _TIMED]), np.round(took * 1e3))
    start, end = (float(times.min()), float(times.max())) if len(times) else (0.0, 0.0)
    return Segment.of(tally, id=NAME, process=NAME, started=start, written=end, usages={})


def _kinds(minutes: npt.NDArray[np.int64], words: list[Any]) -> tuple[npt.NDArray[Any], list[tuple[Any, ...]]]:
    """The number of each operation's counter, and the names of the counters."""
    import numpy as np
    import pandas as pd

    place = minutes - (minutes.min() if len(minutes) else 0)
    for codes, names in words:
        place = place * len(names) + codes % len(names)
    numbers, found = pd.factorize(place)
    first = np.flatnonzero(np.diff(np.maximum.accumulate(numbers), prepend=-1)) if len(found) else np.empty(0, "int64")
    columns = [minutes[first].tolist(), *(names[codes[first]].tolist() for codes, names in words)]
    return numbers, list(zip(*columns, strict=True))


def _count(tally: Tally, log: Log, numbers: npt.NDArray[Any], kinds: list[tuple[Any, ...]]) -> None:
    import numpy as np

    own = log.number("cost")
    asked = log.flag("hit") & np.isnan(own)
    cost = np.where(asked, log.keys["unit_usd"].to_numpy()[log.entry], own) if len(log) else own
    known = ~np.isnan(cost)
    sums = [
        np.bincount(numbers, weights, len(kinds)).tolist()
        for weights in (None, np.nan_to_num(log.number("size")), np.nan_to_num(cost), known,
                        np.nan_to_num(log.number("factory_s")))
    ]  # fmt: skip
    for (minute, space, prefix, tier, op, outcome, reason), count, size, usd, costed, seconds in zip(
        kinds, *sums, strict=True
    ):
        tally.add(minute, space, prefix, tier, op, outcome, "" if op == "invalidate" else reason, times=int(count),
                  size=int(size), cost=usd if costed else None, costed=int(costed), seconds=seconds)  # fmt: skip


def _time(tally: Tally, log: Log, numbers: npt.NDArray[Any], kinds: list[tuple[Any, ...]],
          took_ns: npt.NDArray[np.float64]) -> None:  # fmt: skip
    import numpy as np

    made_ns = np.where(log.computed, np.round(log.number("factory_s") * 1e9), np.nan)
    for what, values in (("", took_ns), ("factory", made_ns)):
        rows = np.flatnonzero(values > 0)
        order = rows[np.lexsort((values[rows], numbers[rows]))]
        begins = [*np.flatnonzero(np.diff(numbers[order], prepend=-1)).tolist(), len(order)]
        for begin, end in pairwise(begins):
            minute, space, tier, op, outcome, reason = kinds[numbers[order[begin]]]
            whose = ("", what) if what else timed_as(tier, op, outcome, reason)
            tally.spread(minute, space, *whose).merge(_histogram(values[order[begin:end]].astype("int64")))


def _histogram(values: npt.NDArray[np.int64]) -> Histogram:
    """The histogram of sorted values."""
    import numpy as np

    found = Histogram()
    singles, counts = np.unique(values, return_counts=True)
    found.add_all(dict(zip(singles.tolist(), counts.tolist(), strict=True)))
    return found

