"""One factory call for a key, however many machines ask for it over one server, whoever dies, the server too.

A process with a directory of its own is a machine, as far as a cache can tell.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
import redis

from scoutcache import Cache
from scoutcache.channels.lease_keeper import RENEWED_EVERY
from scoutcache.channels.lease_plans import LIFE

CALLERS = """
import os, sys, threading, time
from pathlib import Path
from scoutcache import Cache

folder, url, name, callers = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
cache = Cache(directory=folder / name, redis_url=url)

def factory():
    with (folder / "calls").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    while not (folder / "go").exists():
        time.sleep(0.005)
    return {"by": os.getpid()}

def waits(*asked, wait=cache._core.ports.leases.wait):
    # called by who has been told that another one holds the lease
    with (folder / "waits").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    return wait(*asked)

cache._core.ports.leases.wait = waits
answers, asking = [], threading.Barrier(callers + 1)

def ask():
    asking.wait()
    answers.append(cache.get_or_compute("k", factory, tags=["T"])["by"])

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

TASKS = """
import asyncio, os, sys
from pathlib import Path
from scoutcache import AsyncCache

folder, url, name, callers = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

async def factory():
    with (folder / "calls").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    while not (folder / "go").exists():
        await asyncio.sleep(0.005)
    return {"by": os.getpid()}

async def main():
    async with AsyncCache(directory=folder / name, redis_url=url) as cache:
        tasks = [asyncio.ensure_future(cache.get_or_compute("k", factory, tags=["T"])) for _ in range(callers)]
        await asyncio.sleep(0)
        print("asking", flush=True)
        answers = [answer["by"] for answer in await asyncio.gather(*tasks)]
        left = len(cache._core.world.flights), len(cache._core.ports.leases)
        print(len(answers), *set(answers), *left, flush=True)

asyncio.run(main())
"""

CIRCLE = """
import sys
from scoutcache import Cache
from scoutcache.errors import FlightCycle

folder, url, own, wanted = sys.argv[1:]
cache = Cache(directory=folder, redis_url=url)

def factory():
    print("leads", flush=True)
    sys.stdin.readline()
    try:
        return cache.get_or_compute(wanted, lambda: "computed for the other")
    except FlightCycle:
        print("refused", flush=True)
        raise

try:
    cache.get_or_compute(own, factory)
except FlightCycle as error:
    print(error, flush=True)
else:
    print("has it", flush=True)
cache.close()
"""


def written(path):
    """The processes that wrote themselves into *path*."""
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


@pytest.fixture
def calls(tmp_path, until):
    """The processes whose factory was called so far; at least so many, if need be after a while."""

    def calls(least=0):
        until(lambda: len(written(tmp_path / "calls")) >= least, f"{least} calls")
        return written(tmp_path / "calls")

    return calls


@pytest.fixture
def own_server(start_redis):
    """A server of the test's own."""
    return start_redis()


def started(run_python, code, tmp_path, server, directories):
    processes = [run_python(code, tmp_path, server.url, name, 250) for name in directories]
    assert [process.stdout.readline() for process in processes] == ["asking\n"] * len(processes)
    return processes


def waiting(server):
    """Does another process wait for a lease?"""
    with redis.Redis(port=server.port) as client:
        return any(client.hexists(name, "q") for name in client.keys("*lease:*"))


def leases_of(server):
    with redis.Redis(port=server.port) as client:
        return client.keys("*lease:*")


@pytest.mark.parametrize("code", [CALLERS, TASKS], ids=["threads", "tasks"])
def test_four_machines_with_250_callers_each_make_one_call(code, tmp_path, own_server, run_python, calls, until):
    processes = started(run_python, code, tmp_path, own_server, "abcd")
    (pid,) = calls(1)
    until(lambda: waiting(own_server), "another one waits")
    (tmp_path / "go").touch()
    assert [process.stdout.readline() for process in processes] == [f"250 {pid} 0 0\n"] * 4
    assert calls() == [pid]
    assert [process.wait(30) for process in processes] == [0] * 4
    assert leases_of(own_server) == []


@pytest.mark.parametrize("code", [CALLERS, TASKS], ids=["threads", "tasks"])
def test_when_the_leader_is_killed_another_machine_takes_over(code, tmp_path, own_server, run_python, calls):
    processes = started(run_python, code, tmp_path, own_server, "abcd")
    (killed,) = calls(1)
    began = time.monotonic()
    os.kill(killed, signal.SIGKILL)
    _, successor = calls(2)
    assert time.monotonic() - began < 10, "promised: within seconds"
    assert successor != killed
    (tmp_path / "go").touch()
    left = [process for process in processes if process.pid != killed]
    assert [process.stdout.readline() for process in left] == [f"250 {successor} 0 0\n"] * 3
    assert calls() == [killed, successor]
    assert [process.wait(30) for process in left] == [0] * 3
    assert leases_of(own_server) == []


@pytest.mark.parametrize("code", [CALLERS, TASKS], ids=["threads", "tasks"])
def test_on_the_machine_of_a_killed_leader_another_process_takes_over_at_once(
    code, tmp_path, own_server, run_python, calls
):  # fmt: skip
    """Not when its lease on the server has run out: the other machine would have waited for that."""
    processes = started(run_python, code, tmp_path, own_server, "aa")
    (killed,) = calls(1)
    began = time.monotonic()
    os.kill(killed, signal.SIGKILL)
    calls(2)
    assert time.monotonic() - began < LIFE - RENEWED_EVERY, "it had at least so long to run"
    (tmp_path / "go").touch()
    left = [process for process in processes if process.pid != killed]
    assert [process.stdout.readline() for process in left] == [f"250 {left[0].pid} 0 0\n"]
    assert [process.wait(30) for process in left] == [0]


@pytest.mark.parametrize("go", ["kill", "pause"])
@pytest.mark.parametrize("code", [CALLERS, TASKS], ids=["threads", "tasks"])
def test_when_the_server_goes_who_waits_for_a_neighbour_gets_what_that_computes(
    code, tmp_path, own_server, run_python, calls, until, go
):  # fmt: skip
    processes = started(run_python, code, tmp_path, own_server, "aaa")
    (leader,) = calls(1)
    time.sleep(0.5)  # on an event loop nothing tells that others have begun to wait
    getattr(own_server, go)()
    time.sleep(3.0)  # for whoever would lose patience, or take a lease that has run out
    (tmp_path / "go").touch()
    assert [process.stdout.readline() for process in processes] == [f"250 {leader} 0 0\n"] * 3
    assert calls() == [leader]
    own_server.resume()
    assert [process.wait(30) for process in processes] == [0] * 3


def test_a_server_that_was_frozen_keeps_nobody_waiting_for_who_gave_up(tmp_path, own_server, until, monkeypatch):
    """What it finds in its sockets it carries out when it goes on: what asks for a lease, too."""
    with (
        Cache(directory=tmp_path / "a", redis_url=own_server.url) as one,
        Cache(directory=tmp_path / "b", redis_url=own_server.url) as other,
    ):
        one.get_or_compute("warm", lambda: "it knows the scripts")
        plans = one._core.ports.leases._plans
        breakers = [cache._core.ports.leases._conduit.breaker for cache in (one, other)]

        def taking(*asked, take=plans.take, **how):
            own_server.pause()
            return (yield from take(*asked, **how))

        monkeypatch.setattr(plans, "take", taking)
        assert one.get_or_compute("k", lambda: "one", store_if=lambda _: False) == "one"
        until(lambda: all(breaker.fault for breaker in breakers), "both know")
        own_server.resume()
        until(lambda: not any(breaker.fault for breaker in breakers), "both know that it is back")
        began = time.monotonic()
        assert other.get_or_compute("k", lambda: "other") == "other"
        assert time.monotonic() - began < LIFE / 3


def test_the_lease_stays_until_the_disk_has_the_value(tmp_path, own_server, monkeypatch):
    """Or a neighbour whom the server does not answer just now would find nothing there, and compute it again."""
    with Cache(directory=tmp_path, redis_url=own_server.url) as cache:
        disk, held = cache._core.tier("disk"), []
        write = disk.write

        def watched(*given):
            cache._core.follower.sync()
            held.append(len(cache._core.ports.leases))
            return write(*given)

        monkeypatch.setattr(disk, "write", watched)
        assert cache.get_or_compute("k", lambda: 1) == 1
        assert held == [1]
        assert len(cache._core.ports.leases) == 0


def test_when_the_server_is_killed_each_machine_goes_on_by_itself(tmp_path, own_server, run_python, calls, until):
    """Two processes of the leader's machine wait for it; the other machine computes for itself."""
    processes = started(run_python, CALLERS, tmp_path, own_server, "aab")
    (leader,) = calls(1)
    until(lambda: len(set(written(tmp_path / "waits")) - {leader}) == 2, "both others know of the leader")
    own_server.kill()
    machine = {process.pid: number // 2 for number, process in enumerate(processes)}
    assert sorted(machine[pid] for pid in calls(2)) == [0, 1], "one on each machine, and no more"
    (tmp_path / "go").touch()
    said = [process.stdout.readline().split() for process in processes]
    assert [line[0] for line in said] == ["250"] * 3
    assert [line[-2:] for line in said] == [["0", "0"]] * 3
    assert [process.wait(30) for process in processes] == [0] * 3


def test_two_machines_that_lead_for_each_other_don_t_wait_for_ever(tmp_path, own_server, run_python):
    pairs = [("a", "b"), ("b", "a")]
    processes = [run_python(CIRCLE, tmp_path / own, own_server.url, own, wanted) for own, wanted in pairs]
    assert [process.stdout.readline() for process in processes] == ["leads\n"] * 2
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=30)[0].splitlines() for process in processes]
    refused = [lines for lines in said if lines[0] == "refused"]
    assert refused, said
    assert all("neither could ever end" in lines[-1] for lines in refused)
    assert all(lines == ["has it"] for lines in said if lines not in refused)
    assert leases_of(own_server) == []


def test_a_paused_leader_is_succeeded_and_takes_nothing_from_its_successor(
    tmp_path, own_server, run_python, calls, until
):  # fmt: skip
    processes = started(run_python, CALLERS, tmp_path, own_server, "ab")
    (paused,) = calls(1)
    os.kill(paused, signal.SIGSTOP)
    try:
        _, successor = calls(2)
        (name,) = leases_of(own_server)
        with redis.Redis(port=own_server.port) as client:
            owner = client.hget(name, "o")
            os.kill(paused, signal.SIGCONT)
            until(lambda: int(client.hget(name, "n") or 0) >= 2, "two more renewals")
            assert client.hget(name, "o") == owner
    finally:
        os.kill(paused, signal.SIGCONT)
    (tmp_path / "go").touch()
    assert {process.stdout.readline().split()[0] for process in processes} == {"250"}
    assert [process.wait(30) for process in processes] == [0] * 2
    assert leases_of(own_server) == []
    assert successor != paused
    with Cache(directory=tmp_path / "c", redis_url=own_server.url) as cache:
        assert cache.get("k")["by"] in {paused, successor}


def test_an_invalidation_takes_the_lease_from_the_computation_it_names(
    tmp_path, own_server, run_python, calls, until
):  # fmt: skip
    """Who asks after it neither waits for what began before it nor is answered by it."""
    (leader,) = started(run_python, CALLERS, tmp_path, own_server, "a")
    calls(1)
    with Cache(directory=tmp_path / "b", redis_url=own_server.url) as cache:
        cache.invalidate("k")
        began = time.monotonic()
        assert cache.get_or_compute("k", lambda: "new") == "new"
        assert time.monotonic() - began < 10, "the leader ends only when told so"
        (tmp_path / "go").touch()
        assert leader.stdout.readline().startswith(f"250 {leader.pid}")
        assert cache.get("k") == "new"
        assert leader.wait(30) == 0
    until(lambda: not leases_of(own_server), "nothing is left")
