"""The operation log as a pandas table, and what is read from it.

One row is one operation.  Empty cells mean that a record doesn't say.  Every function takes a table that may be empty
and gives a list of plain rows, None for what is unknown.

Rule 1: no step here is done row by row, or group by group: ten million rows are a matter of seconds.
Rule 2: texts are categories (numbers into a list of the different ones), so that a row of all columns takes a hundred
        bytes.  ``tags`` are JSON lists as text; `scoutcache.oplog.columns.names_in` reads one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from scoutcache.insight.operations import Operations
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from scoutcache.insight.loading import Columns

    Mask = npt.NDArray[np.bool_]
    Codes = npt.NDArray[np.signedinteger[Any]]

__all__ = [
    "COLUMNS",
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
COLUMNS: Final = (
    "time", "op", "key", "namespace", "tier", "outcome", "reason", "latency_us", "size", "stored", "codec", "codec_us",
    "keygen_us", "wait_us", "factory_s", "cost", "error", "ttl", "tags", "prefix", "request", "hit",
)  # fmt: skip
_MADE_OF: Final = {"prefix": {"key"}, "request": {"op", "outcome", "tier"}, "hit": {"op", "outcome", "tier"}}


def as_frame(
    operations: Operations, namespace: str | None = None, columns: Iterable[str] = COLUMNS
) -> pd.DataFrame:
    """The operations (of *namespace*), with ``prefix``, ``request`` and ``hit`` beside the fields of the log.

    Only *columns*, a choice of `COLUMNS`, are read and given.  ``time`` is in seconds since the epoch.
    """
    import pandas as pd

    from scoutcache.insight.loading import load

    wanted = [name for name in COLUMNS if name in set(columns)]
    needed = {name for one in wanted for name in _MADE_OF.get(one, {one})}
    found = load(operations, sorted(needed), namespace)
    texts: dict[str, Any] = {name: _category(found, name) for name in list(found.texts)}
    made: dict[str, Any] = {}
    for name in wanted:
        if name in texts:
            made[name] = texts[name]
        elif name == "prefix":
            made[name] = _prefixes(texts["key"])
        elif name in _MADE_OF:
            made[name] = _requests(texts, hits=name == "hit")
        else:
            made[name] = found.figures.pop(name).result()
    return pd.DataFrame(made, index=pd.RangeIndex(found.rows), columns=wanted, copy=False)


def _category(found: Columns, name: str) -> Any:
    import pandas as pd

    codes, texts = found.texts.pop(name).result()
    # From pyarrow's strings, where it read them, without making one of Python's of each.
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Index(pd.array(texts, dtype="str"))))


def _prefixes(keys: Any) -> Any:
    """The text before the first colon, found once for each different key."""
    import numpy as np
    import pandas as pd

    codes, names = pd.factorize(_heads(keys.categories))
    found = codes.astype(np.min_scalar_type(-max(len(names), 1)))[keys.codes]
    return pd.Categorical.from_codes(found, dtype=pd.CategoricalDtype(pd.Index(names, dtype="str")))


def _heads(keys: pd.Index[str]) -> npt.NDArray[np.object_]:
    import numpy as np

    parted = (key.partition(":") for key in keys.tolist())
    return np.array([head if colon else "" for head, colon, _ in parted], dtype=object)


def _one_of(texts: Any, names: Iterable[str]) -> Mask:
    import numpy as np

    wanted = set(names)
    table = np.array([name in wanted for name in texts.categories] + [False])  # -1, for none, takes the last
    found: Mask = table[texts.codes]
    return found


def _requests(texts: Mapping[str, Any], *, hits: bool) -> Mask:
    """Which rows are requests: a hit, or a miss without a tier; or with *hits* those that were answered."""
    asked = _one_of(texts["op"], REQUESTS)
    answered = _one_of(texts["outcome"], HIT_OUTCOMES)
    whole: Mask = answered if hits else answered | (texts["tier"].codes == -1)
    return asked & whole


def by_key(frame: pd.DataFrame, price: float | None = None) -> pd.DataFrame:
    """One row per key: requests, hits, sets, computations, their seconds and cost, the largest size seen.

    *price* is what a computation cost, in USD, where the log doesn't say.
    """
    import numpy as np
    import pandas as pd

    ids, namespaces, keys = _groups(frame)
    count = len(keys)

    def how_many(mask: Any) -> npt.NDArray[np.intp]:
        return np.bincount(ids[np.asarray(mask)], minlength=count)

    request, hit = frame["request"].to_numpy(), frame["hit"].to_numpy()
    seconds, size = frame["factory_s"].to_numpy(), frame["size"].to_numpy()
    computed = request & ~np.isnan(seconds)
    written = _equals(frame["op"], "set") & ~_equals(frame["outcome"], "refused") & frame["tier"].isna().to_numpy()
    spent = frame["cost"].to_numpy()[computed]
    spent = spent if price is None else np.where(np.isnan(spent), price, spent)
    priced = ~np.isnan(spent)
    known = np.bincount(ids[computed][priced], minlength=count) > 0
    cost = np.bincount(ids[computed][priced], spent[priced], minlength=count)
    sized = ~np.isnan(size)
    most = np.full(count, -np.inf)
    np.maximum.at(most, ids[sized], size[sized])
    prefix_of = np.zeros(max(1, len(frame["key"].cat.categories)), np.int32)
    prefix_of[frame["key"].cat.codes] = frame["prefix"].cat.codes
    prefixes = prefix_of[keys]
    return pd.DataFrame({
        "namespace": frame["namespace"].cat.categories.take(namespaces),
        "key": frame["key"].cat.categories.take(keys),
        "requests": how_many(request), "hits": how_many(hit),
        "reads": how_many(hit & ~_equals(frame["reason"], "joined")), "writes": how_many(written | computed),
        "computations": how_many(computed), "size_bytes": np.where(np.isneginf(most), np.nan, most),
        "factory_s": np.bincount(ids[computed], seconds[computed], minlength=count),
        "cost_usd": np.where(known, cost, np.nan),
        "prefix": frame["prefix"].cat.categories.take(prefixes),
    })  # fmt: skip


def _equals(column: pd.Series[Any], text: str) -> Mask:
    return _one_of(column.array, [text])


def _groups(frame: pd.DataFrame) -> tuple[Codes, Codes, Codes]:
    """The rows numbered by namespace and key, and of each number the namespace's and the key's own."""
    import numpy as np
    import pandas as pd

    keys, spaces = frame["key"].cat.codes.to_numpy(), frame["namespace"].cat.codes.to_numpy()
    width = max(1, len(frame["key"].cat.categories))
    if len(frame["namespace"].cat.categories) == 1 and np.all(np.bincount(keys, minlength=width)):
        return keys, np.zeros(width, np.intp), np.arange(width)
    ids, pairs = pd.factorize(spaces.astype(np.int64) * width + keys)
    return ids, pairs // width, pairs % width


def _most(found: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The `TOP` rows with the most of *by*, in that order, then by namespace and key."""
    if len(found) > TOP:
        least = found[by[0]].nlargest(TOP).iloc[-1]
        found = found[found[by[0]] >= least]  # few: sorting a million keys by name takes seconds
    return found.sort_values([*by, "key", "namespace"], ascending=[*[False] * len(by), True, True]).head(TOP)


def most_requested(keys: pd.DataFrame) -> list[dict[str, Any]]:
    """The keys asked for most."""
    found = _most(keys[keys["requests"] > 0], ["requests"])
    return _rows(
        found.assign(hit_rate=found["hits"] / found["requests"]), "key", "namespace", "requests", "hits", "hit_rate"
    )


def most_costly(keys: pd.DataFrame) -> list[dict[str, Any]]:
    """The keys whose computing cost most: by money where it is known, then by seconds."""
    found = keys[keys["computations"] > 0]
    found = found.assign(money=found["cost_usd"].fillna(0.0))
    by = ["money", "factory_s"] if found["money"].any() else ["factory_s"]
    return _rows(_most(found, by), "key", "namespace", "computations", "factory_s", "cost_usd")


def largest(keys: pd.DataFrame) -> list[dict[str, Any]]:
    """The largest entries."""
    return _rows(_most(keys[keys["size_bytes"] > 0], ["size_bytes"]), "key", "namespace", "size_bytes", "requests")


def wasted(keys: pd.DataFrame) -> list[dict[str, Any]]:
    """By prefix: how many entries were written and never read, and what they weigh."""
    found = keys[keys["writes"] > 0]
    unread = found["reads"] == 0
    table = found.assign(unread=unread, weight=found["size_bytes"].where(unread)).groupby(["namespace", "prefix"])
    sums = table.agg(written=("unread", "size"), never_read=("unread", "sum")).reset_index()
    sums = sums.assign(size_bytes=table["weight"].sum(min_count=1).to_numpy(),
                       share=sums["never_read"] / sums["written"])  # fmt: skip
    sums = sums.sort_values(["never_read", "namespace", "prefix"], ascending=[False, True, True]).head(TOP)
    return _rows(sums, "namespace", "prefix", "written", "never_read", "share", "size_bytes")


def seconds_saved(frame: pd.DataFrame, hits: Mapping[Hashable, int]) -> float | None:
    """An estimate: each hit (by namespace and prefix) saved what computing took there on average; None if unknown."""
    made = frame.loc[frame["request"] & frame["factory_s"].notna(), ["namespace", "prefix", "factory_s"]]
    if made.empty:
        return None
    average = made.groupby(["namespace", "prefix"], observed=True)["factory_s"].mean()
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
