"""The process of a command: ``scoutcache`` and ``python -m scoutcache`` are the same."""

from __future__ import annotations

import sys

from scoutcache.cli.collecting import rarely
from scoutcache.cli.main import run

__all__ = ["main"]


def main() -> int:
    """Run the command line and give its exit code."""
    rarely()
    return run()


if __name__ == "__main__":
    sys.exit(main())
