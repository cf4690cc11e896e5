"""``warm``: fill the cache ahead of need, from cron if need be."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from scoutcache.cli.options import command
from scoutcache.cli.state import Session

if TYPE_CHECKING:
    from scoutcache.cli.warm_asked import Asked

app = typer.Typer()


@command(
    app,
    "warm",
    examples="""
    scoutcache warm                                  the tasks that are due, for cron
    scoutcache warm --from answers.jsonl             lines of {"key": …, "value": …, "ttl": …, "tags": […]}
    scoutcache warm --from keys.jsonl --call app.jobs:load --only-missing --rate 5
    scoutcache warm --frequent 100 --http 'https://answers.example.com/v1/{key}'
    scoutcache warm --predict --horizon 10m --budget 100 --call app.jobs:load
    scoutcache warm --predict --evaluate             would it have been worth it? from the log
    scoutcache warm --task nightly
    """,
)
def warm(
    session: Session,
    source: Annotated[
        str | None, typer.Option("--from", metavar="FILE|-|URL", help="JSON Lines with values, or keys for --call.")
    ] = None,
    from_cache: Annotated[
        str | None, typer.Option("--from-cache", metavar="DIR|URL", help="The entries of another cache or server.")
    ] = None,
    frequent: Annotated[
        int | None, typer.Option("--frequent", metavar="N", min=1, help="The keys asked for most often, by the log.")
    ] = None,
    expiring: Annotated[
        str | None, typer.Option("--expiring", metavar="D", help="The keys in use that end within D, by the log.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="D", help="So much of the log counts. Default: 24h; 14d to predict."),
    ] = None,
    pattern: Annotated[str, typer.Option("--pattern", metavar="P", help="Only keys that match.")] = "*",
    call: Annotated[
        str | None,
        typer.Option("--call", metavar="MODULE:FUNCTION", help="Gives the value of a key; a generator gives pairs."),
    ] = None,
    http: Annotated[
        str | None, typer.Option("--http", metavar="URL", help="Fetch the value of a key: https://host/path/{key}.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", metavar="NAME", help="This task, due or not.")] = None,
    due: Annotated[bool, typer.Option("--due", help="The tasks that are due; so does warm alone.")] = False,
    predict: Annotated[bool, typer.Option("--predict", help="What the log says will be asked for next.")] = False,
    horizon: Annotated[
        str, typer.Option("--horizon", metavar="D", help="How far ahead --predict looks: until the next run.")
    ] = "10m",
    likely: Annotated[
        float, typer.Option("--likely", metavar="P", min=0, max=1, help="With --predict: the least chance, 0 to 1.")
    ] = 0.4,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="With --predict: replay the log, and compare with popularity alone.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print which keys, and why; compute nothing.")] = False,
    off_peak: Annotated[
        bool, typer.Option("--off-peak", help="Do nothing outside of the times of warming.off_peak.")
    ] = False,
    only_missing: Annotated[bool, typer.Option("--only-missing", help="Leave alone what is there and fresh.")] = False,
    concurrency: Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Keys at once.")] = 4,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="R", min=0, help="Keys a second at most. Default: no limit.")
    ] = None,
    retries: Annotated[
        int, typer.Option("--retries", metavar="N", min=0, help="Ask again for a key that failed, each time later.")
    ] = 0,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="N|$N", help="So many calls at most, or so much money: '$5'.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what the run before did that was broken off or failed in part.")
    ] = False,
    lock_timeout: Annotated[
        str, typer.Option("--lock-timeout", metavar="S", help="Wait so long for another filling to end.")
    ] = "0",
    prom_textfile: Annotated[
        str | None, typer.Option("--prom-textfile", metavar="FILE", help="Write how it went, for Prometheus.")
    ] = None,
) -> int | None:
    """Fill the cache from lines, another cache, the log, through a function, or by the tasks of the configuration.

    Keys without a value come from --call or --http, or for keys of the log from the first task whose pattern matches.
    A predicted key is printed with its reason where nothing gives its value.

    One filling runs at a time; when another one has the lock, exit code 11. Exit code 3 when some keys failed, 1 when
    all did, 2 when the file, the function or the task named is not there. Off a terminal it says nothing when all is
    well.
    """
    from scoutcache.cli.warm_asked import Asked
    from scoutcache.cli.warm_told import Teller
    from scoutcache.ttl import parse_duration

    asked = Asked(
        source=source, from_cache=from_cache, frequent=frequent,
        expiring=None if expiring is None else parse_duration(expiring),
        since=None if since is None else parse_duration(since), pattern=pattern, call=call, http=http,
        tasks=tuple(task or ()), due=due, predict=predict, horizon=parse_duration(horizon), likely=likely,
        evaluate=evaluate, dry_run=dry_run, off_peak=off_peak, budget=budget, resume=resume,
        lock_timeout=parse_duration(lock_timeout),
        work={"only_missing": only_missing, "concurrency": concurrency, "rate": rate or None, "retries": retries},
    )  # fmt: skip
    asked.check(session)
    if evaluate:
        from scoutcache.cli.warm_predict import tell_evaluation

        tell_evaluation(session, asked)
        return None
    teller = Teller(session, prom_textfile)
    if asked.runs_tasks and not asked.tasks and not _any_due(session):
        return teller.told([])
    if off_peak and not _is_off_peak(session, asked):
        return teller.told([])
    from scoutcache.cli.warm_work import work

    # What functions print is no result of this command's.
    with teller.accounted() as progress, redirect_stdout(sys.stderr):
        runs, chosen = work(session, asked, progress)
    session.progress_done()
    return teller.told(runs, chosen)


def _any_due(session: Session) -> bool:
    """Whether a task is due; says so when not, for nothing else will be said."""
    from scoutcache.warming.tasks import due_tasks

    due = due_tasks(session.config, datetime.now(UTC))
    if not due:
        configured = bool(session.config.tasks)
        session.note("no warming task is due" if configured else "no warming tasks are configured: nothing to do")
    return bool(due)


def _is_off_peak(session: Session, asked: Asked) -> bool:
    from scoutcache.cli.warm_predict import history_of
    from scoutcache.warming.predict_history import History
    from scoutcache.warming.quiet import is_off_peak

    setting = session.config.warming.off_peak
    history = history_of(session, asked) if setting == "auto" else History()
    if is_off_peak(setting, datetime.now(UTC).timestamp(), history.by_hour, history.days):
        return True
    session.note(f"it is not off-peak ({setting}): nothing to do")
    return False
