"""Statistics over the keys that tiers hold: sizes, times left, ages, idle times; the largest and the most used.

Rule 1: entries are looked at as they stream by; what is kept is bounded, whatever their number: histograms, the *top*
        of each list, `PREFIXES` prefixes, and the hashes of `scoutcache.insight.log.uses`.
Rule 2: each tier is looked at by itself, for an entry in two tiers takes room in both.  The memory of other processes
        can't be seen.
Rule 3: what is past its time, or dead by its tags, takes room as well: it is counted apart, and no key is named for it.
Rule 4: idle time is the server's where one says it, and before the look itself; else since the log last saw the key
        used; where the log doesn't reach back to the entry's making, it is unknown.
Rule 5: nothing is looked at longer than asked: a limit ends the way at the end of a batch, so that a cursor is exact.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from scoutcache.calls.listing import life, scanned
from scoutcache.entry import Header, Listed
from scoutcache.errors import TierUnavailable
from scoutcache.insight.log.uses import Uses
from scoutcache.keys import prefix_of
from scoutcache.oplog.histogram import Histogram
from scoutcache.oplog.tally import OTHER

if TYPE_CHECKING:
    from scoutcache.calls.walking import Walk
    from scoutcache.core.core import Core
    from scoutcache.patterns import Pattern

__all__ = ["KeyStats", "Spread", "TierKeys", "collect"]

PREFIXES: Final = 1000
SIZES: Final = (64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216)
"""Bytes at which the buckets of sizes end."""
TIMES: Final = (1, 10, 60, 300, 900, 3600, 21_600, 86_400, 604_800, 2_592_000)
"""Seconds at which the buckets of times end."""
MICRO: Final = 1_000_000


class Spread:
    """How figures of one kind are spread: percentiles (off by 1.6 % at most), and buckets with entries and bytes."""

    def __init__(self, ends: tuple[int, ...], scale: int = 1) -> None:
        self._ends, self._scale = (*ends, math.inf), scale
        self._exact = Histogram()
        self.buckets = [[0, 0] for _ in self._ends]
        self.never = [0, 0]
        """Entries and bytes of what has no end."""
        self.unknown = 0

    def add(self, value: float | None, size: int) -> None:
        """Count an entry of *size* bytes whose figure is *value*."""
        if value is None:
            self.unknown += 1
            return
        place = self.never if value == math.inf else self.buckets[next(
            at for at, end in enumerate(self._ends) if value <= end)]  # fmt: skip
        place[0] += 1
        place[1] += size
        if value != math.inf:
            self._exact.add(round(value * self._scale))

    def quantile(self, q: float) -> float | None:
        """The smallest figure with a share *q* of all at or below it, None without any."""
        found = self._exact.quantile(q)
        return None if found is None else round(found / self._scale, 3)

    @property
    def largest(self) -> float | None:
        """The largest figure, None without any."""
        return self._exact.largest / self._scale if self._exact.count else None

    def rows(self) -> Iterator[dict[str, Any]]:
        """The buckets that hold anything: more than *above*, up to *up_to* (None: no end)."""
        for at, (entries, size) in enumerate(self.buckets):
            if entries:
                end = self._ends[at]
                yield {"above": self._ends[at - 1] if at else 0, "up_to": None if end == math.inf else end,
                       "entries": entries, "size_bytes": size}  # fmt: skip
        if self.never[0]:
            yield {"above": None, "up_to": None, "entries": self.never[0], "size_bytes": self.never[1]}


@dataclass
class TierKeys:
    """The keys of one tier.  *idle_known* counts those of which it is known how long nobody asked for them."""

    name: str
    entries: int = 0
    size_bytes: int = 0
    stale: int = 0
    expired: int = 0
    dead: int = 0
    sizes: Spread = field(default_factory=lambda: Spread(SIZES))
    ttls: Spread = field(default_factory=lambda: Spread(TIMES, MICRO))
    ages: Spread = field(default_factory=lambda: Spread(TIMES, MICRO))
    idles: Spread = field(default_factory=lambda: Spread(TIMES, MICRO))

    def as_dict(self) -> dict[str, Any]:
        """The row of this tier."""
        return {
            "tier": self.name, "entries": self.entries, "size_bytes": self.size_bytes, "stale": self.stale,
            "expired": self.expired, "dead": self.dead, "never_expire": self.ttls.never[0],
            "p50_size_bytes": _whole(self.sizes.quantile(0.5)), "p95_size_bytes": _whole(self.sizes.quantile(0.95)),
            "max_size_bytes": _whole(self.sizes.largest), "p50_ttl_s": self.ttls.quantile(0.5),
            "p50_age_s": self.ages.quantile(0.5), "p50_idle_s": self.idles.quantile(0.5),
            "p95_idle_s": self.idles.quantile(0.95), "idle_unknown": self.idles.unknown,
        }  # fmt: skip

    def histograms(self) -> Iterator[dict[str, Any]]:
        """The buckets, by what they are of."""
        for of, spread in (("size_bytes", self.sizes), ("ttl_s", self.ttls), ("age_s", self.ages),
                           ("idle_s", self.idles)):  # fmt: skip
            for row in spread.rows():
                yield {"tier": self.name, "of": of, **row}


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


class _Top:
    """The *most* rows with the highest figures, of any number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, dict[str, Any]]] = []
        self._met = 0

    def offer(self, figure: float, row: Callable[[], dict[str, Any]]) -> None:
        """Keep the row if it belongs among them; of equal ones the first stays."""
        self._met -= 1
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, (figure, self._met, row()))
        elif self._heap and figure > self._heap[0][0]:
            heapq.heapreplace(self._heap, (figure, self._met, row()))

    def rows(self) -> list[dict[str, Any]]:
        """The highest first."""
        return [row for *_, row in sorted(self._heap, key=lambda one: one[:2], reverse=True)]


class KeyStats:
    """What was seen of the keys; *top* is how many a list names, *now* seconds since the epoch."""

    def __init__(self, *, now: float, top: int, uses: Uses | None = None) -> None:
        self._now, self._top, self._uses = now, top, uses or Uses()
        self.tiers: dict[str, TierKeys] = {}
        self._biggest, self._hottest = _Top(top), _Top(top)
        self._prefixes: dict[tuple[str, str], list[int]] = {}

    @property
    def entries(self) -> int:
        """How many were looked at."""
        return sum(tier.entries for tier in self.tiers.values())

    def begin(self, tier: str) -> TierKeys:
        """A tier is looked at, whatever it holds."""
        return self.tiers.setdefault(tier, TierKeys(tier))

    def add(self, entry: Listed, *, dead: bool, stale: bool) -> None:
        """Count one entry; *dead* and *stale* are what its tags say of it."""
        header, size, tier = entry.header, entry.size, self.begin(entry.tier)
        tier.entries += 1
        tier.size_bytes += size
        tier.sizes.add(size, size)
        tier.ages.add(max(0.0, self._now - header.created), size)
        self._count_prefix(entry.tier, prefix_of(header.ref.key), size)
        if dead:
            tier.dead += 1
        elif header.expires <= self._now:
            tier.expired += 1
        else:
            tier.stale += stale or header.fresh_until <= self._now
            self._add_living(entry, tier)

    def _add_living(self, entry: Listed, tier: TierKeys) -> None:
        header, size = entry.header, entry.size
        tier.ttls.add(max(0.0, header.fresh_until - self._now), size)
        times, last = self._uses.of(*header.ref)
        idle = self._idle(entry, last)
        tier.idles.add(idle, size)

        def row() -> dict[str, Any]:
            left = header.fresh_until - self._now
            return {"key": header.ref.key, "namespace": header.ref.namespace, "tier": entry.tier, "size_bytes": size,
                    "ttl_s": round(left, 3) if math.isfinite(left) else math.inf,
                    "idle_s": None if idle is None else round(idle, 3), "uses": times}  # fmt: skip

        self._biggest.offer(size, row)
        if times:
            self._hottest.offer(times, row)

    def _idle(self, entry: Listed, last: float | None) -> float | None:
        if entry.idle_s is not None:
            return entry.idle_s
        created, began = entry.header.created, self._uses.began
        if last is None and (began is None or created < began):
            return None
        return max(0.0, self._now - max(created, last or 0.0))

    def _count_prefix(self, tier: str, prefix: str, size: int) -> None:
        name = tier, prefix
        if name not in self._prefixes and len(self._prefixes) >= PREFIXES:
            name = tier, OTHER
        counted = self._prefixes.setdefault(name, [0, 0])
        counted[0] += 1
        counted[1] += size

    def as_dict(self) -> dict[str, Any]:
        """The rows: of tiers, of buckets, of prefixes, and of the keys that stand out."""
        prefixes = [{"tier": tier, "prefix": prefix, "entries": entries, "size_bytes": size}
                    for (tier, prefix), (entries, size) in self._prefixes.items()]  # fmt: skip
        prefixes.sort(key=lambda row: (-int(str(row["size_bytes"])), str(row["prefix"])))
        return {
            "keystats": [tier.as_dict() for tier in self.tiers.values()],
            "histograms": [row for tier in self.tiers.values() for row in tier.histograms()],
            "prefixes": prefixes[: self._top],
            "biggest": self._biggest.rows(),
            "hottest": self._hottest.rows(),
        }


def collect(core: Core, stats: KeyStats, *, namespace: str | None, pattern: Pattern, tier: str | None, walk: Walk,
            samples: int | None = None, met: Callable[[int], object] = lambda _: None) -> None:  # fmt: skip
    """Look at what the tiers hold and count it in *stats*; *namespace* None is all of them.

    *samples* ends the walk after the batch in which so many were met; *met* is told their number now and then.  A tier
    that can't answer is told to the hooks, and left out.
    """
    core.follower.sync()
    names = [one.name for one in core.tiers]
    for one in core.tiers:
        if one is core.memory or tier not in {None, one.name} or not walk.enters(one.name, names):
            continue
        stats.begin(one.name)
        if hasattr(one, "tells_idle"):
            one.tells_idle = True
        try:
            for entry in scanned(one, namespace, pattern, walk):
                stats.add(entry, **_standing(core, entry.header))
                if samples is not None and stats.entries >= samples:
                    walk.stop()
                if not stats.entries % 1000:
                    met(stats.entries)
        except TierUnavailable as error:
            core.world.down(error.tier, error)
            if not stats.tiers[one.name].entries:
                del stats.tiers[one.name]  # what it holds is unknown, and not nothing


def _standing(core: Core, header: Header) -> dict[str, bool]:
    """What the authority says of an entry; that it lives, where it can't be asked."""
    try:
        found = life(core, header) if header.marks else "current"
    except TierUnavailable:
        found = "current"
    return {"dead": found == "dead", "stale": found == "stale"}
