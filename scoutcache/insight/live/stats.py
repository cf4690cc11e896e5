"""The figures behind ``scoutcache stats``, by tag too.

By tier, namespace and prefix they come from the counters and are exact.  Tags stand in the log only, so figures by tag
are what the log holds:

- A request counts for every tag that its key was last written with in the period, requests before that write too; one
  for a key that was not written in the period, or without tags, for none.
- A hit saved what the record of it says; where that says nothing (hits in memory), what calls for its key cost on the
  mean, by the records that say so, else the price that the caller names.
- An invalidation counts for the tag that it names.
- What the log left out (which `Stats.left_out` tells) is missing, and so is what other machines did.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scoutcache.entry import Usage
from scoutcache.oplog import totals
from scoutcache.oplog.elsewhere import Elsewhere
from scoutcache.oplog.ledger import counted_from
from scoutcache.oplog.process import Segment
from scoutcache.oplog.reading import Problems
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS, Line, tag_of, tells_tags
from scoutcache.oplog.tally import Counted
from scoutcache.oplog.totals import By, Group, Stats

__all__ = ["Stats", "collect_stats"]


def collect_stats(directory: Path | None, *, now: float, period_s: float | None = None, by: By | None = None,
                  namespace: str | None = None, usages: Mapping[str, Usage | None] | None = None,
                  extra: Sequence[Segment] = (), elsewhere: Elsewhere | None = None,
                  problems: Problems | None = None, price: float | None = None) -> Stats:  # fmt: skip
    """As `scoutcache.oplog.totals.collect_stats`, and *by* ``tag`` from this machine's log.

    *problems* hears of what of that log could not be read; *price* is what a call costs in USD where the log says none.
    """
    found = totals.collect_stats(
        directory, now=now, period_s=period_s, by=by, namespace=namespace, usages=usages, extra=extra,
        elsewhere=elsewhere,
    )  # fmt: skip
    if by != "tag" or directory is None:
        return found
    from scoutcache.insight.log.operations import Operations, end_of

    since = None if period_s is None else counted_from(now - period_s, now)  # as the counters have it
    operations = Operations(directory, since, until=end_of(since, now))
    groups = _by_tag(operations, namespace, found.unnamed, price)
    if problems is not None:
        problems.add(operations.problems)
    return dataclasses.replace(found, groups=groups)


def _by_tag(
    lines: Iterable[Line], namespace: str | None, unnamed: frozenset[tuple[str, str]], price: float | None = None
) -> tuple[dict[str, Any], ...]:
    tags: dict[tuple[str, str], tuple[float, tuple[str, ...]]] = {}
    counters: dict[tuple[str, str], dict[tuple[str, str, str], Counted]] = {}
    groups: dict[str, Group] = {}
    for line in lines:
        ref = line.namespace, line.key
        if namespace not in {None, line.namespace}:
            continue
        if line.op == "invalidate":
            if (tag := tag_of(line.key)) is not None:
                groups.setdefault(tag, Group(tag, unnamed=unnamed)).invalidations += 1
            continue
        if tells_tags(line) and line.time >= tags.get(ref, (0.0, ()))[0]:
            tags[ref] = line.time, line.tags
        _count(counters.setdefault(ref, {}), line)
    for ref, (_, names) in tags.items():
        rows = counters[ref].values()
        _price(rows, price)
        for name in names:
            group = groups.setdefault(name, Group(name, unnamed=unnamed))
            for row in rows:
                group.add(row)
    shown = sorted(groups.values(), key=lambda group: (-group.requests, group.name))
    return tuple({"tag": group.name, **group.as_dict()} for group in shown)


def _price(rows: Collection[Counted], otherwise: float | None) -> None:
    """Give the hits of one key that say no cost the mean of what its records say, else *otherwise*."""
    told = sum(row.costed for row in rows)
    usd = sum(row.cost for row in rows) / told if told else otherwise
    for row in rows if usd is not None else ():
        if row.kind in REQUESTS and row.outcome in HIT_OUTCOMES:
            row.cost += (usd or 0.0) * (row.count - row.costed)
            row.costed = row.count


def _count(counters: dict[tuple[str, str, str], Counted], line: Line) -> None:
    reason = line.reason or ""
    names = line.op, line.outcome or "", reason
    row = counters.get(names)
    if row is None:
        tier = (line.tier or "") if line.op in REQUESTS else ""
        row = counters[names] = Counted(0, "", "", tier, line.op, line.outcome or "", reason, 0)
    row.count += 1
    if line.cost is not None:
        row.cost += line.cost
        row.costed += 1
