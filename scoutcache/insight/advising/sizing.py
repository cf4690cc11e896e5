"""How big, and which policy: the log replayed at some sizes up to the budget, then by every policy at the one chosen.

Rule 1: enough is the smallest size within one point of what the largest one gives: room beyond it buys nothing.
Rule 2: another policy than the default is advised only where it is better by half a point: less is noise.
Rule 3: of the two limits of memory the one that leaves fewer hits is the present one.
Rule 4: more than `LIMIT` events are sampled by key, and then the errors are said.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from scoutcache.insight.simulation.curves import Point, Size, curves
from scoutcache.insight.simulation.requests import Requests
from scoutcache.oplog.records import kept_at

__all__ = ["LIMIT", "Sizing", "find_size", "sampled"]

LIMIT: Final = 500_000
_SHARES: Final = (0.01, 0.03, 0.1, 0.3, 1.0)
_ENOUGH: Final = 0.01
_BETTER: Final = 0.005
_DEFAULT: Final = "adaptive"
_CANDIDATES: Final = ("lru", "tinylfu", "gdsf", "s3fifo", "sieve")


class Sizing(NamedTuple):
    """What was found.  *now* is the configured size and policy, *best* what is advised; *points* are all curves.

    *now* is in entries where their number binds; then *by_bytes* is what their bytes alone would allow.
    """

    now: Point
    best: Point
    everything: Point
    points: list[Point]
    rate: float
    by_bytes: Point | None = None


def sampled(requests: Requests, limit: int) -> Requests:
    """*requests*, or those of so many keys, chosen by their hash, that about *limit* events are left."""
    rate = requests.rate
    while len(requests.keys) * rate / requests.rate > limit:
        rate /= 2
    if rate == requests.rate:
        return requests
    stay = [number for number, name in enumerate(requests.names) if kept_at(name) < rate]
    renamed = dict(zip(stay, range(len(stay)), strict=True))
    events = [at for at, key in enumerate(requests.keys) if key in renamed]
    return Requests(
        [renamed[requests.keys[at]] for at in events], [requests.sizes[number] for number in stay],
        [requests.names[number] for number in stay], bytearray(requests.acts[at] for at in events if requests.acts),
        [requests.times[at] for at in events if requests.acts], [requests.ttls[at] for at in events if requests.acts],
        [requests.costs[number] for number in stay] if requests.costs else [], rate,
        requests.expected and requests.expected * rate / requests.rate,
    )  # fmt: skip


def find_size(requests: Requests, *, max_bytes: int, max_entries: int, strategy: str, budget: int | None,
              limit: int = LIMIT) -> Sizing:  # fmt: skip
    """Replay *requests* with the configured limits and *strategy*, and look for what suits within *budget*."""
    requests = sampled(requests, limit)
    everything = max(1, round(requests.distinct_bytes / requests.rate))
    most = everything if budget is None else min(everything, budget)
    strategy = strategy if strategy in {*_CANDIDATES, _DEFAULT, "lfu"} else {"ttl": "fifo"}.get(strategy, _DEFAULT)
    wanted = {round(share * everything) for share in _SHARES if 1 <= round(share * everything) <= most} | {most}
    sizes = [Size(str(capacity), capacity, "bytes", capacity / everything) for capacity in sorted(wanted)]
    present, entries = [Size("now", max_bytes, "bytes", max_bytes / everything)], requests.distinct / requests.rate
    if max_entries < entries:
        present.append(Size("now", max_entries, "entries", max_entries / entries))
    points = curves(requests, [_DEFAULT], [*sizes, *present])
    ratio = points[len(sizes) - 1].hit_ratio
    enough = next(size for size, point in zip(sizes, points, strict=False) if point.hit_ratio >= ratio - _ENOUGH)
    others = curves(requests, [*_CANDIDATES, "opt"], [enough])
    at_enough = points[sizes.index(enough)]
    best = max(others[:-1], key=lambda point: point.hit_ratio)
    best = best if best.hit_ratio > at_enough.hit_ratio + _BETTER else at_enough
    own = points[len(sizes) :] if strategy == _DEFAULT else curves(requests, [strategy], present)
    now = min(own, key=lambda point: point.hit_ratio)
    return Sizing(now, best, points[len(sizes) - 1], [*points[: len(sizes)], *others], requests.rate,
                  None if now is own[0] else own[0])  # fmt: skip
