"""At the interpreter's end what an application still changes is announced."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, sys
from scoutcache import Cache

def last_words():
    position = cache._core.journal.end()
    cache.set("k", "new")
    print(cache._core.journal.end() > position)

atexit.register(last_words)
cache = Cache(directory=sys.argv[1])
cache.set("k", "old")
"""


def test_a_set_in_the_applications_own_exit_handler_is_announced(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
