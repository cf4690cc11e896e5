"""The invalidation rules that are in force in this process, who listens to events, and how often each rule ran.

Rules:

1. Rules come from the configuration and from `add`, and belong to this process: whoever emits an event runs them.
2. How often a rule ran is counted here and added, when counters are written down, to what the cache's directory keeps
   for all processes; by namespace, for a rule that ran in one has not run in another.
3. A run counts when every tier could be asked, so that a time rule that failed is due again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final

from scoutcache.canonical import shown
from scoutcache.config import CacheConfig
from scoutcache.core.run_state import RunState, change_runs, read_runs
from scoutcache.errors import CacheError
from scoutcache.events import Emitted, Hook
from scoutcache.oplog.files import exclusive, make_folder
from scoutcache.patterns import Pattern
from scoutcache.policies import InvalidationRule
from scoutcache.rules.planning import Ruleset
from scoutcache.schedules import later_run

__all__ = ["RuleBook"]

_log = logging.getLogger("scoutcache")

_MOST_KEPT: Final = 2000
"""Rules, counted for each namespace, of which the directory keeps how often they ran; the latest stay."""


@dataclass(slots=True)
class _Ran:
    """Runs that are not written down yet."""

    last_run: datetime
    runs: int = 0
    total: int = 0


class RuleBook:
    """The rules of one open cache.  *folder* keeps what became of them; *on_error* is told of a hook that raised."""

    def __init__(
        self, rules: Iterable[InvalidationRule], folder: Path, on_error: Callable[[Hook, Any, Exception], object]
    ) -> None:
        self.folder, self._on_error = folder, on_error
        self._lock = threading.Lock()
        self._hooks: list[tuple[Pattern, Hook]] = []
        self._ran: dict[tuple[str, str], _Ran] = {}
        self._warned = False
        self.ruleset = Ruleset(rules)

    @property
    def rules(self) -> tuple[InvalidationRule, ...]:
        """Those in force, in the order in which they were named."""
        return self.ruleset.rules

    # -- which rules

    def add(self, rule: InvalidationRule | Mapping[str, Any]) -> InvalidationRule:
        """Put *rule* in force.  Raises `ConfigError` for a wrong one, `CacheError` where its id is taken."""
        checked = rule if isinstance(rule, InvalidationRule) else CacheConfig(rules=[rule]).rules[0]
        with self._lock:
            if any(checked.rule_id == known.rule_id for known in self.rules):
                raise CacheError(f"there is a rule {shown(checked.rule_id)} already", hint="remove it first")
            self.ruleset = Ruleset((*self.rules, checked))
        return checked

    def remove(self, rule_id: str) -> bool:
        """Take a rule out of force; False when there was none of that id."""
        with self._lock:
            left = tuple([rule for rule in self.rules if rule.rule_id != rule_id])
            there = len(left) < len(self.rules)
            self.ruleset = Ruleset(left)
        return there

    def named(self, names: Iterable[str]) -> list[InvalidationRule]:
        """The rules of those ids or names; raises `CacheError` for one that no rule has."""
        known = {name: rule for rule in reversed(self.rules) for name in (rule.name, rule.rule_id)}
        chosen: dict[str, InvalidationRule] = {}
        for name in names:
            if name not in known:
                there = ", ".join(shown(rule.rule_id)[1:-1] for rule in self.rules)
                none = "there are none: [[rules]] in the configuration, or cache.rules.add(rule)"
                raise CacheError(f"there is no rule {shown(name)}", hint=f"there are: {there}" if there else none)
            chosen[known[name].rule_id] = known[name]
        return list(chosen.values())

    # -- who listens

    def listen(self, name: str, hook: Hook) -> Callable[[], None]:
        """Call *hook* with the `Emitted` record of each event whose name matches the pattern *name*."""
        if not callable(hook) or iscoroutinefunction(hook):
            raise CacheError(f"a hook is a plain function that takes the record, not {shown(hook)}")
        entry = (Pattern.parse(name), hook)
        self._hooks = [*self._hooks, entry]

        def remove() -> None:
            self._hooks = [one for one in self._hooks if one is not entry]

        return remove

    def tell(self, record: Emitted) -> None:
        """Tell everybody who listens; what a hook raises is reported and reaches nobody else."""
        for pattern, hook in self._hooks:
            if not pattern.matches(record.name):
                continue
            try:
                hook(record)
            except Exception as error:  # noqa: BLE001  # a hook is foreign code: its failure is reported, not passed on
                self._on_error(hook, record, error)

    # -- how often they ran

    def ran(self, namespace: str, rule_id: str, at: datetime, invalidated: int | None) -> None:
        """Count a run."""
        with self._lock:
            one = self._ran.setdefault((namespace, rule_id), _Ran(at))
            one.last_run, one.runs = later_run(one.last_run, at), one.runs + 1
            one.total += invalidated or 0

    def told(self, namespace: str) -> list[InvalidationRule]:
        """The rules, each with what is known of its runs in *namespace*."""
        kept: Mapping[str, Any] = read_runs(self._file).get(namespace, {})
        with self._lock:
            fresh = {rule_id: one for (space, rule_id), one in self._ran.items() if space == namespace}
        return [_with_runs(rule, kept.get(rule.rule_id), fresh.get(rule.rule_id)) for rule in self.rules]

    def write(self, *, strict: bool = False) -> None:
        """Write down what was counted; what can't be is kept, with a warning or, if *strict*, an error."""
        if not self._ran:
            return
        with self._lock:
            counted, self._ran = self._ran, {}
        try:
            make_folder(self.folder)
            with exclusive(self.folder):
                change_runs(self._file, lambda state: _added(state, counted))
        except OSError as error:
            with self._lock:
                self._ran = _merged(counted, self._ran)
            problem = f"{self._file}: what became of rules can't be written: {error.strerror}"
            if strict:
                raise CacheError(problem) from error
            if not self._warned:
                self._warned = True
                _log.warning("%s", problem)

    def after_fork(self) -> None:
        """In a forked child: what the parent counted is the parent's to write."""
        self._lock = threading.Lock()
        self._ran = {}

    @property
    def _file(self) -> Path:
        return self.folder / "runs.json"


def _merged(older: dict[tuple[str, str], _Ran], newer: dict[tuple[str, str], _Ran]) -> dict[tuple[str, str], _Ran]:
    merged = dict(older)
    for name, one in newer.items():
        before = merged.get(name, _Ran(one.last_run))
        last_run = later_run(before.last_run, one.last_run)
        merged[name] = _Ran(last_run, before.runs + one.runs, before.total + one.total)
    return merged


def _added(state: RunState, counted: Mapping[tuple[str, str], _Ran]) -> RunState:
    for (namespace, rule_id), one in counted.items():
        rules = state.setdefault(namespace, {})
        last_run, runs, total = _read(rules.get(rule_id))
        rules[rule_id] = {
            "last_run": later_run(last_run, one.last_run).isoformat(), "runs": runs + one.runs,
            "total_invalidations": total + one.total,
        }  # fmt: skip
    return _bounded(state)


def _bounded(state: RunState) -> RunState:
    rows = [(str(_read(kept)[0]), space, name) for space, rules in state.items() for name, kept in rules.items()]
    for _, space, name in sorted(rows)[:-_MOST_KEPT]:
        del state[space][name]
    return {space: rules for space, rules in state.items() if rules}


def _read(kept: Any) -> tuple[datetime | None, int, int]:
    """What the directory keeps of a rule; nothing where somebody wrote something else there."""
    if not isinstance(kept, dict):
        return None, 0, 0
    try:
        at = datetime.fromisoformat(kept["last_run"])
        runs, total = kept["runs"], kept["total_invalidations"]
    except (KeyError, TypeError, ValueError):
        return None, 0, 0
    if at.tzinfo is None or not all(type(number) is int and number >= 0 for number in (runs, total)):
        return None, 0, 0
    return at.astimezone(UTC), runs, total


def _with_runs(rule: InvalidationRule, kept: Any, fresh: _Ran | None) -> InvalidationRule:
    at, runs, total = _read(kept)
    known = max((time for time in (rule.last_run, at) if time is not None), default=None)
    return rule.model_copy(update={
        "last_run": known if fresh is None else later_run(known, fresh.last_run),
        "runs": rule.runs + runs + (fresh.runs if fresh else 0),
        "total_invalidations": rule.total_invalidations + total + (fresh.total if fresh else 0),
    })  # fmt: skip
