"""A command's process looks for garbage rarely; whoever calls `run` in another process keeps its own ways."""

from __future__ import annotations

import subprocess
import sys

CALLED = """
import gc, sys
from scoutcache.cli.collecting import as_usual, rarely
from scoutcache.cli.main import run

usual = gc.get_threshold()
sys.argv = ["scoutcache", "--version"]
run()
assert gc.get_threshold() == usual
rarely()
assert gc.get_threshold()[0] > 50 * usual[0]
assert gc.isenabled()
as_usual()
assert gc.get_threshold() == usual
"""

BENCH = """
import gc, sys
import scoutcache.bench.run as bench
from scoutcache.__main__ import main

usual, measure = gc.get_threshold(), bench.run_bench
def measured(*args, **kwargs):
    assert gc.get_threshold() == usual
    print("measured", file=sys.stderr)
    return measure(*args, **kwargs)
bench.run_bench = measured
sys.argv = "scoutcache bench --tier memory --duration 0.01 --warmup 0 --runs 1 --keys 9".split()
sys.exit(main())
"""


def ran(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_it_is_set_by_a_command_and_by_nobody_else():
    done = ran(CALLED)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_benchmark_is_measured_as_an_application_would_run():
    done = ran(BENCH)
    assert done.returncode == 0, done.stderr
    assert "measured" in done.stderr
