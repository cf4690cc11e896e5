"""The figures of all processes and tiers, gathered for ``stats`` and ``top``; whom nobody can ask is told of once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scoutcache.cli.printing.stats import Asked, StatsView
from scoutcache.cli.state import Session
from scoutcache.entry import Usage
from scoutcache.errors import TierUnavailable

if TYPE_CHECKING:
    from scoutcache.alerts import Alert
    from scoutcache.core.core import Core
    from scoutcache.insight.live.stats import Stats
    from scoutcache.oplog.elsewhere import Elsewhere
    from scoutcache.oplog.reading import Problems
    from scoutcache.tiers.base import Tier


def look(session: Session, core: Core, asked: Asked, problems: Problems | None = None) -> StatsView:
    """The figures now; *problems* hears of what of the log could not be read."""
    usages = {tier.name: None if tier is core.memory else usage(session, core, tier) for tier in core.tiers}
    found = _collect(session, core, asked, usages, problems)
    if problems is not None:
        problems.dated(found.ahead)
        for path in found.unread:
            problems.of_file(path, "can't be read: what was counted there is missing")
    judged = _judge(session, core, found, asked, usages) if asked.check else None
    return StatsView(found, asked, _server(core), _note(core, asked.period, asked.by), judged)


def _collect(session: Session, core: Core, asked: Asked, usages: Mapping[str, Usage | None],
             problems: Problems | None = None) -> Stats:  # fmt: skip
    from scoutcache.insight.live.stats import collect_stats

    by: Any = asked.by
    return collect_stats(
        core.directory, now=core.world.now(), period_s=asked.period, by=by, namespace=session.namespace, usages=usages,
        elsewhere=None if by == "tag" else elsewhere(session, core, asked.period), problems=problems,
        price=session.config.costs.default_call_usd,
    )  # fmt: skip


def _judge(session: Session, core: Core, found: Stats, asked: Asked,
           usages: Mapping[str, Usage | None]) -> list[Alert]:  # fmt: skip
    """The alerts: counts of the last hour, or of the period where that is shorter."""
    from scoutcache.alerts import alerts
    from scoutcache.core.alarms import FEWEST, HOUR, figures_of

    shorter = asked.period is not None and asked.period <= HOUR
    hour = found if shorter else _collect(session, core, Asked(HOUR), usages)
    return alerts(figures_of(found, hour, away=core.alarms.away(core), least=FEWEST), session.config.alerts)


def usage(session: Session, core: Core, tier: Tier) -> Usage | None:
    """How full a tier is; None, and a warning, where it can't be asked."""
    try:
        return tier.usage()
    except TierUnavailable as error:
        _warn(session, error)
        core.world.down(tier.name, error)
        return None


def elsewhere(session: Session, core: Core, period: float | None) -> Elsewhere | None:
    """What other machines counted, None where nobody can be asked."""
    if core.others is None:
        return None
    try:
        with session.working("asking for the figures of other machines"):
            return core.others(period, core.world.now())
    except TierUnavailable as error:
        _warn(session, error)
        core.world.down(error.tier, error)
        return None


def _warn(session: Session, error: TierUnavailable) -> None:
    if str(error) not in session.said:
        session.warn(str(error))
        session.said |= {str(error), error.reason}


def _note(core: Core, period: float | None, by: str | None) -> str | None:
    """What the figures leave out."""
    if core.others is None:
        return None
    if by == "tag":
        return "tags are known from the log of this machine only"
    from scoutcache.channels.counts import KEPT

    kept = f"other machines: the last {KEPT / 3600:g} hours at most"
    return None if period is not None and period <= KEPT else kept


def _server(core: Core) -> dict[str, Any] | None:
    """What the server says of itself, None without one."""
    tier = core.tier("redis")
    if tier is None:
        return None
    from scoutcache.insight.live.server import server_view

    return server_view(tier)
