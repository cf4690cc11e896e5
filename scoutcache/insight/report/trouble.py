"""What went wrong or nearly so, from the log: invalidation storms, stampedes that were held up, slow operations.

Rule 1: a storm is a minute with a tenth of an hour's warning level of invalidations and deletes (``[alerts]
        invalidations_per_hour``), or after which `MANY` requests found their entry invalidated; minutes in a row are
        one storm.
Rule 2: a miss for ``invalidated`` belongs to the last invalidation before it, if that was less than `AFTER` ago.  It
        was computed anew if it ran a factory, or if the same key was written afterwards.
Rule 3: slow is the cache's own part: neither the factory's time nor what was waited for others' computations counts.
        The keys of one call (`set_many`) share its time, and are one operation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from scoutcache.insight.log.logtable import Log, numbered
from scoutcache.insight.report.sections import LOG, Section, plain_rows
from scoutcache.oplog.records import Line
from scoutcache.oplog.totals import moment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Timed = tuple[npt.NDArray[np.signedinteger[Any]], npt.NDArray[np.float64]]
    """Operations, and what each took in microseconds."""

__all__ = ["Levels", "own_us", "slow", "slowest", "stampedes", "storms"]

AFTER: Final = 3600.0
"""Seconds in which a miss is put down to an invalidation."""
MANY: Final = 100
TOP: Final = 20


@dataclass(frozen=True)
class Levels:
    """The levels of ``[alerts]``: seconds for an operation and for making a key, invalidations per hour."""

    operation: float = 0.05
    key_generation: float = 0.1
    invalidations_per_hour: int = 50

    @property
    def per_minute(self) -> int:
        """Invalidations in one minute from which on it is a storm."""
        return max(2, ceil(self.invalidations_per_hour / 10))


def storms(log: Log, acts: Sequence[Line], levels: Levels) -> Section:
    """Bursts of invalidations: who, why, and what was lost and computed anew.  *acts* are the invalidations, signed."""
    import numpy as np

    times = log.number("time")
    ended = log.says("op", "invalidate") | (log.says("op", "delete") & log.whole & ~log.says("outcome", "absent"))
    minutes, counts = np.unique(times[ended] // 60, return_counts=True)
    lost = _lost(log, np.sort(times[ended]))
    rows = []
    if len(minutes):
        after = np.bincount(np.searchsorted(minutes, lost["minute"]), minlength=len(minutes))
        stormy = np.flatnonzero((counts >= levels.per_minute) | (after >= MANY))
        for run in np.split(stormy, np.flatnonzero(np.diff(minutes[stormy]) > 1) + 1) if len(stormy) else ():
            first, last = float(minutes[run[0]]), float(minutes[run[-1]])
            rows.append({
                "at": moment(first * 60), "minutes": int(last - first) + 1, "invalidations": int(counts[run].sum()),
                "peak_per_minute": int(counts[run].max()), **_signed(acts, first * 60, last * 60 + 60),
                **_aftermath(lost[(lost["minute"] >= first) & (lost["minute"] <= last)]),
            })  # fmt: skip
    columns = ("at", "minutes", "invalidations", "peak_per_minute", "by", "reason", "what", "misses_after", "keys_lost",
               "recomputed", "recompute_s", "recompute_usd")  # fmt: skip
    rows.sort(key=lambda row: (-row["misses_after"], -row["invalidations"], row["at"]))
    note = f"A minute with {levels.per_minute} invalidations or more, or {MANY} misses within an hour for them; "
    note += "lost keys are those asked for again within the hour."
    about = "Bursts of invalidations and what they cost. One tag or a rule with narrower patterns often does the same."
    return Section("storms", "Invalidation storms", columns, rows[:TOP], LOG, note, about,
                   ("at", "invalidations", "keys_lost", "reason", "what", "recompute_usd", "by", "recomputed"))


def _lost(log: Log, ended: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Misses for invalidated entries, with the minute of the invalidation they are put down to (Rule 2)."""
    import numpy as np
    import pandas as pd

    times, computed = log.number("time"), log.computed
    rows = np.flatnonzero(log.missed & log.says("reason", "invalidated"))
    before = np.searchsorted(ended, times[rows], side="right") - 1
    near = (before >= 0) & (times[rows] - ended[np.maximum(before, 0)] < AFTER) if len(ended) else before >= 0
    rows, before = rows[near], before[near]
    entry, lost = log.entry[rows], np.zeros(len(log.names), "bool")
    lost[entry] = True
    writes = np.flatnonzero(log.written & lost[log.entry])
    written = np.full(len(log.names), -np.inf)  # when each entry was last written
    np.maximum.at(written, log.entry[writes], times[writes])
    return pd.DataFrame({
        "minute": ended[before] // 60, "entry": entry, "again": computed[rows] | (written[entry] >= times[rows]),
        "seconds": log.at("factory_s", rows), "usd": log.usd_of(rows),
    })  # fmt: skip


def _aftermath(lost: pd.DataFrame) -> dict[str, Any]:
    again = lost[lost["again"]]
    seconds, usd = again["seconds"].sum(min_count=1), again["usd"].sum(min_count=1)
    figures = {
        "misses_after": len(lost), "keys_lost": lost["entry"].nunique(), "recomputed": again["entry"].nunique(),
        "recompute_s": seconds, "recompute_usd": usd,
    }  # fmt: skip
    return plain_rows(tuple(figures), [figures])[0]


def _signed(acts: Sequence[Line], start: float, end: float) -> dict[str, str | None]:
    """Who did most of it, with which reason, to what; None where nobody signed."""
    then = [line for line in acts if start <= line.time < end]
    who = Counter(" ".join(filter(None, (line.user, line.command))) for line in then)
    why = Counter(line.reason for line in then if line.reason)
    what = Counter(line.key or "the whole namespace" for line in then)
    return {name: _most(found) for name, found in (("by", who), ("reason", why), ("what", what))}


def _most(found: Counter[Any]) -> str | None:
    """The most frequent one, and how many others there were."""
    named = sorted(((-count, name) for name, count in found.items() if name))
    if not named:
        return None
    others = len(named) - 1
    return f"{named[0][1]} and {others} more" if others else str(named[0][1])


def stampedes(log: Log) -> Section:
    """Callers who waited for a computation under way instead of starting their own."""
    import numpy as np

    rows = np.flatnonzero(log.joined)
    waited, took = log.at("wait_us", rows), log.at("latency_us", rows)
    waited = np.where(np.isnan(waited), took, waited)
    ends = log.at("time", rows) + took / 1e6
    table = log.names.iloc[log.entry[rows]].reset_index(drop=True).assign(
        entry=log.entry[rows], wait_us=waited, second=np.nan_to_num(ends) // 1, usd=log.usd_of(rows),
    )  # fmt: skip
    together = table.groupby(["namespace", "prefix", "entry", "second"]).size().groupby(["namespace", "prefix"]).max()
    by = table.groupby(["namespace", "prefix"])
    found = by.agg(prevented=("entry", "size"), keys=("entry", "nunique"), max_us=("wait_us", "max"),
                   waited_s=("wait_us", "sum")).assign(
        most_at_once=together, p50_us=by["wait_us"].quantile(0.5), p95_us=by["wait_us"].quantile(0.95),
        cost_saved_usd=by["usd"].sum(min_count=1),
    ).reset_index()  # fmt: skip
    found["waited_s"] /= 1e6
    found = found.sort_values(["prevented", "namespace", "prefix"], ascending=[False, True, True]).head(TOP)
    columns = ("namespace", "prefix", "prevented", "keys", "most_at_once", "p50_us", "p95_us", "max_us", "waited_s",
               "cost_saved_usd")  # fmt: skip
    about = "Calls not made because the same one was under way. Where waits are long, a stale_ttl answers at once."
    note = "Prevented calls count as hits. Most at once are callers whose wait for one key ended in the same second."
    return Section("stampedes", "Stampedes prevented", columns, plain_rows(columns, found.to_dict("records")), LOG,
                   note, about, ("prefix", "namespace", "prevented", "keys", "p95_us", "cost_saved_usd", "p50_us",
                                 "most_at_once"))


def own_us(log: Log) -> Timed:
    """The operations that were timed, and what each took of the cache's own time (Rule 3)."""
    import numpy as np

    rows, took = log.known("latency_us")
    waited, joined = log.at("wait_us", rows), (log.joined | log.says("reason", "slow"))[rows]
    own = took - np.nan_to_num(log.at("factory_s", rows)) * 1e6 - np.nan_to_num(waited)
    computed_set = log.written[rows] & (log.per_entry(log.computed) > 0)[log.entry[rows]]  # one call
    failed = log.missed[rows] & ~log.says("error", "")[rows]  # how long its factory took before that is not said
    timed = ~computed_set & ~(joined & np.isnan(waited)) & ~failed
    rows, own = rows[timed], np.maximum(own[timed], 0.0)
    if not len(rows):
        return rows, own
    # Records in a row of one kind that began at the same moment are one call: the longest of them is its time.
    ops, times = log.words("op")[0][rows], log.at("time", rows)
    begins = np.flatnonzero(np.append(True, (ops[1:] != ops[:-1]) | (times[1:] != times[:-1])))
    return rows[begins], np.maximum.reduceat(own, begins)


def slow(log: Log, levels: Levels, timed: Timed) -> Section:
    """Kinds of operations of which some took (`own_us`) longer than the alert level, and slowly made keys."""
    rows = _slow_kinds(log, timed, levels.operation * 1e6, "")
    rows += _slow_kinds(log, log.known("keygen_us"), levels.key_generation * 1e6, "making the key")
    rows.sort(key=lambda row: (-row["slow"], row["what"], row["tier"] or "", row["prefix"]))
    columns = ("what", "tier", "prefix", "slow", "share", "p95_us", "max_us", "level_us")
    about = "The cache itself was slow: a busy disk, a far server, huge values, or keys made of huge texts."
    note = "Without the time of factories and of waiting for them; the levels are [alerts] operation, key_generation."
    return Section("slow", "Slow operations", columns, rows[:TOP], LOG, note, about)


def _slow_kinds(log: Log, timed: Timed, level_us: float, what: str) -> list[dict[str, Any]]:
    import numpy as np
    import pandas as pd

    rows, took = timed
    prefixes = numbered(log.names["prefix"])
    kind = prefixes[0][log.entry[rows]].astype("int64")
    for codes, words in () if what else (log.words(name) for name in ("op", "outcome", "tier")):
        kind = kind * len(words) + codes[rows] % len(words)
    some = np.isin(kind, np.unique(kind[took > level_us]))  # the kinds of which some were slow
    rows, took, kind = rows[some], took[some], kind[some]
    by = pd.DataFrame({"row": rows, "us": took, "slow": took > level_us}).groupby(kind)
    found = by.agg(row=("row", "first"), slow=("slow", "sum"), count=("us", "size"), max_us=("us", "max"))
    found["p95_us"] = by["us"].quantile(0.95)
    one = found["row"].to_numpy()
    found["what"] = what or [_named(*pair) for pair in zip(log.word("op", one), log.word("outcome", one), strict=True)]
    found["tier"] = None if what else [tier or None for tier in log.word("tier", one)]
    found["prefix"] = log.names["prefix"].to_numpy()[log.entry[one]]
    found = found.assign(share=found["slow"] / found["count"], level_us=level_us)
    return plain_rows(("what", "tier", "prefix", "slow", "share", "p95_us", "max_us", "level_us"),
                      found.to_dict("records"))  # fmt: skip


def _named(op: str, outcome: str) -> str:
    return f"{op}, {outcome}" if op in {"get", "compute"} and outcome else op


def slowest(log: Log, levels: Levels, timed: Timed) -> Section:
    """The single operations that took longest of all above the alert level."""
    import numpy as np

    rows, took = timed
    over = np.flatnonzero(took > levels.operation * 1e6)
    over = over[np.argsort(-took[over], kind="stable")][:TOP]
    rows, took = rows[over], took[over]
    words = zip(log.word("op", rows), log.word("outcome", rows), log.word("tier", rows), strict=True)
    found = [
        {
            "at": moment(time), "what": _named(op, outcome), "tier": tier or None, "key": key, "namespace": namespace,
            "own_us": own, "size_bytes": size,
        }
        for time, (op, outcome, tier), key, namespace, own, size in zip(
            log.at("time", rows).tolist(), words, log.names["key"].to_numpy()[log.entry[rows]],
            log.names["namespace"].to_numpy()[log.entry[rows]], took.tolist(), log.at("size", rows).tolist(),
            strict=True,
        )
    ]  # fmt: skip
    columns = ("at", "what", "tier", "key", "namespace", "own_us", "size_bytes")
    about = "The worst single cases, with their keys. Look whether they share a time, a tier or a size."
    return Section("slowest", "Slowest single operations", columns, plain_rows(columns, found), LOG, about=about,
                   brief=("at", "what", "tier", "key", "own_us", "size_bytes"))  # fmt: skip
