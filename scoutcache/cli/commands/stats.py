"""``stats``: the figures of all processes that use a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.cli.commands.keys import check_tier
from scoutcache.cli.errors import MISSED
from scoutcache.cli.errors import Usage as WrongUsage
from scoutcache.cli.gathering import look
from scoutcache.cli.opening import failures, part
from scoutcache.cli.options import choices, command
from scoutcache.cli.periods import length_of
from scoutcache.cli.printing.stats import Asked, StatsView
from scoutcache.cli.printing.unread import tell_log_off, tell_unread
from scoutcache.cli.printing.watching import EVERY, at_each, interval_of, show
from scoutcache.cli.printing.writing import STDOUT, is_stdout, print_bytes, write_whole
from scoutcache.cli.state import Session
from scoutcache.entry import Usage

if TYPE_CHECKING:
    from scoutcache.alerts import Alert
    from scoutcache.oplog.reading import Problems

app = typer.Typer()


@command(
    app,
    "stats",
    examples="""
    scoutcache stats                          since the log began
    scoutcache stats --period 24h --by prefix
    scoutcache stats --watch --interval 5     refresh until Ctrl-C
    scoutcache stats --json | jq .hit_rate
    scoutcache stats --check --period 1h      exit 99 when an alert level is passed
    """,
)
def stats(
    session: Session,
    period: Annotated[str | None, typer.Option("--period", metavar="D", help="Only the last 24h, 7d, …")] = None,
    by: Annotated[
        str | None,
        choices(("tier", "namespace", "prefix", "tag"), "--by", help="One row for each; tags of this machine only."),
    ] = None,
    tier: Annotated[str | None, typer.Option("--tier", metavar="T", help="Only this tier's row.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh at each interval, until Ctrl-C.")] = False,
    interval: Annotated[
        str | None,
        typer.Option("--interval", metavar="S", help=f"With --watch: time between refreshes. Default: {EVERY}."),
    ] = None,
    prom_textfile: Annotated[
        str | None,
        typer.Option("--prom-textfile", metavar="FILE", help="Write the metrics for Prometheus to this file."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 99 when a level of the alerts section is passed.")
    ] = False,
) -> int | None:
    """Show requests, hits, misses, evictions, sizes, latencies and savings of all processes.

    In JSON, rates are fractions from 0 to 1, and money is null until a price is configured. An unknown figure is shown
    as -, never as 0. Machines that share a server are summed (of other machines the last 25 hours at most); tags are
    known from this machine's log only. A Redis tier counts the cache's own entries; the server's own figures, which may
    include other programs, are under server, with the lag of replicas and the nodes of a cluster. While the server
    can't be asked, the figures are this machine's, with exit code 3.

    Each miss has the reason that the requesting process knew. cold: it knew nothing of the entry, which was never
    stored or was removed before that process began. explain KEY and report know more, from the log. Requests that went
    past the cache are misses with the reason bypassed. A tier's entries and bytes are those that take room: expired
    entries, and those that a tag invalidated, count until they are cleaned up; the command keys doesn't list them.

    By tag, figures come from this machine's log. A request counts for every tag that its key was last written with in
    the period, so tags overlap, and their sums are no totals. A hit saved what its record says, else the mean cost of
    calls for its key, else the default price.

    --check names each alert level that is passed, with the remedy, on standard error. Invalidations and errors are
    those of the last hour, everything else is of the period. With --watch, a passed level ends the command. Off a
    terminal, --watch prints a line, an object or a row per interval; in a line, a name or value with blanks, quotes, =
    or a backslash is a JSON string. A period ends now: records dated later, because a clock was ahead, are left out,
    with a note. --prom-textfile writes the counts of all processes of this machine for the textfile collector of
    Prometheus' node exporter, and prints nothing.
    """
    if interval is not None and not watch:
        raise WrongUsage("--interval is for --watch", hint="add --watch, or leave --interval out")
    wanted, every = _asked(period, by, tier, check=check), interval_of(interval or EVERY)
    if prom_textfile is not None:
        _check_textfile(session, prom_textfile, wanted, watch=watch)
        passed, code = _write_metrics(session, prom_textfile, wanted.period)
    else:
        passed, code = _watch(session, wanted, every) if watch else _show_once(session, wanted)
    return (_warned(session, passed) if check else None) or code


def _asked(period: str | None, by: str | None, tier: str | None, *, check: bool) -> Asked:
    seconds = length_of("--period", period)
    if tier is not None and by not in {None, "tier"}:
        raise WrongUsage(f"--tier can't be used with --by {by}", hint="tiers have rows of their own: --by tier")
    return Asked(seconds, by, tier, check)


def _check_textfile(session: Session, file: str, asked: Asked, *, watch: bool) -> None:
    if watch:
        raise WrongUsage("--prom-textfile can't be used with --watch", hint="let cron or a timer write it")
    if {asked.by, asked.tier, session.namespace} != {None} or (asked.period is not None and not asked.check):
        raise WrongUsage("--prom-textfile writes all that was counted: no --by, --tier, --namespace or --period",
                         hint="Prometheus does the choosing; --period goes with --check")  # fmt: skip
    is_stdout(session, "--prom-textfile", file)


def _show_once(session: Session, asked: Asked) -> tuple[Sequence[Alert], int | None]:
    """Print the figures now; the alerts that are passed, and the exit code where somebody could not be asked."""
    from scoutcache.oplog.reading import Problems

    problems = Problems()
    with session.core(raising=False) as core, failures(core) as away:
        check_tier(core, asked.tier)
        view = look(session, core, asked, problems)
    view.draw(session.out)
    if asked.by == "tag":
        tell_log_off(session)
    tell_unread(session, problems, named=False)
    return view.passed, part(away)


def _watch(session: Session, asked: Asked, interval: float) -> tuple[Sequence[Alert], None]:
    """Show the figures at each interval; the alerts that ended it."""
    from scoutcache.oplog.reading import Problems

    problems, passed = Problems(), list[Any]()
    try:
        show(session, _views(session, asked, interval, passed, problems))
    finally:
        tell_unread(session, problems, named=False)
    return passed, None


def _views(session: Session, asked: Asked, interval: float, passed: list[Alert],
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


def _warned(session: Session, passed: Sequence[Alert]) -> int | None:
    for alert in passed:
        session.warn(f"{alert.name}: {alert.detail}; {alert.remedy}", level=alert.level.name.lower())
    return MISSED if passed else None


def _write_metrics(session: Session, file: str, period: float | None) -> tuple[Sequence[Alert], int | None]:
    """Write everything this machine's processes counted, and the alerts of *period*; what `_show_once` gives."""
    from scoutcache.insight.live.metrics import exposition, families
    from scoutcache.oplog.ledger import read_counts
    from scoutcache.oplog.reading import Problems

    problems = Problems()
    with session.core(raising=False) as core, failures(core) as away:
        view = look(session, core, Asked(period, check=True), problems)
        tally = read_counts(core.directory, since=None, now=core.world.now()).tally
        usages = {tier["name"]: Usage(*(tier[name] for name in _USAGE)) for tier in view.fields()["tiers"]}
        content = exposition(families(tally, usages, view.alerts or ())).encode()
    if file == STDOUT:
        print_bytes(content)
    else:
        write_whole(Path(file), content)
    tell_unread(session, problems, named=False)
    return view.passed, part(away)


_USAGE: Final = ("entries", "size_bytes", "max_entries", "max_bytes")
