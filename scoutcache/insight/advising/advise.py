"""The advisor: reads a log once and gives advice, the curves behind it, and a configuration that follows it."""

from __future__ import annotations

import gc
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scoutcache.errors import ConfigError
from scoutcache.insight.advising.evidence import Evidence, gather
from scoutcache.insight.advising.repeats import Repeats, repeats
from scoutcache.insight.advising.rules import Advice, advice
from scoutcache.insight.advising.sizing import find_size
from scoutcache.insight.forks import forked, may_fork
from scoutcache.insight.simulation.curves import as_rows
from scoutcache.insight.simulation.history import as_requests
from scoutcache.insight.simulation.sources import expect, lines_of
from scoutcache.oplog.reading import Problems
from scoutcache.oplog.records import Line
from scoutcache.oplog.totals import moment
from scoutcache.wording.nouns import counted

__all__ = ["Advised", "advise", "as_profile"]

MANY: Final = 100_000
"""Lines for which another process pays."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """What the advisor says.  *results* are points of curves as `simulate` gives them."""

    advice: Sequence[Advice]
    results: Sequence[dict[str, Any]]
    repeats: Repeats
    evidence: Evidence
    sample_rate: float


def advise(path: Path, *, max_bytes: int, max_entries: int, strategy: str, budget: int | None = None,
           since: float | None = None, namespace: str | None = None, assumed: float = 1.0,
           left_out: Counter[str] | None = None, problems: Problems | None = None,
           counted: Callable[[float], int] | None = None, until: float | None = None) -> Advised:  # fmt: skip
    """Advice from the log at *path*, against the configured *max_bytes*, *max_entries* and *strategy* of memory.

    *budget* is the most memory there is, in bytes; *assumed* the share of keys that is in a log which doesn't say so;
    *left_out* hears of other records that the log lacks, by reason, *problems* of what could not be read; *counted* and
    *until* are as of `requests_of`.  Raises `ConfigError` where the log holds no requests.
    """
    collecting = gc.isenabled()
    gc.disable()  # a million lines make no circles
    try:
        logged = lines_of(path, since, namespace, left_out, problems, assumed, until)
        lines = logged.lines
        with _looked_at(lines) as look:
            requests = as_requests(lines)
            evidence, repeated = look()
        if not requests.count:
            raise ConfigError(f"{path}: the operation log holds no requests",
                              hint="use the cache with [oplog] enabled first")  # fmt: skip
        expect(requests, logged, counted)
        sizing = find_size(requests, max_bytes=max_bytes, max_entries=max_entries, strategy=strategy, budget=budget)
    finally:
        if collecting:
            gc.enable()
    said = advice(evidence, repeated, sizing, requests, max_entries)
    return Advised(advice=said, results=as_rows(sizing.points), repeats=repeated, evidence=evidence,
                   sample_rate=sizing.rate)  # fmt: skip


@contextmanager
def _looked_at(lines: list[Line]) -> Iterator[Callable[[], tuple[Evidence, Repeats]]]:
    """Have another process look at *lines* meanwhile, where there are many; gives what waits for what it found."""
    global _shared  # what a forked child finds without being sent it
    if len(lines) < MANY or not may_fork():
        yield lambda: (gather(lines), repeats(lines))
        return
    _shared = lines
    try:
        with forked(1) as pool:
            yield pool.apply_async(_look).get
    finally:
        _shared = []


_shared: list[Line] = []


def _look() -> tuple[Evidence, Repeats]:
    return gather(_shared), repeats(_shared)


def as_profile(advised: Advised) -> str:
    """The settings that follow from the advice, as a TOML file; each with its evidence as a comment."""
    evidence = advised.evidence
    period = f"{moment(evidence.begins or 0.0)} to {moment(evidence.ends or 0.0)}"
    lines = [f"# Advised by scoutcache from {counted(evidence.requests, 'request')}, {period}."]
    whole = [one for one in advised.advice if one.setting == "default_ttl"]
    memory = [one for one in advised.advice if one.setting and one.setting.startswith("memory.")]
    ttls = [one for one in advised.advice if one.setting and one.setting.startswith("ttl.")]
    for title, part in ((None, whole), ("memory", memory), ("ttl", ttls)):
        lines += ["", f"[{title}]"] if title and part else []
        for one in part:
            assert one.setting is not None
            name = one.setting.partition(".")[2] or one.setting
            lines += [_comment(one), f"{_name(name)} = {json.dumps(one.value)}"]
    others = [one for one in advised.advice if one.topic in {"not_worth_caching", "tag"}]
    lines += ["", "# Not settings, but worth a look:"] if others else []
    lines += [_comment(one) for one in others]
    return "\n".join(lines) + "\n"


def _name(text: str) -> str:
    return text if _BARE.fullmatch(text) else json.dumps(text)


def _comment(one: Advice) -> str:
    text = f"{one.about}: {one.advice} {one.evidence}; {one.expected}"
    return "# " + "".join(sign if sign.isprintable() else "?" for sign in text)
