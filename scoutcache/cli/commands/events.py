"""``events``: tell the cache that something happened."""

from __future__ import annotations

from typing import Annotated

import typer

from scoutcache.cli.commands.rules import Count, Fields, Reason, fields_of, note_told, told_event
from scoutcache.cli.options import command, group
from scoutcache.cli.state import Session

app = group(
    "events",
    examples="""
    scoutcache events emit db.users.updated id=7
    scoutcache events emit deploy.finished --dry-run
    """,
)


@command(
    app,
    "emit",
    short="Run the rules for an event.",
    examples="""
    scoutcache events emit db.users.updated id=7
    scoutcache events emit db.users.updated id=7 --dry-run     see what it would invalidate
    scoutcache events emit deploy.finished --reason 'release 4.2'
    """,
)
def emit(
    session: Session,
    event: Annotated[str, typer.Argument(metavar="NAME", help="The event, such as db.users.updated.")],
    fields: Fields = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and show; change nothing.")] = False,
    count: Count = False,
    reason: Reason = None,
) -> int | None:
    """Run the configured rules for an event, in every tier and every process.

    Fields are inserted into the rules' targets literally, never as wildcards. If a rule needs a field that is missing,
    the rule is named and nothing is run. An event without rules is no error.
    """
    with session.cache(reading=dry_run, raising=False) as cache:
        result = cache.rules.emit(event, fields_of(fields or ()), reason=reason, dry_run=dry_run, count=count)
        note_told(session, result.rules)
    return told_event(session, result)
