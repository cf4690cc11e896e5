"""The operation log as a pandas table, and what is read from it.

One row is one operation.  Empty cells mean that a record doesn't say.  Every function takes a table that may be empty
and gives a list of plain rows, None for what is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final

from scoutcache.insight.operations import Operations
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS, Line

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "TOP",
    "as_frame",
    "by_key",
    "largest",
    "most_costly",
    "most_requested",
    "seconds_saved",
    "wasted",
]

TOP: Final = 20
"""Rows of a list of the most or largest."""
_FIELDS: Final = (
    "time", "op", "key", "namespace", "tier", "outcome", "reason", "latency_us", "size", "factory_s", "cost", "error",
)  # fmt: skip
_NUMBERS: Final = ("time", "latency_us", "size", "factory_s", "cost")


def as_frame(operations: Operations, namespace: str | None = None) -> pd.DataFrame:
    """The operations (of *namespace*), with ``prefix``, ``request`` and ``hit`` beside the fields of the log."""
    import pandas as pd

    rows = [_cells(line) for line in operations if namespace in {None, line.namespace}]
    frame = pd.DataFrame(rows, columns=list(_FIELDS))
    frame = frame.astype(dict.fromkeys(_NUMBERS, "float64"))
    colon = frame["key"].str.find(":") if rows else frame["key"]
    frame["prefix"] = [key[: int(at)] if at > 0 else "" for key, at in zip(frame["key"], colon, strict=True)]
    whole = frame["outcome"].isin(HIT_OUTCOMES) | frame["tier"].isna()
    frame["request"] = frame["op"].isin(REQUESTS) & whole
    frame["hit"] = frame["request"] & frame["outcome"].isin(HIT_OUTCOMES)
    return frame


def _cells(line: Line) -> tuple[Any, ...]:
    return tuple(getattr(line, name) for name in _FIELDS)


def by_key(frame: pd.DataFrame, price: float | None = None) -> pd.DataFrame:
    """One row per key: requests, hits, sets, computations, their seconds and cost, the largest size seen.

    *price* is what a computation cost, in USD, where the log doesn't say.
    """
    computed = frame["request"] & frame["factory_s"].notna()
    spent_usd = frame["cost"] if price is None else frame["cost"].fillna(price)
    table = frame.assign(
        write=(frame["op"].eq("set") & frame["outcome"].ne("refused") & frame["tier"].isna()) | computed,
        computation=computed,
        read=frame["hit"] & frame["reason"].ne("joined"),
        spent_s=frame["factory_s"].where(computed),
        spent_usd=spent_usd.where(computed),
    )
    return table.groupby(["namespace", "key"], sort=True).agg(
        requests=("request", "sum"), hits=("hit", "sum"), reads=("read", "sum"), writes=("write", "sum"),
        computations=("computation", "sum"), size_bytes=("size", "max"), factory_s=("spent_s", "sum"),
        cost_usd=("spent_usd", lambda costs: costs.sum(min_count=1)), prefix=("prefix", "first"),
    ).reset_index()  # fmt: skip


def most_requested(keys: pd.DataFrame) -> list[dict[str, Any]]:
    """The keys asked for most."""
    found = keys[keys["requests"] > 0].sort_values(["requests", "key"], ascending=[False, True]).head(TOP)
    return _rows(
        found.assign(hit_rate=found["hits"] / found["requests"]), "key", "namespace", "requests", "hits", "hit_rate"
    )


def most_costly(keys: pd.DataFrame) -> list[dict[str, Any]]:
    """The keys whose computing cost most: by money where it is known, then by seconds."""
    found = keys[keys["computations"] > 0]
    found = found.assign(money=found["cost_usd"].fillna(0.0))  # with all keys' money pandas brings empty rows back
    found = found.sort_values(["money", "factory_s", "key"], ascending=[False, False, True]).head(TOP)
    return _rows(found, "key", "namespace", "computations", "factory_s", "cost_usd")


def largest(keys: pd.DataFrame) -> list[dict[str, Any]]:
    """The largest entries."""
    found = keys[keys["size_bytes"] > 0].sort_values(["size_bytes", "key"], ascending=[False, True]).head(TOP)
    return _rows(found, "key", "namespace", "size_bytes", "requests")


def wasted(keys: pd.DataFrame) -> list[dict[str, Any]]:
    """By prefix: how many entries were written and never read, and what they weigh."""
    written = keys[keys["writes"] > 0]
    rows = []
    for (namespace, prefix), group in written.groupby(["namespace", "prefix"], sort=True):
        unread = group[group["reads"] == 0]
        rows.append({
            "namespace": namespace, "prefix": prefix, "written": len(group), "never_read": len(unread),
            "share": len(unread) / len(group), "size_bytes": _known(unread["size_bytes"].sum(min_count=1)),
        })  # fmt: skip
    return sorted(rows, key=lambda row: (-row["never_read"], row["namespace"], row["prefix"]))[:TOP]


def seconds_saved(frame: pd.DataFrame, hits: Mapping[Hashable, int]) -> float | None:
    """An estimate: each hit (by namespace and prefix) saved what computing took there on average; None if unknown."""
    made = frame[frame["request"] & frame["factory_s"].notna()]
    if made.empty:
        return None
    average = made.groupby(["namespace", "prefix"])["factory_s"].mean()
    return float(sum(seconds * hits.get(pair, 0) for pair, seconds in average.items()))


def _rows(frame: pd.DataFrame, *columns: str) -> list[dict[str, Any]]:
    return [
        {str(name): _known(value) for name, value in row.items()} for row in frame[list(columns)].to_dict("records")
    ]


def _known(value: Any) -> Any:
    """*value* as Python has it, None for what pandas writes as not a number."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else value
    return value
