"""``doctor``: one look at everything that can be wrong."""

from __future__ import annotations

from typing import Final

import typer

from scoutcache.cli.errors import FAILED
from scoutcache.cli.options import command
from scoutcache.cli.state import Session

app = typer.Typer()

_COLUMNS: Final = ("status", "name", "detail", "fix")


@command(
    app,
    "doctor",
    examples="""
    scoutcache doctor
    scoutcache doctor --json | jq '.checks[] | select(.status != "ok")'
    """,
)
def doctor(session: Session) -> int | None:
    """Check the interpreter, the configuration, the directory, the store, the space and the log.

    Changes nothing. Exit code 1 when a check fails; a warning is no failure.
    """
    from scoutcache.cli.checks import run_checks

    checks = [check._asdict() for check in run_checks(session)]
    session.out.rows("checks", checks, _COLUMNS)
    return FAILED if any(check["status"] == "fail" for check in checks) else None
