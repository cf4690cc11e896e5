"""The operation log as a table of operations and a table of entries: what every section about keys counts with.

Rule 1: whole columns at a time, never a row: ten million operations take seconds.  Namespace and key become one number
        (an *entry*) once, and everything by key is counted by that number.
Rule 2: most records say few figures.  A figure that less than half of them say is kept with the rows that say it, and
        the table that it came from is let go: ten million rows of one column take 80 MB.
Rule 3: a computation is a run of a factory, beside the calls too; of a key that no factory was run for, every write
        that says what its value cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from scoutcache.chat.prices import BYTES_PER_TOKEN, model_in, named
from scoutcache.oplog.columns import names_in

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Codes = npt.NDArray[np.signedinteger[Any]]
    Texts = npt.NDArray[np.object_]

__all__ = ["BYTES_PER_TOKEN", "COLUMNS", "Log", "numbered"]

_FIGURES: Final = (
    "time", "latency_us", "size", "stored", "codec_us", "keygen_us", "wait_us", "factory_s", "cost",
)  # fmt: skip
_WORDS: Final = ("op", "namespace", "tier", "outcome", "reason", "codec", "tags", "prefix", "error")
COLUMNS: Final = (*_FIGURES, *_WORDS, "key", "request", "hit")
"""The columns of the log that a `Log` needs."""


class Log:
    """A log as a table of operations and a table of entries.  The *frame* is taken apart, and empty afterwards.

    *price* is what a call cost, in USD, where neither the log nor a model's price says; *models* are prices in USD per
    million tokens of output, by the name after ``model:`` in a tag.
    """

    def __init__(self, frame: pd.DataFrame, price: float | None = None,
                 models: Mapping[str, float | None] | None = None) -> None:  # fmt: skip
        self.price = price
        self.models = models or {}
        self._count = len(frame)
        self._figures = {name: _thinned(frame.pop(name)) for name in _FIGURES}
        self._flags = {name: frame.pop(name).to_numpy("bool") for name in ("request", "hit")}
        keys = numbered(frame.pop("key"))
        self._words = {name: numbered(frame.pop(name)) for name in _WORDS}
        self.entry, self.names = _entries(self._words["namespace"], keys, self._words["prefix"])

    def __len__(self) -> int:
        return self._count

    def number(self, name: str) -> Floats:
        """A column of figures; NaN where a record says nothing."""
        import numpy as np

        rows, values = self._figures[name]
        if rows is None:
            return values
        found = np.full(self._count, np.nan)
        found[rows] = values
        return found

    def known(self, name: str) -> tuple[Codes, Floats]:
        """The operations that say a figure, and what they say."""
        import numpy as np

        rows, values = self._figures[name]
        if rows is None:
            rows = np.flatnonzero(~np.isnan(values))
            values = values[rows]
        return rows, values

    def at(self, name: str, wanted: Codes) -> Floats:
        """The figures of the operations *wanted*, NaN where they say nothing."""
        import numpy as np

        rows, values = self._figures[name]
        if rows is None:
            return values[wanted]
        place = np.searchsorted(rows, wanted)
        there = place < len(rows)
        there[there] = rows[place[there]] == wanted[there]
        found = np.full(len(wanted), np.nan)
        found[there] = values[place[there]]
        return found

    def flag(self, name: str) -> Flags:
        """A column of yes and no."""
        return self._flags[name]

    def words(self, name: str) -> tuple[Codes, Texts]:
        """The number of the word in each row of a column, and the words by number; the last one is empty."""
        return self._words[name]

    def word(self, name: str, rows: Codes) -> Texts:
        """The words of the operations *rows*; empty where they say nothing."""
        codes, words = self._words[name]
        return words[codes[rows]]

    def says(self, name: str, *words: str) -> Flags:
        """Where a column of words says one of these."""
        import numpy as np

        codes, found = self._words[name]
        return np.isin(found, words)[codes]

    def per_entry(self, where: Flags) -> Floats:
        """For each entry how many of its operations are *where*."""
        import numpy as np

        return self._summed(np.flatnonzero(where), None)

    def _summed(self, rows: Codes, values: Floats | None) -> Floats:
        """For each entry the number of *rows* that are its own, or the sum of their *values*."""
        import numpy as np

        return np.bincount(self.entry[rows], weights=values, minlength=len(self.names)).astype("float64")

    @cached_property
    def whole(self) -> Flags:
        """Operations of the cache as a whole, not one tier's share of them."""
        return self.says("tier", "")

    @cached_property
    def written(self) -> Flags:
        """Writes that some tier took."""
        return self.says("op", "set") & ~self.says("outcome", "refused") & self.whole

    @cached_property
    def computed(self) -> Flags:
        """Runs of a factory."""
        import numpy as np

        ran = np.zeros(self._count, "bool")
        ran[self.known("factory_s")[0]] = True
        return ran & (self.flag("request") | self.says("op", "refresh"))

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

        rows, cost = self.known("cost")
        made, wrote = self.computed[rows], self.written[rows]
        runs, stated = self.per_entry(self.computed), self._summed(rows[made], None)
        priced = self._summed(rows[wrote], None)
        by_runs = self._summed(rows[made], cost[made]) + (runs - stated) * (self.price or 0.0)
        by_runs[stated + (self.price is not None) == 0] = np.nan
        by_writes = np.where(priced > 0, self._summed(rows[wrote], cost[wrote]), np.nan)
        with np.errstate(invalid="ignore"):
            unit = self._summed(rows, cost) / self._summed(rows, None)
        ran, seconds = self.known("factory_s")
        ran, seconds = ran[self.computed[ran]], seconds[self.computed[ran]]
        return self.names.assign(
            requests=self.per_entry(self.flag("request")), hits=self.per_entry(self.flag("hit")),
            reads=self.per_entry(self.flag("hit") & ~self.joined), writes=self.per_entry(self.written),
            computations=np.where(runs > 0, runs, priced), size_bytes=self._largest(),
            factory_s=np.where(runs > 0, self._summed(ran, seconds), np.nan),
            cost_usd=np.where(runs > 0, by_runs, by_writes), unit_usd=unit,
        )  # fmt: skip

    def _largest(self) -> Floats:
        """The largest size seen of each entry, NaN where none was: of what was stored, or found to be."""
        import numpy as np

        found = np.full(len(self.names), -1.0)
        rows, size = self.known("size")
        stored = (self.written | self.flag("hit"))[rows]
        rows, size = rows[stored], size[stored]
        np.maximum.at(found, self.entry[rows], size)
        return np.where(found < 0, np.nan, found)

    @cached_property
    def tags(self) -> pd.DataFrame:
        """The tags each entry was last written with, as rows of ``entry`` and ``tag``."""
        import numpy as np
        import pandas as pd

        codes, texts = self.words("tags")
        named, computed = (texts != "")[codes], self.says("op", "compute") & self.missed & self.computed
        told = np.flatnonzero(named | computed | self.says("op", "set"))
        order = told[np.argsort(self.at("time", told), kind="stable")]
        last = np.full(len(self.names), -1)
        last[self.entry[order]] = order  # of several for one entry the last stays
        entries = np.flatnonzero(last >= 0)
        lists = pd.Series([list(names_in(text)) for text in texts], dtype=object)  # each different one is read once
        found = pd.DataFrame({"entry": entries, "tag": lists.iloc[codes[last[entries]]].to_numpy()})
        return found.explode("tag").dropna().reset_index(drop=True)

    def usd_of(self, rows: Codes) -> Floats:
        """What the call of each of *rows* cost or would have cost, in USD: its own figure, else `call_usd`."""
        import numpy as np

        own = self.at("cost", rows)
        return np.where(np.isnan(own), self.call_usd[self.entry[rows]], own)

    @cached_property
    def call_usd(self) -> Floats:
        """What a call for each entry costs: what records of it say, else its model's price, else the default."""
        import numpy as np

        usd = self.keys["unit_usd"].to_numpy()
        usd = np.where(np.isnan(usd), self.model_usd, usd)
        return usd if self.price is None else np.where(np.isnan(usd), self.price, usd)

    @cached_property
    def model_usd(self) -> Floats:
        """What a call for each entry costs at least by its model's price of output; NaN where that is unknown."""
        return self.keys["size_bytes"].to_numpy() * self._byte_usd

    @cached_property
    def _byte_usd(self) -> Floats:
        """What a byte of each entry costs by its model's price of output, as `cost_by_size` has it."""
        import numpy as np

        found = np.full(len(self.names), np.nan)
        if self.models and len(self.names):
            priced = {tag: named(self.models, model_in(tag)) for tag in self.tags["tag"].unique()}
            usd = self.tags.assign(usd=self.tags["tag"].map(priced).astype("float64")).dropna(subset="usd")
            found[usd["entry"].to_numpy()] = usd["usd"].to_numpy() / BYTES_PER_TOKEN / 1e6
        return found

    @cached_property
    def by_model(self) -> Flags:
        """Writes whose cost nobody said: it is what their model's price made of their size."""
        import numpy as np

        found = np.zeros(self._count, "bool")
        rows, cost = self.known("cost")
        usd = self.at("size", rows) * self._byte_usd[self.entry[rows]]
        found[rows] = self.written[rows] & np.isclose(cost, usd, rtol=1e-9, atol=0)
        return found


def _thinned(column: pd.Series[Any]) -> tuple[Codes | None, Floats]:
    """The rows that say a figure and what they say; None for the rows where most of them do."""
    import numpy as np

    values = column.to_numpy("float64")
    said = ~np.isnan(values)
    if 2 * np.count_nonzero(said) > len(values):
        return None, values
    rows = np.flatnonzero(said)
    return rows.astype(np.min_scalar_type(-max(len(values), 1)), copy=False), values[rows]


def _entries(
    namespace: tuple[Codes, Texts], key: tuple[Codes, Texts], prefix: tuple[Codes, Texts]
) -> tuple[Codes, pd.DataFrame]:
    """The number of each operation's entry, and by number its namespace, key and prefix."""
    import numpy as np
    import pandas as pd

    (spaces, space_names), (keys, key_names), (prefixes, prefix_names) = namespace, key, prefix
    pairs = keys.astype("int64") % len(key_names)
    pairs += (spaces % len(space_names)).astype("int64") * len(key_names)
    entry, found = pd.factorize(pairs)
    prefix_of = np.full(len(key_names), len(prefix_names) - 1)
    prefix_of[keys] = prefixes
    names = pd.DataFrame({
        "namespace": space_names[found // len(key_names)], "key": key_names[found % len(key_names)],
        "prefix": prefix_names[prefix_of[found % len(key_names)]],
    }, dtype=object)  # fmt: skip  # as they are: a million of them would be copied into strings of pandas' own
    return entry.astype(np.min_scalar_type(-max(len(names), 1))), names


def numbered(column: pd.Series[Any]) -> tuple[Codes, Texts]:
    """The number of each text in a column, and the texts by number; what is no text has the last one, an empty text.

    A column of categories is numbered already.
    """
    import numpy as np
    import pandas as pd

    codes: Any  # small numbers of any width
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, names = column.cat.codes.to_numpy(), column.cat.categories
    else:
        codes, names = pd.factorize(column)
    # At once: from pandas' own strings one by one would take ten times as long, for a million keys.
    texts: Texts = np.append(np.asarray(names, dtype=object), [""])
    return codes, texts
