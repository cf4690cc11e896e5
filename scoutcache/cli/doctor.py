"""``doctor``: one look at everything that can be wrong."""

from __future__ import annotations

from typing import Any, Final

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

    Changes nothing, but that a damaged store is set aside, as by any command. Exit code 1 when a check fails; a
    warning is no failure. Off a terminal: status, name and detail of each check in a line, then what to do.
    """
    from scoutcache.cli.checks import run_checks

    checks = [check._asdict() for check in run_checks(session)]
    if session.form == "table" and not session.out.fancy:
        _lines(session, checks)
    else:
        session.out.rows("checks", checks, _COLUMNS)
    return FAILED if any(check["status"] == "fail" for check in checks) else None


def _lines(session: Session, checks: list[dict[str, Any]]) -> None:
    """Off a terminal: a line for each check, and below it one for each further mistake and for the remedy."""
    width = max(len(check["name"]) for check in checks)
    for check in checks:
        first, *further = check["detail"].split("\n")
        session.out.line(f"{check['status']:4}  {check['name']:{width}}  {first}")
        for line in further:
            session.out.line(f"      - {line}")
        if check["fix"]:
            session.out.line(f"      fix: {check['fix']}")
