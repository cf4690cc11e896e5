"""A Grafana dashboard over the metrics of `scoutcache.insight.live.metrics`.

Rule 1: the datasource is a template variable and there is no ``__inputs``, so that it can be provisioned from a file as
        well as imported by hand.
Rule 2: every expression is of metrics that are exposed; a test compares.
Rule 3: processes are summed; what they share (the size of a disk) is their maximum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

__all__ = ["dashboard"]

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WHOLE: Final = 24
"""Columns of Grafana's grid."""
_OWN: Final = '{namespace=~"$namespace",job=~"$job"}'
_ANY: Final = '{job=~"$job"}'


class _Panel(NamedTuple):
    title: str
    kind: str
    unit: str
    width: int
    targets: tuple[tuple[str, str], ...]
    """Expressions and their legends."""
    help: str = ""


def _rate(metric: str, by: str = "", labels: str = _OWN) -> str:
    inner = f"rate({metric}{labels}[$__rate_interval])"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def _hits(labels: str = "") -> str:
    return _rate("cache_gets_total", labels, _OWN.replace("{", '{result=~"hit|stale",'))


def _quantile(q: float, metric: str, by: str) -> str:
    inner = _rate(f"{metric}_bucket", f"le, {by}", _ANY)
    return f"histogram_quantile({q}, {inner})"


_PANELS: Final = (
    _Panel("Hit rate", "stat", "percentunit", 6, ((f"{_hits()} / {_rate('cache_gets_total')}", "hit rate"),),
           "Hits, stale ones too, of all requests."),
    _Panel("Requests", "stat", "reqps", 6, ((_rate("cache_gets_total"), "requests"),)),
    _Panel("Calls saved", "stat", "short", 6, ((f"sum(increase(cache_saved_calls_total{_OWN}[$__range]))", "calls"),)),
    _Panel("Money saved", "stat", "currencyUSD", 6,
           ((f"sum(increase(cache_saved_usd_total{_OWN}[$__range]))", "USD"),),
           "Of the hits whose price is known; empty until one is configured."),
    _Panel("Requests by result", "timeseries", "reqps", 12, ((_rate("cache_gets_total", "result"), "{{result}}"),)),
    _Panel("Hit rate by prefix", "timeseries", "percentunit", 12,
           ((f"{_hits('prefix')} / {_rate('cache_gets_total', 'prefix')}", "{{prefix}}"),)),
    _Panel("Hits by tier", "timeseries", "reqps", 12, ((_hits("tier"), "{{tier}}"),)),
    _Panel("Misses by reason", "timeseries", "reqps", 12, ((_rate("cache_misses_total", "reason"), "{{reason}}"),)),
    _Panel("Time of a hit", "timeseries", "s", 12, tuple(
        (_quantile(q, "cache_get_duration_seconds", "tier, result").replace("{job", '{result="hit",job'),
         f"p{q * 100:.0f} {{{{tier}}}}") for q in (0.5, 0.95, 0.99))),
    _Panel("Time of other operations, p95", "timeseries", "s", 12,
           ((_quantile(0.95, "cache_operation_duration_seconds", "operation"), "{{operation}}"),),
           "factory is the time of computations, keygen that of making keys."),
    _Panel("Size of tiers", "timeseries", "bytes", 12,
           (('sum by (tier) (cache_size_bytes{tier="memory",job=~"$job"})', "{{tier}}"),
            ('max by (tier) (cache_size_bytes{tier!="memory",job=~"$job"})', "{{tier}}"))),
    _Panel("Fill of tiers", "timeseries", "percentunit", 12,
           ((f"max by (tier) (cache_size_bytes{_ANY} / cache_max_bytes{_ANY})", "{{tier}}"),)),
    _Panel("Evictions and expirations", "timeseries", "ops", 12,
           ((_rate("cache_evictions_total", "tier, reason", _ANY), "{{tier}} {{reason}}"),
            (_rate("cache_expirations_total", "tier", _ANY), "{{tier}} expired"))),
    _Panel("Writes, removals, invalidations", "timeseries", "ops", 12,
           ((_rate("cache_puts_total", "result"), "{{result}}"), (_rate("cache_removals_total"), "removed"),
            (_rate("cache_invalidations_total"), "invalidated"))),
    _Panel("Errors", "timeseries", "ops", 12,
           ((_rate("cache_errors_total", "tier, reason", _ANY), "{{tier}} {{reason}}"),)),
    _Panel("Alerts", "timeseries", "short", 12,
           ((f"sum by (alert, level) (cache_alert{_ANY})", "{{level}} {{alert}}"),),
           "How many processes say so of their last hour."),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana imports it."""
    return {
        "title": "scoutcache", "uid": "scoutcache", "id": None, "tags": ["cache"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "timezone": "utc", "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"}, "annotations": {"list": []}, "links": [],
        "templating": {"list": list(_variables())},
        "panels": list(_placed()),
    }  # fmt: skip


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
           "refresh": 1, "multi": False, "includeAll": False, "options": [], "current": {}}  # fmt: skip
    for name, label in (("job", "Job"), ("namespace", "Namespace")):
        query = f"label_values(cache_gets_total, {name})"
        yield {
            "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query, "hide": 0,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
            "allValue": ".*", "options": [], "current": {"text": ["All"], "value": ["$__all"]},
        }  # fmt: skip


def _placed() -> Iterator[dict[str, Any]]:
    """The panels, from left to right and down."""
    x = y = 0
    for number, panel in enumerate(_PANELS, 1):
        height = 4 if panel.kind == "stat" else 8
        yield {
            "id": number, "title": panel.title, "description": panel.help, "type": panel.kind, "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": panel.width, "h": height},
            "fieldConfig": {"defaults": {"unit": panel.unit, **_limits(panel.unit)}, "overrides": []},
            "options": _options(panel.kind),
            "targets": [
                {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expression, "legendFormat": legend,
                 "range": True}
                for at, (expression, legend) in enumerate(panel.targets)
            ],
        }  # fmt: skip
        x = (x + panel.width) % _WHOLE
        y += height if x == 0 else 0


def _limits(unit: str) -> dict[str, Any]:
    return {"min": 0, "max": 1} if unit == "percentunit" else {"min": 0}


def _options(kind: str) -> dict[str, Any]:
    if kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value",
                "graphMode": "area"}  # fmt: skip
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
