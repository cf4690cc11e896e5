"""Recommendations: a table of rules, each with the number that it rests on and what following it is worth.

Rule 1: every recommendation carries its figure, and the calls and the money at stake where they are known.
Rule 2: what may be wrong (damage, errors) comes first, then what is worth most.
Rule 3: few events say little: a share counts from `ENOUGH` events on.

The thresholds are judgements, meant to be read beside the number: the shares are what makes a cause the main one rather
than one among several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from scoutcache.insight.report.savings import Saved, Savings
from scoutcache.insight.report.sections import COUNTERS, LOG, Section
from scoutcache.insight.units import duration
from scoutcache.oplog.totals import Stats
from scoutcache.wording.omitted import cause_of, omitted, remedies_of

__all__ = ["Recommendation", "Seen", "recommendations"]

ENOUGH: Final = 100
"""Requests (or entries) below which a share says little."""
EACH: Final = 3
"""How often a rule speaks, at most: for the groups that it says most of."""
FEW: Final = 0.2
"""The hit rate under which a prefix is hardly used."""
MUCH: Final = 0.1
"""The part of all the money saved from which on a prefix pays, however few of its requests are hits."""
WHOLE: Final = "all"
Rows = Sequence[Mapping[str, Any]]


class Recommendation(NamedTuple):
    """*advice* in words, resting on *figure* having *value* in *unit*, seen in *about* (a prefix, a tier, or all).

    *calls* is how many calls in the period it concerns, *worth_usd* what they cost; None where that is unknown.
    """

    advice: str
    about: str
    figure: str
    value: float
    unit: str = "share"
    calls: int | None = None
    worth_usd: float | None = None


@dataclass(frozen=True)
class Seen:
    """What the rules look at: figures of the whole and of prefixes, money, and the rows of sections.

    *ages* is by prefix the ttl that most requests for expired entries would have needed, *ended* how many misses that
    were cold to whoever asked the log puts down to an invalidation.
    """

    stats: Stats
    prefixes: Stats
    savings: Savings
    ages: Mapping[str, float] = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)

    def rows(self, name: str) -> Rows:
        """The rows of a section."""
        return self.sections[name].rows if name in self.sections else ()

    def missed(self, group: Mapping[str, Any], reason: str) -> int:
        """How many misses of a prefix were for *reason*, as far as the counters and the log know."""
        counted: Mapping[str, int] = group["misses_by_reason"]
        ended = min(self.ended.get(group["prefix"], 0), counted.get("cold", 0))
        return counted.get(reason, 0) + {"cold": -ended, "invalidated": ended}.get(reason, 0)

    def place(self, row: Mapping[str, Any]) -> str:
        """The prefix of a row, and its namespace where there are several."""
        several = len({namespace for namespace, _ in self.savings.pairs}) > 1
        return f"{_of(row['prefix'])} in {row['namespace']}" if several else _of(row["prefix"])

    def pays(self, namespace: str, prefix: str) -> bool:
        """Would much be lost without the entries of a prefix: many of its requests, or much of the money?"""
        saved = self.savings.pairs.get((namespace, prefix), Saved())
        return _share(saved.hits, saved.requests) >= FEW or (saved.usd or 0.0) > MUCH * (self.savings.usd or 0.0)

    def worth(self, calls: int, prefix: str | None = None) -> float | None:
        """What so many calls cost, at the average of the prefix (None: of all); None without a price."""
        found = [saved for (_, name), saved in self.savings.pairs.items() if prefix in {None, name}]
        usd = sum(saved.usd for saved in found if saved.usd is not None)
        hits = sum(saved.stated + saved.later for saved in found)
        return round(usd / hits * calls, 6) if hits else None


_Rule = Callable[[Seen], Iterator[Recommendation]]


def recommendations(seen: Seen) -> Section:
    """What to change, the most telling first; no rows when there is nothing to say."""
    wrong = [one for rule in _WRONG for one in rule(seen)]
    found = [one for rule in _RULES for one in islice(rule(seen), EACH)]
    found.sort(key=lambda one: (-(one.worth_usd or 0.0), -(one.calls or 0)))
    rows = [one._asdict() for one in [*wrong, *found, *(one for rule in _LAST for one in rule(seen))]]
    about = "What to change: possible faults first, then what is worth most, each with the number it rests on."
    note = "Calls are those of this period that it concerns; worth is what they cost at the average price of a call."
    return Section("recommendations", "Recommendations", Recommendation._fields, rows, f"{COUNTERS} and {LOG}", note,
                   about, ("advice", "about", "figure", "value", "worth_usd"))  # fmt: skip


def _share(part: int, whole: int) -> float:
    return part / whole if whole >= ENOUGH else 0.0


def _of(prefix: str) -> str:
    return prefix or "keys without a prefix"


def _corrupt(seen: Seen) -> Iterator[Recommendation]:
    if corrupt := seen.stats.total.misses_by_reason["corrupt"]:
        yield Recommendation("Run scoutcache verify: stored entries were damaged.", WHOLE, "corrupt entries met",
                             corrupt, "count", corrupt, seen.worth(corrupt))  # fmt: skip


def _failing(seen: Seen) -> Iterator[Recommendation]:
    rows = [row for row in seen.rows("failures") if row["failures"]]
    if rows:
        most = rows[0]
        yield Recommendation(f"Look at what computes these: it fails with {most['error']}.", seen.place(most),
                             "computations that failed", sum(row["failures"] for row in rows), "count")  # fmt: skip


def _errors(seen: Seen) -> Iterator[Recommendation]:
    if seen.stats.total.errors:
        yield Recommendation("Run scoutcache doctor: a tier failed.", WHOLE, "errors", seen.stats.total.errors, "count")


def _fallen(seen: Seen) -> Iterator[Recommendation]:
    for row in seen.rows("movers"):
        if row["change"] < -0.1 and row["requests"] >= ENOUGH:
            lost = round(-row["change"] * row["requests"])
            text = "The hit rate fell: look at what was deployed then, at its keys (is something new in them?) and ttl."
            yield Recommendation(text, seen.place(row), "change of the hit rate against the time before",
                                 row["change"], "share", lost, seen.worth(lost, row["prefix"]))  # fmt: skip


def _evicted(seen: Seen) -> Iterator[Recommendation]:
    evicted = seen.stats.total.misses_by_reason["evicted"]
    share = _share(evicted, seen.stats.total.misses)
    if share > 0.2:
        text = "Give the tiers more room (max_bytes, max_entries): entries are asked for again after they were "
        text += "evicted. scoutcache advise says how much."
        yield Recommendation(text, WHOLE, "share of misses that were evicted", share, "share", evicted,
                             seen.worth(evicted))  # fmt: skip


def _expired(seen: Seen) -> Iterator[Recommendation]:
    for prefix, count, share in _shares(seen, "expired"):
        needed = seen.ages.get(prefix)
        text = "Give this prefix a longer ttl, or a stale_ttl if an old answer will do while a new one is made."
        if needed is not None:
            text = f"Give this prefix a ttl of {duration(needed)} ([ttl] {prefix or 'default_ttl'}): it would have "
            text += "answered four in five of these. Or a stale_ttl, if an old answer will do while a new one is made."
        yield Recommendation(text, _of(prefix), "share of misses that had expired", share, "share", count,
                             seen.worth(count, prefix))  # fmt: skip


def _invalidated(seen: Seen) -> Iterator[Recommendation]:
    for prefix, count, share in _shares(seen, "invalidated"):
        text = "Invalidate this prefix more narrowly: by tag or by a pattern per record. Storms say who did it."
        yield Recommendation(text, _of(prefix), "share of misses that were invalidated", share, "share", count,
                             seen.worth(count, prefix))  # fmt: skip


def _shares(seen: Seen, reason: str) -> Iterator[tuple[str, int, float]]:
    """The prefixes of which more than three misses in ten are for *reason*, with how many and their share."""
    for group in seen.prefixes.groups:
        count = seen.missed(group, reason)
        share = _share(count, group["misses"])
        if share > 0.3:
            yield group["prefix"], count, share


def _cold(seen: Seen) -> Iterator[Recommendation]:
    for group in seen.prefixes.groups:
        rate, cold = group["hit_rate"], seen.missed(group, "cold")
        if rate is not None and rate < FEW and group["requests"] >= ENOUGH and _share(cold, group["misses"]) > 0.8:
            text = "Hardly any key of this prefix is asked for twice: warm it, widen its keys, or don't cache it."
            yield Recommendation(text, _of(group["prefix"]), "hit rate", rate, "share", cold,
                                 seen.worth(cold, group["prefix"]))  # fmt: skip


def _wasted(seen: Seen) -> Iterator[Recommendation]:
    for row in seen.rows("wasted"):
        if row["written"] >= ENOUGH and row["share"] > 0.5:
            text = "Most entries of this prefix are never read: shorten its ttl, or don't cache it."
            if seen.pays(row["namespace"], row["prefix"]):
                text = "Most entries of this prefix are never read, but the others pay: keep it. A shorter ttl would "
                text += "give back the room, or tinylfu ([memory] strategy), which keeps what is asked for again."
            yield Recommendation(text, seen.place(row), "share of entries written and never read", row["share"])


def _storms(seen: Seen) -> Iterator[Recommendation]:
    rows = [row for row in seen.rows("storms") if row["keys_lost"] >= ENOUGH]
    if rows:
        again, usd = sum(row["recomputed"] for row in rows), [row["recompute_usd"] for row in rows]
        text = "Spread invalidations out or name less at once, or use --action mark-stale, so that old answers serve "
        text += "while new ones are made."
        worth = sum(one for one in usd if one is not None) if any(one is not None for one in usd) else None
        yield Recommendation(text, WHOLE, "keys lost in storms and asked for again",
                             sum(row["keys_lost"] for row in rows), "count", again, worth)  # fmt: skip


def _waits(seen: Seen) -> Iterator[Recommendation]:
    for row in seen.rows("stampedes"):
        if row["prevented"] >= ENOUGH and (row["p95_us"] or 0.0) > 1e6:
            text = "Callers wait for one computation: a stale_ttl answers them at once, refresh_ahead renews in time."
            yield Recommendation(text, seen.place(row), "95th percentile of waiting", row["p95_us"], "us",
                                 row["prevented"])  # fmt: skip


def _slow(seen: Seen) -> Iterator[Recommendation]:
    for row in seen.rows("slow"):
        if row["slow"] >= 10 and row["share"] > 0.01:
            key = row["what"] == "making the key"
            text = "Making these keys is slow: hash long texts once and hand the digest over." if key else (
                "The cache is slow here: look at its disk or its server with scoutcache doctor and scoutcache bench."
            )  # fmt: skip
            yield Recommendation(text, f"{row['what']}{' in ' + row['tier'] if row['tier'] else ''}, "
                                 f"{_of(row['prefix'])}", "share above the alert level", row["share"])  # fmt: skip


def _compression(seen: Seen) -> Iterator[Recommendation]:
    for row in seen.rows("compression"):
        about, ratio = f"{_of(row['prefix'])}, {row['codec']}", row["ratio_times"]
        if row["writes"] < ENOUGH or ratio is None:
            continue
        if row["codec"] == "none" and row["size_bytes"] / row["writes"] > 4096:
            yield Recommendation("Large values are stored as they are: try scoutcache bench compression.", about,
                                 "stored without compression", row["size_bytes"], "bytes")  # fmt: skip
        elif row["codec"] != "none" and ratio < 1.15:
            yield Recommendation("Compression hardly gains anything here: a policy with none saves its time.", about,
                                 "times smaller", ratio, "times")  # fmt: skip


def _bypassed(seen: Seen) -> Iterator[Recommendation]:
    reasons = seen.stats.total.misses_by_reason
    count = reasons["bypassed"]
    share = _share(count, seen.stats.total.requests)
    if share > 0.2:
        yield Recommendation("Look at the conditions and at `enabled`: many calls go past the cache.", WHOLE,
                             "share of requests that bypassed the cache", share, "share", count,
                             seen.worth(count))  # fmt: skip


def _left_out(seen: Seen) -> Iterator[Recommendation]:
    left_out = omitted(seen.stats.left_out)
    if remedies := remedies_of(left_out):
        text = f"If sections about keys matter to you, {remedies}; counters are exact as they are."
        evidence = f"records left out of the log: {cause_of(left_out)}"
        yield Recommendation(text, WHOLE, evidence, sum(left_out.values()), "count")


def _unpriced(seen: Seen) -> Iterator[Recommendation]:
    if seen.savings.usd is None and seen.stats.total.hits:
        text = "Set [costs] default_call_usd, or give set and get_or_compute a cost, to see the money saved."
        yield Recommendation(text, WHOLE, "hits without a known cost",
                             seen.stats.total.hits - seen.stats.total.hits_with_cost, "count")  # fmt: skip


_WRONG: Final[tuple[_Rule, ...]] = (_corrupt, _errors, _failing, _fallen)
_RULES: Final[tuple[_Rule, ...]] = (
    _evicted, _expired, _invalidated, _storms, _cold, _bypassed, _waits, _slow, _wasted, _compression,
)  # fmt: skip
_LAST: Final[tuple[_Rule, ...]] = (_left_out, _unpriced)
