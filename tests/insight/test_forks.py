"""Processes that take a part in reckoning."""

from __future__ import annotations

import subprocess
import sys
import threading

from scoutcache.insight.forks import may_fork

CODE = """
import os, signal, sys, time
from scoutcache.insight.forks import forked, may_fork

def ended(*_):
    raise SystemExit("a handler of the parent's ran")

signal.signal(signal.SIGTERM, ended)
signal.signal(signal.SIGINT, ended)
assert may_fork()
with forked(2) as pool:
    assert sorted(pool.map(abs, [-1, -2])) == [1, 2]
    handlers = pool.apply(signal.getsignal, [signal.SIGTERM]), pool.apply(signal.getsignal, [signal.SIGINT])
assert handlers == (signal.SIG_DFL, signal.SIG_IGN)
assert signal.getsignal(signal.SIGTERM) is ended
"""


def test_they_end_without_a_word():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_has_other_threads_does_not_fork():
    said = []
    thread = threading.Thread(target=lambda: said.append(may_fork()))
    thread.start()
    thread.join()
    assert said == [False]
