"""``warm``: fill the cache ahead of need, from cron if need be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoutcache.cli.errors import FAILED, PARTLY, CommandError, Usage, did_you_mean
from scoutcache.cli.options import command
from scoutcache.cli.state import Session
from scoutcache.errors import WarmingError

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.warming.fill import WarmResult
    from scoutcache.warming.tasks import TaskRun

app = typer.Typer()

_SHOWN = 20


@command(
    app,
    "warm",
    examples="""
    scoutcache warm                                  the tasks that are due, for cron
    scoutcache warm --from answers.jsonl             lines of {"key": …, "value": …, "ttl": …, "tags": […]}
    scoutcache warm --from keys.jsonl --call app.jobs:load --only-missing --rate 5
    scoutcache warm --task nightly
    """,
)
def warm(
    session: Session,
    source: Annotated[
        str | None, typer.Option("--from", metavar="FILE|-", help="JSON Lines with values, or keys for --call.")
    ] = None,
    call: Annotated[
        str | None, typer.Option("--call", metavar="MODULE:FUNCTION", help="Gives the value of a key.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", metavar="NAME", help="This task, due or not.")] = None,
    due: Annotated[bool, typer.Option("--due", help="The tasks that are due; so does warm alone.")] = False,
    predict: Annotated[bool, typer.Option("--predict", help="What the log says will be asked for next.")] = False,
    only_missing: Annotated[bool, typer.Option("--only-missing", help="Leave alone what is there and fresh.")] = False,
    concurrency: Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Keys at once.")] = 4,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="R", min=0, help="Keys a second at most. Default: no limit.")
    ] = None,
    lock_timeout: Annotated[
        str, typer.Option("--lock-timeout", metavar="S", help="Wait so long for another filling to end.")
    ] = "0",
) -> int | None:
    """Fill the cache from lines, through a function, or by the tasks of the configuration.

    One filling runs at a time; when another one has the lock, exit code 11. Exit code 3 when some keys failed, 1 when
    all did, 2 when the file, the function or the task named is not there. Off a terminal it says nothing when all is
    well.
    """
    from scoutcache.ttl import parse_duration

    _check(source, call, task, due=due, predict=predict)
    _check_tasks(session, task or ())
    function = None if call is None else _function(call)
    options: dict[str, Any] = {"only_missing": only_missing, "concurrency": concurrency, "rate": rate or None,
               "lock_timeout": parse_duration(lock_timeout)}  # fmt: skip
    if source is None and not task and not due_any(session):
        return _told(session, [])
    with _accounted(session) as progress, session.cache() as cache:
        runs = (
            _from(cache, source, function, partial(progress, source), options)
            if source is not None
            else _tasks(cache, task, progress, options)
        )
    session.progress_done()
    return _told(session, runs)


def due_any(session: Session) -> bool:
    """Whether a task is due; says so when not, for nothing else will be said."""
    from scoutcache.warming.tasks import due_tasks

    due = due_tasks(session.config, datetime.now(UTC))
    if not due:
        configured = bool(session.config.tasks)
        session.note("no warming task is due" if configured else "no warming tasks are configured: nothing to do")
    return bool(due)


def _check(source: str | None, call: str | None, task: Sequence[str] | None, *, due: bool, predict: bool) -> None:
    if predict:
        raise CommandError("--predict is not available in this version of scoutcache")
    if source is None and call is not None:
        raise Usage("--call needs keys", hint="name them with --from FILE or --from -")
    if (source is not None) + bool(task) + due > 1:
        raise Usage("--from, --task and --due exclude each other")
    if source is not None and source != "-" and not Path(source).exists():
        raise Usage(f"--from: there is no file {source}")


def _check_tasks(session: Session, names: Sequence[str]) -> None:
    """Refuse names that no task has, before anything is opened."""
    known = [name for task in session.config.tasks for name in (task.name, task.task_id) if name]
    for name in names:
        if name not in known:
            tasks = f"the tasks are {', '.join(dict.fromkeys(known))}" if known else "no tasks are configured"
            raise Usage(f"there is no warming task {name!r:.200}", hint=did_you_mean(name, known, tasks))


def _function(name: str) -> Callable[..., Any]:
    """The function that ``--call`` names; a name that leads nowhere is a mistake in the command."""
    from scoutcache.warming.functions import named_function

    try:
        return named_function(name)
    except WarmingError as error:
        # What importing it raised is the module's failure, and told as one.
        if error.__cause__ is None or isinstance(error.__cause__, ModuleNotFoundError):
            raise Usage(f"--call: {error}", hint=error.hint) from error
        raise


def _from(
    cache: Cache, source: str, call: Callable[..., Any] | None, progress: Callable[[WarmResult], None],
    options: dict[str, Any],
) -> list[TaskRun]:  # fmt: skip
    from scoutcache.warming.fill import warm_from
    from scoutcache.warming.tasks import TaskRun

    lines = sys.stdin.buffer if source == "-" else source
    return [TaskRun("", warm_from(cache, lines, call=call, progress=progress, **options))]


def _tasks(
    cache: Cache, names: list[str] | None, progress: Callable[[str, WarmResult], None], options: dict[str, Any]
) -> list[TaskRun]:
    from scoutcache.warming.tasks import run_tasks

    return run_tasks(cache, names or None, progress=progress, **options)


@contextmanager
def _accounted(session: Session) -> Iterator[Callable[[str, WarmResult], None]]:
    """Show the progress of fillings, and when a signal breaks one off, what was done until then."""
    done: dict[str, str] = {}

    def progress(name: str, result: WarmResult) -> None:
        # How many lines are to come is not known, so the counts are what there is to show.
        done[name] = f"{result.warmed} warmed, {result.skipped} skipped, {result.failed} failed"
        session.progress(f"{name}: {done[name]}")

    try:
        yield progress
    except BaseException as error:
        if not isinstance(error, Exception):
            session.progress_done()
            session.warn(f"broken off: {'; '.join(f'{name}: {told}' for name, told in done.items()) or 'none warmed'}")
        raise


def _told(session: Session, runs: Sequence[TaskRun]) -> int | None:
    figures = ("requested", "warmed", "skipped", "failed", "seconds")
    total: dict[str, Any] = {name: sum(getattr(run.result, name) for run in runs) for name in figures}
    errors = [error for run in runs for error in _errors(run)]
    if session.form != "table" or (runs and (session.out.on_terminal or session.verbose)):
        session.out.record({**total, "errors": errors} if session.form == "json" else total)
    for one in errors[:_SHOWN]:
        place = [one["task"], f"line {one['line']}" if one["line"] is not None else None, one["key"]]
        session.warn(": ".join([*filter(None, place), one["error"]]))
    left_out = total["failed"] - _SHOWN
    if left_out > 0:
        session.warn(f"and {left_out} more")
    if not errors:
        return None
    return PARTLY if total["warmed"] or total["skipped"] else FAILED


def _errors(run: TaskRun) -> Iterator[dict[str, Any]]:
    if run.error is not None:
        yield {"task": run.task_id, "line": None, "key": None, "error": run.error}
    for one in run.result.errors:
        yield {"task": run.task_id or None, "line": one.line, "key": one.key, "error": one.error}
