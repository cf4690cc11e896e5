"""``tasks``: the warming tasks of the configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from scoutcache.cli.options import command, group
from scoutcache.cli.state import Session

app = group(
    "tasks",
    examples="""
    scoutcache tasks list
    scoutcache warm --task nightly        run one of them now
    """,
)

_COLUMNS: Final = ("task", "due", "next_run", "status", "keys_warmed", "started_at", "completed_at", "schedule",
                   "pattern", "source", "error")  # fmt: skip


@command(
    app,
    "list",
    short="List the tasks, when they are due, and how they ended.",
    examples="""
    scoutcache tasks list
    scoutcache tasks list --json | jq '.tasks[] | select(.status == "failed")'
    """,
)
def list_(session: Session) -> None:
    """List the tasks of the configuration: what they warm, when they are due, and how the last run ended.

    scoutcache warm runs them, from cron; an application runs them at its start if the task says so. The error shown is
    the first of the last run; --json has more.
    """
    from scoutcache.warming.tasks import list_tasks

    rows = []
    session.look_for_cache(told=False)
    for info in list_tasks(session.config, datetime.now(UTC)):
        task = info.task.model_dump()
        error = next(iter(info.task.errors), None)
        rows.append({"task": info.task.task_id, "due": info.due, "next_run": info.next_run, **task, "error": error})
    session.out.rows("tasks", rows, () if session.form == "json" else _COLUMNS)
    if not rows:
        session.note("no warming tasks are configured")
