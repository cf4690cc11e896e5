"""kill -9 of processes that write behind; SCOUTCACHE_KILLS says how many (4), `behind_campaign.py` how it is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

KILLS = int(os.environ.get("SCOUTCACHE_KILLS", "4"))


def test_killed_processes_lose_no_acknowledged_write_and_hand_over_twice_only_what_was_under_way():
    command = [sys.executable, Path(__file__).with_name("behind_campaign.py"), "--kills", str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["acknowledged_keys"] >= 8
    assert report["lists"] >= KILLS
    wrong = {name: report[name] for name in ("undelivered", "lost", "out_of_order", "wrong_duplicates", "stale")}
    assert wrong == dict.fromkeys(wrong, 0)


FORKS = """
import os, sys, threading
from scoutcache import Cache

source = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def writer(batch):
    os.write(source, "".join(f"{os.getpid()} {key} {value}\\n" for key, value in batch).encode())


cache = Cache(directory=sys.argv[1])
behind = cache.behind(writer=writer, interval=0.01)
behind.set("parent", 1)
assert behind.flush(30)
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        behind.set(f"child:{number}", number)
        assert behind.get(f"child:{number}") == number
        if number == 2:  # it outlives its parent
            sys.stdin.readline()
            behind.set("after", 1)
            assert behind.flush(30)
        cache.close()
        os._exit(0)
    children.append(child)
for child in children[:2]:
    assert os.waitpid(child, 0)[1] == 0
assert behind.flush(30)
print(os.getpid(), children[2], flush=True)
os._exit(0)
"""


def test_forked_workers_put_and_their_parent_delivers_until_one_of_them_takes_over(run_python, tmp_path):
    process = run_python(FORKS, tmp_path / "cache", tmp_path / "source")
    parent, heir = process.stdout.readline().split()
    process.wait(30)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.read() == ""  # until the last of them has ended
    rows = [line.split() for line in (tmp_path / "source").read_text().splitlines()]
    assert sorted(row[1:] for row in rows) == [
        ["after", "1"], ["child:0", "0"], ["child:1", "1"], ["child:2", "2"], ["parent", "1"],
    ]  # fmt: skip
    assert {pid for pid, key, _ in rows if key == "after"} == {heir}
    assert {pid for pid, key, _ in rows if key in {"parent", "child:0", "child:1"}} == {parent}


LEFT_OPEN = """
import sys
from scoutcache import Cache

behind = Cache(directory=sys.argv[1]).behind(writer=lambda batch: print(batch), interval=1000)
behind.set("a", 1)
"""


def test_a_script_that_closes_nothing_delivers_at_its_end(run_python, tmp_path):
    process = run_python(LEFT_OPEN, tmp_path)
    assert process.stdout.read() == "[('a', 1)]\n"
    assert process.wait(30) == 0
