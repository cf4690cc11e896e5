"""What went wrong, said in two lines, and the exit code that says it to scripts.

Rules:

1. One line ``error: …`` that names the thing; where there is a remedy, one line ``hint: …``.  Both on stderr.
2. The exit code follows from the class of the error (`CODES`); a class not named there has its parent's.
3. A traceback is for ``--verbose`` only.  What came from outside is escaped, for messages are read on terminals, be it
   later, from a log.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

from scoutcache import errors
from scoutcache.cli.printing import text

T = TypeVar("T")

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
PARTLY: Final = 3
NOT_FOUND: Final = 4
UNREACHABLE: Final = 10
LOCKED: Final = 11
MISSED: Final = 99
INTERRUPTED: Final = 130
TERMINATED: Final = 143

CODES: Final[dict[type[BaseException], int]] = {
    errors.ConfigError: USAGE,
    errors.InvalidKey: USAGE,
    errors.InvalidTTL: USAGE,
    errors.InvalidSize: USAGE,
    errors.TierUnavailable: UNREACHABLE,
    errors.LockTimeout: LOCKED,
    errors.CacheError: FAILED,
    OSError: FAILED,
}


class CommandError(errors.CacheError):
    """A command that can't be done as asked; *code* is what the process ends with."""

    code = FAILED

    def __init__(self, message: str, *, code: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        if code is not None:
            self.code = code


class Usage(CommandError):
    """Arguments that can't be meant so."""

    code = USAGE


class Terminated(BaseException):
    """SIGTERM came.  Not an `Exception`, so that nothing but cleaning up happens on its way out."""


def nearest(word: str, known: Collection[str]) -> str | None:
    """The word of *known* that *word* was probably meant to be; the dashes of options make none alike."""
    bare = {one.lstrip("-"): one for one in known}
    found = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.6)
    return bare[found[0]] if found else None


def did_you_mean(word: str, known: Collection[str], otherwise: str | None = None) -> str | None:
    """A hint that names the nearest right word, else *otherwise*."""
    guess = nearest(word, known)
    return f"did you mean {guess}?" if guess else otherwise


def exit_code(error: BaseException) -> int:
    """What the process ends with after *error*."""
    own = getattr(error, "code", None)
    if isinstance(error, CommandError) and own is not None:
        return int(own)
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), FAILED)


def describe(error: BaseException) -> tuple[str, str | None]:
    """The lines for *error*: what went wrong, and what to do about it if that is known."""
    if isinstance(error, errors.CacheError):
        return str(error), error.hint
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}", None
    kind = type(error).__name__
    return f"unexpected {kind}: {error}" if str(error) else f"unexpected {kind}", "--verbose shows where it happened"


_UNKNOWN: Final = re.compile(r"""No such command (["'])(.*?)\1(?:\.|$)""", re.DOTALL)


def usage_problem(error: Any) -> tuple[str, str | None]:
    """The same for an error that Typer found while it read the arguments.

    It is known by what it offers, for the classes it is made of are private to Typer.
    """
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "scoutcache"
    help_hint = f"see {command} --help"
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        parameters = [] if context is None else context.command.params
        arguments = {one.name: one for one in parameters if one.param_type_name == "argument"}
        known = [name for parameter in parameters for name in parameter.opts]
        if (meant := arguments.get(nearest(option, known) or "")) is not None:
            return f"no such option for {command}: {option}", f"it is an argument: {command} {_shown(meant)}"
        if not option.startswith("--") and arguments:
            help_hint = f"write -- before an argument that begins with a dash: {command} -- -…"
        return f"no such option for {command}: {option}", did_you_mean(option, known, help_hint)
    if (number := _number_problem(error)) is not None:
        return number, help_hint
    message = str(error.format_message()).strip().rstrip(".")
    if (unknown := _UNKNOWN.match(message)) is not None and context is not None:
        return f"no such command: {command} {unknown[2]}", did_you_mean(unknown[2], context.command.commands, help_hint)
    return message[:1].lower() + message[1:], help_hint


def _shown(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


_NUMBERS: Final = {
    "int_parsing": "a whole number", "int_from_float": "a whole number", "int_parsing_size": "a whole number",
    "float_parsing": "a number", "greater_than_equal": "", "less_than_equal": "", "finite_number": "",
}  # fmt: skip
"""The problems of a number, as pydantic names them, and what it should be besides in its range."""


def _number_problem(error: Any) -> str | None:
    """What a number should have been and what was given, for Typer says only one side of it; None for anything else."""
    cause, option = error.__cause__, getattr(error, "param", None)
    found = cause.errors()[0] if callable(getattr(cause, "errors", None)) else {}
    expected = _NUMBERS.get(found.get("type", ""))
    if expected is None or option is None:
        return None
    low, high = getattr(option, "min", None), getattr(option, "max", None)
    span = "" if low is None else f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
    words = " of ".join(filter(None, [expected, span])) or "a finite number"
    return f"{option.opts[0]}: expected {words}, not {found['input']!r:.80}"


def read(option: str, parse: Callable[[str], T], given: str) -> T:
    """What *given* means to *parse*, whose complaint then names the *option*."""
    try:
        return parse(given)
    except (errors.InvalidTTL, errors.InvalidSize) as error:
        raise type(error)(f"{option}: {error}", hint=error.hint) from None


def is_usage(error: BaseException) -> bool:
    """Whether Typer raised it about the arguments."""
    return callable(getattr(error, "format_message", None)) and hasattr(error, "exit_code")


def report(error: BaseException, *, verbose: bool, write: Callable[[str], object]) -> int:
    """Say what went wrong through *write* and give the exit code."""
    if is_usage(error):
        message, hint = usage_problem(error)
        code = USAGE
    else:
        message, hint = describe(error)
        code = exit_code(error)
    if verbose and not is_usage(error):
        import traceback

        write(text.visible_lines("".join(traceback.format_exception(error))))
    write(text.visible_lines(f"error: {message}\n"))
    if hint:
        write(text.visible_lines(f"hint: {hint}\n"))
    return code
