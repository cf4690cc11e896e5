"""``config``: what is set, where it came from, and whether it is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scoutcache.cli.errors import CommandError, Usage, did_you_mean
from scoutcache.cli.options import command, group
from scoutcache.cli.printing.writing import is_stdout, write_whole
from scoutcache.cli.state import Session

app = group(
    "config",
    examples="""
    scoutcache config show --origin           every setting and where it comes from
    scoutcache config init                    a commented scoutcache.toml
    scoutcache config validate --config staging.toml
    """,
)

FILE_NAME = "scoutcache.toml"


@command(
    app,
    "show",
    short="Show every setting, and where it comes from.",
    examples="""
    scoutcache config show
    scoutcache config show redis --origin
    scoutcache config show --json | jq '.settings[] | select(.origin != "built-in")'
    """,
)
def show(
    session: Session,
    part: Annotated[str | None, typer.Argument(metavar="SECTION", help="Only this section or setting.")] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say which file, variable or option set it.")] = False,
) -> None:
    """Show the configuration in force, from all sources in order of precedence. Secrets are masked."""
    from scoutcache.settings import explain

    rows = [found._asdict() for found in explain(session.loaded)]
    if part is not None:
        sections = {row["setting"].partition(".")[0] for row in rows} | {row["setting"] for row in rows}
        rows = [row for row in rows if row["setting"] == part or row["setting"].startswith(f"{part}.")]
        if not rows:
            raise Usage(f"no such setting: {part}", hint=did_you_mean(part, sections))
    columns = ("setting", "value", "origin") if origin or session.form != "table" else ("setting", "value")
    files = [str(path) for path in session.loaded.files]
    if session.form == "json":
        session.out.record({"settings": rows, "files": files})
    else:
        session.out.rows("settings", rows, columns)


@command(
    app,
    "init",
    short="Write a commented configuration file.",
    examples="""
    scoutcache config init                    ./scoutcache.toml
    scoutcache config init ~/.config/scoutcache/config.toml
    """,
)
def init(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write; - prints it.")] = FILE_NAME,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a configuration file with every setting, commented out, with its default and its meaning."""
    from scoutcache.settings import template
    from scoutcache.settings.files import ENDINGS

    if is_stdout(session, "config init", file):
        session.out.write(template())
        return
    path = Path(file).expanduser()
    if path.suffix in set(ENDINGS) - {".toml"}:
        raise Usage(f"{path}: the file would be TOML, and one of that name is read as another format",
                    hint=f"write {path.with_suffix('.toml')}")  # fmt: skip
    if path.exists() and not force:
        raise CommandError(f"{path} is there already; nothing was written", hint="--force replaces it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, template().encode())
    session.done(f"wrote {path}", {"file": str(path)})


@command(
    app,
    "validate",
    short="Check the configuration; list everything that is wrong.",
    examples="""
    scoutcache config validate
    scoutcache config validate --config staging.toml --profile production
    """,
)
def validate(session: Session) -> None:
    """Check the configuration from all sources; exit code 2 with every wrong setting, its place and the right name.

    Policies that contradict each other are listed as conflicts. They are no errors: the first one wins.
    """
    from scoutcache.cli.checks.available import check_available
    from scoutcache.policies.checks import conflicts
    from scoutcache.settings import sources

    loaded = session.loaded
    check_available(loaded)
    found = conflicts(loaded.config.policies)
    for line in filter(None, [*map(str, found), loaded.config.redis.without_effect]):
        session.warn(line)
    fields: dict[str, Any] = {
        "valid": True, "files": [str(path) for path in loaded.files], "conflicts": [one._asdict() for one in found],
    }  # fmt: skip
    session.done(f"the configuration is right ({sources(loaded)})", fields)
