"""The standard streams: closed ones, and outputs whose encoding lacks a character."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(line, **environment):
    return subprocess.run(["sh", "-c", f'"$0" -m scoutcache {line}', sys.executable], capture_output=True, text=True,
                          check=False, timeout=60, env={**os.environ, **environment})  # fmt: skip


@pytest.mark.parametrize("line", ["set k -", "invalidate --keys-from -", "warm --from -"])
def test_what_is_to_be_read_from_a_closed_stream_is_refused(line, directory):
    done = run(f"{line} <&-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "-: standard input is closed" in done.stderr
    assert run("get k").returncode == 4


def test_an_output_that_lacks_a_character_shows_its_number(directory):
    assert run("set 'llm:☃' 'naïve'", PYTHONIOENCODING="ascii").returncode == 0
    assert run("get 'llm:☃'").stdout == "naïve\n"
    assert run("get 'llm:☃'", PYTHONIOENCODING="ascii").stdout == "na\\xefve\n"
    done = run("keys -q 'llm:[^ab]'", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "llm:\\u2603\n", "")
    # Here Python takes surrogates for bytes, and refuses other characters.
    done = run("keys -q 'llm:[^ab]'", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "llm:\\u2603\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("line", ["stats", "keys", "dashboard export", "stats --watch --interval 0.1"])
def test_an_output_that_takes_nothing_is_named(line, directory):
    done = run(f"{line} >/dev/full")
    assert (done.returncode, done.stderr) == (1, "error: can't write to standard output: No space left on device\n")
