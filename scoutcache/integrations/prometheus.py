"""The counters of a process for Prometheus, by its own client: ``pip install 'scoutcache[prometheus]'``.

Rule 1: what is exposed is this process's own and exact, so that the sum over processes is the truth: nothing is sampled
        and nothing is read from files.  What all processes counted is for ``scoutcache stats --prom-textfile``.
Rule 2: a scrape costs what is asked for then; a hit costs nothing more than before.
Rule 3: a tier whose entries would have to be counted one by one, a server's, has no size here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from scoutcache.alerts import alerts
from scoutcache.core.alarms import LEAST
from scoutcache.core.core import Core, harvest
from scoutcache.core.telling import tell_what_writes_removed
from scoutcache.entry import Usage
from scoutcache.errors import CacheError, TierUnavailable
from scoutcache.insight.live.metrics import BOUNDS, Family, Sample, Spread, families

if TYPE_CHECKING:
    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache

__all__ = ["CacheCollector"]


class CacheCollector:
    """A collector of one cache's metrics: ``REGISTRY.register(CacheCollector(cache))``.

    *labels* are added to every sample, such as ``{"app": "shop"}``.  See `scoutcache.insight.live.metrics`.
    Raises `CacheError` where prometheus-client is not installed.
    """

    def __init__(self, cache: Cache | AsyncCache, labels: dict[str, str] | None = None) -> None:
        try:
            from prometheus_client import core
        except ImportError as error:
            raise CacheError("metrics for Prometheus need its client",
                             hint="pip install 'scoutcache[prometheus]'") from error  # fmt: skip
        self._made: Any = core
        self._core: Core = cache._core
        self._names, self._values = tuple(labels or {}), tuple((labels or {}).values())

    def describe(self) -> list[Any]:
        """Nothing: what there is is known at the first scrape, and registering needs no scrape."""
        return []

    def collect(self) -> Iterator[Any]:
        """The metrics now, for the client's registry."""
        core = self._core
        tell_what_writes_removed(core.recorder, core.hooks, core.tiers)
        harvest(core.recorder, core.tiers)
        usages = {tier.name: _usage(tier) for tier in core.tiers}
        standing = alerts(core.alarms.figures(core, least=LEAST), core.config.alerts)
        for family, samples in families(core.recorder.lived(), usages, standing):
            yield self._metric(family, samples)

    def _metric(self, family: Family, samples: list[Sample] | list[Spread]) -> Any:
        kinds = {"counter": self._made.CounterMetricFamily, "gauge": self._made.GaugeMetricFamily,
                 "histogram": self._made.HistogramMetricFamily}  # fmt: skip
        metric = kinds[family.kind](family.name, family.help, labels=(*self._names, *family.labels))
        for sample in samples:
            labels = (*self._values, *sample.labels)
            if isinstance(sample, Sample):
                metric.add_metric(labels, sample.value)
            else:
                counts = zip((*map(str, BOUNDS), "+Inf"), (*sample.counts, sample.count), strict=True)
                metric.add_metric(labels, buckets=list(counts), sum_value=sample.sum)
        return metric


def _usage(tier: Any) -> Usage | None:
    if hasattr(tier, "tells_idle"):  # Rule 3
        return None
    try:
        usage: Usage = tier.usage()
    except TierUnavailable:
        return None
    return usage
