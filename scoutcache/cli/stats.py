"""``stats``: the figures of all processes that use a cache."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.cli.errors import MISSED
from scoutcache.cli.listing import check_tier
from scoutcache.cli.options import choices, command
from scoutcache.cli.state import Session
from scoutcache.errors import TierUnavailable

if TYPE_CHECKING:
    from scoutcache.config_sections import AlertsSection
    from scoutcache.core import Core
    from scoutcache.entry import Usage
    from scoutcache.insight.stats import Stats
    from scoutcache.oplog.elsewhere import Elsewhere
    from scoutcache.tiers.base import Tier

app = typer.Typer()

WATCH_SECONDS = 2.0


@command(
    app,
    "stats",
    examples="""
    scoutcache stats                          since the log began
    scoutcache stats --period 24h --by prefix
    scoutcache stats --json | jq .hit_rate
    scoutcache stats --check                  exit 99 when an alert level is passed
    """,
)
def stats(
    session: Session,
    period: Annotated[str | None, typer.Option("--period", metavar="D", help="Only the last 24h, 7d, …")] = None,
    by: Annotated[
        str | None,
        choices(
            ("tier", "namespace", "prefix", "tag"), "--by", help="One row for each of them; tags of this machine only."
        ),
    ] = None,
    tier: Annotated[str | None, typer.Option("--tier", metavar="T", help="Only this tier's row.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until interrupted.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 99 when a level of the alerts section is passed.")
    ] = False,
) -> int | None:
    """Show requests, hits, misses, evictions, sizes, latencies and what was saved, over all processes.

    Rates are shares of 0 to 1 in JSON; money is null until a price is configured. What nobody knows is - and never 0.
    Machines that share a server are summed, of others the last 25 hours at most; tags are known from this one's log
    only. A Redis tier counts the cache's own entries; what the server says of itself, which others may share, is under
    server, its replicas' lag and the nodes of a cluster included.
    """
    from scoutcache.ttl import parse_duration

    seconds = None if period is None else parse_duration(period)
    with session.core(raising=False) as core:
        check_tier(core, tier)
        while True:
            found = _collect(session, core, seconds, by)
            _show(session, found, by, tier, _server(core), _note(core, seconds, by))
            if not watch:
                break
            session.out.flush()
            time.sleep(WATCH_SECONDS)
    passed = _passed(found.as_dict(), session.config.alerts) if check else []
    for line in passed:
        session.warn(line)
    return MISSED if passed else None


def _collect(session: Session, core: Core, period: float | None, by: Any) -> Stats:
    from scoutcache.insight.stats import collect_stats

    usages = {tier.name: None if tier is core.memory else _usage(session, tier) for tier in core.tiers}
    return collect_stats(
        core.directory, now=core.world.now(), period_s=period, by=by, namespace=session.namespace, usages=usages,
        elsewhere=None if by == "tag" else _elsewhere(session, core, period),
    )  # fmt: skip


def _usage(session: Session, tier: Tier) -> Usage | None:
    try:
        return tier.usage()
    except TierUnavailable as error:
        _warn(session, error)
        return None


def _elsewhere(session: Session, core: Core, period: float | None) -> Elsewhere | None:
    """What other machines counted, None where nobody can be asked."""
    if core.others is None:
        return None
    try:
        with session.working("asking for the figures of other machines"):
            return core.others(period, core.world.now())
    except TierUnavailable as error:
        _warn(session, error)
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
        return "tags are known from logs, and these are those of this machine"
    return None if period is not None and period <= _OTHERS_KEPT else "of other machines the last 25 hours at most"


_OTHERS_KEPT: Final = 25 * 3600


def _server(core: Core) -> dict[str, Any] | None:
    """What the server says of itself, None without one."""
    tier = core.tier("redis")
    if tier is None:
        return None
    from scoutcache.insight.server import server_view

    return server_view(tier)


def _show(session: Session, found: Stats, by: str | None, tier: str | None, server: dict[str, Any] | None,
          note: str | None) -> None:  # fmt: skip
    fields = {**found.as_dict(), "server": server, "note": note}
    tiers = fields["tiers"] = [row for row in fields["tiers"] if tier in {None, row["name"]}]
    if by is not None:
        rows, noun = (tiers, "tiers") if by == "tier" else (list(found.groups), _NOUNS[by])
        also = {name: fields[name] for name in ("period_start", "period_end", "machines")}
        session.out.rows(noun, rows, () if session.form == "json" else ("name" if by == "tier" else by, *_COLUMNS[by]),
                         **also, **({"note": note} if note or session.form == "json" else {}))  # fmt: skip
    elif session.form == "table":
        session.out.record({name: fields[name] for name in _SHOWN} | {"tiers": [_short(row) for row in tiers]})
        if server is not None:
            nodes = server.get("nodes")
            session.out.section("server", nodes or [server], _NODE if nodes else tuple(server))
    else:
        session.out.record(fields)


_NODE: Final = ("name", "version", "role", "used_memory", "maxmemory", "evicted_keys", "connected_clients", "uptime_s")
_NOUNS: Final = {"namespace": "namespaces", "prefix": "prefixes", "tag": "tags"}
_GROUP: Final = (
    "requests",
    "hits",
    "misses",
    "hit_rate",
    "sets",
    "deletes",
    "evictions",
    "calls_saved",
    "cost_saved_usd",
)
_TIER: Final = ("entries", "size_bytes", "max_bytes", "hits", "hit_rate", "hit_p50_us", "hit_p95_us")
_COLUMNS: Final = {"tier": _TIER, "namespace": _GROUP, "prefix": _GROUP, "tag": _GROUP}
_SHOWN: Final = (
    "requests", "hits", "misses", "hit_rate", "hit_p50_us", "hit_p95_us", "miss_p50_us", "miss_p95_us", "sets",
    "deletes", "evictions", "evictions_by_reason", "misses_by_reason", "expirations", "errors", "calls_saved",
    "cost_saved_usd", "period_start", "period_end", "processes", "machines",
)  # fmt: skip


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("name", *_TIER)}


def _passed(fields: Mapping[str, Any], alerts: AlertsSection) -> list[str]:
    """What has passed its level of warning."""
    found = []
    rate = fields["hit_rate"]
    if rate is not None and rate < alerts.hit_rate:
        found.append(f"the hit rate is {rate:.3f}, under {alerts.hit_rate}")
    memory = next((row["size_bytes"] for row in fields["tiers"] if row["name"] == "memory"), None)
    if memory is not None and memory >= alerts.memory.warn:
        found.append(f"memory holds {memory} bytes, {alerts.memory.warn} or more")
    latency = fields["hit_p95_us"]
    if latency is not None and latency >= alerts.operation * 1e6:
        found.append(f"the 95th percentile of a hit is {latency:.0f} us, {alerts.operation * 1e6:.0f} or more")
    return found
