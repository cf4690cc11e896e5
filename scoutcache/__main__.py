"""The process of a command: ``scoutcache`` and ``python -m scoutcache`` are the same.

An interrupt is dealt with by the command while it runs (`scoutcache.cli.main.run`).  Before, while all of it is loaded,
and after, while the interpreter ends, there is nothing to be cleaned up, and a traceback would be all that it gives.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]

_INTERRUPTED = 130
"""The exit code of what was interrupted; `scoutcache.cli.errors` has it too, and is not loaded yet."""


def main() -> int:
    """Run the command line and give its exit code."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, _end)
    from scoutcache.cli.collecting import rarely
    from scoutcache.cli.main import run

    rarely()
    try:
        return run(interruptible=interruptible)
    finally:
        if interruptible:
            signal.signal(signal.SIGINT, _end)


def _end(_number: int, _frame: object) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
