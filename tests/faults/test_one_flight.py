"""One factory call for a key, however many callers in however many processes ask for it, whoever dies."""

from __future__ import annotations

import os
import signal
import time

import pytest

from scoutcache import Cache

CALLERS = """
import os, sys, threading, time
from pathlib import Path
from scoutcache import Cache

directory, callers = Path(sys.argv[1]), int(sys.argv[2])
cache = Cache(directory=directory / "cache")

def factory():
    with (directory / "calls").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    while not (directory / "go").exists():
        time.sleep(0.005)
    return {"by": os.getpid()}

answers, asking = [], threading.Barrier(callers + 1)

def ask():
    asking.wait()
    answers.append(cache.get_or_compute("k", factory)["by"])

threads = [threading.Thread(target=ask) for _ in range(callers)]
for thread in threads:
    thread.start()
asking.wait()
print("asking", flush=True)
for thread in threads:
    thread.join()
print(len(answers), *set(answers), len(cache._core.world.flights), len(cache._core.ports.leases), flush=True)
cache.close()
"""


@pytest.fixture
def calls(tmp_path):
    """The processes whose factory was called so far; at least so many, if need be after a while."""

    def calls(least=0):
        until = time.monotonic() + 20
        while True:
            path = tmp_path / "calls"
            made = path.read_text().split() if path.exists() else []
            if len(made) >= least:
                return [int(pid) for pid in made]
            assert time.monotonic() < until
            time.sleep(0.002)

    return calls


@pytest.fixture
def start(tmp_path, run_python):
    """Four processes with 250 callers each."""
    processes = [run_python(CALLERS, tmp_path, 250) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == ["asking\n"] * 4
    return processes


def test_four_processes_with_250_callers_each_make_one_call(tmp_path, start, calls):
    (pid,) = calls(1)
    (tmp_path / "go").touch()
    assert [process.stdout.readline() for process in start] == [f"250 {pid} 0 0\n"] * 4
    assert calls() == [pid]
    assert list((tmp_path / "cache" / "leases").iterdir()) == []


def test_when_the_leader_is_killed_another_process_takes_over_at_once(tmp_path, start, calls):
    (killed,) = calls(1)
    began = time.monotonic()
    os.kill(killed, signal.SIGKILL)
    _, successor = calls(2)
    assert successor != killed
    assert time.monotonic() - began < 10, "promised: within three seconds, on a machine that has time"
    (tmp_path / "go").touch()
    left = [process for process in start if process.pid != killed]
    assert [process.stdout.readline() for process in left] == [f"250 {successor} 0 0\n"] * 3
    assert calls() == [killed, successor]
    assert list((tmp_path / "cache" / "leases").iterdir()) == []
    with Cache(directory=tmp_path / "cache") as cache:
        assert cache.get("k") == {"by": successor}
