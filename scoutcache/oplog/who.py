"""Who this process is, in words for people: the log and the list of those present are signed with it.

A process id is no identity (it comes again, and differs between containers); files are named at random.  Together with
where it was given and when the process began it is one, so far as the system tells these.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from scoutcache.wording.owners import user_named

__all__ = ["Who", "begun", "has_gone", "numbered_by", "this_process"]

_LONGEST: Final = 80
_ENDED: Final = ("Z", "X", "x")
"""States of a process that does nothing any more."""


class Who(msgspec.Struct, frozen=True, omit_defaults=True):
    """A process: its number, the user it runs as, and what was started, without its arguments, which may be secret."""

    pid: int
    user: str | None = None
    command: str | None = None

    def __str__(self) -> str:
        return f"process {self.pid}" + (f" ({self.command})" if self.command else "")


def this_process() -> Who:
    """The process that asks."""
    return Who(os.getpid(), user_named(os.geteuid()), _command())


def _command() -> str | None:
    started = Path(sys.argv[0] if getattr(sys, "argv", None) else "")
    name = started.parent.name if started.name == "__main__.py" else started.name
    plain = name.encode("utf-8", "replace").decode()
    return plain[:_LONGEST] if plain not in {"", "-c", "-m"} else Path(sys.executable or "python").name


@lru_cache(maxsize=1)
def _numbered_by(pid: int) -> str | None:
    try:
        if str(Path("/proc/self").readlink()) != str(pid):  # it tells of other processes than ours
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        number, clock = (Path(f"/proc/self/ns/{of}") for of in ("pid", "time"))
        since = f":{clock.stat().st_ino}" if clock.exists() else ""  # kernels before 5.6 have one clock
        return f"{boot}:{number.stat().st_ino}{since}"
    except (OSError, ValueError):
        return None


def numbered_by() -> str | None:
    """Who gave this process its number: a kernel since it started, or a container of it; None where that isn't told.

    And by whose clock: the kernel tells when a process began by that of whoever asks, and containers may differ in it.
    """
    return _numbered_by(os.getpid())


def begun(pid: int) -> int | None:
    """When a process began, in the kernel's own count; None when it is dead, or that isn't told."""
    state, since = _told(pid)
    return None if state in _ENDED else since


def _told(pid: int) -> tuple[str, int | None]:
    """The state of a process and when it began; None for what isn't told."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *numbers = told.rpartition(")")[2].split()
        return state, int(numbers[18])
    except (OSError, ValueError, IndexError):
        return "", None


def has_gone(pid: int, since: int) -> bool:
    """Is the process known to have ended that had this number, by who gave us ours, and began then?

    Who can't look, for want of a file descriptor say, doesn't know.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's, or no number of a process
        return False
    state, began = _told(pid)
    return state in _ENDED or began not in {None, since}
