"""Files that a command was asked to write: whole or not at all, with the rights that any file of the user's gets.

Where a file's name is wanted, ``-`` is standard output, and stands there alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scoutcache.cli.errors import CommandError, Usage

if TYPE_CHECKING:
    from scoutcache.cli.state import Session

STDOUT: Final = "-"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it, and a failure leaves what was there before.

    Links are followed, and a device or a FIFO is written into.  Raises `CommandError`.
    """
    from scoutcache.oplog.files import put

    try:
        put(path, content, durable=True, mode=None)
    except OSError as error:
        raise CommandError(f"can't write {path}: {error.strerror}") from error


def check_named(option: str, file: str | None) -> None:
    """Raise `Usage` where *file*, the value of *option*, is the next option: its own name was forgotten."""
    if file is not None and file.startswith("-") and file != STDOUT:
        raise Usage(f"{option} needs a file name, and {file} is an option",
                    hint=f"write ./{file} for a file of that name")  # fmt: skip


def is_stdout(session: Session, option: str, file: str | None) -> bool:
    """Is *file*, the value of *option*, standard output?

    Raises `Usage` where a format was to be printed there too, and as `check_named` does.
    """
    check_named(option, file)
    if file == STDOUT and session.form != "table":
        raise Usage(f"{option} - and --format {session.form} would both print to standard output",
                    hint=f"name a file: {option} FILE, or leave --format out")  # fmt: skip
    return file == STDOUT


def write_out(session: Session, file: str, content: bytes) -> None:
    """Write *content* to *file* and say so, or to standard output where that is ``-``.  Raises `CommandError`."""
    if file == STDOUT:
        print_bytes(content)
    else:
        write_whole(Path(file), content)
        session.note(f"wrote {file}")


def print_bytes(content: bytes) -> None:
    """Print *content* as it is."""
    sys.stdout.flush()
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:  # stdout replaced by a stream of text, as tests do
        sys.stdout.write(content.decode("utf-8", "surrogateescape"))
        return
    binary.write(content)
    binary.flush()
