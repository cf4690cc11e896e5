"""``report``: what the cache did, what it saved, and what to change."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from scoutcache.cli.errors import CommandError, Usage
from scoutcache.cli.options import choices, command
from scoutcache.cli.periods import counted_since
from scoutcache.cli.printing.streams import file_named
from scoutcache.cli.printing.unread import tell_log_off, tell_unread
from scoutcache.cli.printing.writing import STDOUT, check_named, is_stdout, write_out
from scoutcache.cli.state import Session
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.config import CacheConfig
    from scoutcache.insight.report.report import Report
    from scoutcache.insight.report.trend import Comparison
    from scoutcache.oplog.totals import By

app = typer.Typer()


@command(
    app,
    "report",
    examples="""
    scoutcache report --since 7d
    scoutcache report --since 30d --by prefix --html report.html
    scoutcache report --csv ./figures
    scoutcache report --compare-to halves     is it getting better?
    scoutcache report /backup/oplog           on a log from elsewhere
    """,
)
def report(
    session: Session,
    logs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[LOG|-]...", help="Log files, or folders of them, instead of this cache's own."),
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="D", help="Only the last 24h, 7d, …")] = None,
    by: Annotated[
        str,
        choices(("namespace", "prefix", "tier", "tag"), "--by", help="Which groups come first.", show_default=False),
    ] = "namespace",
    compare_to: Annotated[
        str | None,
        choices(
            ("previous", "halves"), "--compare-to", show_default=False,
            help="Compare with the preceding period (the default with --since), or the second half with the first.",
        ),
    ] = None,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write one self-contained page; - prints it.")
    ] = None,
    csv: Annotated[str | None, typer.Option("--csv", metavar="DIR", help="Write a CSV file for each section.")] = None,
) -> int | None:
    """Report savings, advice, trends, misses, keys, latencies and trouble, from the counters and the operation log.

    The report covers this machine only, and says so where machines share a server; scoutcache stats counts all of them.
    If nothing was recorded, the report is empty. Money is unknown until a price is configured (costs section) or given
    with an entry, and estimates are marked. --html and --csv write files instead of printing; with --json the report is
    printed as well and names them. A log from elsewhere has no counters, so every figure comes from the log; a folder
    without log files is refused. Unreadable parts of a log are left out and named on standard error; if logs were
    given, the exit code is then 3.
    """
    if compare_to == "previous" and since is None:
        raise Usage("--compare-to previous needs a period", hint="name one with --since, or use --compare-to halves")
    _check_files(session, html, csv)
    if not logs:
        session.look_for_cache()
    with session.working("reading the operation log"):
        found = _build(session, since, cast("By", by), cast("Comparison | None", compare_to), logs or ())
    files = _write(session, found, html, csv)
    # Who asked for files has what people read; a format for machines was asked for as well.
    if not files or session.form != "table":
        _show(session, found, files)
    code = tell_unread(session, found.problems, named=bool(logs))
    if not logs:
        tell_log_off(session)
    if found.empty:
        session.note("nothing could be read" if code else "nothing was recorded in this time")
    return code


def _check_files(session: Session, html: str | None, csv: str | None) -> None:
    if csv == STDOUT:
        raise Usage("--csv takes a folder: each section has a file of its own", hint="--format csv prints one table")
    is_stdout(session, "--html", html)
    check_named("--csv", csv)


def _write(session: Session, found: Report, html: str | None, csv: str | None) -> list[str]:
    """Write what was asked for; the names of the files.  Raises `CommandError`."""
    from scoutcache.insight.report.export import report_csv, report_html

    files: list[str] = []
    if html is not None:
        write_out(session, html, report_html(found).encode())
        files.append(html)
    if csv is not None:
        try:
            written = report_csv(found, Path(csv))
        except OSError as error:
            raise CommandError(f"can't write {error.filename or csv}: {error.strerror}") from error
        session.note(f"wrote {counted(len(written), 'file')} to {csv}")
        files += map(str, written)
    return files


def _build(
    session: Session, since: str | None, by: By, compare: Comparison | None, logs: Sequence[Path]
) -> Report:
    from scoutcache.chat.prices import output_rate
    from scoutcache.insight.log.operations import files_of
    from scoutcache.insight.report.report import build_report

    now = time.time()
    start = counted_since(since, now)
    config = session.config
    return build_report(
        session.place, start, by, config.costs.default_call_usd, now=now, namespace=session.namespace,
        models={name: output_rate(price) for name, price in config.costs.models.items()}, levels=_levels(config),
        compare=compare, files=files_of([file_named(one, "LOG") for one in logs]) if logs else None,
        one_machine="redis" in config.tiers and not logs,
    )  # fmt: skip


def _levels(config: CacheConfig) -> Any:
    from scoutcache.insight.report.trouble import Levels

    alerts = config.alerts
    return Levels(alerts.operation, alerts.key_generation, alerts.invalidations_per_hour.warn)


def _show(session: Session, found: Report, files: list[str]) -> None:
    out = session.out
    if session.form == "json":
        out.record(found.as_dict() | ({"files": files} if files else {}))
        return
    if session.form != "table":
        rows = [{"section": one.name, **row} for one in found.sections for row in one.rows]
        out.rows("rows", rows, tuple(dict.fromkeys(name for row in rows for name in row)))
        return
    from scoutcache.cli.printing import report as report_view

    report_view.show(out, found)
