"""The report: where the hits come from, what was saved, what is wasted, and what to change.

Rule 1: totals come from the exact counters, what concerns single keys and computing times from the log, and every
        section says which.
Rule 2: a section is a list of plain rows.  Table, JSON, CSV and HTML show these rows and compute nothing.
Rule 3: every recommendation carries the number it rests on.
Rule 4: what a reader would act on comes first: the sum, the advice, the money; then what explains them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scoutcache.insight.live.stats import collect_stats
from scoutcache.insight.log import frame
from scoutcache.insight.log.logtable import COLUMNS, Log
from scoutcache.insight.log.operations import Operations, end_of
from scoutcache.insight.log.recounted import segment_of
from scoutcache.insight.report import advice, counted, logged, packing, trend, trouble
from scoutcache.insight.report.ages import ages_needed
from scoutcache.insight.report.ended import ended_before
from scoutcache.insight.report.savings import Savings, savings
from scoutcache.insight.report.sections import LOG, Report, Section
from scoutcache.insight.report.trend import Comparison
from scoutcache.insight.report.trouble import Levels
from scoutcache.oplog.filing import LogFile
from scoutcache.oplog.ledger import Counts, counted_from, read_counts
from scoutcache.oplog.process import Segment
from scoutcache.oplog.records import Line
from scoutcache.oplog.totals import By, Stats
from scoutcache.wording.omitted import omitted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Report", "Section", "build_report"]

FEW: Final = 10
MISSING: Final = 0.005
"""So many requests, or this share of them, may be on their way into the log, or out of the period by a second."""
GROUPS: Final[tuple[By, ...]] = ("prefix", "namespace", "tier", "tag")


@dataclass(frozen=True)
class _Read:
    """What a report is made from."""

    stats: Stats
    by: Mapping[str, Stats]
    counts: Counts
    log: Log
    steps: counted.Steps
    savings: Savings
    periods: trend.Periods | None
    namespace: str | None
    since: float | None

    @cached_property
    def log_share(self) -> float | None:
        """How much of what happened the log holds; None when nothing did.

        Where more is missing than its writers left out, files of it were removed, or it was off: then it is how much of
        what was asked for.
        """
        left_out = sum(self.stats.left_out.values())
        asked, begin = counted.asked_from(self.counts, self.namespace, self.since)
        logged = int((self.log.flag("request") & (self.log.number("time") >= begin)).sum())
        if asked - logged - left_out >= max(FEW, MISSING * asked):
            return logged / asked
        whole = len(self.log) + left_out
        return len(self.log) / whole if whole else None


def build_report(directory: Path, since: float | None = None, by: By = "namespace",
                 costs: float | None = None, *, now: float, namespace: str | None = None,
                 models: Mapping[str, float | None] | None = None, levels: Levels | None = None,
                 compare: Comparison | None = None, files: Sequence[LogFile] | None = None,
                 one_machine: bool = False) -> Report:  # fmt: skip
    """The report on everything since the minute of *since* (seconds since the epoch; None: all that is kept).

    *by* is the grouping that stands first (namespace, prefix, tier or tag).  *costs* is the price in USD of a call
    whose cost was not known when it was saved, *models* the prices in USD per million tokens of output by model, for
    keys with a tag ``model:NAME``; without either and without costs of entries, money is None.  *levels* are the alert
    levels.  *compare* is what the period is compared with: the one of the same length before it (the default when
    *since* is given), or its own first half with its second.  *files* are read in place of the directory's log and
    counters, which are not looked at; every figure rests on the log then.  *one_machine* says that others share the
    cache, whose figures are not in this.  Nothing recorded gives an empty report, not
    an error.
    """
    if since is not None:
        since = counted_from(since, now)
        now = max(now, since)  # of what is to come nothing is known
    compare = compare or ("halves" if since is None else "previous")
    before = since if since is None or compare == "halves" else max(0.0, since - (now - since))
    until = end_of(since, now)
    operations = Operations(directory, since if files is None else before, files=files, until=until)
    source = _Source(directory, now, namespace)
    table = frame.as_frame(operations, namespace, COLUMNS)
    if files is None:
        log = Log(table, costs, models)
    else:
        log, counters = _log_alone(table, since, costs, models)
        source = dataclasses.replace(source, directory=None, segments=(counters,))
    counts = source.counts(since)
    spans = source.periods(counts, since, before, compare)
    found = _Read(
        source.stats(since), {by: source.stats(since, by) for by in ("prefix", "namespace")}, counts, log,
        counted.steps_of(counts, namespace, since, now), Savings(counts, log, namespace), spans, namespace, since,
    )  # fmt: skip
    acts: list[Line] = []
    if log.says("op", "invalidate").any():
        again = Operations(directory, since, keys=frozenset(), files=files, until=until)  # of no key, but invalidations
        acts = [line for line in again if namespace in {None, line.namespace} and line.op == "invalidate"]
    made = _made(found, acts, levels or Levels())
    ordered = [made[name] for name in _order(by)]
    operations.problems.dated(found.stats.ahead)
    return Report(
        found.stats.period_start, now, len(log),
        tuple(_with_source(section, found, counters=files is None) for section in ordered), operations.skipped_lines,
        operations.skipped_files + len(found.stats.unread),
        dict(found.stats.left_out if files is None else operations.left_out), operations.problems, one_machine,
    )  # fmt: skip


def _log_alone(table: pd.DataFrame, since: float | None, costs: float | None,
               models: Mapping[str, float | None] | None) -> tuple[Log, Segment]:  # fmt: skip
    """The log since *since* where there are no counters, and what would have been counted of all that was read."""
    later = None if since is None else table[table["time"] >= since].reset_index(drop=True)
    whole = Log(table, costs, models)  # which takes the table apart
    return whole if later is None else Log(later, costs, models), segment_of(whole)


@dataclass(frozen=True)
class _Source:
    """Where the counters are: in a directory, or in *segments*."""

    directory: Path | None
    now: float
    namespace: str | None
    segments: tuple[Segment, ...] = ()

    def counts(self, since: float | None) -> Counts:
        return read_counts(self.directory, since=since, now=self.now, extra=self.segments, by_minute=True)

    def stats(self, since: float | None, by: By | None = None) -> Stats:
        period = None if since is None else max(0.0, self.now - since)
        return collect_stats(self.directory, now=self.now, period_s=period, by=by, namespace=self.namespace,
                             extra=self.segments)  # fmt: skip

    def periods(self, counts: Counts, since: float | None, before: float | None,
                compare: Comparison) -> trend.Periods | None:  # fmt: skip
        """The two periods to compare; None when there is nothing to compare with."""
        if compare == "halves":
            span = _span(counts, self.now)
            return None if span is None else trend.periods(counts, self.namespace, span[0], sum(span) / 2, span[1])
        if since is None or before is None or since >= self.now:
            return None
        earlier = self.counts(before)
        # As the counters have it, by the minute or the hour: what is compared is what the summary counts.
        start, middle = (at if of.first_minute is None else of.first_minute * 60.0
                         for of, at in ((earlier, before), (counts, since)))  # fmt: skip
        return trend.periods(earlier, self.namespace, start, middle, self.now)


def _made(found: _Read, acts: list[Line], levels: Levels) -> dict[str, Section]:
    """The sections by name, those about others last."""
    ended = ended_before(found.log, acts)
    made = {section.name: section for section in _sections(found, acts, levels, sum(ended.values()))}
    seen = advice.Seen(found.stats, found.by["prefix"], found.savings, ages_needed(found.log), made, ended)
    return made | {"recommendations": advice.recommendations(seen), "summary": _summary(found)}


_EXPLAINING: Final = ("latency", "slow", "slowest", "most_costly", "most_requested", "wasted", "largest", "evictions",
                      "storms", "stampedes", "compression")  # fmt: skip


def _order(by: By) -> tuple[str, ...]:
    """The names of the sections as they stand."""
    others = [f"by_{name}" for name in GROUPS if name != by]
    return ("summary", "recommendations", "savings", "trend", "movers", "over_time", "miss_reasons", "failures",
            f"by_{by}", *others, *_EXPLAINING)  # fmt: skip


def _sections(found: _Read, acts: list[Line], levels: Levels, ended: int) -> list[Section]:
    counts, namespace, log, steps = found.counts, found.namespace, found.log, found.steps
    took = trouble.own_us(log)
    return [
        savings(found.savings),
        trend.trend(found.periods, log.price),
        trend.movers(found.periods),
        counted.over_time(counts, namespace, steps, log.price),
        counted.miss_reasons(counts, namespace, ended),
        logged.failures(log),
        *_groups(found),
        counted.latency(counts, namespace),
        trouble.slow(log, levels, took),
        trouble.slowest(log, levels, took),
        logged.most_costly(log),
        logged.most_requested(log),
        logged.wasted(log),
        logged.largest(log),
        counted.evictions(counts, namespace),
        trouble.storms(log, acts, levels),
        trouble.stampedes(log),
        packing.compression(log),
    ]


def _groups(found: _Read) -> list[Section]:
    sections = [
        counted.groups(found.by[by], by, found.counts, found.namespace, found.steps, _pricing(found.savings, by))
        for by in ("prefix", "namespace")
    ]
    sections.append(counted.tiers(found.stats, found.counts, found.namespace, found.steps))
    return [*sections, logged.by_tag(found.log, found.steps)]


def _pricing(money: Savings, by: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda group: money.of(**{by: group[by]})


def _span(counts: Counts, now: float) -> tuple[float, float] | None:
    """From the first to the last minute in which something was counted; None where that is one minute."""
    minutes = [name.minute for name in counts.tally.counters]
    if not minutes or min(minutes) == max(minutes):
        return None
    return min(minutes) * 60.0, min(now, max(minutes) * 60.0 + 60.0)


def _summary(found: _Read) -> Section:
    stats, total, money = found.stats, found.stats.total, found.savings
    row = {
        "requests": total.requests, "hits": total.hits, "misses": total.misses, "hit_rate": total.hit_rate,
        "calls_saved": total.calls_saved, "seconds_saved": money.seconds, "cost_saved_usd": money.usd,
        "cost_estimated_usd": money.estimated_usd, "cost_spent_usd": money.spent_usd,
        "hit_p50_us": stats.hit.p50_us, "hit_p95_us": stats.hit.p95_us, "miss_p50_us": stats.miss.p50_us,
        "miss_p95_us": stats.miss.p95_us, "evictions": total.evictions, "expirations": total.as_dict()["expirations"],
        "sets": total.sets, "deletes": total.deletes, "errors": total.errors, "log_records": len(found.log),
        "log_left_out": sum(omitted(stats.left_out).values()),
        "log_share": found.log_share,
    }  # fmt: skip
    note = "Seconds saved are an estimate. Of the money saved, cost estimated says how much rests on estimates; "
    note += "cost spent is what computing still cost, at least. Log share is the share of all events that the log "
    note += "holds; sections from the log rest on that."
    return Section("summary", "Summary", tuple(row), [row], note=note,
                   about="What the cache did in this time, and what that was worth.")  # fmt: skip


def _with_source(section: Section, found: _Read, *, counters: bool) -> Section:
    """The section; where there are no *counters* it rests on the log, and where that holds a part only it says so."""
    source = section.source if counters else LOG
    share = found.log_share
    if LOG in source and share is not None and share < 0.995:
        source = f"{source} ({share:.0%} of what happened)"
    return dataclasses.replace(section, source=source)
