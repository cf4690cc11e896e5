"""Misses that were counted as cold, but of which the log says that the entry had been ended: no news to anybody.

Rule 1: an entry was ended if the log knows of a write of it and, between that and the miss, of its deletion or of an
        invalidation that names it: by its key, a pattern, a tag that it was last written with, or its namespace.
Rule 2: of many different patterns the `PATTERNS` last ones are looked at: what is named is at least what is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from scoutcache.errors import InvalidKey
from scoutcache.insight.log.logtable import Log
from scoutcache.oplog.records import Line, tag_of
from scoutcache.patterns import Pattern

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.intp]
    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["ended_before"]

PATTERNS: Final = 50


def ended_before(log: Log, acts: Sequence[Line]) -> dict[str, int]:
    """By prefix how many cold misses were of entries that had been ended; *acts* are the invalidations of the log."""
    import numpy as np
    import pandas as pd

    rows, written, deleted = _cold(log)
    entry, asked, ended = log.entry[rows], log.number("time")[rows], deleted >= written
    for named, times in _acts(log, acts, np.unique(entry)):
        own = np.flatnonzero(named[entry])
        ended[own] |= np.searchsorted(times, written[own]) < np.searchsorted(times, asked[own], side="right")
    prefixes = pd.Series(log.names["prefix"].to_numpy(dtype=object)[entry[ended]], dtype=object)
    return {str(prefix): int(count) for prefix, count in prefixes.value_counts().items()}


def _cold(log: Log) -> tuple[Rows, Floats, Floats]:
    """The cold misses of entries that had been written, and when each was last written, and last deleted."""
    import numpy as np

    asked = log.missed & log.says("reason", "cold")
    deleted = log.says("op", "delete") & log.whole & ~log.says("outcome", "absent")
    times = log.number("time")
    rows = np.flatnonzero(asked | log.written | deleted)
    rows = rows[np.lexsort((times[rows], log.entry[rows]))]
    written, gone = (_last(log, rows, which, times) for which in (log.written, deleted))
    found = asked[rows] & (written > -np.inf)
    return rows[found], written[found], gone[found]


def _last(log: Log, rows: Rows, which: Flags, times: Floats) -> Floats:
    """When *which* last happened to the entry of each of *rows*, until then."""
    import numpy as np

    at = np.maximum.accumulate(np.where(which[rows], np.arange(len(rows)), -1))
    known = (at >= 0) & (log.entry[rows[at]] == log.entry[rows])
    return np.where(known, times[rows[at]], -np.inf)


def _acts(log: Log, acts: Sequence[Line], wanted: Rows) -> Iterator[tuple[Flags, Floats]]:
    """For each thing that was invalidated which entries it names, of those *wanted*, and when it was."""
    import numpy as np

    targets: dict[tuple[str, str], list[float]] = {}
    for line in acts:
        targets.setdefault((line.namespace, line.key if line.outcome != "cleared" else "*"), []).append(line.time)
    spaces, keys = (log.names[name].to_numpy(dtype=object) for name in ("namespace", "key"))
    places: dict[tuple[str, str], int] = {(spaces[at], keys[at]): int(at) for at in wanted}
    tagged = _tagged(log) if any(tag_of(key) is not None for _, key in targets) else {}
    patterns = 0
    for (space, target), times in sorted(targets.items(), key=lambda item: -max(item[1])):
        named = np.zeros(len(log.names), "bool")
        if (tag := tag_of(target)) is not None:
            of_tag = tagged.get(tag, [])
            named[of_tag] = spaces[of_tag] == space
        elif (space, target) in places:
            named[places[space, target]] = True
        elif patterns < PATTERNS and (pattern := _pattern(target)) is not None:
            patterns += 1
            named[[at for (one, key), at in places.items() if one == space and pattern.matches(key)]] = True
        yield named, np.sort(np.asarray(times))


def _tagged(log: Log) -> Mapping[str, Any]:
    """The entries that were last written with each tag."""
    return {str(tag): rows.to_numpy() for tag, rows in log.tags.groupby("tag")["entry"]}


def _pattern(text: str) -> Pattern | None:
    """The pattern that was named; None for a key alone, and for what is redacted."""
    try:
        pattern = Pattern.parse(text)
    except InvalidKey:
        return None
    return None if pattern.literal is not None else pattern
