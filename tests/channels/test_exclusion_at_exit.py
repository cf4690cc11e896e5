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


SWEPT = """
import atexit, sys, threading
from scoutcache import Cache

def last_words():
    assert not threading.main_thread().is_alive()
    database = next(tier for tier in cache._core.tiers if tier.name == "disk")._database
    with database.link() as con:
        database._cache.sweep()  # as the cache's own thread does at any moment
        print(con.execute("SELECT 1").fetchone())

atexit.register(last_words)
cache = Cache(directory=sys.argv[1])
cache.set("k", "old")
atexit.unregister(last_words)
atexit.register(last_words)
"""


def test_the_connection_of_the_main_thread_is_not_closed_while_its_exit_handlers_run(tmp_path):
    done = subprocess.run([sys.executable, "-c", SWEPT, tmp_path], check=False, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("(1,)\n", 0), done.stderr
