"""Recommendations: a table of rules, each with the number that it rests on and the threshold it crossed.

The thresholds are judgements, meant to be read beside the number: a hit rate of 0.5 is the alert level of the
configuration's default; the shares are what makes a cause the main one rather than one among several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from scoutcache.oplog.totals import Stats

__all__ = ["Recommendation", "recommendations"]

ENOUGH: Final = 100
"""Requests (or entries) below which a share says little."""


class Recommendation(NamedTuple):
    """*advice* in words, resting on *figure* having *value*, seen in *about* (a prefix, a tier, or all)."""

    advice: str
    about: str
    figure: str
    value: float


_Rule = Callable[[Stats, Stats], Iterator[Recommendation]]


def recommendations(stats: Stats, prefixes: Stats, money: float | None,
                    wasted: Sequence[Mapping[str, Any]]) -> list[Recommendation]:  # fmt: skip
    """What to change, the most telling first; nothing when there is nothing to say."""
    found = [one for rule in _RULES for one in rule(stats, prefixes)]
    found += _wasted(wasted)
    if money is None and stats.total.hits:
        found.append(Recommendation(
            "Set [costs] default_call_usd, or give set and get_or_compute a cost, to see the money saved.",
            "all", "hits without a known cost", stats.total.hits - stats.total.hits_with_cost,
        ))  # fmt: skip
    return found


def _share(part: int, whole: int) -> float:
    return part / whole if whole >= ENOUGH else 0.0


def _evicted(stats: Stats, _: Stats) -> Iterator[Recommendation]:
    share = _share(stats.total.misses_by_reason["evicted"], stats.total.misses)
    if share > 0.2:
        text = "Give the tiers more room (max_bytes, max_entries): entries are asked for again after they were evicted."
        yield Recommendation(text, "all", "share of misses that were evicted", share)


def _expired(_: Stats, prefixes: Stats) -> Iterator[Recommendation]:
    for group in prefixes.groups:
        share = _share(group["misses_by_reason"].get("expired", 0), group["misses"])
        if share > 0.3:
            text = "Give this prefix a longer ttl, or a stale_ttl if an old answer will do while a new one is made."
            yield Recommendation(
                text, group["prefix"] or "keys without a prefix", "share of misses that had expired", share
            )


def _invalidated(_: Stats, prefixes: Stats) -> Iterator[Recommendation]:
    for group in prefixes.groups:
        share = _share(group["misses_by_reason"].get("invalidated", 0), group["misses"])
        if share > 0.3:
            text = "Invalidate this prefix more narrowly: by tag or by a pattern per record."
            yield Recommendation(
                text, group["prefix"] or "keys without a prefix", "share of misses that were invalidated", share
            )


def _cold(_: Stats, prefixes: Stats) -> Iterator[Recommendation]:
    for group in prefixes.groups:
        rate = group["hit_rate"]
        cold = _share(group["misses_by_reason"].get("cold", 0), group["misses"])
        if rate is not None and rate < 0.2 and group["requests"] >= ENOUGH and cold > 0.8:
            text = "Hardly any key of this prefix is asked for twice: warm it, widen its keys, or don't cache it."
            yield Recommendation(text, group["prefix"] or "keys without a prefix", "hit rate", rate)


def _corrupt(stats: Stats, _: Stats) -> Iterator[Recommendation]:
    if corrupt := stats.total.misses_by_reason["corrupt"]:
        yield Recommendation(
            "Run scoutcache verify: stored entries were damaged.", "all", "corrupt entries met", corrupt
        )


def _errors(stats: Stats, _: Stats) -> Iterator[Recommendation]:
    if stats.total.errors:
        yield Recommendation("Run scoutcache doctor: a tier failed.", "all", "errors", stats.total.errors)


def _bypassed(stats: Stats, _: Stats) -> Iterator[Recommendation]:
    reasons = stats.total.misses_by_reason
    share = _share(reasons["bypassed"] + reasons["disabled"], stats.total.requests)
    if share > 0.2:
        text = "Look at the conditions and at `enabled`: many calls go past the cache."
        yield Recommendation(text, "all", "share of requests that bypassed the cache", share)


def _left_out(stats: Stats, _: Stats) -> Iterator[Recommendation]:
    left_out = sum(count for reason, count in stats.left_out.items() if reason in {"rate", "overflow"})
    if left_out:
        text = "Raise [oplog] max_records_per_s if sections about keys matter to you; counters are exact as they are."
        yield Recommendation(text, "all", "records left out of the log", left_out)


def _wasted(wasted: Sequence[Mapping[str, Any]]) -> Iterator[Recommendation]:
    for row in wasted:
        if row["written"] >= ENOUGH and row["share"] > 0.5:
            text = "Most entries of this prefix are never read: shorten its ttl, or don't cache it."
            about = row["prefix"] or "keys without a prefix"
            yield Recommendation(text, about, "share of entries written and never read", row["share"])


_RULES: Final[tuple[_Rule, ...]] = (_corrupt, _errors, _evicted, _expired, _invalidated, _cold, _bypassed, _left_out)
