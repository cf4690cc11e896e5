"""What ``warm`` was asked for, and what is wrong with that before anything is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoutcache.cli.errors import Usage, did_you_mean
from scoutcache.cli.state import Session
from scoutcache.cli.streams import stdin_bytes
from scoutcache.errors import ConfigError, WarmingError

_DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of one ``warm``."""

    source: str | None
    from_cache: str | None
    frequent: int | None
    expiring: float | None
    since: float | None
    pattern: str
    call: str | None
    http: str | None
    tasks: tuple[str, ...]
    due: bool
    predict: bool
    horizon: float
    likely: float
    evaluate: bool
    dry_run: bool
    off_peak: bool
    budget: str | None
    resume: bool
    lock_timeout: float
    work: Mapping[str, Any]

    @property
    def from_log(self) -> bool:
        """Do the keys come from the operation log?"""
        return self.predict or self.frequent is not None or self.expiring is not None

    @property
    def runs_tasks(self) -> bool:
        """Is it a run of tasks?"""
        return not (self.from_log or self.source is not None or self.from_cache is not None or self.call is not None)

    @property
    def window(self) -> float:
        """How many seconds of the log count."""
        return self.since if self.since is not None else 14 * _DAY if self.predict else _DAY

    def check(self, session: Session) -> None:
        """Raise `Usage` for what can't be meant so."""
        self._check_sources()
        self._check_values()
        named_file = self.source is not None and self.source != "-" and "://" not in self.source
        if named_file and not Path(str(self.source)).exists():
            raise Usage(f"--from: there is no file {self.source}")
        if self.source == "-":
            stdin_bytes("--from -")
        _check_tasks(session, self.tasks)
        self.limits()

    def _check_sources(self) -> None:
        given = {
            "--from": self.source is not None, "--from-cache": self.from_cache is not None, "--task": bool(self.tasks),
            "--due": self.due, "--predict": self.predict, "--frequent": self.frequent is not None,
            "--expiring": self.expiring is not None,
        }  # fmt: skip
        named = [name for name, there in given.items() if there]
        if len(named) > 1:
            raise Usage(f"{' and '.join(named)} exclude each other")
        if self.evaluate and not self.predict:
            raise Usage("--evaluate is for --predict")
        if self.dry_run and not self.from_log:
            raise Usage("--dry-run is for --predict, --frequent and --expiring")
        if self.predict and self.horizon <= 0:
            raise Usage("--horizon: expected more than 0 seconds")

    def _check_values(self) -> None:
        if self.call is not None and self.http is not None:
            raise Usage("--call and --http exclude each other")
        for name, given in (("--call", self.call), ("--http", self.http)):
            if given is not None and (self.tasks or self.due or self.from_cache is not None):
                raise Usage(f"{name} is for --from and keys of the log: tasks and other caches have their own values")
        if self.http is not None and self.source is None and not self.from_log:
            raise Usage("--http needs keys", hint="name them with --from FILE, --from - or --frequent N")

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
                raise Usage(f"--call: {self.call} is a generator: it gives keys and values itself, without --from")
        elif self.source is None and not self.from_log:
            raise Usage("--call needs keys", hint="name them with --from FILE or --from -, or name a generator")
        return function


def _check_tasks(session: Session, names: tuple[str, ...]) -> None:
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


def _web(session: Session, template: str) -> Callable[..., Any]:
    from scoutcache.warming.loaders import web_source

    source = web_source(template, session.config)
    if not source.has_field:
        raise Usage("--http: expected {key} somewhere in the path or the query", hint="https://host/path/{key}")
    return source
