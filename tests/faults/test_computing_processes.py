"""Real processes that compute the same keys: one of them does, the others get its value, and the dead are succeeded."""

from __future__ import annotations

import json
import time

import pytest

from scoutcache import Cache

PATIENCE = 40

HEAD = """
import asyncio, json, os, threading, time
from scoutcache import AsyncCache, Cache
from scoutcache.errors import FlightCycle

directory = sys.argv[1]
told = open(directory + ".calls", "ab", 0)  # appended to, whole lines, by all

def say(word):
    print(json.dumps(word), flush=True)

def hear():
    return sys.stdin.readline()

def called(word):
    told.write((word + chr(10)).encode())
"""


class Worker:
    """A process that does as the code says, told and heard line by line."""

    def __init__(self, process):
        self.process = process

    def says(self):
        line = self.process.stdout.readline()
        assert line, "it ended"
        return json.loads(line)

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ends(self):
        self.process.communicate("\n", PATIENCE)
        assert self.process.returncode == 0


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def worker(run_python, directory):
    """Start a process that has an open cache's directory and the words `say`, `hear`, `called`."""
    return lambda code: Worker(run_python(HEAD + code, directory, bufsize=1))


@pytest.fixture
def calls(directory):
    """The calls of factories in all processes."""
    path = directory.with_suffix(".calls")
    return lambda: path.read_text().split() if path.exists() else []


@pytest.fixture
def nothing_left(directory):
    """Afterwards no lease is left."""
    yield
    assert list((directory / "leases").iterdir()) == []


THREADS = """
cache = Cache({"directory": directory})
say("ready"), hear()

def factory():
    called("one")
    time.sleep(0.2)
    return {"answer": [1]}

results = []
def ask():
    results.append(cache.get_or_compute("k", factory))

asking = [threading.Thread(target=ask) for _ in range(250)]
for thread in asking: thread.start()
for thread in asking: thread.join()
assert results == [{"answer": [1]}] * 250
assert not len(cache._core.world.flights) and not len(cache._core.ports.leases)
say("done"), hear()
cache.close()
"""

TASKS = """
async def main():
    async with AsyncCache({"directory": directory}) as cache:
        say("ready"), hear()

        async def factory():
            called("one")
            await asyncio.sleep(0.2)
            return {"answer": [1]}

        results = await asyncio.gather(*(cache.get_or_compute("k", factory) for _ in range(250)))
        assert results == [{"answer": [1]}] * 250
        assert not len(cache._core.world.flights) and not len(cache._core.ports.leases)
        say("done"), hear()

asyncio.run(main())
"""


@pytest.mark.usefixtures("nothing_left")
def test_a_thousand_callers_in_four_processes_call_the_factory_once(worker, calls):
    workers = [worker(code) for code in (THREADS, TASKS, THREADS, TASKS)]
    assert [one.says() for one in workers] == ["ready"] * 4
    for one in workers:
        one.go_on()
    assert [one.says() for one in workers] == ["done"] * 4
    assert calls() == ["one"]
    for one in workers:
        one.ends()


OWNER = """
cache = Cache({"directory": directory})

def forever():
    called("owner")
    say("computing")
    threading.Event().wait()

cache.get_or_compute("k", forever, stale_ttl=1000)
"""


@pytest.mark.usefixtures("nothing_left")
def test_a_loop_takes_over_from_an_owner_that_was_killed(worker, calls):
    owner = worker(OWNER)
    assert owner.says() == "computing"
    waiting = worker("""
async def main():
    async with AsyncCache({"directory": directory}) as cache:
        say("asking")
        value = await cache.get_or_compute("k", lambda: called("heir") or "mine")
        say([value, time.time()]), hear()

asyncio.run(main())
""")
    assert waiting.says() == "asking"
    died = time.time()
    owner.process.kill()
    value, when = waiting.says()
    assert value == "mine"
    assert when - died < 10, "promised: within three seconds, on a machine that has time"
    assert calls() == ["owner", "heir"]
    waiting.ends()


@pytest.mark.usefixtures("nothing_left")
def test_who_has_a_stale_value_waits_for_no_other_process(worker, directory):
    with Cache(directory=directory) as cache:
        cache.set("k", "old", ttl=0.001, stale_ttl=1000)
        owner = worker("""
cache = Cache({"directory": directory})

def slow():
    say("computing"), hear()
    return "new"

assert cache.get_or_compute("k", slow, stale_ttl=1000) == "old"
for beside in list(cache._core.ports.beside): beside.result(30)
say(cache.get("k"))
hear(), cache.close()
""")
        assert owner.says() == "computing"
        assert cache.get_or_compute("k", pytest.fail, stale_ttl=1000) == "old"
        assert cache.get_or_compute("k", pytest.fail, stale_ttl=1000, soft_timeout=5) == "old"
        owner.go_on()
        assert owner.says() == "new"
        assert cache.get_or_compute("k", pytest.fail) == "new"
        owner.ends()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("how", ["key", "pattern", "tag", "clear"])
def test_who_asks_after_an_invalidation_doesnt_wait_for_what_began_before_it(worker, directory, how):
    owner = worker("""
cache = Cache({"directory": directory})

def slow():
    say("computing"), hear()
    return "old"

say([cache.get_or_compute("k", slow, tags=["red"]), cache.get("k")])
hear(), cache.close()
""")
    assert owner.says() == "computing"
    with Cache(directory=directory) as cache:
        {
            "key": lambda: cache.delete("k"),
            "pattern": lambda: cache.invalidate("k*"),
            "tag": lambda: cache.invalidate(tags=["red"]),
            "clear": cache.clear,
        }[how]()
        assert cache.get_or_compute("k", lambda: "new", tags=["red"]) == "new", "while the other one computes"
        owner.go_on()
        assert owner.says() == ["old", "new"], "its caller is answered, and its result not kept"
        assert cache.get("k") == "new"
    owner.ends()


CIRCLE = """
mine, other = sys.argv[2], sys.argv[3]
cache = Cache({"directory": directory})
say("ready"), hear()

def factory():
    say("leading"), hear()
    return cache.get_or_compute(other, lambda: "by " + mine)

try:
    said = cache.get_or_compute(mine, factory)
except FlightCycle as error:
    said = "circle"
say(said)
hear(), cache.close()
"""

CIRCLE_OF_TASKS = """
mine, other = sys.argv[2], sys.argv[3]

async def main():
    async with AsyncCache({"directory": directory}) as cache:
        say("ready"), hear()

        async def factory():
            say("leading"), hear()
            many = await cache.get_or_compute_many(["x" + mine, other], lambda keys: dict.fromkeys(keys, "by " + mine))
            return many[other]

        try:
            said = await cache.get_or_compute(mine, factory)
        except FlightCycle:
            said = "circle"
        say(said), hear()

asyncio.run(main())
"""


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("code", [CIRCLE, CIRCLE_OF_TASKS], ids=["threads", "tasks and batches"])
def test_a_circle_through_two_processes_is_seen_by_one_of_them_at_least(run_python, directory, code):
    both = [Worker(run_python(HEAD + code, directory, *names, bufsize=1)) for names in (("a", "b"), ("b", "a"))]
    for word in ("ready", "leading"):
        assert [one.says() for one in both] == [word] * 2
        for one in both:
            one.go_on()
    said = [one.says() for one in both]
    assert "circle" in said
    assert set(said) <= {"circle", "by a", "by b"}
    for one in both:
        one.ends()


@pytest.mark.usefixtures("nothing_left")
def test_a_circle_that_closes_through_a_joined_batch_is_seen(worker, directory):
    """Here *x* waits for a batch of *k0* and *k1*, of which another process computes *k1* and asks for *x*."""
    theirs = worker("""
cache = Cache({"directory": directory})

def k1():
    say("leading"), hear()
    try:
        return cache.get_or_compute("x", lambda: "by them")
    except FlightCycle:
        return "circle"

say(cache.get_or_compute("k1", k1))
hear(), cache.close()
""")
    ours = worker("""
cache = Cache({"directory": directory})
began = threading.Event()

def batch():
    cache.get_or_compute_many(["k0", "k1"], lambda keys: began.set() or dict.fromkeys(keys, "batch"))

def x():
    say("leading"), hear()
    threading.Thread(target=batch, daemon=True).start()
    began.wait(30)
    while "k0" not in [ref.key for ref in cache._core.world.flights._flights]: time.sleep(0.001)
    try:
        return cache.get_or_compute("k0", lambda: "alone")
    except FlightCycle:
        return "circle"

say(cache.get_or_compute("x", x))
hear(), cache.close()
""")
    assert [one.says() for one in (theirs, ours)] == ["leading"] * 2
    theirs.go_on()
    ours.go_on()
    assert "circle" in [theirs.says(), ours.says()]
    for one in (theirs, ours):
        one.ends()


@pytest.mark.usefixtures("nothing_left")
def test_a_batch_of_four_processes_computes_each_key_once(worker, calls):
    code = """
cache = Cache({"directory": directory})
keys = [f"k:{n}" for n in range(60)]
at = os.getpid() % 60
say("ready"), hear()

def factory(missing):
    for key in missing: called(key)
    time.sleep(0.05)
    return dict.fromkeys(missing, 1)

for step in range(0, 60, 15):
    wanted = [keys[(at + step + n) % 60] for n in range(30)]
    assert cache.get_or_compute_many(wanted, factory) == dict.fromkeys(wanted, 1)
say("done"), hear()
cache.close()
"""
    workers = [worker(code) for _ in range(4)]
    assert [one.says() for one in workers] == ["ready"] * 4
    for one in workers:
        one.go_on()
    assert [one.says() for one in workers] == ["done"] * 4
    assert sorted(calls()) == sorted(f"k:{n}" for n in range(60))
    for one in workers:
        one.ends()
