"""``doctor``: one look at everything that can be wrong."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from scoutcache.cli.errors import FAILED
from scoutcache.cli.options import command
from scoutcache.cli.state import Session

app = typer.Typer()

_FIELDS: Final = ("name", "status", "detail", "fix")
_COLUMNS: Final = ("status", "name", "detail", "fix")


@command(
    app,
    "doctor",
    examples="""
    scoutcache doctor
    scoutcache doctor --json | jq '.checks[] | select(.status != "ok")'
    scoutcache doctor --acl                   the least that a server's user must be allowed
    """,
)
def doctor(
    session: Session,
    acl: Annotated[
        bool, typer.Option("--acl", help="Print the server's command that makes a user with the rights needed.")
    ] = False,
) -> int | None:
    """Check the interpreter, the configuration, the directory, the store, the space and the log.

    Of a server: whether it answers and takes writes, how far away it is, its version, clock, persistence, eviction,
    TLS and password; of a cluster all its nodes. Where answers are found by meaning: the libraries, the model and
    whether it is prepared, whose vectors the index holds, and whether it agrees with the entries. Of write-behind: what
    waits, whether a process delivers it, and what became a dead letter. Changes nothing, but that a damaged store is
    set aside, as by any command, and that a key of the cache's own is written to a server and removed. The entries of a
    tier are those that take room there, also what is past its time or died by a tag and was not cleaned away yet. Exit
    code 1 when a check fails; a warning is no failure. Off a terminal: status, name and detail of each check in a line,
    then what to do.
    """
    if acl:
        _acl(session)
        return None
    from scoutcache.cli.checks.local import run_checks

    checks = [{name: getattr(check, name) for name in _FIELDS} for check in run_checks(session)]
    if session.form == "table" and not session.out.fancy:
        _lines(session, checks)
    else:
        session.out.rows("checks", checks, _COLUMNS)
    return FAILED if any(check["status"] == "fail" for check in checks) else None


def _acl(session: Session) -> None:
    """The line, for the configured prefix; it needs no server."""
    from scoutcache.insight.rights import acl_line, rights_for

    section = session.config.redis
    if session.form == "table":
        session.out.write(f"{acl_line(section)}\n")
        session.note("put a password in its place; CONFIG REWRITE or ACL SAVE keeps the user")
    else:
        session.out.record({"acl": acl_line(section), "rights": rights_for(section), "key_prefix": section.key_prefix})


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
