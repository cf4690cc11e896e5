"""The operation log by key: how often asked for, read, written, computed, at what cost; and the keys that stand out.

Rule 1: whole columns at a time, never a row: ten million operations take seconds.  Namespace and key become one number
        (an *entry*) once, and everything by key is counted by that number.
Rule 2: a computation is a run of a factory, beside the calls too; of a key that no factory was run for, every write
        that says what its value cost.
Rule 3: the log may be sampled and capped: what is not in it is not made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from scoutcache.insight.counted import COUNTS, Steps, group_section
from scoutcache.insight.sections import LOG, SERIES, Section, plain_rows
from scoutcache.oplog.columns import names_in

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Codes = npt.NDArray[np.int64]
    Texts = npt.NDArray[np.object_]

__all__ = [
    "BYTES_PER_TOKEN", "Log", "by_tag", "completed", "largest", "most_costly", "most_requested", "numbered", "wasted",
]  # fmt: skip

TOP: Final = 20
"""Rows of a list of the most or largest."""
BYTES_PER_TOKEN: Final = 4
"""English text has about four bytes to a token, by OpenAI's rule of thumb; others have fewer."""
_NUMBERS: Final = (
    "time", "latency_us", "size", "stored", "codec_us", "keygen_us", "wait_us", "factory_s", "cost", "ttl",
)  # fmt: skip
_TEXTS: Final = ("op", "key", "namespace", "tier", "outcome", "reason", "codec", "error", "prefix")


def completed(frame: pd.DataFrame) -> pd.DataFrame:
    """*frame* with every column that the sections read; those that it lacks are empty."""
    import numpy as np

    missing: dict[str, Any] = {name: np.nan for name in _NUMBERS if name not in frame}
    missing |= {name: None for name in (*_TEXTS, "tags") if name not in frame}
    missing |= {name: False for name in ("request", "hit") if name not in frame}
    return frame.assign(**missing) if missing else frame


class Log:
    """A log as a table of operations and a table of entries.

    *price* is what a call cost, in USD, where neither the log nor a model's price says; *models* are prices in USD per
    million tokens of output, by the name after ``model:`` in a tag.
    """

    def __init__(self, frame: pd.DataFrame, price: float | None = None,
                 models: Mapping[str, float] | None = None) -> None:  # fmt: skip
        self.frame = completed(frame)
        self.price = price
        self.models = models or {}
        self.entry, self.names = _entries(self.frame)
        self._words: dict[str, tuple[Codes, Texts]] = {}

    def __len__(self) -> int:
        return len(self.frame)

    def number(self, name: str) -> Floats:
        """A column of figures; NaN where a record says nothing."""
        column = self.frame[name]
        # A column that is one already is given as it is: ten million figures take 80 MB.
        return column.to_numpy() if column.dtype == "float64" else column.to_numpy("float64", na_value=float("nan"))

    def flag(self, name: str) -> Flags:
        """A column of yes and no."""
        return self.frame[name].to_numpy("bool")

    def words(self, name: str) -> tuple[Codes, Texts]:
        """The number of the word in each row of a column, and the words by number; the last one is empty."""
        if name not in self._words:
            self._words[name] = numbered(self.frame[name])
        return self._words[name]

    def says(self, name: str, *words: str) -> Flags:
        """Where a column of words says one of these."""
        import numpy as np

        codes, found = self.words(name)
        return np.isin(found, words)[codes]

    def per_entry(self, where: Flags, values: Floats | None = None) -> Floats:
        """For each entry how many of its operations are *where*, or the sum of *values* there; NaN counts as nothing."""
        import numpy as np

        rows = np.flatnonzero(where)
        weights = None if values is None else np.nan_to_num(values[rows])
        return np.bincount(self.entry[rows], weights=weights, minlength=len(self.names)).astype("float64")

    @cached_property
    def whole(self) -> Flags:
        """Operations of the cache as a whole, not one tier's share of them."""
        import numpy as np

        codes, names = self.words("tier")
        return np.isin(names, [""])[codes]

    @cached_property
    def written(self) -> Flags:
        """Writes that some tier took."""
        return self.says("op", "set") & ~self.says("outcome", "refused") & self.whole

    @cached_property
    def computed(self) -> Flags:
        """Runs of a factory."""
        import numpy as np

        return (self.flag("request") | self.says("op", "refresh")) & ~np.isnan(self.number("factory_s"))

    @cached_property
    def joined(self) -> Flags:
        """Requests that waited for another caller's computation."""
        return self.flag("hit") & self.says("reason", "joined")

    @cached_property
    def missed(self) -> Flags:
        """Requests that nobody answered."""
        return self.flag("request") & ~self.flag("hit")

    @cached_property
    def keys(self) -> pd.DataFrame:
        """One row for each entry; ``unit_usd`` is what one call for it costs, as far as the log says."""
        import numpy as np

        cost, computed, written = self.number("cost"), self.computed, self.written
        known = ~np.isnan(cost)
        runs, priced = self.per_entry(computed), self.per_entry(written & known)
        stated = self.per_entry(computed & known)
        by_runs = self.per_entry(computed, cost) + (runs - stated) * (self.price or 0.0)
        by_runs[stated + (self.price is not None) == 0] = np.nan
        by_writes = np.where(priced > 0, self.per_entry(written, cost), np.nan)
        with np.errstate(invalid="ignore"):
            unit = self.per_entry(known, cost) / self.per_entry(known)
        return self.names.assign(
            requests=self.per_entry(self.flag("request")), hits=self.per_entry(self.flag("hit")),
            reads=self.per_entry(self.flag("hit") & ~self.joined), writes=self.per_entry(written | computed),
            computations=np.where(runs > 0, runs, priced), size_bytes=self._largest(),
            factory_s=np.where(runs > 0, self.per_entry(computed, self.number("factory_s")), np.nan),
            cost_usd=np.where(runs > 0, by_runs, by_writes), unit_usd=unit,
        )  # fmt: skip

    def _largest(self) -> Floats:
        """The largest size seen of each entry, NaN where none was."""
        import numpy as np

        found, size = np.full(len(self.names), -1.0), self.number("size")
        rows = np.flatnonzero(~np.isnan(size))
        np.maximum.at(found, self.entry[rows], size[rows])
        return np.where(found < 0, np.nan, found)

    @cached_property
    def tags(self) -> pd.DataFrame:
        """The tags each entry was last written with, as rows of ``entry`` and ``tag``."""
        import numpy as np
        import pandas as pd

        codes, texts = self.words("tags")
        named = codes != -1
        told = np.flatnonzero(named | self.says("op", "set") | (self.says("op", "compute") & self.missed))
        order = told[np.argsort(self.number("time")[told], kind="stable")]
        last = np.full(len(self.names), -1)
        last[self.entry[order]] = order  # of several for one entry the last stays
        entries = np.flatnonzero(last >= 0)
        tags = pd.Series([names_in(text) for text in texts], dtype=object)
        found = pd.DataFrame({"entry": entries, "tag": tags.to_numpy()[codes[last[entries]]]})
        return found.explode("tag").dropna().reset_index(drop=True)

    @cached_property
    def hit_usd(self) -> Floats:
        """What each hit saved, in USD: its own cost, else what a call for its key costs, else its model's, else the
        default; NaN for what no price is known of, and for what is no hit."""
        import numpy as np

        usd = np.where(np.isnan(self.number("cost")), self.keys["unit_usd"].to_numpy()[self.entry], self.number("cost"))
        usd = np.where(np.isnan(usd), self.model_usd[self.entry], usd)
        if self.price is not None:
            usd = np.where(np.isnan(usd), self.price, usd)
        return np.where(self.flag("hit"), usd, np.nan)

    @cached_property
    def model_usd(self) -> Floats:
        """What a call for each entry costs at least by its model's price of output; NaN where that is unknown."""
        import numpy as np

        found = np.full(len(self.names), np.nan)
        if self.models and len(self.names):
            named = self.tags[self.tags["tag"].str.startswith("model:")]
            rate = named["tag"].str.removeprefix("model:").map(self.models).to_numpy("float64")
            size = self.keys["size_bytes"].to_numpy()[named["entry"].to_numpy()]
            found[named["entry"].to_numpy()] = size / BYTES_PER_TOKEN * rate / 1e6
        return found


def _entries(frame: pd.DataFrame) -> tuple[Codes, pd.DataFrame]:
    """The number of each operation's entry, and by number its namespace, key and prefix."""
    import numpy as np
    import pandas as pd

    spaces, space_names = numbered(frame["namespace"])
    keys, key_names = numbered(frame["key"])
    count = len(key_names) - 1
    if len(space_names) == 2 and count and np.all(np.bincount(keys, minlength=count)):
        # Of one namespace the keys' own numbers will do, which takes neither the time nor the room to find others.
        row_of = np.empty(count, "int64")
        row_of[keys] = np.arange(len(keys))
        prefixes = frame["prefix"].iloc[row_of].to_numpy(dtype=object)
        return keys, pd.DataFrame({"namespace": space_names[0], "key": key_names[:-1], "prefix": prefixes})
    entry, _ = pd.factorize(spaces.astype("int64") * (len(key_names) + 1) + keys)
    first = np.flatnonzero(np.diff(np.maximum.accumulate(entry), prepend=-1))  # numbers are given as they come
    return entry, pd.DataFrame({
        "namespace": space_names[spaces[first]], "key": key_names[keys[first]],
        "prefix": frame["prefix"].iloc[first].to_numpy(dtype=object),
    })  # fmt: skip


def numbered(column: pd.Series[Any]) -> tuple[Any, Any]:
    """The number of each text in a column, and the texts by number; what is no text has the last one, an empty text."""
    import numpy as np
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):  # it has numbers already, in a byte or four of each row
        return column.cat.codes.to_numpy(), np.append(column.cat.categories.to_numpy(dtype=object), "")
    codes, names = pd.factorize(column)
    return codes, np.append(np.asarray(names, dtype=object), "")


def _top(keys: pd.DataFrame, column: str) -> pd.DataFrame:
    """The `TOP` keys with most in *column*, of those with anything; the same ones by name.  Sorts a few of them only."""
    largest = keys[column].nlargest(TOP)
    least = largest.iloc[-1] if len(largest) == TOP else 0.0
    found = keys[(keys[column] >= least) & (keys[column] > 0)]
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
    """By prefix: how many entries were written and never read, what they weigh, and what they cost."""
    keys = log.keys[log.keys["writes"] > 0]
    unread = keys["reads"] == 0
    table = keys.assign(
        never_read=unread, waste_bytes=keys["size_bytes"].where(unread), waste_usd=keys["cost_usd"].where(unread),
        waste_s=keys["factory_s"].where(unread),
    )  # fmt: skip
    by = table.groupby(["namespace", "prefix"], sort=True, observed=True)
    found = by.agg(written=("key", "size"), never_read=("never_read", "sum")).assign(
        size_bytes=by["waste_bytes"].sum(min_count=1), factory_s=by["waste_s"].sum(min_count=1),
        cost_usd=by["waste_usd"].sum(min_count=1),
    ).reset_index()  # fmt: skip
    found["share"] = found["never_read"] / found["written"]
    found = found.sort_values(["never_read", "namespace", "prefix"], ascending=[False, True, True])
    columns = ("namespace", "prefix", "written", "never_read", "share", "size_bytes", "factory_s", "cost_usd")
    about = "Entries that only took room. Some are normal; where most of a prefix is, don't cache it, or for less time."
    note = "Entries written lately may still be read; the cost is what computing them took."
    return Section("wasted", "Written and never read", columns, plain_rows(columns, _records(found)), LOG, note, about,
                   ("prefix", "namespace", "written", "never_read", "share", "cost_usd", "size_bytes"))  # fmt: skip


def by_tag(log: Log, steps: Steps) -> Section:
    """The figures of each tag, with its hit rate over time."""
    tags = log.tags
    if tags.empty:
        return group_section("tag", [])
    by_step = tags.merge(_per_step(log, tags["entry"].to_numpy(), steps.width), on="entry").drop(columns="entry").groupby(
        ["tag", "at"], sort=False
    ).sum(min_count=1)  # fmt: skip
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
    place, found = pd.factorize(log.entry[rows].astype("int64") * (int(at.max() - base) + 1 if len(at) else 1) + at - base)
    first = np.flatnonzero(np.diff(np.maximum.accumulate(place), prepend=-1))
    figures = {
        "requests": log.flag("request"), "hits": log.flag("hit"), "sets": log.written,
        "deletes": log.says("op", "delete") & log.whole & ~log.says("outcome", "absent"),
        "evictions": log.says("op", "evict"), "errors": log.says("op", "error"),
    }  # fmt: skip
    usd = log.hit_usd[rows]
    known = np.bincount(place[~np.isnan(usd)], minlength=len(found)) > 0
    return pd.DataFrame({
        "entry": log.entry[rows][first], "at": at[first] * width,
        **{name: np.bincount(place[where[rows]], minlength=len(found)) for name, where in figures.items()},
        "cost_saved_usd": np.where(known, np.bincount(place, np.nan_to_num(usd), len(found)), np.nan),
    })  # fmt: skip


def _records(frame: pd.DataFrame, limit: int = TOP) -> Sequence[Mapping[str, Any]]:
    """The first rows of a table."""
    return frame.head(limit).to_dict("records")  # type: ignore[return-value]  # columns have names of text
