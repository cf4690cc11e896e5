"""Workers of one service, however they are started, and two users of one machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scoutcache import Cache

PROJECT = Path(__file__).resolve().parents[2]

SERVICE = '''
import multiprocessing, os, sys
from pathlib import Path
from scoutcache import Cache

DIRECTORY = Path(sys.argv[2])
cache = Cache(directory=DIRECTORY / "cache") if sys.argv[1] == "fork" else None


def compute():
    with (DIRECTORY / "calls").open("a") as file:
        file.write("x")
    return os.getpid()


def work(number, orders, answers):
    """A worker: with *fork* it goes on with the cache that its parent has opened."""
    own = cache or Cache(directory=DIRECTORY / "cache")
    for order in iter(orders.get, None):
        match order:
            case "compute":
                answers.put(own.get_or_compute("k", compute))
            case "get":
                answers.put(own.get("k"))
            case "invalidate":
                own.invalidate("k")
                answers.put("invalidated")
    own.close()


def main():
    context = multiprocessing.get_context(sys.argv[1])
    answers = context.Queue()
    orders = [context.Queue() for _ in range(4)]
    workers = [context.Process(target=work, args=(n, one, answers)) for n, one in enumerate(orders)]
    for worker in workers:
        worker.start()

    def tell(order, *numbers):
        for number in numbers or range(4):
            orders[number].put(order)
        return {answers.get(timeout=60) for _ in numbers or range(4)}

    for n in range(4):
        first = tell("compute")
        assert len(first) == 1 and (DIRECTORY / "calls").read_text() == "x" * (n + 1), first
        assert tell("get") == first
        assert tell("invalidate", n) == {"invalidated"}
        assert tell("get") == {None}
    for one in orders:
        one.put(None)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    print("well")


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[3])
    main()
    if cache is not None:
        assert cache.get("k") is None
        cache.close()
'''


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_compute_once_and_see_what_any_of_them_invalidates(tmp_path, method):
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    command = [sys.executable, script, method, tmp_path, PROJECT]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr
    assert list((tmp_path / "cache" / "leases").iterdir()) == []


USER = """
import os, sys
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
from scoutcache import Cache
from scoutcache.errors import CacheError

try:
    Cache(directory=sys.argv[3])
except CacheError as error:
    print(type(error).__name__)
with Cache(directory=sys.argv[1]) as cache:
    for n in range(50):
        assert cache.get_or_compute("k", lambda: n) == n
        cache.invalidate("*k*")
    print(cache.get("k"))
"""


@pytest.fixture
def public_folder():
    """Where every user may look; pytest's own is for this one alone."""
    folder = Path(tempfile.mkdtemp(prefix="sc-users-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_two_users_with_directories_of_their_own_are_strangers(public_folder, another_user, run_python):
    theirs, ours = public_folder / "theirs", public_folder / "ours"
    theirs.mkdir()
    os.chown(theirs, another_user, another_user)
    with Cache(directory=ours) as cache:
        cache.set("k", "ours")
        process = run_python(USER, theirs / "cache", another_user, ours, cwd="/")
        for n in range(50):
            assert cache.get_or_compute(f"other{n}", lambda n=n: n) == n
            assert cache.get("k") == "ours"
        assert process.communicate(timeout=60)[0] == "CacheError\nNone\n"
