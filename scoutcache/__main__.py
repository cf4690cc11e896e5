"""The process of a command: ``scoutcache`` and ``python -m scoutcache`` are the same."""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line and give its exit code."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:  # while it is loaded it ends without a word
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from scoutcache.cli.collecting import rarely
    from scoutcache.cli.main import run

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    rarely()
    return run()


if __name__ == "__main__":
    sys.exit(main())
