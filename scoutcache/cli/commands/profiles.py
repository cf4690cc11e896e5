"""``profiles``: the named sets of settings to begin from."""

from __future__ import annotations

from typing import Annotated

import typer

from scoutcache.cli.options import command, group
from scoutcache.cli.state import Session

app = group(
    "profiles",
    examples="""
    scoutcache profiles list
    scoutcache profiles show production
    scoutcache stats --profile production
    """,
)


@command(
    app,
    "list",
    short="List the profiles.",
    examples="""
    scoutcache profiles list
    scoutcache profiles list --json
    """,
)
def list_(session: Session) -> None:
    """List the profiles: the shipped ones, and your own, which take precedence."""
    from scoutcache.settings import list_profiles, user_folder

    rows = [{"name": name, "file": str(path)} for name, path in list_profiles(user_folder()).items()]
    session.out.rows("profiles", rows, ("name", "file"))


@command(
    app,
    "show",
    short="Show the settings of a profile.",
    examples="""
    scoutcache profiles show llm
    scoutcache profiles show production --json
    """,
)
def show(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The profile.")],
) -> None:
    """Show what a profile sets: its file as it is, or its settings in another format."""
    from scoutcache.settings import read_profile, user_folder

    settings, path = read_profile(name, user_folder())
    if session.form == "table":
        session.out.write(path.read_text(encoding="utf-8"))
    else:
        session.out.record({"name": name, "file": str(path), "settings": settings})
