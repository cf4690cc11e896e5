"""kill -9 of processes that write behind; SCOUTCACHE_KILLS says how many (10), `behind_campaign.py` how it is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

KILLS = int(os.environ.get("SCOUTCACHE_KILLS", "10"))


def test_killed_processes_lose_no_acknowledged_write_and_hand_over_twice_only_what_was_under_way():
    command = [sys.executable, Path(__file__).with_name("behind_campaign.py"), "--kills", str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["acknowledged_keys"] >= 20
    assert report["lists"] >= KILLS
    wrong = {name: report[name] for name in ("undelivered", "lost", "out_of_order", "wrong_duplicates", "stale")}
    assert wrong == dict.fromkeys(wrong, 0)
