"""The reference of the command line as Markdown, made from the commands themselves.

``python -m scoutcache.cli.reference`` prints it, ``… README.md`` writes it there between two marks; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from scoutcache.cli.table import COMMANDS

BEGIN: Final = "<!-- command reference: begin -->"
END: Final = "<!-- command reference: end -->"


def reference() -> str:
    """Every command with its examples, arguments and options, and the global options once."""
    import typer

    from scoutcache.cli.main import build

    # `typer.main.get_command` is how Typer's documentation gets at what an app is made of.
    root = typer.main.get_command(build(COMMANDS))
    context = root.make_context("scoutcache", [], resilient_parsing=True)
    shared = {option for parameter in root.params for option in parameter.opts}
    parts = [_globals(root, context)]
    for name in COMMANDS:
        parts += _command(getattr(root, "commands")[name], f"scoutcache {name}", context, shared)  # noqa: B009  # Typer's type hides it
    return "\n\n".join(parts) + "\n"


def _globals(root: Any, context: Any) -> str:
    rows = [_row(parameter, context) for parameter in root.params if not parameter.hidden]
    return "\n".join(["Global options, before or after the command:", "", *_table(rows)])


def _command(command: Any, path: str, parent: Any, shared: set[str]) -> Iterator[str]:
    context = command.context_class(command, info_name=path.rsplit(maxsplit=1)[-1], parent=parent)
    examples, _, described = (command.help or "").removeprefix("\b\n").partition("\n\n")
    code = "\n".join(line.removeprefix("  ") for line in examples.splitlines()[1:])
    yield f"### `{path}`\n\n{described.strip()}\n\n```\n{code}\n```"
    own = [parameter for parameter in command.params if not shared & set(parameter.opts)]
    if own:
        yield "\n".join(_table([_row(parameter, context) for parameter in own]))
    for name, inner in getattr(command, "commands", {}).items():
        yield from _command(inner, f"{path} {name}", context, shared)


def _row(parameter: Any, context: Any) -> tuple[str, str]:
    names, described = parameter.get_help_record(context)
    if parameter.param_type_name == "argument":
        names, described = parameter.metavar or parameter.name, parameter.help or ""
    return f"`{names}`".replace("|", "\\|"), described.replace("|", "\\|")


def _table(rows: list[tuple[str, str]]) -> list[str]:
    return ["| option | what it does |", "| --- | --- |", *(f"| {name} | {help_} |" for name, help_ in rows)]


def write_into(file: Path) -> None:
    """Put the reference between the marks of *file*."""
    text = file.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{file} has no lines {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n\n{reference()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:]:
        write_into(Path(sys.argv[1]))
    else:
        sys.stdout.write(reference())
