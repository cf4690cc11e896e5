"""The entry point of ``scoutcache``: finds the command, loads its module alone, runs it, and gives the exit code.

Rules:

1. Only the module of the command that was asked for is imported; ``--version`` alone needs not even Typer.
2. Nothing leaves this module but an exit code (contract): 0, 1, 2, 3, 4, 10, 11, 99, 130, 143.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from scoutcache import __version__
from scoutcache.cli.commands import COMMANDS, FLAGS, VALUED

if TYPE_CHECKING:
    import typer

    from scoutcache.cli.state import Session

PROGRAM: Final = "scoutcache"
_COMPLETION: Final = "_SCOUTCACHE_COMPLETE"
_ROOT_EXAMPLES: Final = """
scoutcache demo                       see what caching saves, on real requests
scoutcache stats                      hits, misses, sizes, latencies
scoutcache keys 'llm:*' --sort size:desc --limit 10
scoutcache invalidate 'llm:*'         by pattern; --tag, --event, --depends-on too
scoutcache doctor                     when something looks wrong
"""


def run() -> int:
    """Run the command line of this process and give its exit code."""
    from scoutcache.cli import errors
    from scoutcache.cli.state import Session, silence

    _fill_streams()
    signal.signal(signal.SIGTERM, _terminate)
    session = Session()
    try:
        code = _run(sys.argv[1:], session)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = errors.INTERRUPTED
    except errors.Terminated:
        code = errors.TERMINATED
    except BrokenPipeError:
        silence()
        code = errors.OK
    except SystemExit as end:
        code = _code_of(end)
    except Exception as error:  # noqa: BLE001  # the last place where anything can be caught: it becomes one line
        code = errors.report(error, verbose=session.verbose, write=sys.stderr.write)
    return code


def _fill_streams() -> None:
    """Give a stream that was closed before the start something to read from or write to: nothing."""
    # In this order, so that each takes its own number and no file of the cache can come by it.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # open until the end


def _terminate(_number: int, _frame: object) -> None:
    from scoutcache.cli.errors import Terminated

    raise Terminated


def _code_of(end: SystemExit) -> int:
    """Typer turns a reader that has gone into a failure, which it is not."""
    if isinstance(end.__context__, BrokenPipeError):
        return 0
    return end.code if isinstance(end.code, int) else int(end.code is not None)


def _run(arguments: Sequence[str], session: Session) -> int:
    name, before = leading(arguments)
    if name is None and "--version" in before:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return 0
    if name is not None and name not in COMMANDS:
        from scoutcache.cli.errors import Usage, did_you_mean

        raise Usage(f"no such command: {name}", hint=did_you_mean(name, COMMANDS, f"see {PROGRAM} --help"))
    completing = _COMPLETION in os.environ
    app = build(COMMANDS if completing else [name] if name else (), boxes=_boxes(arguments))
    # Without a command there is nothing to run, and help is what helps.
    wanted = list(arguments) or ["--help"]
    outcome: Any = app(wanted, prog_name=PROGRAM, standalone_mode=False, obj=session)
    return outcome if isinstance(outcome, int) else 0


def leading(arguments: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """The command among *arguments* and the options before it.

    Behind an option that nobody knows there is no telling which word is the command: none, then, and the root refuses.
    """
    place = 0
    while place < len(arguments):
        word = arguments[place]
        if word == "--":
            return (arguments[place + 1] if place + 1 < len(arguments) else None), arguments[:place]
        if not word.startswith("-") or word == "-":
            return word, arguments[:place]
        if word.partition("=")[0] not in VALUED | FLAGS and word.startswith("--"):
            break
        place += 2 if word in VALUED else 1
    return None, arguments


def _boxes(arguments: Sequence[str]) -> bool:
    """Whether help may be drawn with Rich: for people, at a terminal that can, with colours wanted."""
    from scoutcache.cli.output import is_terminal

    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and "--no-color" not in arguments


def build(names: Iterable[str], *, boxes: bool = False) -> typer.Typer:
    """An app that holds the commands *names*; without any, one that knows them all well enough for its help."""
    import typer

    from scoutcache.cli import options

    app = typer.Typer(
        name=PROGRAM,
        rich_markup_mode="rich" if boxes else None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    options.root(app, _ROOT_EXAMPLES)
    asked = list(names)
    for name in asked:
        _add(app, name)
    if not asked:
        for name, entry in COMMANDS.items():
            app.command(name, short_help=entry.help)(_never)
    return app


def _add(app: typer.Typer, name: str) -> None:
    from importlib import import_module

    entry = COMMANDS[name]
    module = import_module(f"scoutcache.cli.{entry.module}")
    if entry.group:
        app.add_typer(module.app, name=name)
    else:
        app.registered_commands += [known for known in module.app.registered_commands if known.name == name]


def _never() -> None:
    """Stands in the root's help for a command whose module is not needed there."""
