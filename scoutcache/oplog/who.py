"""Who this process is, in words for people: the log and the list of those present are signed with it.

A process id is no identity (it comes again, and differs between containers); files are named at random.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["Who", "this_process"]

_LONGEST: Final = 80


class Who(msgspec.Struct, frozen=True, omit_defaults=True):
    """A process: its number, the user it runs as, and what was started, without its arguments, which may be secret."""

    pid: int
    user: str | None = None
    command: str | None = None

    def __str__(self) -> str:
        return f"process {self.pid}" + (f" ({self.command})" if self.command else "")


def this_process() -> Who:
    """The process that asks."""
    return Who(os.getpid(), _user(), _command())


def _user() -> str:
    import pwd

    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # containers run as any number
        return str(number)


def _command() -> str | None:
    started = Path(sys.argv[0] if getattr(sys, "argv", None) else "")
    name = started.parent.name if started.name == "__main__.py" else started.name
    plain = name.encode("utf-8", "replace").decode()
    return plain[:_LONGEST] if plain not in {"", "-c", "-m"} else Path(sys.executable or "python").name
