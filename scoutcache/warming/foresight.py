"""What policies with ``strategy = "predictive"`` want warmed now: the log is followed, and asked in the quiet hours.

The log is read once, and from then on what was added to it, from a little before the last look: a process writes its
log a little later than things happen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scoutcache.config import CacheConfig
from scoutcache.entry import Ref
from scoutcache.insight.log.operations import in_order, read_operations
from scoutcache.oplog.records import Line
from scoutcache.warming.predict import Life, Predicted, predict
from scoutcache.warming.predict_history import History, Name, counts
from scoutcache.warming.quiet import is_off_peak
from scoutcache.warming.sources import Named, check_log_has_keys

if TYPE_CHECKING:
    from scoutcache.cache import Cache

__all__ = ["Foresight", "life_in"]

LEARNED_FROM: Final = 14 * 86400.0
"""Seconds of the log that are read at first."""
LATE: Final = 10.0
"""Seconds that a process may be late in writing down what it did."""


def _requests(directory: Path, since: float, until: float) -> list[Line]:
    return [line for line in read_operations(directory, since) if counts(line) and line.time < until]


def life_in(cache: Cache) -> Callable[[Name], Life]:
    """What *cache* has of a key, and how long a new entry of it would live."""

    def life(name: Name) -> Life:
        ref = Ref(*name)
        left = cache.ttl(name.key, namespace=name.namespace)
        ttl = cache._calls.lifetime(ref, None).fresh
        return Life(0.0 if left is None else cache._core.world.now() + left, ttl)

    return life


class Foresight:
    """Follows the log for the policies of one configuration."""

    def __init__(self, config: CacheConfig, directory: Path) -> None:
        self._config, self._directory = config, directory
        self._policies = [
            (frozenset(policy.namespaces), policy.patterns)
            for policy in config.policies
            if policy.strategy == "predictive"
        ]
        self._history = History()
        self._read_until: float | None = None

    @property
    def wanted(self) -> bool:
        """Does any policy ask for it?"""
        return bool(self._policies)

    def look(self, now: float, cache: Cache, going: Callable[[], bool]) -> list[Predicted]:
        """What is worth warming at *now*; nothing when it isn't the time.  Raises `WarmingError`."""
        check_log_has_keys(self._config)
        warming = self._config.warming
        since, until = self._read_until or now - LEARNED_FROM, now - LATE
        named = Named(_requests(self._directory, since, until))
        for line in in_order(named):
            if not going():
                return []
            if line.time >= since:
                self._history.observe(line)
        if not self._history.keys:
            named.check()
        self._read_until = until
        if not is_off_peak(warming.off_peak, now, self._history.by_hour, self._history.days):
            return []
        found = predict(self._history, now, warming.horizon, life=life_in(cache))
        return [one for one in found if self._speaks_of(one)][: warming.budget]

    def _speaks_of(self, one: Predicted) -> bool:
        return any(
            (not namespaces or one.namespace in namespaces) and any(pattern.matches(one.key) for pattern in patterns)
            for namespaces, patterns in self._policies
        )
