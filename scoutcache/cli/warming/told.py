"""What ``warm`` says: how far it is, how it went, and to whom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scoutcache.cli.errors import FAILED, PARTLY, USAGE
from scoutcache.cli.state import Session
from scoutcache.errors import TierUnavailable
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.warming.records import WarmResult
    from scoutcache.warming.tasks import TaskRun

_FIGURES: Final = ("requested", "warmed", "skipped", "failed", "seconds")
_MORE: Final = ("duplicates", "over_budget", "resumed", "calls")
_BAR: Final = 20


class Teller:
    """Tells of one ``warm``."""

    def __init__(self, session: Session, textfile: str | None) -> None:
        self._session, self._textfile = session, textfile

    @contextmanager
    def accounted(self) -> Iterator[Callable[[str, WarmResult], None]]:
        """Show the progress of fillings, and when a signal breaks one off, what was done until then."""
        session = self._session
        seen: dict[int, tuple[str, WarmResult]] = {}

        def progress(name: str, result: WarmResult) -> None:
            seen[id(result)] = name, result
            session.progress(f"{name}: {_bar(result.part)}{_counts(result)}")

        try:
            yield progress
        except BaseException as error:
            if isinstance(error, TierUnavailable):
                self._write_textfile(_total([result for _, result in seen.values()]), success=False)
            if not isinstance(error, Exception):
                session.progress_done()
                # As it is by now, and not as of the last report: what was under way has come to its end since.
                account = "; ".join(f"{name}: {_counts(result)}" for name, result in seen.values()) or "none warmed"
                session.warn(f"interrupted: {account}; --resume continues from there")
            if isinstance(error, SystemExit):  # whatever code that names, keys are undone
                from scoutcache.errors import WarmingError
                from scoutcache.warming.records import said

                raise WarmingError(f"the function that computes values exited the process: {said(error)}") from error
            raise

    def told(self, runs: Sequence[TaskRun], chosen: Sequence[dict[str, Any]] | None = None) -> int | None:
        """Print the counts and what failed; give the exit code."""
        session = self._session
        total = _total([run.result for run in runs])
        errors = [error for run in runs for error in _errors(run)]
        self._print(runs, total, errors, chosen)
        for one in errors:
            place = [one["task"], f"line {one['line']}" if one["line"] is not None else None, one["key"]]
            session.warn(": ".join([*filter(None, place), one["error"]]))
        self._warn_of_rest(runs, total)
        self._write_textfile(total, success=not errors)
        if not errors:
            return PARTLY if any(run.result.partly for run in runs) else None
        if total["warmed"] or total["skipped"]:
            return PARTLY
        if any(run.error is None and not run.result.failed for run in runs):  # another task, that had nothing to do
            return PARTLY
        return USAGE if all(run.misnamed for run in runs if run.error is not None or run.result.failed) else FAILED

    def _write_textfile(self, total: Mapping[str, Any], *, success: bool) -> None:
        if self._textfile is not None:
            from scoutcache.warming.textfile import write_textfile

            figures = {name: total[name] for name in _FIGURES}
            write_textfile(Path(self._textfile), figures, time.time(), success=success)

    def _print(
        self, runs: Sequence[TaskRun], total: dict[str, Any], errors: list[dict[str, Any]],
        chosen: Sequence[dict[str, Any]] | None,
    ) -> None:  # fmt: skip
        session = self._session
        figures = {name: total[name] for name in _FIGURES}
        if session.form == "json":
            also = {} if chosen is None else {"keys": list(chosen)}
            session.out.record({**total, "errors": errors, **also})
        elif chosen is not None and not runs:
            session.out.rows("keys", chosen, _columns(chosen))
        elif session.form != "table" or (runs and session.watched):
            more = {name: total[name] for name in _MORE if total[name] and session.form == "table"}
            session.out.record({**figures, **more})

    def _warn_of_rest(self, runs: Sequence[TaskRun], total: dict[str, Any]) -> None:
        session = self._session
        for run in runs:
            for tier, (times, reason) in run.result.partly.items():
                session.warn(f"the {tier} tier did not store {counted(times, 'key')}: {reason}")
        for run in runs:
            if run.nothing is not None and run.error is None:
                session.warn(f"{run.task_id}: {run.nothing}")
        left_out = sum(run.result.errors_left_out for run in runs)
        if left_out:
            session.warn(f"and {left_out} more")
        first = next((run.result.first_duplicate for run in runs if run.result.first_duplicate is not None), None)
        if first is not None:
            place = f"line {first.line}: " if first.line is not None else ""
            session.warn(f"{place}{first.key}: {first.error} ({counted(total['duplicates'], 'such line')})")
        if total["over_budget"]:
            ended = any(run.result.ended_early for run in runs)
            left = "the generator was stopped there" if ended else f"left: {counted(total['over_budget'], 'key')}"
            session.note(f"the budget was spent after {counted(total['calls'], 'call')}; {left}")


def _columns(chosen: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    from scoutcache.cli.warming.predict import COLUMNS

    return COLUMNS if chosen and "reason" in chosen[0] else ("key",)


def _counts(result: WarmResult) -> str:
    return f"{result.warmed} warmed, {result.skipped} skipped, {result.failed} failed"


def _bar(part: float | None) -> str:
    if part is None:
        return ""
    full = round(part * _BAR)
    return f"[{'#' * full}{'-' * (_BAR - full)}] {part:4.0%} "


def _total(results: Sequence[WarmResult]) -> dict[str, Any]:
    total: dict[str, Any] = {name: sum(getattr(one, name) for one in results) for name in (*_FIGURES, *_MORE)}
    costs = [one.cost_usd for one in results if one.cost_usd is not None]
    return {**total, "cost_usd": max(costs) if costs else None}  # one budget counts for all


def _errors(run: TaskRun) -> Iterator[dict[str, Any]]:
    if run.error is not None:
        yield {"task": run.task_id, "line": None, "key": None, "error": run.error}
    for one in run.result.errors:
        yield {"task": run.task_id or None, "line": one.line, "key": one.key, "error": one.error}
