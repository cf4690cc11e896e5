"""The keys that stand out in the operation log: most asked for, most costly, largest, never read; and its tags.

Rule 1: the log may be sampled and capped: what is not in it is not made up.
Rule 2: of equal keys the first by name comes first, so that a report is the same each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from scoutcache.insight.log.logtable import Log
from scoutcache.insight.report.counted import COUNTS, Steps, group_section
from scoutcache.insight.report.sections import LOG, SERIES, Section, plain_rows
from scoutcache.oplog.totals import moment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

__all__ = ["by_tag", "failures", "largest", "most_costly", "most_requested", "wasted"]

TOP: Final = 20
"""Rows of a list of the most or largest."""


def _top(keys: pd.DataFrame, column: str) -> pd.DataFrame:
    """The `TOP` keys with most in *column*, of those with anything, equal ones by name.  Only a few are sorted."""
    most = keys[column].nlargest(TOP)
    least = most[most > 0].min()  # of nothing NaN, which nothing is as much as
    found: pd.DataFrame = keys[keys[column] >= least]
    return found.sort_values([column, "key", "namespace"], ascending=[False, True, True]).head(TOP)


def most_requested(log: Log) -> Section:
    """The keys asked for most."""
    found = _top(log.keys, "requests")
    found["hit_rate"] = found["hits"] / found["requests"]
    columns = ("key", "namespace", "requests", "hits", "hit_rate")
    about = "Few keys often carry most of the load: these must never be missed, so warm them before they expire."
    return Section("most_requested", "Most requested keys", columns, plain_rows(columns, _records(found)), LOG,
                   about=about)  # fmt: skip


def most_costly(log: Log) -> Section:
    """The keys whose computing cost most: by money where it is known, then by seconds."""
    import pandas as pd

    keys = log.keys[log.keys["computations"] > 0]
    found = _top(keys, "cost_usd")
    if len(found) < TOP:
        found = pd.concat([found, _top(keys[~(keys["cost_usd"] > 0)], "factory_s")]).head(TOP)
    if len(found) < TOP:
        found = pd.concat([found, _top(keys[~keys.index.isin(found.index)], "computations")]).head(TOP)
    columns = ("key", "namespace", "computations", "factory_s", "cost_usd")
    about = "What was paid for these keys in spite of the cache. More than one computation is one too many."
    return Section("most_costly", "Most costly keys", columns, plain_rows(columns, _records(found)), LOG, about=about)


def largest(log: Log) -> Section:
    """The largest entries."""
    found = _top(log.keys, "size_bytes")
    columns = ("key", "namespace", "size_bytes", "requests")
    about = "One of these takes the place of many others; if nobody asks for it, don't store it (max_entry_size)."
    return Section("largest", "Largest entries", columns, plain_rows(columns, _records(found)), LOG,
                   note="Sizes before compression.", about=about)  # fmt: skip


def wasted(log: Log) -> Section:
    """By prefix: how many entries were written and never read, and what they weigh."""
    keys = log.keys[log.keys["writes"] > 0]
    unread = keys["reads"] == 0
    by = keys.assign(never_read=unread, waste_bytes=keys["size_bytes"].where(unread)).groupby(
        ["namespace", "prefix"], sort=True, observed=True
    )
    found = by.agg(written=("key", "size"), never_read=("never_read", "sum")).assign(
        size_bytes=by["waste_bytes"].sum(min_count=1)
    ).reset_index()  # fmt: skip
    found["share"] = found["never_read"] / found["written"]
    found = found.sort_values(["never_read", "namespace", "prefix"], ascending=[False, True, True])
    columns = ("namespace", "prefix", "written", "never_read", "share", "size_bytes")
    about = "Entries that only took room. Some are normal; where most of a prefix is and its hits are few, "
    about += "don't cache it, or for less time."
    note = "Entries written lately may still be read. An answer that callers waited for together counts as never read, "
    note += "if nobody asked for it afterwards."
    return Section("wasted", "Written and never read", columns, plain_rows(columns, _records(found)), LOG, note, about,
                   ("prefix", "namespace", "written", "never_read", "share", "size_bytes"))  # fmt: skip


def failures(log: Log) -> Section:
    """By namespace and prefix: what computing raised, for whom it was asked or beside the calls.

    Who got the error of another's computation, or stopped waiting for one that goes on, made none that failed.
    """
    import numpy as np

    rows = np.flatnonzero((log.missed | log.says("op", "refresh")) & ~log.says("error", ""))
    table = log.names.iloc[log.entry[rows]].assign(
        error=log.word("error", rows), calls=log.flag("request")[rows], at=log.at("time", rows),
        own=~log.flag("request")[rows] | ~(log.says("reason", "failed") | log.says("error", "FactoryTimeout"))[rows],
    )
    by = table.groupby(["namespace", "prefix", "error"], observed=True, sort=True)
    found = by.agg(failures=("own", "sum"), calls=("calls", "sum"), keys=("key", "nunique"), at=("at", "max"))
    found = found.reset_index().sort_values("failures", ascending=False, kind="stable").head(TOP)
    found["last_at"] = [moment(at) for at in found["at"]]
    columns = ("namespace", "prefix", "error", "failures", "calls", "keys", "last_at")
    about = "What computing functions raised: the calls got the error, or a stale value while a refresh failed. "
    about += "Calls that got the error of another's computation, or a kept one (error_ttl), count as calls only; so "
    about += "do those whose hard_timeout was over: a FactoryTimeout ends the wait, and the computation goes on."
    return Section("failures", "Computations that failed", columns, plain_rows(columns, _records(found)), LOG,
                   about=about)  # fmt: skip


def by_tag(log: Log, steps: Steps) -> Section:
    """The figures of each tag, with its hit rate over time."""
    tags = log.tags
    if tags.empty:
        return group_section("tag", [])
    per = tags.merge(_per_step(log, tags["entry"].to_numpy(), steps.width), on="entry").drop(columns="entry")
    by_step = per.groupby(["tag", "at"], sort=False).sum(min_count=1)
    total = by_step.groupby("tag").sum(min_count=1).sort_values("requests", ascending=False, kind="stable").head(100)
    series = {
        tag: dict(zip(part["at"].tolist(), zip(part["requests"].tolist(), part["hits"].tolist(), strict=True),
                      strict=True))
        for tag, part in by_step.reset_index().groupby("tag") if tag in total.index
    }  # fmt: skip
    total = total.reset_index().assign(
        misses=lambda rows: rows["requests"] - rows["hits"], calls_saved=lambda rows: rows["hits"],
        hit_rate=lambda rows: rows["hits"] / rows["requests"].where(rows["requests"] > 0),
        **{SERIES: None},
    )  # fmt: skip
    rows = plain_rows(("tag", *COUNTS), _records(total, 100))
    rows.sort(key=lambda row: (-row["requests"], row["tag"]))
    return group_section("tag", [{**row, SERIES: steps.series(series.get(row["tag"], {}))} for row in rows])


def _per_step(log: Log, entries: npt.NDArray[np.int64], width: int) -> pd.DataFrame:
    """What happened to each of *entries* in each step of *width* seconds."""
    import numpy as np
    import pandas as pd

    wanted = np.zeros(len(log.names), "bool")
    wanted[entries] = True
    rows = np.flatnonzero(wanted[log.entry])
    at = (log.number("time")[rows] // width).astype("int64")
    base = int(at.min()) if len(at) else 0
    span = int(at.max() - base) + 1 if len(at) else 1
    place, found = pd.factorize(log.entry[rows].astype("int64") * span + at - base)  # entries may be narrow numbers
    first = np.flatnonzero(np.diff(np.maximum.accumulate(place), prepend=-1))
    figures = {
        "requests": log.flag("request"), "hits": log.flag("hit"), "sets": log.written,
        "deletes": log.says("op", "delete") & log.whole & ~log.says("outcome", "absent"),
        "evictions": log.says("op", "evict"), "errors": log.says("op", "error"),
    }  # fmt: skip
    usd = np.where(log.flag("hit")[rows], log.usd_of(rows), np.nan)
    known = np.bincount(place[~np.isnan(usd)], minlength=len(found)) > 0
    return pd.DataFrame({
        "entry": log.entry[rows][first], "at": at[first] * width,
        **{name: np.bincount(place[where[rows]], minlength=len(found)) for name, where in figures.items()},
        "cost_saved_usd": np.where(known, np.bincount(place, np.nan_to_num(usd), len(found)), np.nan),
    })  # fmt: skip


def _records(frame: pd.DataFrame, limit: int = TOP) -> Sequence[Mapping[str, Any]]:
    """The first rows of a table."""
    return frame.head(limit).to_dict("records")  # type: ignore[return-value]  # columns have names of text
