"""What models were asked, what it cost, and what was saved: the counts of all processes, summed.

Rules.

1. ``requests`` = ``hits`` + ``misses``; a request that waited for another one's call is a hit.  ``calls`` are those
   that were made; what another part of the program reported by `record_metrics` is among them.
2. A hit saves the tokens and the money of the call that made the answer.  Money is None while no call had a price, and
   else at least that much: it leaves out the ``unpriced_calls`` and ``unpriced_hits``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

from scoutcache.llm.ledger import Row
from scoutcache.oplog.histogram import Histogram

__all__ = ["GROUPS", "LlmMetrics", "metrics_of"]

GROUPS: Final = ("provider", "model", "operation", "size")
NOT_KEPT: Final = "not_kept:"
"""Before the reason why an answer was not kept, in the names of counts."""


@dataclass(frozen=True, slots=True)
class LlmMetrics:
    """The sums of a period.  Times are UTC; latencies seconds of calls; money US dollars, None without a price."""

    period_start: datetime | None
    period_end: datetime | None
    requests: int = 0
    hits: int = 0
    misses: int = 0
    hit_rate: float | None = None
    calls: int = 0
    calls_saved: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    tokens_saved: int = 0
    input_tokens_saved: int = 0
    output_tokens_saved: int = 0
    cost_usd: float | None = None
    cost_saved_usd: float | None = None
    unpriced_calls: int = 0
    """Calls that gave an answer of which nobody knows what it cost."""
    unpriced_hits: int = 0
    average_latency: float | None = None
    p50_latency: float | None = None
    p95_latency: float | None = None
    not_kept: Mapping[str, int] = field(default_factory=dict)
    """Answers that were not kept, by reason: error, refused, unfinished, truncated, other_model, unstorable."""
    bypassed: int = 0
    """Requests that passed the cache by: another temperature, or asked for."""
    by_provider: Mapping[str, LlmMetrics] = field(default_factory=dict)
    by_model: Mapping[str, LlmMetrics] = field(default_factory=dict)
    by_operation: Mapping[str, LlmMetrics] = field(default_factory=dict)
    by_size: Mapping[str, LlmMetrics] = field(default_factory=dict)
    """By the length of the text: small, medium, large, huge (``[llm] text_tiers``)."""

    @property
    def tokens(self) -> int:
        """Of requests and answers of the calls that were made."""
        return self.input_tokens + self.output_tokens

    def figures(self) -> dict[str, Any]:
        """The sums, without the groups and the period."""
        left_out = {"period_start", "period_end", *(f"by_{name}" for name in GROUPS)}
        return {name: getattr(self, name) for name in self.__slots__ if name not in left_out} | {"tokens": self.tokens}

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        groups: dict[str, Any] = {f"by_{name}": {key: one.figures() for key, one in getattr(self, f"by_{name}").items()}
                  for name in GROUPS}  # fmt: skip
        return {"period_start": self.period_start, "period_end": self.period_end, **self.figures(), **groups}


def metrics_of(rows: Sequence[Row], begin: float, end: float) -> LlmMetrics:
    """The sums of *rows*, which are those of the period from *begin* to *end* (seconds since the epoch)."""
    period = datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC)
    groups: dict[str, Any] = {f"by_{name}": _grouped(rows, attrgetter(f"label.{name}")) for name in GROUPS}
    return _summed(rows, *period, **groups)


def _grouped(rows: Sequence[Row], name_of: Callable[[Row], str]) -> dict[str, LlmMetrics]:
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(name_of(row), []).append(row)
    sums = [(name, _summed(part, None, None)) for name, part in parts.items() if name]
    return dict(sorted(sums, key=lambda one: (-one[1].requests, -one[1].calls, one[0])))


def _summed(rows: Iterable[Row], begin: datetime | None, end: datetime | None, **groups: Any) -> LlmMetrics:
    total: dict[str, float] = {}
    latency = Histogram()
    for row in rows:
        for name, number in row.numbers.items():
            total[name] = total.get(name, 0) + number
        latency.merge(row.latency)
    whole: dict[str, Any] = {name: int(total.get(name, 0)) for name in _WHOLE}
    requests = whole["hits"] + whole["misses"]
    reasons = {name.removeprefix(NOT_KEPT): int(n) for name, n in total.items() if name.startswith(NOT_KEPT)}
    return LlmMetrics(
        begin, end, requests=requests, hit_rate=whole["hits"] / requests if requests else None,
        calls_saved=whole["hits"], tokens_saved=whole["input_tokens_saved"] + whole["output_tokens_saved"],
        cost_usd=_money(total, "cost_usd", "costed"), cost_saved_usd=_money(total, "cost_saved_usd", "saved_costed"),
        unpriced_calls=whole["calls"] - whole["errors"] - int(total.get("costed", 0)),
        unpriced_hits=whole["hits"] - int(total.get("saved_costed", 0)),
        average_latency=_seconds(latency.mean), p50_latency=_seconds(latency.quantile(0.5)),
        p95_latency=_seconds(latency.quantile(0.95)), not_kept=reasons, **whole, **groups,
    )  # fmt: skip


_WHOLE: Final = ("hits", "misses", "calls", "errors", "input_tokens", "output_tokens", "input_tokens_saved",
                 "output_tokens_saved", "bypassed")  # fmt: skip


def _money(total: Mapping[str, float], name: str, known: str) -> float | None:
    """A sum without the dust of floats, None where no call had a price."""
    return round(total[name], 9) if total.get(known) else None


def _seconds(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e9
