"""The rules of advice: each looks at the evidence and says what to change, on what figures, and what that would do.

The thresholds are judgements, and stand beside the figures they were held against.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any, Final, NamedTuple

from scoutcache.insight.advising.evidence import Evidence, OfPrefix
from scoutcache.insight.advising.repeats import Repeats
from scoutcache.insight.advising.sizing import Sizing
from scoutcache.insight.simulation.curves import Point
from scoutcache.insight.simulation.requests import Requests
from scoutcache.insight.units import percent
from scoutcache.wording.nouns import counted

__all__ = ["LEAST", "Advice", "advice", "duration_text", "size_text"]

ENOUGH: Final = 100
"""Requests or entries below which a share says little."""
LEAST: Final = 1_000_000
"""No smaller memory is advised, however little the log holds."""
_NICE: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400, 172_800, 345_600,
    604_800, 1_209_600, 2_592_000, 7_776_000,
)  # fmt: skip
_TO_THE_MS: Final = 10.0
"""Seconds below which a part of one matters."""
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


class Advice(NamedTuple):
    """*advice* on *about*, with the figures it rests on and what it would change; *setting* and *value* where one does.

    *topic* is one of size, policy, ttl, not_worth_caching, tag, repeats, cost.
    """

    topic: str
    about: str
    advice: str
    evidence: str
    expected: str
    setting: str | None = None
    value: Any = None


def duration_text(seconds: float) -> str:
    """A duration as the configuration takes it, a short one to the millisecond: ``"2h"``, ``"300ms"``."""
    if seconds == inf:
        return "never"
    if seconds < _TO_THE_MS and (thousandths := max(1, round(seconds * 1000))) % 1000:
        return f"{thousandths}ms"
    whole = round(seconds)
    size, unit = next((size, unit) for size, unit in _UNITS if whole % size == 0)
    return f"{whole // size}{unit}"


def size_text(size: int) -> str:
    """A size in bytes as the configuration takes it, rounded up: ``"64MB"``."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= 10 * unit or (size >= unit and size % unit == 0):
            return f"{-(-size // unit)}{name}"
    return f"{size}B"


def advice(evidence: Evidence, found: Repeats, sizing: Sizing, requests: Requests, max_entries: int) -> list[Advice]:
    """Everything there is to say, what concerns the whole first; each rule may find nothing."""
    if evidence.requests < ENOUGH:
        return [Advice("size", "all", "Use the cache for longer before you change it: this is too little to go by.",
                       f"{counted(evidence.requests, 'request')}, at least {ENOUGH} wanted", "nothing")]  # fmt: skip
    return [
        *_size(sizing, requests, max_entries), *_policy(sizing),
        *(one for prefix in _by_misses(evidence) for one in _ttl(prefix, evidence.seconds)),
        *(one for prefix in _by_misses(evidence) for one in _not_worth(prefix, evidence)),
        *_tags(evidence), *_repeats(found), *_cost(evidence),
    ]  # fmt: skip


def _by_misses(evidence: Evidence) -> list[OfPrefix]:
    return sorted(evidence.prefixes.values(), key=lambda one: (-one.missed, one.prefix))


def _error(sizing: Sizing) -> str:
    error = sizing.best.error
    return "" if error is None else f"; keys sampled 1 in {1 / sizing.rate:.0f}, each ratio ± {percent(error)}"


def _size(sizing: Sizing, requests: Requests, max_entries: int) -> Iterator[Advice]:
    best = sizing.best
    gain = _at_least(sizing).hit_ratio - sizing.now.hit_ratio
    needed = _entries_at(best, requests)
    if sizing.by_bytes is not None and _entries_at(sizing.everything, requests) > max_entries:
        yield _entries(sizing, requests, max_entries)
        if best.capacity <= sizing.by_bytes.capacity:
            return
        needed = max_entries  # it is said already
    yield _bytes(sizing, requests, gain)
    if needed > max_entries:
        text = f"Allow memory {counted(needed, 'entry')}: their number would limit it before their bytes do."
        average = requests.distinct_bytes // max(requests.distinct, 1)
        evidence = f"{counted(requests.distinct, 'key')} of {counted(average, 'byte')} on average"
        yield Advice("size", "memory", text, evidence, "the size above can be used", "memory.max_entries", needed)


def _replayed(sizing: Sizing, requests: Requests) -> str:
    """What the replay gave, for evidence."""
    now, best, everything = sizing.now, sizing.best, sizing.everything
    size = size_text(now.capacity) if now.unit == "bytes" else f"{counted(now.capacity, 'entry')} (max_entries)"
    return (
        f"replay of {counted(requests.count, 'request')}: {percent(now.hit_ratio)} hits with {size} "
        f"({now.policy}), {percent(best.hit_ratio)} with {size_text(best.capacity)} ({best.policy}), "
        f"{percent(everything.hit_ratio)} with {size_text(everything.capacity)}{_error(sizing)}"
    )


def _entries_at(point: Point, requests: Requests) -> int:
    """How many entries memory must allow, with some to spare, to use the room of *point*."""
    return round(requests.distinct / requests.rate * min(point.share, 1.0) * 1.1) + 1


def _entries(sizing: Sizing, requests: Requests, max_entries: int) -> Advice:
    """Memory has room for more bytes, but may not hold more entries."""
    found = _at_least(sizing)
    if _entries_at(found, requests) <= max_entries or found.hit_ratio <= sizing.now.hit_ratio:
        found = sizing.everything
    more, gain = _entries_at(found, requests), found.hit_ratio - sizing.now.hit_ratio
    text = f"Allow memory {counted(more, 'entry')}: their number is what limits it."
    if gain <= 0.01:
        text = f"Memory is nearly large enough: the number of entries limits it; {more:,} would lose nothing."
    return Advice("size", "memory", text, _replayed(sizing, requests), f"hit ratio {100 * gain:+.1f} points",
                  "memory.max_entries", more)  # fmt: skip


def _bytes(sizing: Sizing, requests: Requests, gain: float) -> Advice:
    now, best, everything = sizing.by_bytes or sizing.now, sizing.best, sizing.everything
    if best.capacity <= now.capacity and abs(gain) <= 0.01:
        loss = "and lose a point of hits at most" if gain < -0.0005 else "without losing hits"
        text = f"Memory is large enough; it could be smaller {loss}."
        smaller = min(max(best.capacity, LEAST), now.capacity)
        expected = f"{size_text(now.capacity)} to {size_text(smaller)}, hit ratio {100 * gain:+.1f} points"
    else:
        less = everything.capacity < now.capacity and gain < 0
        why = "it is all that the budget allows" if less else "more buys less than a point"
        text = f"Give memory {size_text(max(best.capacity, LEAST))}: {why}."
        expected = f"hit ratio {100 * gain:+.1f} points"
    return Advice("size", "memory", text, _replayed(sizing, requests), expected, "memory.max_bytes",
                  size_text(max(best.capacity, LEAST)))  # fmt: skip


def _at_least(sizing: Sizing) -> Point:
    """What the size that is advised gives: the best one's figures, or where that is under `LEAST`, a larger one's."""
    best = sizing.best
    fits = [point for point in sizing.points if point.policy == best.policy and point.capacity <= LEAST]
    return max([best, *fits], key=lambda point: point.capacity)


def _policy(sizing: Sizing) -> Iterator[Advice]:
    same = [point for point in sizing.points if point.capacity == sizing.best.capacity]
    ratios = ", ".join(f"{point.policy} {percent(point.hit_ratio)}" for point in same)
    default = next(point for point in same if point.policy == "adaptive")
    gain = sizing.best.hit_ratio - default.hit_ratio
    chosen = sizing.best.policy
    text = f"Use the strategy {chosen}." if chosen != "adaptive" else "Keep the strategy adaptive: no other is better."
    expected = f"hit ratio {100 * gain:+.1f} points over adaptive" if gain else "no other gains half a point"
    about = f"{size_text(sizing.best.capacity)}: {ratios} (opt knows the future){_error(sizing)}"
    yield Advice("policy", "memory", text, about, expected, "memory.strategy", chosen)


def _ttl(prefix: OfPrefix, seconds: float) -> Iterator[Advice]:
    """*seconds* is what the log spans: who saw less than a life of the entries can't say that its end is wasted."""
    ttl, ages = prefix.ttl, sorted([*prefix.read_at, *prefix.expired_at])
    if ttl is None or len(ages) < ENOUGH:
        return
    wanted = next((nice for nice in _NICE if nice >= ages[int(0.95 * (len(ages) - 1))]), _NICE[-1])
    expired = prefix.misses["expired"]
    setting = f"ttl.{prefix.prefix}" if prefix.prefix else "default_ttl"
    about, requests = prefix.prefix or "keys without a prefix", counted(prefix.requests, "request")
    if expired > 0.05 * prefix.requests and wanted > ttl:
        more = sum(age < wanted for age in prefix.expired_at)
        yield Advice(
            "ttl", about, f"Let them live {duration_text(wanted)}, if an answer may be that old.",
            f"{expired:,} of {counted(prefix.missed, 'miss')} had expired (ttl {duration_text(ttl)}); 95 % of uses are "
            f"within {duration_text(wanted)} of the write", f"{counted(more, 'more hit')} of {requests}",
            setting, duration_text(wanted),
        )  # fmt: skip
    elif 4 * wanted < ttl <= seconds and prefix.written >= ENOUGH:
        lost = sum(age >= wanted for age in prefix.read_at)
        yield Advice(
            "ttl", about, f"{duration_text(wanted)} would do.",
            f"95 % of {len(ages)} uses are within {duration_text(wanted)} of the write, ttl {duration_text(ttl)}",
            f"{counted(lost, 'fewer hit')} of {requests}, and the space of entries that nobody requests any more",
            setting, duration_text(wanted),
        )  # fmt: skip


def _not_worth(prefix: OfPrefix, evidence: Evidence) -> Iterator[Advice]:
    about = prefix.prefix or "keys without a prefix"
    stored = sum(one.bytes for one in evidence.prefixes.values())
    unread = prefix.never_read / prefix.written if prefix.written else 0.0
    if prefix.written >= ENOUGH and prefix.hits <= 0.05 * prefix.requests and unread > 0.9:
        yield Advice(
            "not_worth_caching", about, "Don't cache these.",
            f"{counted(prefix.hits, 'hit')} of {counted(prefix.requests, 'request')}; never read: {prefix.never_read:,}"
            f" of {counted(prefix.written, 'entry')}",
            f"{percent(prefix.never_read_bytes / stored if stored else 0.0)} of the stored bytes freed, "
            f"{counted(prefix.hits, 'hit')} lost",
        )  # fmt: skip
    elif prefix.computed >= ENOUGH and not prefix.costed and prefix.computing_s / prefix.computed < 0.0001:
        each = 1e6 * prefix.computing_s / prefix.computed
        yield Advice(
            "not_worth_caching", about, "Compute these each time: that is faster than reading them from disk.",
            f"computing takes {each:.0f} µs on average of {prefix.computed}",
            counted(prefix.written, "fewer entry"),
        )  # fmt: skip


def _tags(evidence: Evidence) -> Iterator[Advice]:
    busy = [tag for tag in evidence.tags.values() if tag.invalidations > tag.reads and tag.invalidations >= 5]
    for tag in sorted(busy, key=lambda tag: (tag.reads - tag.invalidations, tag.tag))[:20]:
        yield Advice(
            "tag", tag.tag, "Invalidate more narrowly, or don't cache what carries this tag.",
            f"invalidated {counted(tag.invalidations, 'time')}, read {counted(tag.reads, 'time')}, written "
            f"{counted(tag.writes, 'time')}",
            "what dies before it is read is not written",
        )  # fmt: skip


def _repeats(found: Repeats) -> Iterator[Advice]:
    near = "unknown" if found.near is None else percent(found.near)
    evidence = (
        f"exact repeats {percent(found.exact)}, prefix repeats {percent(found.prefix)}, near repeats {near}; "
        f"{percent(found.without_text)} are new keys without readable text"
    )
    if found.exact < 0.1:
        text = "Few requests repeat exactly: widen the keys, or let the semantic tier look for near ones."
    else:
        text = "No cache of these keys can answer more than exact repeats, and what is stored before it is asked for."
    yield Advice("repeats", "all", text, evidence, f"at most {percent(found.exact)} hits by repeats; {found.how}")


def _cost(evidence: Evidence) -> Iterator[Advice]:
    dear = [one for one in evidence.prefixes.values() if one.computed >= ENOUGH]
    if not dear:
        return
    top = max(dear, key=lambda one: one.cost_usd or one.computing_s)
    total = sum(one.computing_s for one in evidence.prefixes.values())
    yield Advice(
        "cost", top.prefix or "keys without a prefix", "Look here first: most of what computing costs is spent here.",
        f"{counted(top.computed, 'computation')} took {top.computing_s:.1f} s of {total:.1f} s"
        + (f", {top.cost_usd:.2f} USD" if top.costed else ""),
        f"a point more hits saves {0.01 * top.requests * top.computing_s / top.computed:.2f} s",
    )  # fmt: skip
