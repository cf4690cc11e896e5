"""``stats``: the figures of all processes that use a cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from scoutcache.cli.errors import MISSED, read
from scoutcache.cli.errors import Usage as WrongUsage
from scoutcache.cli.listing import check_tier
from scoutcache.cli.options import choices, command
from scoutcache.cli.state import Session
from scoutcache.cli.unread import tell_log_off, tell_unread
from scoutcache.cli.watching import EVERY, at_each, interval_of, show
from scoutcache.cli.writing import STDOUT, is_stdout, print_bytes, write_whole
from scoutcache.entry import Usage
from scoutcache.errors import TierUnavailable

if TYPE_CHECKING:
    from scoutcache.alerts import Alert
    from scoutcache.cli.output import Output
    from scoutcache.core import Core
    from scoutcache.insight.stats import Stats
    from scoutcache.oplog.elsewhere import Elsewhere
    from scoutcache.oplog.reading import Problems
    from scoutcache.tiers.base import Tier

app = typer.Typer()


@command(
    app,
    "stats",
    examples="""
    scoutcache stats                          since the log began
    scoutcache stats --period 24h --by prefix
    scoutcache stats --watch --interval 5     again and again, until interrupted
    scoutcache stats --json | jq .hit_rate
    scoutcache stats --check --period 1h      exit 99 when an alert level is passed
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
    watch: Annotated[bool, typer.Option("--watch", help="Again every interval, until interrupted.")] = False,
    interval: Annotated[
        str | None, typer.Option("--interval", metavar="S", help=f"With --watch: how often. Default: {EVERY}.")
    ] = None,
    prom_textfile: Annotated[
        str | None, typer.Option("--prom-textfile", metavar="FILE", help="Write the metrics for Prometheus there.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 99 when a level of the alerts section is passed.")
    ] = False,
) -> int | None:
    """Show requests, hits, misses, evictions, sizes, latencies and what was saved, over all processes.

    Rates are shares of 0 to 1 in JSON; money is null until a price is configured. What nobody knows is - and never 0.
    Machines that share a server are summed, of others the last 25 hours at most; tags are known from this one's log
    only. A Redis tier counts the cache's own entries; what the server says of itself, which others may share, is under
    server, its replicas' lag and the nodes of a cluster included.

    By tag, figures are what this machine's log holds: a request counts for every tag that its key was last written with
    in the period, so tags overlap, and their sums are no totals; a hit saved what is said of it or of its key's calls,
    else the default price.

    --check names each level that is passed, and what to do about it, on standard error; invalidations and errors are
    those of the last hour, the rest is of the period. With --watch it ends the watching. Off a terminal --watch prints
    a line, an object or a row for each interval; on a line, a name or a value with blanks, quotes, = or a backslash in
    it is a JSON string. A period ends now: what is dated later, because a clock was ahead, is left out, and that is
    said. --prom-textfile writes what all processes of this machine counted, for the textfile collector of Prometheus'
    node exporter, and prints nothing.
    """
    from scoutcache.oplog.reading import Problems
    from scoutcache.ttl import parse_duration

    seconds = None if period is None else read("--period", parse_duration, period)
    if tier is not None and by not in {None, "tier"}:
        raise WrongUsage(f"--tier does not go with --by {by}", hint="tiers have rows of their own: --by tier")
    if interval is not None and not watch:
        raise WrongUsage("--interval is for --watch", hint="add --watch, or leave --interval out")
    asked = Asked(seconds, by, tier, check)
    every, problems = interval_of(interval or EVERY), Problems()
    if prom_textfile is not None:
        if watch:
            raise WrongUsage("--prom-textfile does not go with --watch", hint="let cron or a timer write it")
        if {by, tier, session.namespace} != {None} or (period is not None and not check):
            raise WrongUsage("--prom-textfile writes all that was counted: no --by, --tier, --namespace or --period",
                             hint="Prometheus does the choosing; --period goes with --check")  # fmt: skip
        is_stdout(session, "--prom-textfile", prom_textfile)
        alerts = _write_metrics(session, prom_textfile, seconds)
        return _warned(session, alerts) if check else None
    passed: list[Alert] = []
    if watch:
        try:
            show(session, _watched(session, asked, every, passed, problems))
        finally:
            tell_unread(session, problems, named=False)
    else:
        with session.core(raising=False) as core:
            check_tier(core, tier)
            view = look(session, core, asked, problems)
        _print(session.out, view)
        if by == "tag":
            tell_log_off(session)
        tell_unread(session, problems, named=False)
        passed = view.passed
    return _warned(session, passed)


def _warned(session: Session, passed: Sequence[Alert]) -> int | None:
    for alert in passed:
        session.warn(f"{alert.name}: {alert.detail}; {alert.remedy}", level=alert.level.name.lower())
    return MISSED if passed else None


def _write_metrics(session: Session, file: str, period: float | None) -> Sequence[Alert]:
    """Write everything this machine's processes counted, and the alerts of *period*; those."""
    from scoutcache.insight.metrics import exposition, families
    from scoutcache.oplog.ledger import read_counts

    with session.core(raising=False) as core:
        view = look(session, core, Asked(period, check=True))
        tally = read_counts(core.directory, since=None, now=core.world.now()).tally
        usages = {tier["name"]: Usage(*(tier[name] for name in _USAGE)) for tier in view.fields()["tiers"]}
        content = exposition(families(tally, usages, view.alerts or ())).encode()
    if file == STDOUT:
        print_bytes(content)
    else:
        write_whole(Path(file), content)
    return view.passed


class Asked(NamedTuple):
    """What was asked for: *period* in seconds, None for all there is."""

    period: float | None = None
    by: str | None = None
    tier: str | None = None
    check: bool = False


def _watched(session: Session, asked: Asked, interval: float, passed: list[Alert],
             problems: Problems) -> Iterator[StatsView]:  # fmt: skip
    for core in at_each(session, interval):
        check_tier(core, asked.tier)
        problems.forget()
        view = look(session, core, asked, problems)
        if not session.out.fancy:  # a screen of its own would swallow what is said: there it comes after it
            tell_unread(session, problems, named=False)
        yield view
        passed += view.passed
        if passed:
            return


def look(session: Session, core: Core, asked: Asked, problems: Problems | None = None) -> StatsView:
    """The figures now; *problems* hears of what of the log could not be read."""
    usages = {tier.name: None if tier is core.memory else usage(session, core, tier) for tier in core.tiers}
    found = _collect(session, core, asked, usages, problems)
    if problems is not None:
        problems.dated(found.ahead)
    judged = _judge(session, core, found, asked, usages) if asked.check else None
    return StatsView(found, asked, _server(core), _note(core, asked.period, asked.by), judged)


def _collect(session: Session, core: Core, asked: Asked, usages: Mapping[str, Usage | None],
             problems: Problems | None = None) -> Stats:  # fmt: skip
    from scoutcache.insight.stats import collect_stats

    by: Any = asked.by
    return collect_stats(
        core.directory, now=core.world.now(), period_s=asked.period, by=by, namespace=session.namespace, usages=usages,
        elsewhere=None if by == "tag" else elsewhere(session, core, asked.period), problems=problems,
        price=session.config.costs.default_call_usd,
    )  # fmt: skip


def _judge(session: Session, core: Core, found: Stats, asked: Asked,
           usages: Mapping[str, Usage | None]) -> list[Alert]:  # fmt: skip
    """The alerts: counts of the last hour, or of the period where that is shorter."""
    from scoutcache.alarms import FEWEST, HOUR, figures_of
    from scoutcache.alerts import alerts

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


class StatsView(NamedTuple):
    """The figures at one moment, as ``stats`` shows them; see `scoutcache.cli.watching.View`."""

    found: Stats
    asked: Asked
    server: Mapping[str, Any] | None
    note: str | None
    alerts: list[Alert] | None

    @property
    def passed(self) -> list[Alert]:
        """The alerts that are a reason to act."""
        from scoutcache.alerts import Level

        return [alert for alert in self.alerts or () if alert.level > Level.INFO]

    def draw(self, out: Output) -> None:
        """Print it as a table."""
        _print(out, self)

    def fields(self) -> dict[str, Any]:
        """All there is."""
        fields = {**self.found.as_dict(), "server": self.server, "note": self.note}
        fields["tiers"] = [row for row in fields["tiers"] if self.asked.tier in {None, row["name"]}]
        if self.alerts is not None:
            fields["alerts"] = [alert_row(alert) for alert in self.alerts]
        return fields

    def record(self) -> Mapping[str, Any]:
        """The same, or the rows of the groups and what belongs to all of them."""
        fields, by = self.fields(), self.asked.by
        if by is None:
            return fields
        shown: dict[str, Any] = {self.noun: list(self.groups(fields))}
        return shown | {name: fields[name] for name in (*_OF_ALL, "note") if name in fields}

    @property
    def noun(self) -> str:
        """What the groups are called."""
        return "tiers" if self.asked.by == "tier" else _NOUNS[self.asked.by or ""]

    def groups(self, fields: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """The row of each group."""
        rows: Sequence[Mapping[str, Any]] = fields["tiers"] if self.asked.by == "tier" else self.found.groups
        return rows

    def line(self) -> Mapping[str, Any]:
        """The figures that fit into a line; by group, each one's requests and hit rate."""
        fields, by = self.fields(), self.asked.by
        shown = {"at": fields["period_end"]}
        if by is None:
            shown |= {name: fields[name] for name in _LINE}
            shown |= {f"{tier['name']}_entries": tier["entries"] for tier in fields["tiers"]}
        else:
            name = "name" if by == "tier" else by
            for row in self.groups(fields):
                for figure in ("hits", "hit_rate"):
                    shown[f"{row[name] or '-'}.{figure}"] = row[figure]
        if self.alerts:
            shown["alerts"] = ",".join(alert.name for alert in self.alerts)
        return shown

    def rows(self) -> Iterable[Mapping[str, Any]]:
        """One row, or one for each group."""
        fields, by = self.fields(), self.asked.by
        if by is None:
            return [fields]
        name = "name" if by == "tier" else by
        return [{"at": fields["period_end"], **{column: row[column] for column in (name, *_COLUMNS[by])}}
                for row in self.groups(fields)]  # fmt: skip


def alert_row(alert: Alert) -> dict[str, Any]:
    """An alert as data."""
    return {**alert._asdict(), "level": alert.level.name}


def _print(out: Output, view: StatsView) -> None:
    fields, by = view.fields(), view.asked.by
    if by is not None:
        also = {name: fields[name] for name in _OF_ALL if name in fields}
        note = fields["note"]
        out.rows(view.noun, view.groups(fields), () if out.form == "json" else
                 ("name" if by == "tier" else by, *_COLUMNS[by]),
                 **also, **({"note": note} if note or out.form == "json" else {}))  # fmt: skip
    elif out.form == "table":
        out.record({name: fields[name] for name in _SHOWN} | {"tiers": [_short(row) for row in fields["tiers"]]})
        server = view.server
        if server is not None:
            nodes = server.get("nodes")
            out.section("server", nodes or [server], _NODE if nodes else tuple(server))
        if view.alerts:
            out.section("alerts", fields["alerts"], ("level", "name", "detail", "remedy"))
    else:
        out.record(fields)


_USAGE: Final = ("entries", "size_bytes", "max_entries", "max_bytes")
_OF_ALL: Final = ("period_start", "period_end", "machines", "alerts")
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
_LINE: Final = (
    "requests", "hits", "misses", "hit_rate", "hit_p50_us", "hit_p95_us", "sets", "deletes", "evictions",
    "invalidations", "errors", "calls_saved", "processes",
)  # fmt: skip
_SHOWN: Final = (
    "requests", "hits", "misses", "hit_rate", "hit_p50_us", "hit_p95_us", "miss_p50_us", "miss_p95_us", "sets",
    "deletes", "evictions", "evictions_by_reason", "misses_by_reason", "expirations", "errors", "calls_saved",
    "cost_saved_usd", "period_start", "period_end", "processes", "machines",
)  # fmt: skip


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("name", *_TIER)}
