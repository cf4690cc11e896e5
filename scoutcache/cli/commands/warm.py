"""``warm``: fill the cache ahead of need, from cron if need be."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from scoutcache.cli.errors import Usage
from scoutcache.cli.options import command
from scoutcache.cli.printing.writing import STDOUT
from scoutcache.cli.state import Session
from scoutcache.cli.warming import options as take

if TYPE_CHECKING:
    from scoutcache.cli.warming.asked import Asked

app = typer.Typer()


@command(
    app,
    "warm",
    examples="""
    scoutcache warm                                  the tasks that are due, for cron
    scoutcache warm --from answers.jsonl             lines of {"key": …, "value": …, "ttl": …, "tags": […]}
    scoutcache warm --from keys.jsonl --call app.jobs:load --only-missing --rate 5
    scoutcache warm --frequent 100 --pattern 'page:*' --http 'https://www.example.com/{key}'
    scoutcache warm --predict --horizon 10m --budget 100 --pattern 'page:*' --call app.jobs:load
    scoutcache warm --predict --evaluate             would it have been worth it? from the log
    scoutcache warm --task nightly
    """,
)
def warm(
    session: Session,
    source: take.Source = None,
    from_cache: take.FromCache = None,
    frequent: take.Frequent = None,
    expiring: take.Expiring = None,
    since: take.Since = None,
    pattern: take.Matching = None,
    call: take.Call = None,
    http: take.Http = None,
    task: take.Task = None,
    due: take.Due = False,
    predict: take.Predict = False,
    horizon: take.Horizon = None,
    likely: take.Likely = None,
    evaluate: take.Evaluate = False,
    dry_run: take.DryRun = False,
    off_peak: take.OffPeak = False,
    only_missing: take.OnlyMissing = False,
    concurrency: take.Concurrency = 4,
    rate: take.Rate = None,
    retries: take.Retries = 0,
    budget: take.Budget = None,
    resume: take.Resume = False,
    lock_timeout: take.LockTimeout = "0",
    prom_textfile: take.PromTextfile = None,
) -> int | None:
    """Fill the cache from lines, another cache, the log, the web, a function, or the tasks of the configuration.

    Keys without a value get it from --call or --http; keys from the log also from the first task whose pattern matches.
    A predicted key whose value nothing can give is printed with its reason.

    One run works at a time in a directory; exit code 11 when another run has the lock. Exit code 3 when some keys or
    tasks failed, 1 when all did, 2 when nothing was done because a file, function or task doesn't exist that the
    command line or a task names. Off a terminal a run without problems prints nothing.
    """
    from scoutcache.cli.warming.asked import Asked

    asked = Asked.of(
        source=source, from_cache=from_cache, frequent=frequent, expiring=expiring, since=since, pattern=pattern,
        call=call, http=http, tasks=tuple(task or ()), due=due, predict=predict, horizon=horizon, likely=likely,
        evaluate=evaluate, dry_run=dry_run, off_peak=off_peak, budget=budget, resume=resume, lock_timeout=lock_timeout,
        work={"only_missing": only_missing, "concurrency": concurrency, "rate": rate, "retries": retries},
    )  # fmt: skip
    asked.check(session)
    if prom_textfile == STDOUT:
        raise Usage("--prom-textfile needs a file: the outcome is printed anyway", hint="name one, such as warm.prom")
    return _warm(session, asked, prom_textfile)


def _warm(session: Session, asked: Asked, prom_textfile: str | None) -> int | None:
    """Do it, or say why nothing is to be done."""
    from scoutcache.cli.warming.told import Teller

    if asked.evaluate:
        from scoutcache.cli.warming.predict import tell_evaluation

        tell_evaluation(session, asked)
        return None
    teller = Teller(session, prom_textfile)
    if asked.runs_tasks and not asked.tasks and not _any_due(session):
        return teller.told([])
    if asked.off_peak and not _is_off_peak(session, asked):
        return teller.told([])
    from scoutcache.cli.warming.work import work

    # What functions print is no result of this command's.
    with teller.accounted() as progress, redirect_stdout(sys.stderr):
        runs, chosen = work(session, asked, progress)
    session.progress_done()
    return teller.told(runs, chosen)


def _any_due(session: Session) -> bool:
    """Whether a task is due; says so to who watches when not, for nothing else will be said."""
    from scoutcache.warming.tasks import due_tasks

    session.look_for_cache(told=False)  # what became of the tasks is kept there
    due = due_tasks(session.config, datetime.now(UTC))
    if not session.config.tasks:
        session.note("no warming tasks are configured: nothing to do")
    elif not due and session.watched:
        session.note("no warming task is due")
    return bool(due)


def _is_off_peak(session: Session, asked: Asked) -> bool:
    from scoutcache.cli.warming.predict import history_of, lines_of
    from scoutcache.warming.predict_history import History
    from scoutcache.warming.quiet import is_off_peak

    setting = session.config.warming.off_peak
    history = history_of(lines_of(session, asked)) if setting == "auto" else History()
    if is_off_peak(setting, datetime.now(UTC).timestamp(), history.by_hour, history.days):
        return True
    if session.watched:
        session.note(f"it is not off-peak ({setting}): nothing to do")
    return False
