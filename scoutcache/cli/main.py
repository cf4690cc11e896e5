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
from scoutcache.cli import errors
from scoutcache.cli.printing.streams import prepare_streams
from scoutcache.cli.state import Session, silence
from scoutcache.cli.table import COMMANDS, FLAGS, VALUED

if TYPE_CHECKING:
    import typer

PROGRAM: Final = "scoutcache"
_COMPLETION: Final = "_SCOUTCACHE_COMPLETE"
_terminations: Final[list[int]] = []
"""The signals that end us; a list, for a signal may come while one is being dealt with, and locks would stop it."""
_ROOT_EXAMPLES: Final = """
scoutcache demo                       see what caching saves, on real requests
scoutcache stats                      hits, misses, sizes, latencies, savings
scoutcache keys 'llm:*' --sort size:desc --limit 10
scoutcache invalidate 'llm:*'         by pattern; --tag, --event, --depends-on too
scoutcache doctor                     when something looks wrong
"""


def run(*, interruptible: bool = False) -> int:
    """Run the command line of this process and give its exit code; with *interruptible* SIGINT is made to end it."""
    prepare_streams()
    _terminations.clear()
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # and not under nohup
        signal.signal(signal.SIGHUP, _terminate)
    session = Session()
    try:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = _run(sys.argv[1:], session)
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
        code = errors.OK
    except SystemExit as end:
        code = _code_of(end)
    except BaseException as error:  # noqa: BLE001  # the last place where anything can be caught: it becomes one line
        code = _code_after(error, session)
    # What a signal broke off may end in any way, with a code of its own too.
    return errors.TERMINATED if _terminations else code


def _code_after(error: BaseException, session: Session) -> int:
    if _terminations or _holds(error, errors.Terminated):
        return errors.TERMINATED
    if _holds(error, KeyboardInterrupt):
        return errors.INTERRUPTED
    return errors.report(error, verbose=session.verbose, write=sys.stderr.write)


def _holds(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether it is of that kind, a group of tasks' errors with such a one, or went wrong in cleaning up after one."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, kind):
            return True
        if id(one) in seen:
            continue
        seen.add(id(one))
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting += [one.__context__] if one.__context__ is not None else []
    return False


def _terminate(number: int, _frame: object) -> None:
    _terminations.append(number)
    if len(_terminations) > 1 or not _cancel_tasks():
        raise errors.Terminated


def _cancel_tasks() -> bool:
    """Cancel the tasks of the event loop that runs here, if one does.

    An exception out of a signal would end whichever task was at work, or the loop itself under all of them.
    """
    asyncio = sys.modules.get("asyncio")
    loop = None if asyncio is None else asyncio._get_running_loop()
    if asyncio is None or loop is None:
        return False
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.call_soon_threadsafe(int)  # wakes it, should it be waiting for something far away
    return True


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
        hint = errors.did_you_mean(name, COMMANDS, f"see {PROGRAM} --help")
        raise errors.Usage(f"no such command: {name}", hint=hint)
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
    from scoutcache.cli.printing.output import is_terminal

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
    module = import_module(f"scoutcache.cli.commands.{entry.module}")
    if entry.group:
        app.add_typer(module.app, name=name)
    else:
        app.registered_commands += [known for known in module.app.registered_commands if known.name == name]


def _never() -> None:
    """Stands in the root's help for a command whose module is not needed there."""
