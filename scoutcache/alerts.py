"""Alerts: which levels of ``[alerts]`` are passed by what was counted, how bad that is, and what to do about it.

Rule 1: an alert is decided by figures and levels alone; whoever asks says what the figures are of: ``stats --check``
        all processes, ``cache.on("alert", …)`` the process it runs in.
Rule 2: what is not known (None) is never an alert, and a count of nothing isn't either.
Rule 3: a level that is named itself is passed: 50 invalidations at ``warn = 50`` are an alert.  A hit rate warns under
        its level.
Rule 4: one that stands already ends only 5 % inside its level, so that a figure which lies on it tells nobody twice a
        minute.
Rule 5: INFO is worth knowing and no reason to act; ``stats --check`` fails from WARNING on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from scoutcache.config.sections import AlertsSection
from scoutcache.wording.nouns import counted
from scoutcache.wording.omitted import cause_of, omitted, remedies_of

__all__ = ["Alert", "Figures", "Level", "alerts"]

EASED: Final = 0.95
"""The part of a level that one which stands must get under."""

FULL: Final = 0.95
"""The part of its room from which a tier counts as full."""


DOCTOR: Final = "scoutcache doctor"
"""Begins the remedy of what is looked for there."""


class Level(IntEnum):
    """How bad it is."""

    INFO = 1
    WARNING = 2
    ERROR = 3
    CRITICAL = 4


class Alert(NamedTuple):
    """A level that is passed.  *value* and *threshold* are in the setting's unit: bytes, seconds, a share, a count.

    *name* is the setting's (``memory``, ``hit_rate``, ``operation``, ``key_generation``, ``invalidations_per_hour``,
    ``errors_per_hour``), or ``redis_away``, ``disk_full``, ``log_incomplete``.
    """

    name: str
    level: Level
    value: float
    threshold: float
    detail: str
    remedy: str

    @property
    def for_doctor(self) -> bool:
        """Whether ``doctor`` looks for the cause."""
        return self.remedy.startswith(DOCTOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What there is to judge.  Times are microseconds, counts those of the last hour; None is unknown.

    *operations* are the 95th percentiles by what was timed, *keygen_us* that of making keys, *away* the tiers that
    can't answer with the reason, *fill* the part of its room that each tier has filled, *left_out* the records that the
    log left out, by reason.
    """

    hit_rate: float | None = None
    memory_bytes: int | None = None
    operations: Mapping[str, float | None] = field(default_factory=dict)
    keygen_us: float | None = None
    invalidations: int | None = None
    errors: int | None = None
    away: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, float | None] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


def alerts(figures: Figures, levels: AlertsSection, standing: Iterable[Alert] = ()) -> list[Alert]:
    """The alerts, the worst first; *standing* are those that were there the last time (Rule 4)."""
    stand = {name for alert in standing for name in (alert.name, _at(alert.level, alert.name))}
    found = [
        *_away(figures),
        *_memory(figures, levels, stand),
        *_hit_rate(figures, levels, stand),
        *_operation(figures, levels, stand),
        *_key_generation(figures, levels, stand),
        *_invalidations(figures, levels, stand),
        *_errors(figures, levels, stand),
        *_worth_knowing(figures, stand),
    ]
    return sorted(found, key=lambda alert: -alert.level)


def _passes(value: float | None, level: float, name: str, standing: Collection[str]) -> bool:
    return bool(value) and value is not None and value >= (level * EASED if name in standing else level)


def _away(figures: Figures) -> Iterator[Alert]:
    for tier, problem in figures.away.items():
        yield Alert(f"{tier}_away", Level.ERROR, 1, 1, f"{tier} can't be used: {problem}",
                    f"{DOCTOR} says what is wrong with it")  # fmt: skip


def _memory(figures: Figures, levels: AlertsSection, standing: Collection[str]) -> Iterator[Alert]:
    size = figures.memory_bytes
    for level, limit in ((Level.CRITICAL, levels.memory.critical), (Level.WARNING, levels.memory.warn)):
        if size is not None and _passes(size, limit, _at(level, "memory"), standing):
            yield Alert("memory", level, size, limit, f"memory holds {size} bytes, {limit} or more",
                        "lower [memory] max_bytes, or raise [alerts.memory]")  # fmt: skip
            return


def _hit_rate(figures: Figures, levels: AlertsSection, standing: Collection[str]) -> Iterator[Alert]:
    rate, limit = figures.hit_rate, levels.hit_rate
    if rate is not None and rate < (limit / EASED if "hit_rate" in standing else limit):
        yield Alert("hit_rate", Level.WARNING, rate, limit, f"the hit rate is {rate:.3f}, under {limit}",
                    "scoutcache report says why it misses")  # fmt: skip


def _operation(figures: Figures, levels: AlertsSection, standing: Collection[str]) -> Iterator[Alert]:
    limit = levels.operation * 1e6
    slow = {what: us for what, us in figures.operations.items() if _passes(us, limit, "operation", standing) and us}
    if slow:
        what, us = max(slow.items(), key=lambda one: one[1])
        yield Alert("operation", Level.WARNING, us / 1e6, levels.operation,
                    f"the 95th percentile of a {what} is {us:.0f} us, {limit:.0f} or more",
                    f"{DOCTOR} looks at the disk and the server")  # fmt: skip


def _key_generation(figures: Figures, levels: AlertsSection, standing: Collection[str]) -> Iterator[Alert]:
    us, limit = figures.keygen_us, levels.key_generation * 1e6
    if us is not None and _passes(us, limit, "key_generation", standing):
        yield Alert("key_generation", Level.WARNING, us / 1e6, levels.key_generation,
                    f"the 95th percentile of making a key is {us:.0f} us, {limit:.0f} or more",
                    "give CacheKey smaller parameters, or a digest of the large ones")  # fmt: skip


def _invalidations(figures: Figures, levels: AlertsSection, standing: Collection[str]) -> Iterator[Alert]:
    count, rates = figures.invalidations, levels.invalidations_per_hour
    name = "invalidations_per_hour"
    for level, limit in ((Level.CRITICAL, rates.critical), (Level.WARNING, rates.warn)):
        if count is not None and _passes(count, limit, _at(level, name), standing):
            yield Alert(name, level, count, limit, f"{counted(count, 'invalidation')} within an hour, {limit} or more",
                        "invalidate by narrower patterns or tags; scoutcache explain KEY says who did it")  # fmt: skip
            return


def _errors(figures: Figures, levels: AlertsSection, standing: Collection[str]) -> Iterator[Alert]:
    count, limit, name = figures.errors, levels.errors_per_hour, "errors_per_hour"
    if count is not None and _passes(count, limit, name, standing):
        yield Alert(name, Level.ERROR, count, limit, f"{counted(count, 'error')} within an hour, {limit} or more",
                    f"{DOCTOR} says what is wrong")  # fmt: skip


def _worth_knowing(figures: Figures, standing: Collection[str]) -> Iterator[Alert]:
    for tier, fill in figures.fill.items():
        name = f"{tier}_full"
        if fill is not None and _passes(fill, FULL, name, standing):
            yield Alert(name, Level.INFO, fill, FULL, f"{tier} is {fill:.0%} full, and makes room by evicting",
                        f"raise [{tier}] max_bytes if the hit rate suffers")  # fmt: skip
    if left_out := omitted(figures.left_out):
        count = sum(left_out.values())
        yield Alert("log_incomplete", Level.INFO, count, 1,
                    f"the log lacks {counted(count, 'record')} ({cause_of(left_out)}); counters are exact all the same",
                    remedies_of(left_out))  # fmt: skip


def _at(level: Level, name: str) -> str:
    """The name under which a level of several stands."""
    return f"{name}:{level.name}"
