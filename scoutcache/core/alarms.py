"""Alerts while a process runs: its own last hour is looked at in the background, and who listens hears each edge.

Rule 1: nobody listens to ``alert``: nothing is looked at.  Hits pay nothing either way.
Rule 2: an alert is told when it begins and when it ends; one that rises or falls to another level ends and begins.
Rule 3: a share of few requests says nothing: under `LEAST` of them the hit rate is not judged,
        of a period that somebody asks about under `FEWEST`.  Nor does what few operations took: the 95th percentile of
        fewer than `LEAST` is one of the five slowest, such as the first of a process, which open files and load models.
Rule 4: a tier is away while its breaker is open; one without a breaker for `REMEMBERED` seconds after it last failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from scoutcache.alerts import Alert, Figures, alerts
from scoutcache.events import Alerted, Hooks, TierDown
from scoutcache.oplog.counting import KEYGEN
from scoutcache.oplog.process import Segment
from scoutcache.oplog.totals import Stats, collect_stats
from scoutcache.tiers.base import breaker_of

if TYPE_CHECKING:
    from scoutcache.config.sections import AlertsSection
    from scoutcache.core.core import Core

__all__ = ["FEWEST", "HOUR", "LEAST", "Alarms", "figures_of"]

HOUR: Final = 3600.0
LEAST: Final = 100
FEWEST: Final = 10
REMEMBERED: Final = 30.0
_TIMED: Final = ("set", "delete")
"""What is judged beside hits: a miss has a factory's time in it, which is nothing of the cache's."""


def figures_of(found: Stats, hour: Stats, *, away: Mapping[str, str], least: int = 1) -> Figures:
    """What `alerts` judges: shares, sizes and latencies of *found*, counts of *hour*.

    The hit rate of less than *least* requests is unknown, and what so few operations took (Rule 3).
    """
    timed = {"hit": found.hit, **{what: found.operations[what] for what in _TIMED if what in found.operations}}
    keygen = found.operations.get(KEYGEN)
    memory = next((tier.size_bytes for tier in found.tiers if tier.name == "memory"), None)
    return Figures(
        hit_rate=found.total.hit_rate if found.total.requests >= least else None,
        memory_bytes=memory,
        operations={what: took.p95_us for what, took in timed.items() if took.count >= LEAST},
        keygen_us=None if keygen is None else keygen.p95_us,
        invalidations=hour.total.invalidations,
        errors=hour.total.errors,
        away=away,
        fill={tier.name: _share(tier.size_bytes, tier.max_bytes) for tier in found.tiers},
        left_out=hour.left_out,
    )


def _share(size: int | None, room: int | None) -> float | None:
    return None if size is None or not room else size / room


class Alarms:
    """The alerts that stand in one process."""

    def __init__(self) -> None:
        self.standing: dict[str, Alert] = {}
        self._failed: dict[str, tuple[str, float]] = {}

    def hear(self, hooks: Hooks, monotonic: Callable[[], float]) -> None:
        """Note from now on which tiers fail, and when by *monotonic*."""

        def failed(record: TierDown) -> None:
            self._failed[record.tier] = record.problem, monotonic()

        hooks.add(TierDown.name, failed)

    def look(self, core: Core) -> None:
        """Judge, and tell the hooks of *core* of each edge (Rules 1 and 2)."""
        if core.hooks.wants(Alerted.name):
            self.judge(self.figures(core, least=LEAST), core.config.alerts, core.hooks.emit)
        else:
            self.standing = {}

    def judge(self, figures: Figures, levels: AlertsSection, emit: Callable[[Alerted], object]) -> None:
        """Compare what stands with what stood."""
        before, now = self.standing, {one.name: one for one in alerts(figures, levels, self.standing.values())}
        self.standing = now
        for name, alert in before.items():
            if name not in now or now[name].level is not alert.level:
                emit(_told(alert, began=False))
        for name, alert in now.items():
            if name not in before or before[name].level is not alert.level:
                emit(_told(alert, began=True))

    def figures(self, core: Core, *, least: int = LEAST) -> Figures:
        """What this process is judged by."""
        now = core.world.now()
        tally = core.recorder.lived(int((now - HOUR) // 60))
        sizes = {"memory": core.memory.usage()} if core.memory is not None else {}
        segment = Segment.of(tally, id="", process="", started=now, written=now, usages=sizes)
        found = collect_stats(None, now=now, period_s=HOUR, usages=sizes, extra=[segment])
        return figures_of(found, found, away=self.away(core), least=least)

    def away(self, core: Core) -> dict[str, str]:
        """The tiers that can't answer, and why (Rule 4)."""
        found = {}
        for tier in core.tiers:
            breaker = breaker_of(tier)
            if breaker is not None:
                if breaker.fault is not None:
                    found[tier.name] = breaker.fault.reason
            elif tier.name in self._failed:
                problem, at = self._failed[tier.name]
                if core.clocks.monotonic() - at < REMEMBERED:
                    found[tier.name] = problem
        return found


def _told(alert: Alert, *, began: bool) -> Alerted:
    return Alerted(alert.name, alert.level.name, began, alert.value, alert.threshold, alert.detail, alert.remedy)
