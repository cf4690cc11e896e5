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


TOLD_AT_ONCE = """
import os, signal
begun = []
os.register_at_fork(before=lambda: begun.append(1),
                    after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM) if len(begun) == 1 else None)
"""


def test_one_that_is_told_to_end_before_it_has_begun_ends_without_a_word():
    code = TOLD_AT_ONCE + CODE
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_has_other_threads_does_not_fork():
    said = []
    thread = threading.Thread(target=lambda: said.append(may_fork()))
    thread.start()
    thread.join()
    assert said == [False]
