"""The warming tasks of a configuration: what is due, what became of each, and running them.

- A task's *source* is a file of JSON Lines, or a web address of one, of which the keys that match its *pattern* are
  taken; or ``module:function``, or a web address with ``{key}``, which is asked for each key that matches, of those
  that are stored or were asked for lately by the log (a pattern without wildcards is that one key, there or not).  An
  entry keeps its tags.  A generator gives keys and values itself, of which those that match are taken.  A file or a
  module is looked for in the task's *folder*.
- *schedule* is a cron expression in UTC; `schedules` says what is due by it, counted from when the last run began; one
  that failed counts for none, so the task stays due until it succeeds.  Without a schedule a task is never due.
- What became of each task is kept in the cache's directory; a task that was removed from the configuration is forgotten
  with the next run.  One run at a time: a task that claims to be running while nobody holds the lock has been killed.
- Running a ``module:function`` runs code that the configuration names: whoever calls `run_tasks` vouches for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from scoutcache.channels.locking import held
from scoutcache.config import CacheConfig
from scoutcache.core.run_state import RunState, change_runs, read_runs
from scoutcache.errors import CacheError, ConfigError, WarmingError
from scoutcache.models import TaskStatus, WarmingTask
from scoutcache.oplog.files import is_claimed
from scoutcache.schedules import due_by, is_ahead
from scoutcache.warming.fill import WarmResult, fill, state_folder, warm_from, warm_generated
from scoutcache.warming.loaders import LATELY, gives_values, items_of, loader_of, web_source
from scoutcache.warming.records import NoSource, NothingTaken
from scoutcache.warming.sources import is_generator

if TYPE_CHECKING:
    from scoutcache.cache import Cache

__all__ = ["TaskInfo", "TaskRun", "due_tasks", "list_tasks", "run_tasks"]

_KEPT: Final = ("status", "started_at", "completed_at", "keys_warmed", "errors")
_MOST_ERRORS: Final = 20


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task with what became of its last run.  *next_run* is None without a schedule."""

    task: WarmingTask
    due: bool
    next_run: datetime | None


@dataclass(frozen=True, slots=True)
class TaskRun:
    """How a task went; *error* says why it couldn't be begun or finished, *misnamed* that its source can't be meant so.
    """

    task_id: str
    result: WarmResult
    error: str | None = None
    misnamed: bool = False
    nothing: str | None = None
    """Why there was nothing to warm, where there was nothing."""


def list_tasks(config: CacheConfig, now: datetime) -> list[TaskInfo]:
    """Every task of *config* in its order; *now* is an aware datetime."""
    state = read_runs(_state_file(config))
    working = is_claimed(state_folder(config) / "lock")
    return [_info(_with_state(task, state.get(task.task_id, {}), working=working), now) for task in config.tasks]


def due_tasks(config: CacheConfig, now: datetime) -> list[WarmingTask]:
    """The tasks that ought to run at *now*."""
    return [info.task for info in list_tasks(config, now) if info.due]


def run_tasks(
    cache: Cache, names: Sequence[str] | None = None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC),
    unless_since: datetime | None = None, lock_timeout: float = 0.0,
    progress: Callable[[str, WarmResult], None] | None = None, clock: Callable[[], float] = monotonic,
    wait: Callable[[float], object] = sleep, **options: Any,
) -> list[TaskRun]:  # fmt: skip
    """Run the tasks called *names* (ids or names), or those that are due; one after the other, none ends the others.

    One that somebody began after *unless_since* is left alone.  The other *options* are those of `fill.warm_from`.
    Raises `LockTimeout` when another filling runs for longer than *lock_timeout* seconds (when nothing is due the lock
    isn't asked for), `WarmingError` for a name that no task has, `NothingTaken` when no tier takes anything.
    """
    config = cache.config
    if not _chosen(config, names, now()):
        return []
    runs: list[TaskRun] = []
    with held(state_folder(config) / "lock", lock_timeout, clock=clock, wait=wait):
        # Looked at anew: whoever held the lock may have just done them.
        for task in _chosen(config, names, now()):
            if unless_since is not None and _began_between(config, task, unless_since, now()):
                continue
            report = None if progress is None else _Named(task.task_id, progress)
            _write_state(config, task.task_id, {"status": TaskStatus.RUNNING, "started_at": now().isoformat()})
            try:
                run = _run(cache, task, lock=False, progress=report, clock=clock, wait=wait, **options)
            except NothingTaken as problem:  # the others would fare no better
                _write_state(config, task.task_id, _outcome(TaskRun(task.task_id, WarmResult(), str(problem)), now()))
                raise
            _write_state(config, task.task_id, _outcome(run, now()))
            runs.append(run)
    return runs


class _Named:
    """Passes progress on with the name of the task it belongs to."""

    def __init__(self, task_id: str, show: Callable[[str, WarmResult], None]) -> None:
        self._task_id, self._show = task_id, show

    def __call__(self, result: WarmResult) -> None:
        self._show(self._task_id, result)


def _chosen(config: CacheConfig, names: Sequence[str] | None, now: datetime) -> list[WarmingTask]:
    if names is None:
        return due_tasks(config, now)
    known = {name: task for task in config.tasks for name in (task.name, task.task_id) if name}
    if unknown := [name for name in names if name not in known]:
        tasks = ", ".join(sorted(task.task_id for task in config.tasks)) or "none"
        raise WarmingError(f"there is no warming task {unknown[0]!r:.200}", hint=f"configured: {tasks}")
    return [known[name] for name in dict.fromkeys(names)]


def _began_between(config: CacheConfig, task: WarmingTask, moment: datetime, now: datetime) -> bool:
    began = _with_state(task, read_runs(_state_file(config)).get(task.task_id, {}), working=True).started_at
    return began is not None and began > moment and not is_ahead(began, now)


def _run(cache: Cache, task: WarmingTask, **options: Any) -> TaskRun:
    source, name = task.source, ["task", task.task_id]
    unread = options.pop("unread", lambda _: None)
    no_key = "no key" if task.pattern == "*" else f"no key that matches the pattern {task.pattern}"
    try:
        if gives_values(task):
            call = loader_of(task, cache.config)
            if is_generator(call):
                result = warm_generated(cache, call, pattern=task.pattern, name=[*name, source], **options)
                return _run_of(task, result, f"{source} gives {no_key}")
            items = items_of(cache, task, unread)
            result = fill(cache, iter(items), call=call, name=[*name, source], **options)
            return _run_of(task, result, f"{no_key} is stored, or was requested in the last {LATELY / 3600:g} h")
        lines = web_source(source, cache.config).lines() if task.file is None else task.file
        result = warm_from(cache, lines, pattern=task.pattern, name=name, **options)
        return _run_of(task, result, f"{source} holds {no_key}")
    except NothingTaken:
        raise
    except CacheError as problem:
        return TaskRun(task.task_id, WarmResult(), str(problem), isinstance(problem, NoSource | ConfigError))


def _run_of(task: WarmingTask, result: WarmResult, nothing: str) -> TaskRun:
    return TaskRun(task.task_id, result, nothing=None if result.requested else f"nothing to warm: {nothing}")


# -- when


def _info(task: WarmingTask, now: datetime) -> TaskInfo:
    last_run = None if task.status is TaskStatus.FAILED else task.started_at
    due = due_by(task.schedule, last_run, now)
    return TaskInfo(task, due=due.now, next_run=due.next_run)


# -- what became of it


def _with_state(task: WarmingTask, kept: Mapping[str, Any], *, working: bool) -> WarmingTask:
    fields = {name: kept[name] for name in _KEPT if name in kept}
    if fields.get("status") == TaskStatus.RUNNING and not working:
        fields.update(status=TaskStatus.FAILED, errors=("it ended before it was done",))
    try:
        return WarmingTask.model_validate({**task.model_dump(), **fields})
    except ValueError:
        # Somebody wrote something else there: then nothing is known of the last run.
        return task


def _outcome(run: TaskRun, now: datetime) -> dict[str, Any]:
    errors = [_told(line, key, error) for line, key, error in _errors(run)]
    failed = run.error is not None or run.result.failed > 0
    return {"status": TaskStatus.FAILED if failed else TaskStatus.COMPLETED, "completed_at": now.isoformat(),
            "keys_warmed": run.result.warmed, "errors": errors[:_MOST_ERRORS]}  # fmt: skip


def _errors(run: TaskRun) -> Iterator[tuple[int | None, str | None, str]]:
    if run.error is not None:
        yield None, None, run.error
    yield from ((error.line, error.key, error.error) for error in run.result.errors)


def _told(line: int | None, key: str | None, error: str) -> str:
    where = [f"line {line}" if line is not None else "", key or ""]
    return ": ".join([*filter(None, where), error])[:500]


def _write_state(config: CacheConfig, task_id: str, news: Mapping[str, Any]) -> None:
    """Called with the lock held, so nobody else writes."""
    known = {task.task_id for task in config.tasks}

    def edit(state: RunState) -> RunState:
        kept = {name: one for name, one in state.items() if name in known}
        return {**kept, task_id: {**kept.get(task_id, {}), **news}}

    change_runs(_state_file(config), edit)


def _state_file(config: CacheConfig) -> Path:
    return state_folder(config) / "tasks.json"
