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
    scoutcache doctor --acl                   the rights that a server's user needs
    """,
)
def doctor(
    session: Session,
    acl: Annotated[
        bool, typer.Option("--acl", help="Print the ACL command that creates a server's user with the rights needed.")
    ] = False,
) -> int | None:
    """Check the interpreter, the configuration, the directory, the store, the disk space and the log.

    Of a server: whether it answers and accepts writes, its latency, version, clock, persistence, eviction, TLS and
    password; in a cluster, of all nodes. Of answers by meaning: the libraries, the model, whether it is prepared, which
    model the index belongs to, and whether the index agrees with the entries. Of write-behind: waiting writes, whether
    a process delivers them, and dead letters. It changes nothing, except that a damaged store is set aside, as by any
    command, and that a key of the cache's own is written to the server and removed. A tier's entries are those that
    take room, including expired and invalidated ones that are not yet cleaned up. Exit code 1 when a check fails; a
    warning is no failure. Off a terminal each check is a line with status, name and detail, followed by the fix.
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
        session.note("replace <password>; CONFIG REWRITE or ACL SAVE keeps the user")
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
