"""``python -m scoutcache``: the same as the command ``scoutcache``."""

from __future__ import annotations

import sys

from scoutcache.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
