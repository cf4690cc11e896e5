"""The exact curve of LRU for all sizes at once, from stack distances.

The distance of a request is the number of different keys since its key was last asked for; LRU answers it in every
cache of more entries than that (Mattson et al. 1970).  With the previous request of each as a number, the keys in
between that came more than once are those pairs that stand in the wrong order, and these are counted bit by bit over
whole arrays: a million requests take about a second, as much as three or four sizes one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scoutcache.insight.simulation.replay import Found
from scoutcache.insight.simulation.requests import Requests

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ENOUGH", "lru_curve"]

ENOUGH = 5
"""So many sizes cost more one by one than all at once."""


def lru_curve(requests: Requests, capacities: Sequence[int]) -> dict[int, Found]:
    """What LRU misses with each of *capacities*, in entries; *requests* hold nothing but requests."""
    import numpy as np

    keys = np.asarray(requests.keys, dtype=np.int64)
    sizes = np.asarray(requests.sizes, dtype=np.int64)[keys]
    again, distance = _distances(keys)
    order = np.argsort(distance, kind="stable")
    sorted_, answered = distance[order], np.concatenate(([0], np.cumsum(sizes[again][order])))
    found = {}
    for capacity in capacities:
        hits = int(np.searchsorted(sorted_, capacity, side="left"))
        found[capacity] = Found(len(keys) - hits, int(sizes.sum()) - int(answered[hits]))
    return found


def _distances(keys: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Any, Any]:
    """The requests that are not the first of their key, and the distance of each."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    again, previous = order[1:][same], order[:-1][same]
    by_time = np.argsort(again, kind="stable")
    again, previous = again[by_time], previous[by_time]
    ranks = np.empty(len(previous), dtype=np.int64)
    ranks[np.argsort(previous, kind="stable")] = np.arange(len(previous))
    return again, again - previous - 1 - _larger_before(ranks)


def _larger_before(values: Any) -> Any:
    """For each of a permutation of 0, 1, 2, … how many larger ones stand before it.

    From the highest bit down: among those that agree so far, each with a 0 is behind the larger ones with a 1 that came
    before it; then they are parted by that bit, in order.  A permutation has each group where its values say.
    """
    import numpy as np

    size = len(values)
    found, places, where = np.zeros(size, dtype=np.int64), np.arange(size), np.arange(size)
    ones = np.zeros(size + 1, dtype=np.int64)
    for bit in range(max(size - 1, 0).bit_length() - 1, -1, -1):
        start = (values >> (bit + 1)) << (bit + 1)
        is_one = (values >> bit) & 1
        np.cumsum(is_one, out=ones[1:])
        before = ones[:-1] - ones[start]
        zero = is_one == 0
        found[where[zero]] += before[zero]
        target = np.where(zero, places - before, start + (1 << bit) + before)
        moved, moved_where = np.empty_like(values), np.empty_like(where)
        moved[target], moved_where[target] = values, where
        values, where = moved, moved_where
    return found
