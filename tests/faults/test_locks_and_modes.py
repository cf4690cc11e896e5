"""What other processes and file modes do to a tier: a lock held for ever, a directory that can't be written, a fork."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.tiers.disk import DiskTier
from scoutcache.wire.codec import Codec

PROJECT = Path(__file__).resolve().parents[2]

HOLD = """
import sqlite3
con = sqlite3.connect(sys.argv[1], isolation_level=None)
con.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def tier(tmp_path):
    made = DiskTier(tmp_path / "cache", Codec(), timeout=0.3)
    yield made
    made.close()


def test_a_process_that_holds_the_lock_for_ever_lets_writes_fail(tier, tmp_path, run_python, make_row, value_of):
    tier.write([make_row("key", "value")], 2.0)
    holder = run_python(HOLD, tmp_path / "cache" / "cache.db")
    assert holder.stdout.readline() == "held\n"
    started = time.monotonic()
    with pytest.raises(TierUnavailable, match="write lock"):
        tier.write([make_row("key", "other", start=2)], 2.0)
    assert 0.25 < time.monotonic() - started < 5
    assert value_of(tier, "key") == "value"
    holder.kill()
    holder.wait()
    assert tier.write([make_row("key", "other", start=2)], 2.0) == 1


def test_writers_of_many_threads_behind_a_held_lock_all_fail_in_time(tier, tmp_path, run_python, make_row):
    """They share one wait: nobody waits for the others' timeouts one after the other."""
    tier.write([make_row("key", "value")], 2.0)
    holder = run_python(HOLD, tmp_path / "cache" / "cache.db")
    assert holder.stdout.readline() == "held\n"
    outcomes, started = [], time.monotonic()

    def write(number):
        try:
            tier.write([make_row(f"key:{number}", "x")], 2.0)
        except TierUnavailable as error:
            outcomes.append(error.reason)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["another process holds the write lock"] * 30
    assert time.monotonic() - started < 5


READ_ONLY = """
import os
from pathlib import Path
os.setgid(12345); os.setuid(12345)
from scoutcache.entry import Header, NEVER, Ref, Row
from scoutcache.errors import TierUnavailable
from scoutcache.tiers.disk import DiskTier
from scoutcache.wire.codec import Codec
codec, warned = Codec(), []
tier = DiskTier(Path(sys.argv[1]), codec, warn=warned.append)
ref = Ref("default", "key")
print(codec.open(ref, tier.read(ref, 2.0)).value)
print([one.header.ref.key for one in tier.scan(None)], tier.usage().entries, tier.maintain(2.0))
print(tier.verify()["integrity"])
header = Header(ref=ref, start=5, created=1.0, fresh_until=NEVER, expires=NEVER)
live, encoded = codec.hold("new")
for work in (lambda: tier.write([Row(header, live, lambda: codec.seal(header, live, encoded))], 2.0),
             lambda: tier.remove([ref]), lambda: tier.clear(None), lambda: tier.renew("ns", ["a"])):
    try:
        work()
    except TierUnavailable as error:
        print(error.reason, "|", error.hint)
print(warned)
tier.close()
"""


@pytest.fixture
def public_folder(another_user):
    """A folder that another user may enter; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="sc-modes-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("live", [False, True], ids=["closed", "with a log"])
def test_a_read_only_directory_is_read_and_every_write_says_why_not(public_folder, make_row, live):
    where = public_folder / "cache"
    tier = DiskTier(where, Codec())
    tier.write([make_row("key", "value")], 2.0)
    if not live:
        tier.close()
    for path in [where, *where.iterdir()]:
        os.chown(path, 12345, 12345)
        path.chmod(0o500 if path == where else 0o400)
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n" + READ_ONLY
    done = subprocess.run([sys.executable, "-c", code, where], capture_output=True, text=True, check=False)
    tier.close()
    assert done.stderr == ""
    value, listing, integrity, *refusals, warned = done.stdout.splitlines()
    assert (value, integrity) == ("value", "ok")
    assert listing == "['key'] 1 {'expired': 0, 'oversize': 0}"
    assert len(refusals) == 4
    assert all("read-only | make the directory writable" in refusal for refusal in refusals)
    assert warned == "[]"


def test_a_fork_leaves_both_sides_working(tier, make_row, value_of):
    """Connections don't cross it; a lock that another thread held at that moment doesn't stop the child."""
    tier.write([make_row("key", "value")], 2.0)
    ended = threading.Event()

    def keep_busy():
        number = 0
        while not ended.is_set():
            number += 1
            tier.write([make_row("busy", number, start=number)], 2.0)
            value_of(tier, "key")

    threads = [threading.Thread(target=keep_busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = []
    for number in range(10):
        child = os.fork()
        if not child:
            status = 1
            try:
                tier.write([make_row(f"child:{number}", "from the child")], 2.0)
                status = 0 if value_of(tier, "key") == "value" else 2
            finally:
                os._exit(status)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    ended.set()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 10
    assert [value_of(tier, f"child:{n}") for n in range(10)] == ["from the child"] * 10
    assert tier.verify()["integrity"] == "ok"


def test_a_process_without_descriptors_left_is_a_miss_and_not_a_crash(tmp_path, make_row, run_python):
    made = DiskTier(tmp_path / "cache", Codec())
    made.write([make_row("key", "value")], 2.0)
    made.close()
    code = """
import os, resource
from pathlib import Path
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.tiers.disk import DiskTier
from scoutcache.wire.codec import Codec
warned, codec = [], Codec()
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
taken = []
try:
    while True: taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError: pass
tier = DiskTier(Path(sys.argv[1]), codec, warn=warned.append)
try: tier.read(Ref("default", "key"), 2.0)
except TierUnavailable as error: print("away", len(warned), flush=True)
for fd in taken: os.close(fd)
tier._database._retry_at = 0.0
print(tier.read(Ref("default", "key"), 2.0) is not None, flush=True)
tier.close()
"""
    process = run_python(code, tmp_path / "cache")
    assert process.stdout.readline() == "away 1\n"
    assert process.stdout.readline() == "True\n"


def test_a_lone_reader_opens_a_store_that_another_process_uses(tier, make_row, value_of, tmp_path):
    tier.write([make_row("key", "value")], 2.0)
    other = DiskTier(tmp_path / "cache", Codec())
    assert other.read(Ref("default", "key"), 2.0) is not None
    other.close()
    assert value_of(tier, "key") == "value"
