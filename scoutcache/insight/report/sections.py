"""What a report is made of: sections, each a list of plain rows with what a reader needs to understand them.

Rule 1: a section's rows are all its numbers, raw (bytes, seconds, dollars, shares of 0 to 1), None for what is unknown.
        Whoever shows them adds units and leaves out what has no room, and computes nothing.
Rule 2: every section says in one sentence what it tells and what to do about it, and what its figures come from.
Rule 3: in a column that holds several kinds of figures each row says its *unit* (`shown_figure`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from scoutcache.insight import units
from scoutcache.oplog.reading import Problems
from scoutcache.oplog.totals import moment
from scoutcache.wording.nouns import counted

__all__ = ["COUNTERS", "LOG", "Report", "Section", "plain_rows", "plain_value", "shown_figure"]

COUNTERS: Final = "exact counters"
LOG: Final = "operation log"
SERIES: Final = "hit_rate_over_time"
"""The column of a group's hit rates, one for each row of the section ``over_time``."""
MIXED: Final = frozenset({"value", "before", "now", "change"})
"""The columns whose unit the row says."""


@dataclass(frozen=True)
class Section:
    """One table of the report.

    *about* says what it tells and what to do about it, *source* what the figures come from, *note* how they were made.
    *brief* names the columns that a narrow terminal has room for (empty: all).
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    source: str = COUNTERS
    note: str = ""
    about: str = ""
    brief: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """A report on the time from *since* to *until* (seconds since the epoch; *since* None when nothing is kept).

    *records* is how many operations of the log it rests on; *empty* is True when there was nothing to report on.
    *one_machine* says that it is of one machine of several that may share the cache.
    """

    since: float | None
    until: float
    records: int
    sections: tuple[Section, ...] = ()
    skipped_lines: int = 0
    skipped_files: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    """What of the log could not be read, with names and lines."""
    one_machine: bool = False

    @property
    def empty(self) -> bool:
        """Was nothing recorded?"""
        return not self.records and not any(section.rows for section in self.sections if section.name != "summary")

    @property
    def skipped(self) -> str:
        """What of the log could not be read, counted in words; empty where all could be."""
        lost = ((self.skipped_lines, "unreadable line"), (self.skipped_files, "unreadable file"))
        return " and ".join(counted(count, noun) for count, noun in lost if count)

    def section(self, name: str) -> Section:
        """The section of that name.  Raises KeyError."""
        return {section.name: section for section in self.sections}[name]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON shows it: the sections under their names."""
        return {
            "period_start": None if self.since is None else moment(self.since), "period_end": moment(self.until),
            "records": self.records, "this_machine_only": self.one_machine,
            "skipped_lines": self.skipped_lines, "skipped_files": self.skipped_files,
            "left_out": dict(self.left_out), **{section.name: section.rows for section in self.sections},
        }  # fmt: skip


def shown_figure(name: str, row: Mapping[str, Any]) -> str | None:
    """The figure in column *name* of *row* with its unit; None where there is no figure."""
    value = row.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    unit = row.get("unit") if name in MIXED else None
    text = units.figure(f"_{unit}" if unit else name, value)
    if name not in {"change", "change_share"}:
        return text
    text = text.replace(" %", " points") if unit == "share" and name == "change" else text
    return text if value <= 0 else f"+{text}"


def plain_rows(columns: Sequence[str], rows: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """The *columns* of *rows* with values as Python has them."""
    return [{name: plain_value(row[name]) for name in columns} for row in rows]


def plain_value(value: Any) -> Any:
    """*value* as Python has it, None for what pandas writes as not a number; whole numbers without a fraction."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else value
    return value
