"""What every command shares: the global options, help that begins with examples, and options with fixed choices.

Rules:

1. A global option may stand before the command, after it, and between a group and its command.  It is declared at each
   of these places, so that help, completion and spelling hints know it everywhere; the one nearest the end wins.
2. A command is a function of a `Session` and its own parameters.  It gives None or an exit code.
3. Help shows examples first, then what the command does, then the options.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

import typer

from scoutcache.cli.errors import PARTLY, did_you_mean
from scoutcache.cli.printing.output import FORMATS
from scoutcache.cli.state import Session, silence
from scoutcache.cli.table import COMMANDS

Function = TypeVar("Function", bound=Callable[..., Any])
_PANEL: Final = "Global options"
_FORMAT_HELP: Final = (
    "Format of the data. Default: table. In csv a text that begins with = + - @ or ' gets a ' before it, "
    "so that no spreadsheet runs it."
)


def choices(allowed: Sequence[str], *names: str, help: str, **more: Any) -> Any:
    """An option that takes one of *allowed* (or several, for a list), and names the nearest for a wrong one."""

    def check(value: Any) -> Any:
        for word in value if isinstance(value, list | tuple) else [value]:
            if word is not None and word not in allowed:
                guess = did_you_mean(word, allowed)
                raise typer.BadParameter(f"{word!r} is none of {', '.join(allowed)}{f'; {guess}' if guess else ''}")
        return value

    return typer.Option(
        *names, metavar="|".join(allowed), help=help, callback=check, autocompletion=lambda: list(allowed), **more
    )


def _version(asked: bool) -> None:
    if asked:
        from scoutcache import __version__

        typer.echo(f"scoutcache {__version__}")
        raise typer.Exit


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_PANEL, **more)


def _globals(
    config: Annotated[str | None, _option("--config", metavar="FILE", help="Use this configuration file.")] = None,
    profile: Annotated[str | None, _option("--profile", metavar="NAME", help="Start from this profile.")] = None,
    namespace: Annotated[str | None, _option("--namespace", metavar="N", help="Use this namespace.")] = None,
    directory: Annotated[str | None, _option("--directory", metavar="DIR", help="The cache's directory.")] = None,
    redis_url: Annotated[
        str | None, _option("--redis-url", metavar="URL", help="The server. Put its password in the environment.")
    ] = None,
    form: Annotated[
        str | None,
        choices(FORMATS, "--format", help=_FORMAT_HELP, rich_help_panel=_PANEL),
    ] = None,
    json: Annotated[bool, _option("--json", help="The same as --format json.")] = False,
    quiet: Annotated[bool, _option("--quiet", "-q", help="No messages except warnings and errors.")] = False,
    verbose: Annotated[bool, _option("--verbose", "-v", help="More messages, and tracebacks of errors.")] = False,
    no_color: Annotated[bool, _option("--no-color", help="No colours; NO_COLOR does the same.")] = False,
    no_input: Annotated[bool, _option("--no-input", help="Never ask for input.")] = False,
    version: Annotated[
        bool, _option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """The global options, declared once."""


_GLOBALS: Final = tuple(
    parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for parameter in inspect.signature(_globals, eval_str=True).parameters.values()
)
_GLOBAL_NAMES: Final = frozenset(parameter.name for parameter in _GLOBALS)


def with_globals(function: Callable[..., Any]) -> Callable[..., None]:
    """*function*, taking the global options too, and called with the session in place of them."""

    @functools.wraps(function)
    def called(context: typer.Context, **given: Any) -> None:
        session: Session = context.ensure_object(Session)
        session.update({name: value for name, value in given.items() if name in _GLOBAL_NAMES})
        own = {name: value for name, value in given.items() if name not in _GLOBAL_NAMES}
        if function is _nothing or context.invoked_subcommand:
            return
        try:
            code = function(session, **own) or (PARTLY if session.is_unheard else None)
            session.out.flush()
        except BrokenPipeError:
            # `| head` has seen enough: that is no failure, and there is nobody left to tell.
            silence()
            code = None
        if code:
            raise typer.Exit(code)

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    taken = {parameter.name for parameter in own}
    shared = [parameter for parameter in _GLOBALS if parameter.name not in taken]
    called.__signature__ = inspect.Signature([context, *keyword, *shared])  # type: ignore[attr-defined]  # read by inspect
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in [context, *keyword, *shared]}
    return called


def _nothing(session: Session) -> None:
    """What a group does by itself."""


def _help(examples: str, described: str | None) -> str:
    shown = inspect.cleandoc(examples).splitlines()
    lines = "\n".join(f"  {line}" for line in shown)
    return f"\b\nExamples:\n{lines}\n\n{inspect.cleandoc(described or '')}"


def command(app: typer.Typer, name: str, *, examples: str, short: str | None = None) -> Callable[[Function], Function]:
    """Register a function as the command *name*; its docstring, after the examples, is the help."""

    def register(function: Function) -> Function:
        described = short or COMMANDS[name].help
        app.command(name, help=_help(examples, function.__doc__), short_help=described)(with_globals(function))
        return function

    return register


def root(app: typer.Typer, examples: str) -> None:
    """Make *app* the root: a group with the global options."""
    described = "A tiered cache (memory, Redis, disk) for slow and costly results."
    app.callback(help=_help(examples, described))(with_globals(_nothing))


def group(name: str, *, examples: str, alone: Callable[..., Any] | None = None) -> typer.Typer:
    """An app for the commands under *name*.  *alone* runs when none of them is given."""
    app = typer.Typer(name=name, add_completion=False)
    described = (alone.__doc__ if alone else None) or COMMANDS[name].help
    app.callback(
        invoke_without_command=alone is not None, help=_help(examples, described), short_help=COMMANDS[name].help
    )(with_globals(alone or _nothing))
    return app
