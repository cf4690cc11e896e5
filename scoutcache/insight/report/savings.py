"""What the cache saved: calls, time and money, with what each figure is based on.

Rule 1: a price is one that somebody stated: the cost said with an entry, ``[costs] default_call_usd``, or the price of
        a model in ``[costs.models]``.  Without one money is None.
Rule 2: every figure that was not measured says so.  Costs said with entries are *stated*.  A hit that counts with the
        default price, or with a model's, is *estimated*.  The log writes the default with what it counts for, so a cost
        of a run whose write says none was the default then.
Rule 3: of a model's price the log knows neither the tokens asked nor those answered.  The answer's bytes divided by
        `BYTES_PER_TOKEN` stand for tokens of output, and nothing for those of input: of text a lower bound, of other
        values not, for what stands around their text (fields, the chunks of a stream) counts as well.
Rule 4: time saved is an estimate: each hit saved what computing took on average for its namespace and prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scoutcache.chat.prices import BYTES_PER_TOKEN
from scoutcache.insight.log.logtable import Log
from scoutcache.insight.report.sections import Section
from scoutcache.oplog.ledger import Counts
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS
from scoutcache.wording.nouns import counted

__all__ = ["BYTES_PER_TOKEN", "Saved", "Savings", "savings"]

ROWS: Final = 50
_CLOSE: Final = 1e-9
Pair = tuple[str, str]


@dataclass
class Saved:
    """What hits of one namespace and prefix saved, and what its misses cost.  Money is USD, None where unknown."""

    requests: int = 0
    hits: int = 0
    stated: int = 0
    """Hits that counted with a cost when they happened, and..."""
    stated_usd: float = 0.0
    """... their sum, the default price included where it was configured then."""
    runs: int = 0
    runs_usd: float | None = None
    written_usd: float | None = None
    seconds: float | None = None
    """Time saved: an estimate (Rule 4)."""
    later_usd: float = 0.0
    """What the other hits count with now, and..."""
    later: int = 0
    """... how many of them have a price."""
    basis: list[str] = field(default_factory=list)
    estimated: bool = False

    @property
    def usd(self) -> float | None:
        """The money saved; None while no price is known."""
        return round(self.stated_usd + self.later_usd, 9) if self.stated + self.later else None

    @property
    def spent_usd(self) -> float | None:
        """The money that computing cost in spite of the cache, at least.

        A computation that was stored stands in the counters twice, so the larger of both counts.
        """
        known = [usd for usd in (self.runs_usd, self.written_usd) if usd is not None]
        return round(max(known), 9) if known else None

    @property
    def call_usd(self) -> float | None:
        """What one call costs, on average of the hits with a price."""
        return None if self.usd is None else self.usd / (self.stated + self.later)


class Savings:
    """What was saved, by namespace and prefix: the exact counters, priced with what the log knows of prices."""

    def __init__(self, counts: Counts, log: Log, namespace: str | None = None) -> None:
        self._price = log.price
        self.pairs: dict[Pair, Saved] = {}
        for row in counts.tally.counters.values():
            if (not row.tier or row.kind in REQUESTS) and namespace in {None, row.namespace}:
                self._add(row)
        self.pairs = {pair: saved for pair, saved in self.pairs.items() if saved.hits or saved.spent_usd is not None}
        self._time(log)
        shares = _model_shares(log)
        kinds = _kinds_of_cost(log)
        for pair, saved in self.pairs.items():
            self._judge(saved, kinds.get(pair, frozenset()))
            self._price_later(saved, *shares.get(pair, (0.0, 0.0)))

    def _add(self, row: Any) -> None:
        saved = self.pairs.setdefault((row.namespace, row.prefix), Saved())
        saved.requests += row.count if row.kind in REQUESTS else 0
        if row.kind in REQUESTS and row.outcome in HIT_OUTCOMES:
            saved.hits += row.count
            saved.stated += row.costed
            saved.stated_usd += row.cost
        elif row.costed and (row.kind == "refresh" or (row.kind in REQUESTS and row.outcome == "miss")):
            saved.runs_usd = (saved.runs_usd or 0.0) + row.cost
        elif row.costed and row.kind == "set" and row.outcome != "refused":
            saved.written_usd = (saved.written_usd or 0.0) + row.cost

    def _time(self, log: Log) -> None:
        rows, seconds = log.known("factory_s")
        made = log.computed[rows]
        table = log.names.iloc[log.entry[rows[made]]].assign(factory_s=seconds[made])
        average = table.groupby(["namespace", "prefix"])["factory_s"].agg(["mean", "size"])
        for pair, mean, count in zip(average.index, average["mean"], average["size"], strict=True):
            if pair in self.pairs:
                self.pairs[pair].seconds, self.pairs[pair].runs = float(mean) * self.pairs[pair].hits, int(count)

    def _judge(self, saved: Saved, kinds: frozenset[str]) -> None:
        """What the money counted when the hits happened is based on, or where none did, the money spent."""
        if not saved.stated and (saved.hits or saved.spent_usd is None):
            return
        bases = _bases(kinds, default=self._price is not None)
        if self._is_default(saved) and not kinds & {"written", "model"}:
            bases = [_DEFAULT]
        saved.basis.append(", else ".join(bases))
        saved.estimated = bases != [_STATED]

    def _is_default(self, saved: Saved) -> bool:
        """Is the money counted what the default price gives?"""
        if self._price is None or not saved.stated:
            return False
        return abs(saved.stated_usd - saved.stated * self._price) <= _CLOSE * max(1.0, saved.stated_usd)

    def _price_later(self, saved: Saved, of_models: float, model_usd: float) -> None:
        """Price the hits that counted with no cost: a share *of_models* at *model_usd*, the others at the default."""
        unpriced = saved.hits - saved.stated
        by_model = round(unpriced * of_models)
        if by_model:
            saved.later_usd, saved.later, saved.estimated = by_model * model_usd, by_model, True
            saved.basis.append(f"prices of models for {counted(by_model, 'hit')}, at least")
        if unpriced > by_model and self._price is not None:
            saved.later_usd += (unpriced - by_model) * self._price
            saved.later, saved.estimated = unpriced, True
            saved.basis.append(f"default_call_usd for {counted(unpriced - by_model, 'hit')}")

    def of(self, **names: str) -> float | None:
        """The money saved in a namespace (``namespace=``) or by a prefix (``prefix=``)."""
        at = {"namespace": 0, "prefix": 1}
        found = [saved.usd for pair, saved in self.pairs.items() if all(pair[at[n]] == v for n, v in names.items())]
        return _sum(found)

    @property
    def usd(self) -> float | None:
        """All the money saved."""
        return self.of()

    @property
    def spent_usd(self) -> float | None:
        """The money that computing cost in spite of the cache, at least."""
        return _sum([saved.spent_usd for saved in self.pairs.values()])

    @property
    def seconds(self) -> float | None:
        """The time saved, an estimate; None while no computation was timed."""
        return _sum([saved.seconds for saved in self.pairs.values()])

    @property
    def estimated_usd(self) -> float | None:
        """How much of the money rests on estimates, at most."""
        found = _sum([saved.usd for saved in self.pairs.values() if saved.estimated])
        return None if self.usd is None else found or 0.0


def _bases(kinds: frozenset[str], *, default: bool) -> list[str]:
    """What costs of those kinds are based on; *default* says that there is a default price."""
    found = [_STATED] if kinds & {"written", "said"} or kinds <= {"unknown"} else []
    found += [_MODELS] if "model" in kinds else []
    return found + ([_DEFAULT] if "default" in kinds or (default and "unknown" in kinds) else [])


_STATED: Final = "costs given with the entries"
_MODELS: Final = "prices of models, at least"
_DEFAULT: Final = "default_call_usd"


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 9) if known else None


def _kinds_of_cost(log: Log) -> Mapping[Pair, frozenset[str]]:
    """By namespace and prefix: where the costs of keys come from, of those with hits where there are any.

    *written*: said with a write; *model*: made of its size there; *said*: by other records; *default*: by runs whose
    writes said none; else *unknown*.
    """
    import numpy as np

    rows, _ = log.known("cost")
    priced = np.zeros(len(log), "bool")
    priced[rows] = True
    wrote = log.per_entry(log.written) > 0
    kinds = np.select(
        [log.keys["unit_usd"].isna().to_numpy(), log.per_entry(log.by_model) > 0,
         log.per_entry(log.written & priced) > 0,
         wrote & (log.per_entry(log.computed & priced) > 0)],
        ["unknown", "model", "written", "default"], "said",
    )  # fmt: skip
    keys = log.keys[["namespace", "prefix", "hits"]].assign(kind=kinds)
    found: dict[Any, frozenset[str]] = {}
    for part in (keys, keys[keys["hits"] > 0]):
        # Of a million keys there are few different ones: to gather those takes a tenth of what gathering all would.
        few = part[["namespace", "prefix", "kind"]].drop_duplicates()
        found |= few.groupby(["namespace", "prefix"], observed=True)["kind"].agg(frozenset).to_dict()
    return found


def _model_shares(log: Log) -> Mapping[Pair, tuple[float, float]]:
    """By namespace and prefix, of the hits with no known cost: the share with a model's price, and its mean in USD."""
    if not log.models:
        return {}
    keys = log.keys[(log.keys["hits"] > 0) & log.keys["unit_usd"].isna()]
    usd = log.model_usd[keys.index.to_numpy()]
    table = keys.assign(priced=keys["hits"].where(usd == usd, 0.0), usd=keys["hits"] * usd)  # noqa: PLR0124  # not NaN
    found = table.groupby(["namespace", "prefix"], observed=True)[["hits", "priced", "usd"]].sum()
    found = found[found["priced"] > 0]
    return dict(zip(found.index, zip(found["priced"] / found["hits"], found["usd"] / found["priced"], strict=True),
                    strict=True))  # fmt: skip


def savings(found: Savings) -> Section:
    """What each namespace and prefix saved, and on what each figure is based."""
    rows: list[dict[str, Any]] = [
        {
            "namespace": namespace, "prefix": prefix, "calls_saved": saved.hits, "seconds_saved": saved.seconds,
            "cost_saved_usd": saved.usd, "cost_spent_usd": saved.spent_usd,
            "estimated": saved.estimated if saved.usd is not None else None,
            "based_on": "; ".join(saved.basis) or "no price is known",
        }
        for (namespace, prefix), saved in found.pairs.items()
    ]  # fmt: skip
    rows.sort(key=lambda row: (-(row["cost_saved_usd"] or 0.0), -row["calls_saved"], row["namespace"], row["prefix"]))
    columns = ("namespace", "prefix", "calls_saved", "seconds_saved", "cost_saved_usd", "cost_spent_usd", "estimated",
               "based_on")  # fmt: skip
    note = "Time saved is always an estimate: each hit saved what computing took on average for its prefix. "
    note += "A model's price counts the answer only, a token for every 4 bytes."
    about = "Where the money is: what each kind of key saved, what was still paid for it, and by which prices."
    return Section("savings", "What it saved", columns, rows[:ROWS], "exact counters, priced with the operation log",
                   note, about, ("prefix", "namespace", "calls_saved", "cost_saved_usd", "cost_spent_usd",
                                 "based_on", "seconds_saved"))  # fmt: skip
