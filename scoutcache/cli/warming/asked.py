"""What ``warm`` was asked for, and what is wrong with that before anything is opened."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from scoutcache.cli.errors import Usage, did_you_mean, read
from scoutcache.cli.printing.streams import stdin_bytes
from scoutcache.cli.state import Session
from scoutcache.errors import CacheError, ConfigError

if TYPE_CHECKING:
    from scoutcache.policies import WarmingTask

_DAY: Final = 86400.0
_FROM_LOG: Final = "--predict, --frequent or --expiring"
_COMPUTED: Final = "values that are computed: --call, --http, or a task's function"
_NO_TASKS: Final = "no tasks are configured: add [[tasks]] to scoutcache.toml, as scoutcache config init shows"
_ASKED: Final = "values that a function or --http gives key by key, not with a file or a generator"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of one ``warm``."""

    source: str | None
    from_cache: str | None
    frequent: int | None
    expiring: float | None
    since: float | None
    pattern: str | None
    call: str | None
    http: str | None
    tasks: tuple[str, ...]
    due: bool
    predict: bool
    horizon: float | None
    likely: float | None
    evaluate: bool
    dry_run: bool
    off_peak: bool
    budget: str | None
    resume: bool
    lock_timeout: float
    work: Mapping[str, Any]

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The options as they were typed, with durations read.  Raises `InvalidTTL`."""
        from scoutcache.cli.periods import length_of
        from scoutcache.ttl import parse_duration

        durations = {
            name: read(f"--{name.replace('_', '-')}", parse_duration, given[name])
            for name in _DURATIONS
            if given[name] is not None
        }
        return cls(**{**given, **durations, "since": length_of("--since", given["since"])})

    @property
    def matching(self) -> str:
        """The pattern of the keys."""
        return "*" if self.pattern is None else self.pattern

    @property
    def ahead(self) -> float:
        """How many seconds ahead a prediction looks."""
        return 600.0 if self.horizon is None else self.horizon

    @property
    def least(self) -> float:
        """The least chance that a predicted key has."""
        return 0.4 if self.likely is None else self.likely

    @property
    def from_log(self) -> bool:
        """Do the keys come from the operation log?"""
        return self.predict or self.frequent is not None or self.expiring is not None

    @property
    def runs_tasks(self) -> bool:
        """Is it a run of tasks?"""
        given = (self.source, self.from_cache, self.call, self.http)
        return not self.from_log and all(one is None for one in given)

    @property
    def window(self) -> float:
        """How many seconds of the log count."""
        return self.since if self.since is not None else 14 * _DAY if self.predict else _DAY

    def check(self, session: Session) -> None:
        """Raise `Usage` for what can't be meant so."""
        self._check_sources()
        self._check_values()
        self._check_effects()
        self._check_work(session)
        if self.off_peak and session.config.warming.off_peak == "always":
            raise Usage("--off-peak has no effect: warming.off_peak is \"always\"",
                        hint='set [warming] off_peak = "01:00-05:00" (UTC), or "auto"')  # fmt: skip
        named_file = self.source is not None and self.source != "-" and "://" not in self.source
        if named_file and not Path(str(self.source)).exists():
            raise Usage(f"--from: there is no file {self.source}")
        if named_file and Path(str(self.source)).is_dir():
            raise Usage(f"--from: {self.source} is a directory",
                        hint="name a file of lines; --from-cache copies the entries of another cache")  # fmt: skip
        if self.source == "-":
            stdin_bytes("--from -")
        _check_tasks(session, self.tasks)

    def _check_sources(self) -> None:
        given = {
            "--from": self.source is not None, "--from-cache": self.from_cache is not None, "--task": bool(self.tasks),
            "--due": self.due, "--predict": self.predict, "--frequent": self.frequent is not None,
            "--expiring": self.expiring is not None,
        }  # fmt: skip
        named = [name for name, there in given.items() if there]
        if len(named) > 1:
            raise Usage(f"{' and '.join(named)} can't be used together")
        if self.evaluate and not self.predict:
            raise Usage("--evaluate needs --predict")
        if self.dry_run and not self.from_log:
            raise Usage("--dry-run needs --predict, --frequent or --expiring")
        if self.ahead <= 0:
            raise Usage("--horizon: expected more than 0 seconds")
        rate = self.work["rate"]
        if rate is not None and not 0 < rate < math.inf:
            raise Usage(f"--rate: expected more than 0 keys a second, not {rate:g}",
                        hint="without --rate there is no limit")  # fmt: skip

    def _check_values(self) -> None:
        if self.call is not None and self.http is not None:
            raise Usage("--call and --http can't be used together")
        for name, given in (("--call", self.call), ("--http", self.http)):
            if given is not None and (self.tasks or self.due or self.from_cache is not None):
                raise Usage(f"{name} needs --from or keys of the log: tasks and other caches have their own values")
        if self.http is not None and self.source is None and not self.from_log:
            raise Usage("--http needs keys", hint="name them with --from FILE, --from - or --frequent N")

    def _check_effects(self) -> None:
        """Refuse what would have no effect, for whoever wrote it expects one."""
        _, money = self.limits()
        computes = self.runs_tasks or self.from_log or self.call is not None or self.http is not None
        for name, given, heeded, needed in (
            ("--horizon", self.horizon, self.predict, "--predict"),
            ("--likely", self.likely, self.predict, "--predict"),
            ("--since", self.since, self.from_log or self.off_peak or money is not None, _FROM_LOG),
            ("--pattern", self.pattern, not self.runs_tasks, f"--from, --from-cache, --call, {_FROM_LOG}"),
            ("--retries", self.work["retries"] or None, computes, _COMPUTED),
            ("--budget", self.budget, computes, _COMPUTED),
            ("--resume", self.resume or None, not self.from_log, "--from, --from-cache, a generator or tasks"),
        ):
            if given is not None and not heeded:
                hint = "a task has a pattern of its own in the configuration" if name == "--pattern" else None
                raise Usage(f"{name} works only with {needed}", hint=hint)
        if self.evaluate:
            self._check_evaluation()

    def _check_evaluation(self) -> None:
        acting = {
            "--call": self.call, "--http": self.http, "--dry-run": self.dry_run, "--off-peak": self.off_peak,
            **self._working,
        }  # fmt: skip
        if given := [name for name, value in acting.items() if value]:
            raise Usage(f"--evaluate replays the log and warms nothing, so {given[0]} has no effect with it")

    @property
    def _working(self) -> dict[str, Any]:
        """What says how a filling is done, as far as it is given."""
        work = self.work
        return {"--only-missing": work["only_missing"], "--resume": self.resume, "--retries": work["retries"],
                "--rate": work["rate"]}  # fmt: skip

    def _check_work(self, session: Session) -> None:
        """Refuse to say how what isn't named is to be warmed."""
        if not self.runs_tasks or self.due or self.tasks or session.config.tasks:
            return
        given = [name for name, value in {**self._working, "--budget": self.budget}.items() if value]
        if given:
            hint = f"name keys with --from, --from-cache, {_FROM_LOG}, or a generator with --call"
            raise Usage(f"{given[0]} needs something to warm, and no warming tasks are configured", hint=hint)

    def check_tasks(self, session: Session) -> None:
        """Refuse what has no effect on any of the tasks; those that are named are asked whether they are generators.

        What a task names runs as code, so consent is asked for first.
        """
        if not self.runs_tasks or not session.config.tasks:
            return
        from scoutcache.warming.loaders import gives_values

        tasks = [task for task in session.config.tasks if not self.tasks or {task.task_id, task.name} & {*self.tasks}]
        asked = [task for task in tasks if gives_values(task)]
        self._check_heeded("--budget", self.budget, heeded=bool(asked))
        retries = self.work["retries"]
        if retries and self.tasks:
            session.trust()
            asked = [task for task in asked if not _is_generator(task)]
        self._check_heeded("--retries", retries, heeded=bool(asked))

    def _check_heeded(self, name: str, given: object, *, heeded: bool) -> None:
        if given and not heeded:
            raise Usage(f"{name} works only with {_ASKED if name == '--retries' else _COMPUTED}")

    def limits(self) -> tuple[int | None, float | None]:
        """The calls or the USD of ``--budget``."""
        from scoutcache.warming.budget import parse_budget

        if self.budget is None:
            return None, None
        try:
            return parse_budget(self.budget)
        except ConfigError as error:
            raise Usage(f"--{error}", hint="in a shell a dollar sign needs quotes: --budget '$5'") from error

    def loader(self, session: Session) -> Callable[..., Any] | None:
        """What ``--call`` or ``--http`` names; None without them."""
        from scoutcache.warming.sources import is_generator

        if self.http is not None:
            return _web(session, self.http)
        if self.call is None:
            return None
        function = _function(self.call)
        if is_generator(function):
            if self.source is not None or self.from_log:
                raise Usage(f"--call: {self.call} is a generator: it yields keys and values itself, without --from")
            self._check_heeded("--retries", self.work["retries"], heeded=False)
        elif self.source is None and not self.from_log:
            raise Usage("--call needs keys", hint="name them with --from FILE or --from -, or name a generator")
        return function


_DURATIONS: Final = ("expiring", "horizon", "lock_timeout")


def _check_tasks(session: Session, names: tuple[str, ...]) -> None:
    """Refuse names that no task has, before anything is opened."""
    known = [name for task in session.config.tasks for name in (task.name, task.task_id) if name]
    for name in names:
        if name not in known:
            tasks = f"the tasks are {', '.join(dict.fromkeys(known))}" if known else _NO_TASKS
            raise Usage(f"there is no warming task {name!r:.200}", hint=did_you_mean(name, known, tasks))


def _function(name: str) -> Callable[..., Any]:
    """The function that ``--call`` names; a name that leads nowhere is a mistake in the command."""
    from scoutcache.warming.functions import named_function
    from scoutcache.warming.records import NoSource

    try:
        return named_function(name)
    except NoSource as error:
        raise Usage(f"--call: {error}", hint=error.hint) from error


def _is_generator(task: WarmingTask) -> bool:
    """Does a task's source name a generator?  What can't be found is told when the task is run."""
    from scoutcache.warming.functions import named_function
    from scoutcache.warming.sources import is_generator

    try:
        return task.runs_code and is_generator(named_function(task.source, task.folder))
    except CacheError:
        return False


def _web(session: Session, template: str) -> Callable[..., Any]:
    from scoutcache.warming.loaders import web_source

    source = web_source(template, session.config)
    if not source.has_field:
        raise Usage("--http: expected {key} somewhere in the path or the query", hint="https://host/path/{key}")
    return source
