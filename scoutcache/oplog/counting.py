"""Events become counters: those that differ in their figures only are counted together.

A process at work records thousands of events a second, of a handful of kinds; counting them one by one cost more than
reading an entry from disk.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from scoutcache.keys import prefix_of
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS, RUNS, Event
from scoutcache.oplog.tally import Tally

__all__ = ["KEYGEN", "count_events", "count_makings", "price_of", "timed_as"]

KEYGEN: Final = "keygen"
"""The histogram of how long the process's keys took to make: no namespace's, for a key has none yet."""

_WAITED: Final = frozenset({"joined", "slow"})
"""Reasons of hits that waited for a computation or another's read, be it in vain: their time is nothing of a tier's."""

_MINUTE_NS = 60_000_000_000


class _Kind(NamedTuple):
    """What the events of one group have in common."""

    kind: str
    namespace: str
    prefix: str
    tier: str
    outcome: str
    reason: str
    minute: int


def count_events(tally: Tally, events: Sequence[Event], offset: int, default_call_usd: float | None) -> None:
    """Count *events* in *tally*.  *offset* is nanoseconds from the monotonic clock to the epoch."""
    groups: dict[tuple[str, str, str, str, str, str, int], list[Event]] = {}
    for event in events:
        kind, namespace, key, tier, outcome, reason, _, ended, *_ = event
        common = kind, namespace, prefix_of(key), tier, outcome, reason, (ended + offset) // _MINUTE_NS
        groups.setdefault(common, []).append(event)
    for common, group in groups.items():
        _count(tally, _Kind(*common), group, default_call_usd)


def _count(tally: Tally, of: _Kind, events: Sequence[Event], default_call_usd: float | None) -> None:
    costs = [usd for event in events if (usd := price_of(event, default_call_usd)) is not None and math.isfinite(usd)]
    seconds = [run for event in events if (run := event.factory_s) is not None and math.isfinite(run)]
    reason = "" if of.kind == "invalidate" else of.reason  # the user's own words are for the log, not for counting
    tally.add(
        of.minute, of.namespace, of.prefix, of.tier, of.kind, of.outcome, reason, times=len(events),
        size=sum([event.size for event in events if event.size]), cost=sum(costs) if costs else None,
        costed=len(costs), seconds=sum(seconds),
    )  # fmt: skip
    took = Counter([event.ended_ns - event.began_ns for event in events if event.ended_ns > event.began_ns])
    if took:
        tally.spread(of.minute, of.namespace, *timed_as(of.tier, of.kind, of.outcome, of.reason)).add_all(took)
    if seconds:
        tally.spread(of.minute, of.namespace, "", "factory").add_all(Counter([int(run * 1e9) for run in seconds]))


def count_makings(tally: Tally, minute: int, events: Iterable[Event]) -> None:
    """Count in *tally* how long the keys of *events* took to make."""
    took = Counter([round(event.keygen_us * 1000) for event in events if event.keygen_us is not None])
    if took:
        tally.spread(minute, "", "", KEYGEN).add_all(took)


def price_of(event: Event, default: float | None) -> float | None:
    """What the call cost that was made, or needn't be: the entry's own cost, else the *default*."""
    if event.cost is not None or default is None:
        return event.cost
    saved = event.kind in REQUESTS and event.outcome in HIT_OUTCOMES
    return default if saved or (event.kind in RUNS and event.factory_s is not None) else None


def timed_as(tier: str, kind: str, outcome: str, reason: str) -> tuple[str, str]:
    """Whose latencies an event of this kind belongs to, and which."""
    if kind not in REQUESTS:
        return tier, kind
    if reason in _WAITED:
        return "", "joined"
    return tier, "hit" if outcome in HIT_OUTCOMES else "miss"
